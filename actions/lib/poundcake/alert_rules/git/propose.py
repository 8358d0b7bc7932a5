"""A change of an alert rule as a pull request.

The branch is named after the change: the same change proposed again updates its branch and its pull
request, and another one has its own, so nobody's proposal is lost. A commit of somebody else is
never overwritten.
"""

import dataclasses
import difflib
import hashlib
import json
import posixpath
import re

from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import checks, files
from poundcake.alert_rules.git import hosts
from poundcake.alert_rules.git import remote as git_remote
from poundcake.alert_rules.git import url as git_url
from poundcake.alert_rules.git.remote import EXECUTABLE, FILE, FOLDER, LARGEST_FILE, SYMLINK
from poundcake.errors import ExpectedError
from poundcake.people import LONGEST_REASON
from poundcake.settings import value_of

MOST_BYTES = 64 << 20  # of all files that are searched for a rule
_BRANCH = re.compile(r"(?!-)[A-Za-z0-9._/-]{1,200}\Z")
_BAD_BRANCH = re.compile(r"\.\.|//|/\.|\A[./]|\.\Z|\.lock(/|\Z)|/-")
_NAMES = {"alert_name": "rule", "group_name": "group", "crd_name": "resource"}
_TITLES = {
    rule_change.CREATE: "Add alert rule %s",
    rule_change.UPDATE: "Update alert rule %s",
    rule_change.DELETE: "Delete alert rule %s",
}
_TRAILER = "PoundCake-Change: "


def propose(settings, change, reason="", by=""):
    """Push a change to a branch of its own and open its pull request, or update both.

    :param change: a RuleChange.
    :param reason, by: why, and who wants it; both go into the commit and the pull request.
    :returns: ``changed``: False when the branch that pull requests go to has it already, and
        nothing else was done then; ``file``, ``branch``, ``commit``, ``pushed`` (False when the
        branch had this commit already), ``url`` and ``number`` of the pull request, its ``state``
        (opened, updated, or none without a provider), ``checked_by`` and ``diff``.
    :raises ExpectedError: names the setting or parameter. When the branch was pushed and the pull
        request failed, its details have branch and commit.
    """
    url = git_url.parse(settings.git.repo_url, bool(settings.git.token))
    _check(settings)
    host = hosts.host_of(settings, url)
    branch = branch_of(change, settings.git.branch_prefix)
    _check_branch("git_branch_prefix", branch)
    with git_remote.opened(settings, url) as remote:
        found = remote.fetch([settings.git.branch, branch])
        base = found.get(settings.git.branch)
        if base is None:
            text = "git_branch: the repository has no branch %s; write the one that pull requests "
            raise ExpectedError((text + "go to") % settings.git.branch)
        place = _place(settings, change, remote, base)
        written, groups = _written(settings, change, place)
        answer = {"changed": written != place.text, "file": place.path, "base": base}
        if not answer["changed"]:
            return answer
        checked_by = checks.check(settings, groups) if written else None
        answer.update(branch=branch, checked_by=checked_by)
        answer["diff"] = _diff(place, written)
        told = describe(change, reason, by)
        tip = found.get(branch, "")
        tree = remote.tree(base, place.path, written, place.mode)
        commit = _standing(settings, remote, change, base, tip, tree, place.path)
        answer["pushed"] = commit is None
        if commit is None:
            title = _title(change)
            message = "%s\n\n%s\n%s%s\n" % (title, told, _TRAILER, id_of(change))
            commit = remote.commit(tree, base, message)
            remote.push(commit, branch, tip)
        answer["commit"] = commit
    return dict(answer, **_request(host, change, branch, commit, told))


def branch_of(change, prefix):
    """Return the branch of a change: ``poundcake/update-HostDown-3f2a90c1d4``."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", change.rule).strip("-")[:50]
    return prefix + "-".join(filter(None, [change.operation, slug, id_of(change)]))


def id_of(change):
    """Return what tells a change from all others, ten hexadecimal digits."""
    text = json.dumps(dataclasses.asdict(change), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:10]


def path_of(change, settings):
    """Return the path of a new rule's file in the repository.

    :raises ExpectedError: names the setting that gives no such path.
    """
    names = re.findall(r"\{([^{}]*)\}", settings.git.file_pattern)
    odd = [name for name in names if name not in _NAMES]
    if odd or not names:
        text = "git_file_pattern: write {alert_name}, {group_name} or {crd_name}, not %s"
        raise ExpectedError(text % (settings.git.file_pattern or "nothing"))
    if settings.git.file_form == files.RESOURCE and set(names) != {"crd_name"}:
        text = "git_file_pattern: one PrometheusRule is one file; write {crd_name} alone in it"
        raise ExpectedError(text)
    name = settings.git.file_pattern
    for one in names:
        value = re.sub(r"[^A-Za-z0-9._-]", "_", getattr(change, _NAMES[one])).lstrip(".-")
        name = name.replace("{%s}" % one, value or "_")
    path = _checked_path("git_file_pattern", posixpath.join(_folder(settings), name))
    if not path.endswith((".yaml", ".yml")):
        raise ExpectedError("git_file_pattern: must end with .yaml or .yml")
    return path


def describe(change, reason, by):
    """Return a change as YAML, for people: what a reviewer reads."""
    shown = {name: value for name, value in dataclasses.asdict(change).items() if value}
    more = {"reason": " ".join(reason.split())[:LONGEST_REASON], "proposed_by": by}
    return files.dump(dict(shown, **{name: text for name, text in more.items() if text}))


def _title(change):
    return _TITLES[change.operation] % change.rule[:150]


@dataclasses.dataclass(frozen=True)
class _Place:
    """The file of a rule; text is None where there is none yet."""

    path: str
    text: str
    mode: str


def _check(settings):
    _check_branch("git_branch", settings.git.branch)
    _folder(settings)
    if settings.git.file_form not in files.FORMS:
        text = 'git_file_form: "%s" is none; write one of %s'
        raise ExpectedError(text % (settings.git.file_form, ", ".join(files.FORMS)))
    for name in ("git_token", "git_username"):
        if not value_of(settings, name).isprintable():
            raise ExpectedError("%s: has a character that none has, such as a line break" % name)
    for name in ("git_user_name", "git_user_email"):
        value = value_of(settings, name)
        if not value.strip() or not value.isprintable() or set(value) & set("<>"):
            raise ExpectedError(
                "%s: git takes no author without, and none with < or > in it" % name
            )


def _check_branch(name, branch):
    if not _BRANCH.match(branch) or _BAD_BRANCH.search(branch):
        raise ExpectedError('%s: "%s" is no name of a branch' % (name, branch[:200]))


def _folder(settings):
    folder = settings.git.rules_path.strip("/")
    return _checked_path("git_rules_path", folder) if folder not in ("", ".") else ""


def _checked_path(name, path):
    parts = path.split("/")
    odd = [part for part in parts if part in ("", ".", "..") or part.lower() == ".git"]
    if odd or not path.isprintable() or "\\" in path or path.startswith(("-", ":")):
        raise ExpectedError('%s: "%s" is no path in a repository' % (name, path[:200]))
    return path


def _place(settings, change, remote, base):
    """Return where a rule is, or where a new one goes: the file that the pattern says."""
    path = path_of(change, settings)
    text, mode = None, FILE
    there = remote.entries(base, *_above(path))  # git shows what is below them, too
    for at, entry in [(at, there[at]) for at in _above(path) if at in there]:
        if at == path and entry.mode in (FILE, EXECUTABLE):
            if entry.size > LARGEST_FILE:
                raise ExpectedError("file: %s has more than %d bytes" % (path, LARGEST_FILE))
            mode, text = entry.mode, remote.texts({path: entry})[path]
            if text is None:
                raise ExpectedError("file: %s is no UTF-8" % path)
        elif entry.mode != FOLDER or at == path:
            what = "a symlink" if entry.mode == SYMLINK else "no folder or file of its own"
            remedy = "PoundCake follows none; name the place itself in git_rules_path"
            raise ExpectedError("file: %s is %s in the repository; %s" % (at, what, remedy))
    if text is not None and files.has(change, text):
        return _Place(path, text, mode)
    others = _others(settings, change, remote, base, path)
    if len(others) > 1:
        text = "rule: %s is in %s; delete all but one by hand"
        raise ExpectedError(text % (change.rule, ", ".join(one.path for one in others)))
    return others[0] if others else _Place(path, text, mode)


def _above(path):
    """Return the folders of a path and itself."""
    parts = path.split("/")
    return ["/".join(parts[: at + 1]) for at in range(len(parts))]


def _others(settings, change, remote, base, path):
    """Return the other files below the folder of the rules that have the rule."""
    folder = _folder(settings)
    entries = remote.entries(base, *([folder] if folder else []), whole=True)
    entries = {
        at: entry
        for at, entry in entries.items()
        if at.endswith((".yaml", ".yml")) and at.isprintable() and at != path
        if entry.mode in (FILE, EXECUTABLE) and entry.size <= LARGEST_FILE
    }
    if sum(entry.size for entry in entries.values()) > MOST_BYTES:
        text = (
            "git_rules_path: the YAML files below %s have more than %d bytes; name a smaller folder"
        )
        raise ExpectedError(text % (folder or "it", MOST_BYTES))
    found = sorted((remote.texts(entries) if entries else {}).items())
    return [
        _Place(at, text, entries[at].mode)
        for at, text in found
        if text is not None and files.has(change, text)
    ]


def _written(settings, change, place):
    """Return the text of the file after a change, None for one that goes, and its groups."""
    if place.text is not None:
        try:
            return files.apply(change, place.text)
        except ExpectedError as error:
            error.args = ("%s (%s)" % (error, place.path),)
            raise
    if change.operation != rule_change.CREATE:
        text = "rule: no file below %s has %s with a rule %s in a group %s"
        names = (settings.git.rules_path, change.resource, change.rule, change.group)
        raise rule_change.RuleMissing(text % names)
    labels = settings.crd.labels or {}
    return files.new(change, settings.git.file_form, settings.crd.namespace, labels)


def _standing(settings, remote, change, base, tip, tree, path):
    """Return the commit of the branch that has the change already, None when one is to be made.

    :raises ExpectedError: when somebody else pushed to the branch, and the change is not in it.
    """
    if not tip:
        return None
    found = remote.describe(tip)
    ours = "<%s>" % settings.git.user_email in found.committer
    if ours and _TRAILER + id_of(change) in found.message:
        # Its own commit on an older state of the base branch gives way to one on the newest.
        return tip if found.parents == (base,) and found.tree == tree else None
    if remote.entries(tip, path) == remote.entries(tree, path):
        return tip
    text = "branch: %s pushed to the branch of this change, and nothing of that is overwritten; "
    text += "merge or close its pull request and delete the branch, then propose the change again"
    raise ExpectedError(text % found.committer)


def _diff(place, written):
    before, after = ((text or "").splitlines() for text in (place.text, written))
    names = ("a/" + place.path, "b/" + place.path)
    return "\n".join(difflib.unified_diff(before, after, *names, lineterm=""))


def _request(host, change, branch, commit, told):
    """Open or update the pull request; what was pushed is told when that fails."""
    if host is None:
        return {"url": None, "number": None, "state": hosts.NONE}
    # In a fence nobody is mentioned, and nothing is a command to the host.
    fence = "`" * (1 + max(map(len, re.findall("`+", told) + ["``"])))
    body = "%syaml\n%s%s\n" % (fence, told, fence)
    try:
        return host.propose(branch, _title(change), body)
    except ExpectedError as error:
        text = "%s. The branch %s is pushed; propose the change again for its pull request"
        failed = ExpectedError(text % (error, branch))
        failed.details = {"branch": branch, "commit": commit}
        raise failed
