"""Reads and writes a remote git repository without a work tree.

This runs the program ``git``, each time with a list of arguments. Servers, keys and proxies are
tested with it more than with any library. GitPython, which StackStorm brings, runs it as well, and
has no methods for what is needed here: objects, an index, a lease.

Fetched objects go into a bare repository in a temporary folder, and a commit is made from objects
and an index. No file of the repository ever becomes a file here, so its hooks, symlinks,
attributes, filters and submodules cannot do anything.

Git gets the token from an environment variable, through a credential helper that answers for one
origin only. The SSH key is a file that only its owner may read. Neither is ever an argument, part
of a URL, or in the repository's config, and both are removed from git's output.
"""

import base64
import contextlib
import os
import re
import resource
import shlex
import signal
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from typing import IO, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from poundcake.alert_rules.errors import BranchMoved
from poundcake.alert_rules.git.url import GitUrl
from poundcake.errors import ExpectedError
from poundcake.settings import Settings

LARGEST_FILE = 1 << 20  # bytes; a rule file usually has a few kilobytes
LARGEST_PACK = 512 << 20  # bytes; of any file that git writes, such as what a server sends
LARGEST_OUTPUT = 96 << 20  # bytes; more than all files that are read together
FILE, EXECUTABLE, SYMLINK, FOLDER = "100644", "100755", "120000", "040000"
# The variables of StackStorm's environment that git and ssh need. Other variables of git could name
# another repository, or write secrets to a trace.
_PASSED_ON = re.compile(
    r"(PATH|TMPDIR|SSH_AUTH_SOCK|SSL_CERT_FILE|SSL_CERT_DIR|GIT_SSL_CAINFO|GIT_SSL_CAPATH|"
    r"(http|https|all|no)_proxy|(HTTPS|ALL|NO)_PROXY)\Z"
)
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$POUNDCAKE_GIT_USERNAME" "$POUNDCAKE_GIT_TOKEN"; }; f'
)
# A pattern in git's output, and the setting that is wrong.
_SETTINGS = (
    (r"Authentication failed|could not read Username|error: 403", "git_token"),
    (r"Host key verification failed|REMOTE HOST IDENTIFICATION", "git_known_hosts"),
    (r"certificate", "git_ca_path"),
    (r"Permission denied \(|Load key|error in libcrypto", "git_ssh_key"),
)
_MOVED = re.compile(r"\(stale info\)|\(fetch first\)|cannot lock ref|incorrect old value")


@dataclass(frozen=True)
class Entry:
    """A path in a commit; size in bytes, 0 for a folder."""

    mode: str
    id: str
    size: int


@dataclass(frozen=True)
class Commit:
    """A commit: its tree, and who made it."""

    tree: str
    parents: Tuple[str, ...]
    committer: str  # name <email>
    message: str


@contextlib.contextmanager
def opened(settings: Settings, url: GitUrl) -> "Iterator[Remote]":
    """Open a Remote for the length of a block; its files on disk are deleted afterwards.

    :raises ExpectedError: that names the setting, when git is not installed or a setting is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="poundcake-git-") as folder:
        remote = Remote(settings, url, folder)
        remote.git("init", "--quiet", "--bare", "--template=", remote.path)
        yield remote


class Remote:
    """A repository at a URL, and its objects that were fetched."""

    def __init__(self, settings: Settings, url: GitUrl, folder: str):
        self._url = url
        self._end = time.monotonic() + settings.git.timeout_seconds
        self._seconds = settings.git.timeout_seconds
        self._folder = folder
        self.path = os.path.join(folder, "repository.git")
        self._secrets = _secrets(settings)
        self._options = ["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"]
        self._options += ["-c", "maintenance.auto=false", "-c", "credential.helper="]
        # Another host must not answer; and what is fetched stays in one file.
        self._options += ["-c", "http.followRedirects=false", "-c", "fetch.unpackLimit=1"]
        self._environment = _environment(settings, url, folder)
        if settings.git.token and url.scheme in ("http", "https"):
            self._options += ["-c", f"credential.{url.origin}.helper={_HELPER}"]
        if url.scheme == "ssh":
            self._environment["GIT_SSH_COMMAND"] = _ssh(settings, folder)

    def fetch(self, branches: Iterable[str]) -> Dict[str, str]:
        """Fetch the newest commit of each branch that exists; return ``{branch: commit id}``."""
        refs = {"refs/heads/" + branch: branch for branch in branches}
        output = self.git("ls-remote", "--", self._url.address, *refs).decode("utf-8", "replace")
        remote_refs = [line.split("\t")[-1] for line in output.splitlines()]
        present = [ref for ref in refs if ref in remote_refs]
        if present:
            options = ("--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules")
            refspecs = [f"+{ref}:{ref}" for ref in present]
            self.git("fetch", *options, "--", self._url.address, *refspecs)
        return {refs[ref]: self.git("rev-parse", ref).decode().strip() for ref in present}

    def entries(self, commit: str, *paths: str, whole: bool = False) -> Dict[str, Entry]:
        """Return ``{path: Entry}`` of paths in a commit; of all files below them when whole."""
        arguments = ["ls-tree", "-z", "--long", "--full-tree", "-r" if whole else "-t"]
        output = self.git(*arguments, commit, "--", *paths)
        entries = {}
        for line in output.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            attributes, path = line.split("\t", 1)
            mode, _, id, size = attributes.split()
            entries[path] = Entry(mode, id, int(size) if size.isdigit() else 0)
        return entries

    def contents(self, entries: Mapping[str, Entry]) -> Dict[str, bytes]:
        """Return ``{path: content}`` of files."""
        ids = "".join(entry.id + "\n" for entry in entries.values()).encode()
        output = self.git("cat-file", "--batch", stdin=ids)
        contents = {}
        for path in entries:
            head, _, output = output.partition(b"\n")
            size = int(head.split()[-1])
            contents[path] = output[:size]
            output = output[size + 1 :]
        return contents

    def describe(self, commit: str) -> Commit:
        """Return the Commit with an id."""
        output = self.git("cat-file", "commit", commit).decode("utf-8", "replace")
        head, _, message = output.partition("\n\n")
        lines = [line.partition(" ") for line in head.splitlines()]
        return Commit(
            tree=next(value for name, _, value in lines if name == "tree"),
            parents=tuple(value for name, _, value in lines if name == "parent"),
            committer=next(v for n, _, v in lines if n == "committer").rsplit(" ", 2)[0],
            message=message,
        )

    def tree(self, commit: str, path: str, content: Optional[str], mode: str = FILE) -> str:
        """Return the id of a commit's tree with a file replaced, or deleted for None."""
        index = {"GIT_INDEX_FILE": os.path.join(self._folder, "index")}
        self.git("read-tree", commit, environment=index)
        if content is None:
            line = f"0 {'0' * len(commit)}\t{path}\0"
        else:
            data = content.encode("utf-8")
            id = self.git("hash-object", "-w", "--no-filters", "--stdin", stdin=data)
            line = f"{mode} {id.decode().strip()}\t{path}\0"
        update = ("update-index", "-z", "--index-info")
        self.git(*update, stdin=line.encode("utf-8"), environment=index)
        return self.git("write-tree", environment=index).decode().strip()

    def commit(self, tree: str, parent: str, message: str) -> str:
        """Make a commit by the author of the config; return its id."""
        id = self.git("commit-tree", tree, "-p", parent, stdin=message.encode("utf-8"))
        return id.decode().strip()

    def push(self, commit: str, branch: str, replaces: str) -> None:
        """Push a commit to a branch.

        :param replaces: the id of the branch's current commit, "" for a new branch.
        :raises BranchMoved: when the branch now has another commit.
        """
        ref = "refs/heads/" + branch
        arguments = ["push", "--porcelain", "--no-verify", "--recurse-submodules=no"]
        arguments += [f"--force-with-lease={ref}:{replaces}", "--", self._url.address]
        try:
            self.git(*arguments, f"{commit}:{ref}")
        except ExpectedError as error:
            if _MOVED.search(str(error)):
                raise BranchMoved(branch)
            raise

    def git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Optional[Mapping[str, str]] = None,
    ) -> bytes:
        """Run git in the bare repository and return its output.

        :param environment: variables to add.
        :raises ExpectedError: with git's messages and the setting that is wrong.
        """
        variables = dict(self._environment, **(environment or {}))
        # Files, not pipes: the limit for files holds for them, too.
        with tempfile.TemporaryFile(dir=self._folder) as out, tempfile.TemporaryFile(
            dir=self._folder
        ) as err:
            status = self._run(arguments, variables, stdin, out, err)
            output, messages = _content(out), _content(err)
        if status:
            shown = self._scrub((messages + output).decode("utf-8", "replace"))
            raise _failure(arguments[0], status, shown)
        return output

    def _run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
        out: IO[bytes],
        err: IO[bytes],
    ) -> int:
        """Run git within the limits and return its exit status."""
        try:
            process = subprocess.Popen(
                ["git", *self._options, *arguments],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                start_new_session=True,  # so that its child processes can be ended with it
                preexec_fn=_limit_files,
            )
        except OSError as error:
            problem = f"cannot be run on this StackStorm node: {error}"
            raise ExpectedError("git", problem, remedy="Install git")
        try:
            process.communicate(stdin, max(0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            problem = f"git {arguments[0]} did not finish within {self._seconds} s in all"
            raise ExpectedError("git_timeout_seconds", problem)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return process.returncode

    def _scrub(self, output: str) -> str:
        """Return git's output without the secrets of the config."""
        for secret in self._secrets:
            output = output.replace(secret, "***")
        return output


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_PACK, LARGEST_PACK))


def _content(file: IO[bytes]) -> bytes:
    """Return the content of a file that git has written to."""
    file.seek(0)
    content = file.read(LARGEST_OUTPUT + 1)
    if len(content) > LARGEST_OUTPUT:
        problem = f"git wrote more than {LARGEST_OUTPUT} bytes"
        raise ExpectedError("git_repo_url", problem, "a repository of rule files")
    return content


def _environment(settings: Settings, url: GitUrl, folder: str) -> Dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
    variables.update(
        LC_ALL="C",  # its messages are matched with patterns
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
        variables["GIT_SSL_CAINFO"] = settings.git.ca_path
    if settings.git.token:
        variables["POUNDCAKE_GIT_USERNAME"] = settings.git.username or "oauth2"
        variables["POUNDCAKE_GIT_TOKEN"] = settings.git.token.value
    return variables


def _ssh(settings: Settings, folder: str) -> str:
    """Return the ssh command. Git runs it in a shell, so every argument is quoted."""
    command = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    # A shared connection would outlive this process and its timeout.
    command += ["-o", "ConnectTimeout=30", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    if settings.git.known_hosts:
        path = _write(folder, "known_hosts", settings.git.known_hosts)
        command += ["-o", 'UserKnownHostsFile="%s"' % path, "-o", "GlobalKnownHostsFile=/dev/null"]
    if settings.git.ssh_key:
        path = _write(folder, "ssh_key", settings.git.ssh_key.value)
        command += ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        command += ["-i", path]
    return " ".join(shlex.quote(argument) for argument in command)


def _write(folder: str, name: str, value: str) -> str:
    """Write a file that only its owner may read; return its path."""
    path = os.path.join(folder, name)
    # A web form or the datastore may have changed the line ends, or removed the last one.
    content = "\n".join(value.strip().splitlines()) + "\n"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(content)
    return path


def _secrets(settings: Settings) -> List[str]:
    """Return the strings to hide: the token, also in its HTTP forms, and the lines of the key."""
    secrets = []
    if settings.git.token:
        user = settings.git.username or "oauth2"
        token = settings.git.token.value
        basic = f"{user}:{token}".encode()
        secrets += [base64.b64encode(basic).decode(), token, urllib.parse.quote(token, safe="")]
    return secrets + [line for line in settings.git.ssh_key.value.splitlines() if len(line) > 20]


def _failure(command: str, status: int, output: str) -> ExpectedError:
    """Return the error for a git that failed, with its output."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    messages = " / ".join(line for line in lines if line)[-600:] or "no message"
    setting = next((name for pattern, name in _SETTINGS if re.search(pattern, output)), None)
    problem = f"git {command} ended with status {status}: {messages}"
    return ExpectedError(setting or "git_repo_url", problem)
