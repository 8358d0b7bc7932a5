"""A git repository elsewhere, read and written without a work tree.

This runs the program ``git``, each time with a list of arguments. Servers, keys and proxies are
tried against it more than against any other; GitPython, which StackStorm brings, runs it as well,
and has no words for what is done here: objects, an index, a lease.

What is fetched goes into a bare repository in a folder that is gone afterwards, and a commit is
made of objects and an index. No file of the repository ever becomes a file here, so its hooks,
symlinks, attributes, filters and submodules have nothing to act on.

The token reaches git as an environment variable, through a credential helper that answers for one
origin alone; the SSH key is a file that only its owner may read. Neither is ever an argument, part
of a URL, or in the repository's config, and both are taken out of whatever git says.
"""

import base64
import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass

from poundcake.errors import ExpectedError

LARGEST_FILE = 1 << 20  # bytes; a rule file has some kilobytes
FILE, EXECUTABLE, SYMLINK, FOLDER = "100644", "100755", "120000", "040000"
# What git and ssh need of StackStorm's own environment. None of git's own variables: they could
# name another repository, or have secrets traced.
_PASSED_ON = re.compile(
    r"(PATH|TMPDIR|SSH_AUTH_SOCK|SSL_CERT_FILE|SSL_CERT_DIR|GIT_SSL_CAINFO|GIT_SSL_CAPATH|"
    r"(http|https|all|no)_proxy|(HTTPS|ALL|NO)_PROXY)\Z"
)
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$POUNDCAKE_GIT_USERNAME" "$POUNDCAKE_GIT_TOKEN"; }; f'
)
# What git says, and the setting that it is about.
_REMEDIES = (
    (r"Authentication failed|could not read Username|error: 403", "git_token"),
    (r"Host key verification failed|REMOTE HOST IDENTIFICATION", "git_known_hosts"),
    (r"certificate", "git_ca_path"),
    (r"Permission denied \(|Load key|error in libcrypto", "git_ssh_key"),
)
_MOVED = re.compile(r"\(stale info\)|\(fetch first\)|cannot lock ref|incorrect old value")


class Moved(ExpectedError):
    """Somebody pushed to the branch between our look at it and our push."""


@dataclass(frozen=True)
class Entry:
    """What a path is in a commit; size in bytes, None for what has none."""

    mode: str
    id: str
    size: int


@dataclass(frozen=True)
class Commit:
    """A commit, as far as it says whose it is."""

    tree: str
    parents: tuple
    committer: str  # name <email>
    message: str


@contextlib.contextmanager
def opened(settings, url):
    """Give a Remote for as long as the block lasts; what it kept on disk is gone then.

    :param url: a GitUrl.
    :raises ExpectedError: with the setting's name, when git is not there or a setting does not do.
    """
    with tempfile.TemporaryDirectory(prefix="poundcake-git-") as folder:
        remote = Remote(settings, url, folder)
        remote.git("init", "--quiet", "--bare", "--template=", remote.path)
        yield remote


class Remote:
    """A repository at a URL, and the objects of it that were fetched."""

    def __init__(self, settings, url, folder):
        self._url = url
        self._end = time.monotonic() + settings.git.timeout_seconds
        self._seconds = settings.git.timeout_seconds
        self._folder = folder
        self.path = os.path.join(folder, "repository.git")
        self._secrets = _secrets(settings)
        self._options = ["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"]
        self._options += ["-c", "maintenance.auto=false", "-c", "credential.helper="]
        self._environment = _environment(settings, url, folder)
        if settings.git.token and url.scheme in ("http", "https"):
            self._options += ["-c", "credential.%s.helper=%s" % (url.origin, _HELPER)]
        if url.scheme == "ssh":
            self._environment["GIT_SSH_COMMAND"] = _ssh(settings, folder)

    def fetch(self, branches):
        """Fetch the newest commit of each branch that is there; return ``{branch: its id}``."""
        refs = {"refs/heads/" + branch: branch for branch in branches}
        told = self.git("ls-remote", "--", self._url.text, *refs).decode("utf-8", "replace")
        there = [line.split("\t")[-1] for line in told.splitlines()]
        there = [ref for ref in refs if ref in there]
        if there:
            asked = ["+%s:%s" % (ref, ref) for ref in there]
            quietly = ("--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules")
            self.git("fetch", *quietly, "--", self._url.text, *asked)
        return {refs[ref]: self.git("rev-parse", ref).decode().strip() for ref in there}

    def entries(self, commit, *paths, whole=False):
        """Return ``{path: Entry}`` of paths in a commit, or of all files below them."""
        arguments = ["ls-tree", "-z", "--long", "--full-tree", "-r" if whole else "-t"]
        told = self.git(*arguments, commit, "--", *paths)
        found = {}
        for line in told.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            about, path = line.split("\t", 1)
            mode, _, id, size = about.split()
            found[path] = Entry(mode, id, int(size) if size.isdigit() else None)
        return found

    def texts(self, entries):
        """Return ``{path: text}`` of entries that are files; None for one that is no UTF-8."""
        asked = "".join(entry.id + "\n" for entry in entries.values()).encode()
        told = self.git("cat-file", "--batch", stdin=asked)
        found = {}
        for path in entries:
            head, _, told = told.partition(b"\n")
            size = int(head.split()[-1])
            try:
                found[path] = told[:size].decode("utf-8")
            except UnicodeDecodeError:
                found[path] = None
            told = told[size + 1 :]
        return found

    def describe(self, commit):
        """Return the Commit of an id."""
        told = self.git("cat-file", "commit", commit).decode("utf-8", "replace")
        head, _, message = told.partition("\n\n")
        lines = [line.partition(" ") for line in head.splitlines()]
        return Commit(
            tree=next(value for name, _, value in lines if name == "tree"),
            parents=tuple(value for name, _, value in lines if name == "parent"),
            committer=next(v for n, _, v in lines if n == "committer").rsplit(" ", 2)[0],
            message=message,
        )

    def tree(self, commit, path, text, mode=FILE):
        """Return the id of the tree of a commit with a file in it, without it for None."""
        index = {"GIT_INDEX_FILE": os.path.join(self._folder, "index")}
        self.git("read-tree", commit, more=index)
        if text is None:
            line = "0 %s\t%s\0" % ("0" * len(commit), path)
        else:
            content = text.encode("utf-8")
            id = self.git("hash-object", "-w", "--no-filters", "--stdin", stdin=content)
            line = "%s %s\t%s\0" % (mode, id.decode().strip(), path)
        self.git("update-index", "-z", "--index-info", stdin=line.encode("utf-8"), more=index)
        return self.git("write-tree", more=index).decode().strip()

    def commit(self, tree, parent, message):
        """Make a commit, by the author that the config names; return its id."""
        made = self.git("commit-tree", tree, "-p", parent, stdin=message.encode("utf-8"))
        return made.decode().strip()

    def push(self, commit, branch, replaces):
        """Push a commit to a branch.

        :param replaces: the id of the commit that the branch has, "" for a branch that is new.
        :raises Moved: when it has another one by now.
        """
        ref = "refs/heads/" + branch
        arguments = ["push", "--porcelain", "--no-verify", "--recurse-submodules=no"]
        arguments += ["--force-with-lease=%s:%s" % (ref, replaces), "--", self._url.text]
        try:
            self.git(*arguments, "%s:%s" % (commit, ref))
        except ExpectedError as error:
            if _MOVED.search(str(error)):
                text = "branch: somebody else has pushed to %s this moment; nothing of theirs was "
                raise Moved(text % branch + "overwritten; propose the change again")
            raise

    def git(self, *arguments, stdin=b"", more=None):
        """Run git in the bare repository and return what it wrote to stdout.

        :raises ExpectedError: with what it said, and the setting that it is about.
        """
        command = ["git"] + self._options + list(arguments)
        environment = dict(self._environment, **(more or {}))
        try:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that what it starts can be ended with it
            )
        except OSError as error:
            text = "git: cannot be run on this StackStorm node; install git: %s"
            raise ExpectedError(text % error)
        try:
            out, err = process.communicate(stdin, max(0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            text = "git_timeout_seconds: git %s has not ended within %d s in all"
            raise ExpectedError(text % (arguments[0], self._seconds))
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            said = self.scrub((err + out).decode("utf-8", "replace"))
            raise ExpectedError(_failure(arguments[0], process.returncode, said))
        return out

    def scrub(self, text):
        """Return a text without the secrets of the config."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _environment(settings, url, folder):
    found = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
    found.update(
        LC_ALL="C",  # its words are looked at
        HOME=folder,  # neither ~/.gitconfig nor ~/.netrc
        XDG_CONFIG_HOME=folder,
        GIT_CONFIG_NOSYSTEM="1",
        GIT_DIR=os.path.join(folder, "repository.git"),
        GIT_TERMINAL_PROMPT="0",
        GIT_LITERAL_PATHSPECS="1",
        GIT_ALLOW_PROTOCOL=url.scheme,
        GIT_AUTHOR_NAME=settings.git.user_name,
        GIT_AUTHOR_EMAIL=settings.git.user_email,
        GIT_COMMITTER_NAME=settings.git.user_name,
        GIT_COMMITTER_EMAIL=settings.git.user_email,
    )
    if settings.git.ca_path:
        found["GIT_SSL_CAINFO"] = settings.git.ca_path
    if settings.git.token:
        found["POUNDCAKE_GIT_USERNAME"] = settings.git.username or "oauth2"
        found["POUNDCAKE_GIT_TOKEN"] = settings.git.token
    return found


def _ssh(settings, folder):
    """Return the ssh command; git gives it to a shell, so every word is quoted."""
    command = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    # A connection that is kept for others would outlive this and its timeout.
    command += ["-o", "ConnectTimeout=30", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    if settings.git.known_hosts:
        path = _write(folder, "known_hosts", settings.git.known_hosts)
        command += ["-o", 'UserKnownHostsFile="%s"' % path, "-o", "GlobalKnownHostsFile=/dev/null"]
    if settings.git.ssh_key:
        path = _write(folder, "ssh_key", settings.git.ssh_key)
        command += ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        command += ["-i", path]
    return " ".join(shlex.quote(word) for word in command)


def _write(folder, name, text):
    """Write a file that its owner alone may read; return its path."""
    path = os.path.join(folder, name)
    # What came through a web form or a datastore has other line ends, or lacks the last one.
    content = "\n".join(text.strip().splitlines()) + "\n"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(content)
    return path


def _secrets(settings):
    """Return what must not be in a text: the token, also as HTTP has it, and the key's lines."""
    found = []
    if settings.git.token:
        user = settings.git.username or "oauth2"
        basic = ("%s:%s" % (user, settings.git.token)).encode("utf-8")
        found += [base64.b64encode(basic).decode(), settings.git.token]
        found.append(urllib.parse.quote(settings.git.token, safe=""))
    return found + [line for line in settings.git.ssh_key.splitlines() if len(line) > 20]


def _failure(command, status, said):
    lines = [" ".join(line.split()) for line in said.splitlines()]
    shown = " / ".join(line for line in lines if line)[-600:] or "nothing"
    setting = next((name for pattern, name in _REMEDIES if re.search(pattern, said)), None)
    return "%s: git %s ended with status %d; it said: %s" % (
        setting or "git_repo_url",
        command,
        status,
        shown,
    )
