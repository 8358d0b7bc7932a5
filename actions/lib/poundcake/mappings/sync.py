"""Compares mappings with StackStorm's content, and writes it; used by the mapping actions.

All content of ``apply_mappings`` has the tag ``mapping_content.TAG``. Content without it is never
changed or removed.
"""

import difflib
from dataclasses import dataclass
from typing import AbstractSet, Any, Dict, Iterable, List, Optional, Sequence, Tuple

import yaml

from poundcake import files
from poundcake.errors import ExpectedError, MappingError, StackStormError
from poundcake.mappings import checks, model
from poundcake.mappings import content as mapping_content
from poundcake.mappings.actions import ActionInfo
from poundcake.mappings.content import Content, Document
from poundcake.mappings.restore import restore
from poundcake.st2.client import StackStorm

CREATE = "create"
UPDATE = "update"
UNCHANGED = "unchanged"
REMOVE = "remove"
_DONE = {CREATE: "created", UPDATE: "updated", UNCHANGED: "unchanged", REMOVE: "removed"}

SYSTEM_PACKS = ("core", "packs")
_COMPARED_IN_ACTION = ("description", "runner_type", "entry_point", "parameters", "tags")
_COMPARED_IN_RULE = ("description", "criteria", "tags")


class MappingsError(ExpectedError):
    """Mappings with mistakes; ``details["mistakes"]`` has all of them."""

    def __init__(self, mistakes: Iterable[model.Mistake]):
        ordered = sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line))
        self.details = {"mistakes": [str(mistake) for mistake in ordered]}
        more = f" (and {len(ordered) - 1} more, see mistakes)" if len(ordered) > 1 else ""
        super().__init__(f"{ordered[0]}{more}")


@dataclass(frozen=True)
class Existing:
    """StackStorm's content for one mapping; None for a missing part."""

    action: Any = None
    rule: Any = None
    workflow: Optional[str] = None


@dataclass(frozen=True)
class Change:
    """The change of the content for one alert; ``wanted`` is None when it is removed."""

    alertname: str
    kind: str
    wanted: Optional[Content]
    existing: Existing


def validate(stackstorm: StackStorm, path: str, content: str, pack: str) -> Dict[str, Any]:
    """Check mappings against the existing actions.

    :param path: a file, or a folder of \\*.yaml and \\*.yml files, on this machine.
    :param content: the YAML itself; either this or ``path`` is "".
    :param pack: the pack for the content of the mappings.
    :returns: valid (true), and the number of alerts and steps.
    :raises MappingsError: with every mistake.
    """
    book, _ = _read(stackstorm, path, content, pack)
    steps = sum(len(mapping.steps) for mapping in book.mappings.values())
    return {"valid": True, "alerts": len(book.mappings), "steps": steps}


def preview(
    stackstorm: StackStorm, path: str, content: str, pack: str, timeout: int = 0
) -> Dict[str, Any]:
    """Return what ``apply`` would do, without writing anything.

    :param timeout: the seconds of a step that does not set its own, 0 for the action's own limit.
    :returns: pack, and changes: for each alert its alertname, change, action, rule, workflow, and
        the difference between the existing and the new content.
    """
    changes = [_shown(change) for change in _plan(stackstorm, path, content, pack, timeout)]
    return {"pack": pack, "changes": changes}


def apply(
    stackstorm: StackStorm, path: str, content: str, pack: str, timeout: int = 0
) -> Dict[str, Any]:
    """Make StackStorm's content match the mappings; the parameters are those of ``preview``.

    :returns: pack, and the alert names that were created, updated, unchanged and removed.
    :raises ExpectedError: when the mappings have mistakes, or StackStorm refuses one.
    """
    done: Dict[str, Any] = {"pack": pack, **{result: [] for result in _DONE.values()}}
    for change in _plan(stackstorm, path, content, pack, timeout):
        try:
            _write(stackstorm, change)
        except StackStormError as error:
            failure = ExpectedError(
                change.alertname, str(error), remedy="Fix this, then run the action again"
            )
            failure.details = done
            raise failure
        done[_DONE[change.kind]].append(change.alertname)
    return done


def export(stackstorm: StackStorm, pack: str, timeout: int = 0) -> Dict[str, Any]:
    """Return the mappings of the content that ``apply`` wrote.

    :param timeout: as in ``apply``; a step does not repeat it.
    :returns: pack, the number of alerts, and yaml.
    :raises ExpectedError: when some content was changed to a form that a mapping cannot express.
    """
    _check_pack(stackstorm, pack)
    existing = _existing(stackstorm, pack)
    restored, edited = [], []
    for alertname in sorted(existing):
        try:
            restored.append(_restore(stackstorm, pack, existing[alertname], timeout))
        except MappingError as error:
            document = existing[alertname].action or existing[alertname].rule
            edited.append(f"{pack}.{document['name']}: {error}")
    if edited:
        raise ExpectedError(
            "pack",
            f"some content cannot be expressed as a mapping: {'; '.join(edited)}",
            remedy="Apply its mapping again, or remove the tag "
            f"{mapping_content.TAG} to keep it as content of your own",
        )
    exported = model.dump(restored) if restored else "alerts: {}\n"
    return {"pack": pack, "alerts": len(restored), "yaml": exported}


# --- reading --------------------------------------------------------------------------------------


def _read(
    stackstorm: StackStorm, path: str, content: str, pack: str
) -> Tuple[model.Book, Dict[str, ActionInfo]]:
    """Return the Book of mappings, without mistakes, and the actions that they name."""
    _check_pack(stackstorm, pack)
    book = model.parse(files.read("mappings", path, content))
    steps = [step for mapping in book.mappings.values() for step in mapping.steps]
    refs = {step.action for step in steps if step.action}
    actions = _actions(stackstorm, refs)
    known = _all_refs(stackstorm) if refs - set(actions) else []
    checks.check(book, actions, known, _settings(stackstorm, pack))
    if book.mistakes:
        raise MappingsError(book.mistakes)
    return book, actions


def _check_pack(stackstorm: StackStorm, pack: str) -> None:
    if pack in SYSTEM_PACKS:
        raise ExpectedError("pack", f"{pack} is a system pack", "a pack that can be changed")
    if stackstorm.get_resource("packs", pack) is None:
        raise ExpectedError(
            "pack", f'"{pack}" is not installed', "an installed pack", "See st2 pack list"
        )


def _actions(stackstorm: StackStorm, refs: AbstractSet[str]) -> Dict[str, ActionInfo]:
    """Return ``{reference: ActionInfo}`` of the existing actions."""
    actions: Dict[str, ActionInfo] = {}
    runners: Dict[str, Document] = {}
    for ref in sorted(refs):
        action = stackstorm.get_resource("actions", ref)
        if action is None:
            continue
        name = action["runner_type"]
        if name not in runners:
            runners[name] = stackstorm.get_resource("runnertypes", name) or {}
        of_runner = runners[name].get("runner_parameters") or {}
        actions[ref] = ActionInfo(name, action.get("parameters") or {}, of_runner)
    return actions


def _all_refs(stackstorm: StackStorm) -> List[str]:
    actions = stackstorm.list_resources("actions", include_attributes="pack,name")
    return [f"{item['pack']}.{item['name']}" for item in actions]


def _settings(stackstorm: StackStorm, pack: str) -> Dict[str, Any]:
    """Return the schema of a pack's config: ``{setting: {type, secret, ...}}``."""
    schema = stackstorm.get_resource("config_schemas", pack) or {}
    attributes: Dict[str, Any] = schema.get("attributes") or {}
    return attributes


# --- comparing ------------------------------------------------------------------------------------


def _plan(
    stackstorm: StackStorm, path: str, content: str, pack: str, timeout: int = 0
) -> List[Change]:
    """Return the Changes: first those of the mappings, in their order, then the removals."""
    book, actions = _read(stackstorm, path, content, pack)
    wanted = [mapping_content.build(m, pack, actions, timeout) for m in book.mappings.values()]
    _check_names(stackstorm, wanted)
    remaining = _existing(stackstorm, pack)
    changes = []
    for mapping, new in zip(book.mappings.values(), wanted):
        existing = remaining.pop(mapping.alertname, Existing())
        if mapping.enabled is None and existing.rule:
            new.rule["enabled"] = existing.rule["enabled"]  # a person may have set it
        if existing.action:
            new.action["enabled"] = existing.action["enabled"]
        changes.append(Change(mapping.alertname, _kind(new, existing), new, existing))
    removals = [Change(name, REMOVE, None, old) for name, old in sorted(remaining.items())]
    return changes + removals


def _check_names(stackstorm: StackStorm, wanted: Sequence[Content]) -> None:
    """Raise ExpectedError when other content already has one of the names."""
    for content in wanted:
        for kind in ("actions", "rules"):
            taken = stackstorm.get_resource(kind, content.ref)
            if taken and mapping_content.owner_of(taken) is None:
                raise ExpectedError(
                    kind,
                    f"{content.ref} exists and was not made by apply_mappings",
                    remedy="Rename or delete it",
                )


def _existing(stackstorm: StackStorm, pack: str) -> Dict[str, Existing]:
    """Return ``{alert name: Existing}`` of the content that ``apply`` wrote into a pack."""
    parts_by_alert: Dict[str, Dict[str, Any]] = {}
    for kind, field in (("actions", "action"), ("rules", "rule")):
        for item in stackstorm.list_resources(kind, pack=pack):
            owner = mapping_content.owner_of(item)
            if owner is not None:
                parts_by_alert.setdefault(owner, {})[field] = item
    for parts in parts_by_alert.values():
        if "action" in parts:
            ref = f"{pack}.{parts['action']['name']}"
            parts["workflow"] = stackstorm.get_entry_point(ref)
    return {owner: Existing(**parts) for owner, parts in parts_by_alert.items()}


def _kind(content: Content, existing: Existing) -> str:
    if existing == Existing():
        return CREATE
    same = _same_action(content, existing) and _same_rule(content, existing)
    return UNCHANGED if same else UPDATE


def _same_action(content: Content, existing: Existing) -> bool:
    action = existing.action
    if action is None or _decoded(existing.workflow) != content.workflow:
        return False
    return all(content.action[name] == action.get(name) for name in _COMPARED_IN_ACTION)


def _same_rule(content: Content, existing: Existing) -> bool:
    wanted, rule = content.rule, existing.rule
    return (
        rule is not None
        and all(wanted[name] == rule.get(name) for name in _COMPARED_IN_RULE)
        and wanted["enabled"] == rule["enabled"]
        and wanted["trigger"]["type"] == rule["trigger"].get("type")
        and wanted["action"]["ref"] == rule["action"]["ref"]
        and wanted["action"]["parameters"] == rule["action"].get("parameters")
    )


def _decoded(workflow: Optional[str]) -> Any:
    try:
        return yaml.safe_load(workflow or "")
    except yaml.YAMLError:
        return None


def _shown(change: Change) -> Dict[str, Any]:
    wanted, existing = change.wanted, change.existing
    before = existing.workflow or ""
    after = wanted.workflow_text if wanted else ""
    unchanged = change.kind == UNCHANGED
    parts = [("workflow", before, after)]
    parts += [("rule", _rule_text(existing.rule), _rule_text(wanted.rule if wanted else None))]
    difference = [line for part in parts for line in _difference(*part) if not unchanged]
    document = wanted.action if wanted else existing.action or existing.rule
    ref = f"{document['pack']}.{document['name']}"
    return {
        "alertname": change.alertname,
        "change": change.kind,
        "action": ref,
        "rule": _rule_text(wanted.rule) if wanted else "",
        "workflow": after,
        "difference": "\n".join(difference),
    }


def _difference(name: str, before: str, after: str) -> Iterable[str]:
    return difflib.unified_diff(
        before.splitlines(), after.splitlines(), name + ", current", name + ", new", lineterm=""
    )


def _rule_text(rule: Optional[Document]) -> str:
    if not rule:
        return ""
    shown = {name: rule.get(name) for name in ("name", "pack", "description", "enabled")}
    shown["trigger"] = {"type": rule["trigger"].get("type")}
    shown.update({name: rule.get(name) for name in ("criteria", "action", "tags")})
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)


def _restore(stackstorm: StackStorm, pack: str, existing: Existing, timeout: int) -> model.Mapping:
    """Return the Mapping of existing content; raise MappingError if it differs from its mapping."""
    if existing.action is None:
        raise MappingError("its action is missing")
    workflow = _decoded(existing.workflow)
    mapping = restore(existing.action, existing.rule, workflow, timeout)
    refs = {step.action for step in mapping.steps}
    actions = _actions(stackstorm, refs)
    if refs - set(actions):
        raise MappingError(f"there is no action {', '.join(sorted(refs - set(actions)))}")
    written = mapping_content.build(mapping, pack, actions, timeout)
    if not _same_action(written, existing):
        raise MappingError("it differs from what apply_mappings would write for its steps")
    return mapping


# --- writing --------------------------------------------------------------------------------------


def _write(stackstorm: StackStorm, change: Change) -> None:
    """Write one change, so that a rule never names a missing action."""
    existing, content = change.existing, change.wanted
    if content is None:
        for kind, document in (("rules", existing.rule), ("actions", existing.action)):
            if document:
                stackstorm.delete_resource(kind, document["id"])
        return
    if not _same_action(content, existing):
        file = {"file_path": content.action["entry_point"], "content": content.workflow_text}
        document = dict(content.action, data_files=[file])
        stackstorm.save_resource("actions", document, existing.action and existing.action["id"])
    if not _same_rule(content, existing):
        stackstorm.save_resource("rules", content.rule, existing.rule and existing.rule["id"])
