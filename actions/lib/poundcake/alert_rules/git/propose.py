"""Proposes a change of an alert rule as a pull request.

The branch is named after the change. The same change proposed again updates its branch and pull
request; another change has its own, so no proposal is lost. Commits of other people are never
overwritten.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import json
import posixpath
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules import checks, files
from poundcake.alert_rules.change import RuleChange
from poundcake.alert_rules.errors import RuleMissing, add_context
from poundcake.alert_rules.git import hosts
from poundcake.alert_rules.git import remote as git_remote
from poundcake.alert_rules.git import url as git_url
from poundcake.alert_rules.git.remote import (
    EXECUTABLE,
    FILE,
    FOLDER,
    LARGEST_FILE,
    SYMLINK,
    Remote,
)
from poundcake.errors import ExpectedError
from poundcake.people import LONGEST_REASON
from poundcake.settings import Settings

MOST_BYTES = 64 << 20  # of all files that are searched for a rule together
_BRANCH = re.compile(r"(?!-)[A-Za-z0-9._/-]{1,200}\Z")
_BAD_BRANCH = re.compile(r"\.\.|//|/\.|\A[./]|\.\Z|\.lock(/|\Z)|/-")
_NAMES = {"alert_name": "rule", "group_name": "group", "crd_name": "resource"}
_TITLES = {
    rule_change.CREATE: "Add alert rule %s",
    rule_change.UPDATE: "Update alert rule %s",
    rule_change.DELETE: "Delete alert rule %s",
}
_TRAILER = "PoundCake-Change: "


def propose(
    settings: Settings, change: RuleChange, reason: str = "", by: str = ""
) -> Dict[str, Any]:
    """Push a change to its own branch and open its pull request, or update both.

    :param reason, by: why, and who wants it; both go into the commit and the pull request.
    :returns: ``changed``: False when the target branch already has the change, and then nothing
        else was done; ``file``, ``branch``, ``commit``, ``pushed`` (False when the branch already
        had this commit), ``url`` and ``number`` of the pull request, its ``state`` (opened,
        updated, or none without a provider), ``checked_by`` and ``diff``.
    :raises ExpectedError: names the setting or parameter. When the branch was pushed and the pull
        request failed, its details have branch and commit.
    """
    proposal = _Proposal(
        id_of(change),
        _title(change),
        describe(change, reason, by),
        branch_of(change, settings.git.branch_prefix),
    )
    with _opened(settings, proposal) as (remote, tips, base):
        place = _find_place(settings, change, remote, base)
        content, groups = _edit(settings, change, place)
        answer: Dict[str, Any] = {
            "changed": content != place.content,
            "file": place.path,
            "base": base,
        }
        if not answer["changed"]:
            return answer
        answer["checked_by"] = checks.check(settings, groups) if content else None
        answer["diff"] = _diff(place, content)
        tree = remote.tree(base, place.path, content, place.mode)
        answer.update(_pushed(settings, remote, proposal, base, tips, tree, [place.path]))
    return dict(answer, **_open_pull_request(settings, proposal, answer["commit"]))


def propose_all(
    settings: Settings, changes: List[RuleChange], reason: str = "", by: str = ""
) -> Dict[str, Any]:
    """Push many changes as one commit on a branch of their own, with one pull request.

    :param changes: creates; a rule that is there already is made equal to the one that is wanted.
    :returns: as ``propose``, with ``files`` instead of ``file``; ``created``, ``updated`` and
        ``unchanged``: the rules, as resource/group/rule.
    :raises ExpectedError: as ``propose``; nothing is pushed when any rule is broken.
    """
    identity = hashlib.sha256("".join(map(id_of, changes)).encode("utf-8")).hexdigest()[:10]
    origin = _origin(reason, by)
    proposal = _Proposal(
        identity,
        f"Apply {len(changes)} alert rules",
        files.dump(dict({"rules": [_name_of(change) for change in changes]}, **origin)),
        f"{settings.git.branch_prefix}apply-{identity}",
    )
    answer: Dict[str, Any] = {"created": [], "updated": [], "unchanged": []}
    with _opened(settings, proposal) as (remote, tips, base):
        tree = base
        firsts: Dict[str, _Place] = {}
        lasts: Dict[str, Optional[str]] = {}
        edited: Dict[str, List[Dict[str, Any]]] = {}
        for change in changes:
            place = _find_place(settings, change, remote, tree)
            state = "created"
            if place.content is not None and files.has_same(change, place.content):
                operation = rule_change.UPDATE
                change = dataclasses.replace(change, operation=operation, is_exact=True)
                state = "updated"
            content, groups = _edit(settings, change, place)
            if content == place.content:
                answer["unchanged"].append(_name_of(change))
                continue
            answer[state].append(_name_of(change))
            tree = remote.tree(tree, place.path, content, place.mode)
            firsts.setdefault(place.path, place)
            lasts[place.path], edited[place.path] = content, groups
        answer.update(changed=bool(lasts), files=sorted(lasts), base=base)
        if not lasts:
            return answer
        for path in sorted(edited):
            answer["checked_by"] = checks.check(settings, edited[path])
        answer["diff"] = "\n".join(_diff(firsts[path], lasts[path]) for path in sorted(lasts))
        answer.update(_pushed(settings, remote, proposal, base, tips, tree, sorted(lasts)))
    return dict(answer, **_open_pull_request(settings, proposal, answer["commit"]))


def branch_of(change: RuleChange, prefix: str) -> str:
    """Return the branch of a change, such as ``poundcake/update-HostDown-3f2a90c1d4``."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", change.rule).strip("-")[:50]
    return prefix + "-".join(filter(None, [change.operation, slug, id_of(change)]))


def id_of(change: RuleChange) -> str:
    """Return an id for a change, ten hexadecimal digits."""
    values = dataclasses.asdict(change)
    if not change.is_exact:
        del values["is_exact"]  # earlier versions had no such field, and branches keep their names
    fields = json.dumps(values, sort_keys=True)
    return hashlib.sha256(fields.encode("utf-8")).hexdigest()[:10]


def path_of(change: RuleChange, settings: Settings) -> str:
    """Return the path of a new rule's file in the repository.

    :raises ExpectedError: names the setting that does not give a valid path.
    """
    pattern = settings.git.file_pattern
    names = re.findall(r"\{([^{}]*)\}", pattern)
    if not names or not set(names) <= set(_NAMES):
        problem = f'"{pattern}"' if pattern else "empty"
        expected = "{alert_name}, {group_name} or {crd_name} in it"
        raise ExpectedError("git_file_pattern", problem, expected)
    if settings.git.file_form == files.RESOURCE and set(names) != {"crd_name"}:
        problem = "each PrometheusRule needs its own file"
        raise ExpectedError("git_file_pattern", problem, "only {crd_name} in it")
    name = pattern
    for one in names:
        value = re.sub(r"[^A-Za-z0-9._-]", "_", getattr(change, _NAMES[one])).lstrip(".-")
        name = name.replace("{%s}" % one, value or "_")
    path = _checked_path("git_file_pattern", posixpath.join(_folder(settings), name))
    if not path.endswith((".yaml", ".yml")):
        raise ExpectedError("git_file_pattern", f'"{pattern}"', "a name ending in .yaml or .yml")
    return path


def describe(change: RuleChange, reason: str, by: str) -> str:
    """Return a change as YAML, for the reviewer of its pull request."""
    fields = {name: value for name, value in dataclasses.asdict(change).items() if value}
    return files.dump(dict(fields, **_origin(reason, by)))


def _origin(reason: str, by: str) -> Dict[str, str]:
    origin = {"reason": " ".join(reason.split())[:LONGEST_REASON], "proposed_by": by}
    return {name: value for name, value in origin.items() if value}


def _title(change):
    return _TITLES[change.operation] % change.rule[:150]


def _name_of(change: RuleChange) -> str:
    """Return the name of a rule in answers, as that of ``plan.Step``."""
    name = "/".join((change.resource, change.group, change.rule))
    severity = change.severity or change.labels.get(rule_change.SEVERITY)
    return f"{name} ({severity})" if severity else name


@dataclasses.dataclass(frozen=True)
class _Proposal:
    """What becomes one commit and one pull request."""

    id: str
    title: str
    description: str
    branch: str


@contextlib.contextmanager
def _opened(
    settings: Settings, proposal: _Proposal
) -> Iterator[Tuple[Remote, Dict[str, str], str]]:
    """Yield the repository, the tips of its branches, and that of the target branch."""
    url = git_url.parse(settings.git.repo_url, bool(settings.git.token))
    _check(settings)
    hosts.host_of(settings, url)  # a setting that is wrong is told before anything is pushed
    _check_branch("git_branch_prefix", proposal.branch)
    with git_remote.opened(settings, url) as remote:
        tips = remote.fetch([settings.git.branch, proposal.branch])
        base = tips.get(settings.git.branch)
        if base is None:
            problem = f"the repository has no branch {settings.git.branch}"
            raise ExpectedError("git_branch", problem, "the branch that pull requests go to")
        yield remote, tips, base


def _pushed(
    settings: Settings,
    remote: Remote,
    proposal: _Proposal,
    base: str,
    tips: Dict[str, str],
    tree: str,
    paths: List[str],
) -> Dict[str, Any]:
    """Push the commit of a proposal, unless its branch has it; return what was done."""
    tip = tips.get(proposal.branch, "")
    commit = _existing_commit(settings, remote, proposal, base, tip, tree, paths)
    answer = {"branch": proposal.branch, "pushed": commit is None}
    if commit is None:
        trailer = f"{_TRAILER}{proposal.id}"
        text = f"{proposal.title}\n\n{proposal.description}\n{trailer}\n"
        commit = remote.commit(tree, base, text)
        remote.push(commit, proposal.branch, tip)
    return dict(answer, commit=commit)


@dataclasses.dataclass(frozen=True)
class _Place:
    """The file of a rule; content is None for a new file."""

    path: str
    content: Optional[str]
    mode: str


def _check(settings: Settings) -> None:
    """Raise ExpectedError when a setting cannot work."""
    _check_branch("git_branch", settings.git.branch)
    _folder(settings)
    form = settings.git.file_form
    if form not in files.FORMS:
        raise ExpectedError("git_file_form", f'unknown "{form}"', rule_change.one_of(files.FORMS))
    logins = {"git_token": settings.git.token.value, "git_username": settings.git.username}
    for name, value in logins.items():
        if not value.isprintable():
            problem = "has a character that cannot be sent, such as a line break"
            raise ExpectedError(name, problem)
    authors = {"git_user_name": settings.git.user_name, "git_user_email": settings.git.user_email}
    for name, value in authors.items():
        if not value.strip() or not value.isprintable() or set(value) & set("<>"):
            expected = "a value on one line without < or >, which git requires"
            raise ExpectedError(name, f'"{value}"' if value else "empty", expected)


def _check_branch(name: str, branch: str) -> None:
    if not _BRANCH.match(branch) or _BAD_BRANCH.search(branch):
        raise ExpectedError(name, f'"{branch[:200]}" is not a valid branch name')


def _folder(settings: Settings) -> str:
    """Return the folder of the rules, "" for the whole repository."""
    folder = settings.git.rules_path.strip("/")
    return _checked_path("git_rules_path", folder) if folder not in ("", ".") else ""


def _checked_path(name: str, path: str) -> str:
    """Return a path, or raise ExpectedError when it is not safe in a repository."""
    unsafe = [part for part in path.split("/") if part in ("", ".", "..") or part.lower() == ".git"]
    if unsafe or not path.isprintable() or "\\" in path or path.startswith(("-", ":")):
        raise ExpectedError(name, f'"{path[:200]}" is not a valid path in a repository')
    return path


def _find_place(settings: Settings, change: RuleChange, remote: Remote, base: str) -> _Place:
    """Return the file that has the rule, otherwise the file of git_file_pattern."""
    path = path_of(change, settings)
    default = _place_at(path, remote, base)
    if default.content is not None and _has(change, path, default.content):
        return default
    others, unreadable = _other_places(settings, change, remote, base, path)
    if len(others) > 1:
        problem = f"{change.rule} is in {', '.join(one.path for one in others)}"
        raise ExpectedError("rule", problem, remedy="Delete all but one by hand")
    if others:
        return others[0]
    if unreadable:
        raise unreadable[0]  # the rule may be in it, so another file must not get it
    return default


def _place_at(path: str, remote: Remote, base: str) -> _Place:
    """Return the place at a path; ExpectedError when a rule cannot be written there."""
    place = _Place(path, None, FILE)
    parts = path.split("/")
    folders_and_file = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    entries = remote.entries(base, *folders_and_file)  # git also lists what is below them
    for one in [one for one in folders_and_file if one in entries]:
        entry = entries[one]
        if one == path and entry.mode in (FILE, EXECUTABLE):
            if entry.size > LARGEST_FILE:
                raise ExpectedError("file", f"{path} has more than {LARGEST_FILE} bytes")
            content = _decoded(path, remote.contents({path: entry})[path])
            place = _Place(path, content, entry.mode)
        elif entry.mode != FOLDER or one == path:
            kind = "a symlink" if entry.mode == SYMLINK else "not a regular file or folder"
            raise ExpectedError(
                "file",
                f"{one} is {kind} in the repository",
                remedy="PoundCake does not follow it; set git_rules_path to the real folder",
            )
    return place


def _other_places(
    settings: Settings, change: RuleChange, remote: Remote, base: str, path: str
) -> Tuple[List[_Place], List[ExpectedError]]:
    """Return where else below the folder of the rules the rule is, except for the file at path.

    :returns: the files that have it; and an error for each that may have it and cannot be read.
    """
    folder = _folder(settings)
    entries = {
        one: entry
        for one, entry in remote.entries(base, *([folder] if folder else []), whole=True).items()
        if one.endswith((".yaml", ".yml")) and one.isprintable() and one != path
        if entry.mode in (FILE, EXECUTABLE)
    }
    if sum(entry.size for entry in entries.values()) > MOST_BYTES:
        raise ExpectedError(
            "git_rules_path",
            f"the YAML files below {folder or 'it'} have more than {MOST_BYTES} bytes",
            "a smaller folder",
        )
    contents = remote.contents(entries) if entries else {}
    places, unreadable = [], []
    for one, content in sorted(contents.items()):
        if not files.may_have(change, content):
            continue
        try:
            source = _decoded(one, content)
            if _has(change, one, source):
                places.append(_Place(one, source, entries[one].mode))
        except ExpectedError as error:
            unreadable += [error] if change.rule.encode("utf-8") in content else []
    return places, unreadable


def _decoded(path: str, content: bytes) -> str:
    if len(content) > LARGEST_FILE:
        raise ExpectedError("file", f"{path} has more than {LARGEST_FILE} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ExpectedError("file", f"{path} is not UTF-8")


def _has(change: RuleChange, path: str, source: str) -> bool:
    """Return whether a file has the rule; ExpectedError when it cannot be read."""
    try:
        return files.may_have(change, source.encode("utf-8")) and files.has(change, source)
    except ExpectedError as error:
        add_context(error, f" ({path}, which may have {change.rule}; please change it by hand)")
        raise


def _edit(
    settings: Settings, change: RuleChange, place: _Place
) -> Tuple[Optional[str], List[Dict[str, Any]]]:
    """Return a file's content after a change, None for a deleted file, and its groups."""
    if place.content is not None:
        try:
            return files.apply(change, place.content)
        except ExpectedError as error:
            add_context(error, f" ({place.path})")
            raise
    if change.operation != rule_change.CREATE:
        raise RuleMissing(
            "rule",
            f"no file below {settings.git.rules_path} has {change.resource} with a rule "
            f"{change.rule} in a group {change.group}",
        )
    labels = settings.crd.labels or {}
    return files.new(change, settings.git.file_form, settings.crd.namespace, labels)


def _existing_commit(
    settings: Settings,
    remote: Remote,
    proposal: _Proposal,
    base: str,
    tip: str,
    tree: str,
    paths: List[str],
) -> Optional[str]:
    """Return the commit of the branch if it already has the change, otherwise None.

    :raises ExpectedError: when somebody else pushed to the branch, and the change is not in it.
    """
    if not tip:
        return None
    commit = remote.describe(tip)
    is_ours = f"<{settings.git.user_email}>" in commit.committer
    if is_ours and _TRAILER + proposal.id in commit.message:
        # A commit of ours on an older base branch is replaced by one on the newest.
        return tip if commit.parents == (base,) and commit.tree == tree else None
    if remote.entries(tip, *paths) == remote.entries(tree, *paths):
        return tip
    raise ExpectedError(
        "branch",
        f"{commit.committer} pushed to the branch of this change, and that was not overwritten",
        remedy="Merge or close its pull request and delete the branch, then propose the change "
        "again",
    )


def _diff(place: _Place, content: Optional[str]) -> str:
    before, after = ((one or "").splitlines() for one in (place.content, content))
    names = ("a/" + place.path, "b/" + place.path)
    return "\n".join(difflib.unified_diff(before, after, *names, lineterm=""))


def _open_pull_request(settings: Settings, proposal: _Proposal, commit: str) -> Dict[str, Any]:
    """Open or update the pull request; an error says what was pushed."""
    url = git_url.parse(settings.git.repo_url, bool(settings.git.token))
    host = hosts.host_of(settings, url)
    branch, description = proposal.branch, proposal.description
    if host is None:
        return {"url": None, "number": None, "state": hosts.NONE}
    # In a code fence the host sees no mentions and no commands.
    fence = "`" * (1 + max(map(len, re.findall("`+", description) + ["``"])))
    try:
        return host.propose(branch, proposal.title, f"{fence}yaml\n{description}{fence}\n")
    except ExpectedError as error:
        add_context(
            error,
            f". The branch {branch} is pushed; propose the change again to open its pull request",
        )
        error.details = {"branch": branch, "commit": commit}
        raise
