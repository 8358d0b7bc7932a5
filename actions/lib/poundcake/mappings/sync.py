"""What the actions about mappings do: compare YAML with StackStorm's content, and write it.

Content that ``apply_mappings`` made carries the tag ``mapping_content.TAG``, and nothing that does
not carry it is ever changed or removed.
"""

import difflib
from dataclasses import dataclass
from typing import Any, Optional

import yaml

from poundcake import files
from poundcake.errors import ExpectedError
from poundcake.mappings import checks, model
from poundcake.mappings import content as mapping_content
from poundcake.mappings.content import ActionInfo, Content, ContentError
from poundcake.st2.client import StackStormError

CREATE = "create"
UPDATE = "update"
UNCHANGED = "unchanged"
REMOVE = "remove"
_DONE = {CREATE: "created", UPDATE: "updated", UNCHANGED: "unchanged", REMOVE: "removed"}

SYSTEM_PACKS = ("core", "packs")
_OF_ACTION = ("description", "runner_type", "entry_point", "parameters", "tags")
_OF_RULE = ("description", "criteria", "tags")


class MappingsError(ExpectedError):
    """Mappings with mistakes; ``details["mistakes"]`` has all of them."""

    def __init__(self, mistakes):
        found = sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line))
        self.details = {"mistakes": [str(mistake) for mistake in found]}
        more = " (and %d more, see mistakes)" % (len(found) - 1) if len(found) > 1 else ""
        super().__init__("%s%s" % (found[0], more))


@dataclass(frozen=True)
class Existing:
    """What StackStorm has for one mapping; what is missing is None."""

    action: Any = None
    rule: Any = None
    workflow: Optional[str] = None


@dataclass(frozen=True)
class Change:
    """What becomes of the content for one alert; ``wanted`` is None when it is removed."""

    alertname: str
    kind: str
    wanted: Optional[Content]
    existing: Existing


def validate(stackstorm, path, text, pack):
    """Check mappings against the actions that there are.

    :param path: a file, or a folder of \\*.yaml and \\*.yml files, on this machine.
    :param text: the YAML itself; one of the two is "".
    :param pack: the pack that the mappings are meant for.
    :returns: valid (true), alerts and steps (how many).
    :raises MappingsError: with every mistake.
    """
    book, _ = _read(stackstorm, path, text, pack)
    steps = sum(len(mapping.steps) for mapping in book.mappings.values())
    return {"valid": True, "alerts": len(book.mappings), "steps": steps}


def preview(stackstorm, path, text, pack):
    """Return what ``apply`` would do, and write nothing.

    :returns: pack, and changes: for each alert alertname, change, action, rule, workflow, and the
        difference between what is there and what would be.
    """
    changes = [_shown(change) for change in _plan(stackstorm, path, text, pack)]
    return {"pack": pack, "changes": changes}


def apply(stackstorm, path, text, pack):
    """Make StackStorm's content what the mappings say.

    :returns: pack, and the alert names that were created, updated, unchanged and removed.
    :raises ExpectedError: when the mappings have mistakes, or StackStorm refuses one.
    """
    done = {"pack": pack, "created": [], "updated": [], "unchanged": [], "removed": []}
    for change in _plan(stackstorm, path, text, pack):
        try:
            _write(stackstorm, change)
        except StackStormError as error:
            error = ExpectedError(
                "%s: %s; run it again when that is mended" % (change.alertname, error)
            )
            error.details = done
            raise error
        done[_DONE[change.kind]].append(change.alertname)
    return done


def export(stackstorm, pack):
    """Return the mappings behind the content that ``apply`` made.

    :returns: pack, alerts (how many) and yaml.
    :raises ExpectedError: when some of it was changed to what no mapping can say.
    """
    _check_pack(stackstorm, pack)
    found = _existing(stackstorm, pack)
    restored, edited = [], []
    for alertname in sorted(found):
        try:
            restored.append(_restore(stackstorm, pack, found[alertname]))
        except ContentError as error:
            action = found[alertname].action or found[alertname].rule
            edited.append("%s.%s: %s" % (pack, action["name"], error))
    if edited:
        text = (
            "no mapping can say what stands in %s. Apply its mapping again, or take the "
            "tag %s away, and it is content of your own"
        )
        raise ExpectedError(text % ("; ".join(edited), mapping_content.TAG))
    text = model.dump(restored) if restored else "alerts: {}\n"
    return {"pack": pack, "alerts": len(restored), "yaml": text}


# --- reading --------------------------------------------------------------------------------------


def _read(stackstorm, path, text, pack):
    """Return the Book of mappings without a mistake, and the actions that they name."""
    _check_pack(stackstorm, pack)
    book = model.parse(files.read("mappings", path, text))
    steps = [step for mapping in book.mappings.values() for step in mapping.steps]
    refs = {step.action for step in steps if step.action}
    actions = _actions(stackstorm, refs)
    known = _all_refs(stackstorm) if refs - set(actions) else []
    checks.check(book, actions, known, _secrets(stackstorm, pack))
    if book.mistakes:
        raise MappingsError(book.mistakes)
    return book, actions


def _check_pack(stackstorm, pack):
    if pack in SYSTEM_PACKS:
        raise ExpectedError("pack: StackStorm lets nobody write into %s; name another" % pack)
    if stackstorm.get_resource("packs", pack) is None:
        raise ExpectedError(
            'pack: "%s" is not installed; st2 pack list shows those that are' % pack
        )


def _actions(stackstorm, refs):
    """Return ``{reference: ActionInfo}`` of those actions that there are."""
    found, runners = {}, {}
    for ref in sorted(refs):
        action = stackstorm.get_resource("actions", ref)
        if action is None:
            continue
        name = action["runner_type"]
        if name not in runners:
            runners[name] = stackstorm.get_resource("runnertypes", name) or {}
        of_runner = runners[name].get("runner_parameters") or {}
        found[ref] = ActionInfo(name, action.get("parameters") or {}, of_runner)
    return found


def _all_refs(stackstorm):
    found = stackstorm.list_resources("actions", include_attributes="pack,name")
    return ["%s.%s" % (item["pack"], item["name"]) for item in found]


def _secrets(stackstorm, pack):
    """Return the names of a pack's settings that are secret."""
    schema = stackstorm.get_resource("config_schemas", pack) or {}
    attributes = schema.get("attributes") or {}
    return {name for name, setting in attributes.items() if setting.get("secret")}


# --- comparing ------------------------------------------------------------------------------------


def _plan(stackstorm, path, text, pack):
    """Return the Changes, those in the mappings first and in their order."""
    book, actions = _read(stackstorm, path, text, pack)
    wanted = [mapping_content.build(m, pack, actions) for m in book.mappings.values()]
    _check_names(stackstorm, wanted)
    found = _existing(stackstorm, pack)
    changes = []
    for mapping, content in zip(book.mappings.values(), wanted):
        existing = found.pop(mapping.alertname, Existing())
        if mapping.enabled is None and existing.rule:
            content.rule["enabled"] = existing.rule["enabled"]  # as a person has set it
        if existing.action:
            content.action["enabled"] = existing.action["enabled"]
        changes.append(Change(mapping.alertname, _kind(content, existing), content, existing))
    gone = [Change(name, REMOVE, None, existing) for name, existing in sorted(found.items())]
    return changes + gone


def _check_names(stackstorm, wanted):
    """Raise ExpectedError when a name is taken by what somebody else made."""
    for content in wanted:
        for kind in ("actions", "rules"):
            taken = stackstorm.get_resource(kind, content.ref)
            if taken and mapping_content.owner_of(taken) is None:
                text = "%s: %s is there and was not made by apply_mappings; rename or delete it"
                raise ExpectedError(text % (kind, content.ref))


def _existing(stackstorm, pack):
    """Return ``{alert name: Existing}`` of what ``apply`` made in a pack."""
    found = {}
    for kind, field in (("actions", "action"), ("rules", "rule")):
        for item in stackstorm.list_resources(kind, pack=pack):
            owner = mapping_content.owner_of(item)
            if owner is not None:
                found.setdefault(owner, {})[field] = item
    for parts in found.values():
        if "action" in parts:
            ref = "%s.%s" % (pack, parts["action"]["name"])
            parts["workflow"] = stackstorm.get_entry_point(ref)
    return {owner: Existing(**parts) for owner, parts in found.items()}


def _kind(content, existing):
    if existing == Existing():
        return CREATE
    same = _same_action(content, existing) and _same_rule(content, existing)
    return UNCHANGED if same else UPDATE


def _same_action(content, existing):
    action = existing.action
    if action is None or _decoded(existing.workflow) != content.workflow:
        return False
    return all(content.action[name] == action.get(name) for name in _OF_ACTION)


def _same_rule(content, existing):
    wanted, rule = content.rule, existing.rule
    return (
        rule is not None
        and all(wanted[name] == rule.get(name) for name in _OF_RULE)
        and wanted["enabled"] == rule["enabled"]
        and wanted["trigger"]["type"] == rule["trigger"].get("type")
        and wanted["action"]["ref"] == rule["action"]["ref"]
        and wanted["action"]["parameters"] == rule["action"].get("parameters")
    )


def _decoded(text):
    try:
        return yaml.safe_load(text or "")
    except yaml.YAMLError:
        return None


def _shown(change):
    wanted, existing = change.wanted, change.existing
    before = existing.workflow or ""
    after = wanted.workflow_text if wanted else ""
    unchanged = change.kind == UNCHANGED
    parts = [("workflow", before, after)]
    parts += [("rule", _rule_text(existing.rule), _rule_text(wanted and wanted.rule))]
    difference = [line for part in parts for line in _difference(*part) if not unchanged]
    document = wanted.action if wanted else existing.action or existing.rule
    ref = "%s.%s" % (document["pack"], document["name"])
    return {
        "alertname": change.alertname,
        "change": change.kind,
        "action": ref,
        "rule": _rule_text(wanted.rule) if wanted else "",
        "workflow": after,
        "difference": "\n".join(difference),
    }


def _difference(name, before, after):
    return difflib.unified_diff(
        before.splitlines(), after.splitlines(), name + ", there", name + ", wanted", lineterm=""
    )


def _rule_text(rule):
    if not rule:
        return ""
    shown = {name: rule.get(name) for name in ("name", "pack", "description", "enabled")}
    shown["trigger"] = {"type": rule["trigger"].get("type")}
    shown.update({name: rule.get(name) for name in ("criteria", "action", "tags")})
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)


def _restore(stackstorm, pack, existing):
    """Return the Mapping of existing content; ContentError when it says more than that."""
    if existing.action is None:
        raise ContentError("its action is gone")
    workflow = _decoded(existing.workflow)
    mapping = mapping_content.restore(existing.action, existing.rule, workflow)
    refs = {step.action for step in mapping.steps}
    actions = _actions(stackstorm, refs)
    if refs - set(actions):
        raise ContentError("there is no action %s" % ", ".join(sorted(refs - set(actions))))
    written = mapping_content.build(mapping, pack, actions)
    if not _same_action(written, existing):
        raise ContentError("it differs from what its steps would be written as")
    return mapping


# --- writing --------------------------------------------------------------------------------------


def _write(stackstorm, change):
    """Write one change: a rule never names an action that is not there."""
    existing, content = change.existing, change.wanted
    if change.kind == REMOVE:
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
