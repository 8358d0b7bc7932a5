"""What became of dispatches: reads StackStorm's own records and gives facts. Writes nothing."""

import time
from typing import Any, Dict, List, Optional, Tuple

from poundcake import clock
from poundcake.core.alert import (
    ENDED_STATUSES,
    ESCALATED,
    FAILED,
    NOT_NEEDED,
    REMEDIATED,
    SUCCEEDED,
    Attempt,
    Execution,
    Row,
    open_inquiries,
)
from poundcake.core.facts import Answered, Asked, Executed, Fact, Settled
from poundcake.st2 import triggers, unmatched
from poundcake.st2.client import StackStorm

Document = Dict[str, Any]  # as StackStorm has it
Started = Tuple[Row, Attempt, str]  # with the id of an execution
# What was read of an execution, and the fact when that is new.
Followed = Tuple[Row, Attempt, Execution, Optional[Fact]]

# The sensor's clock and StackStorm's may differ a little, and at worst by the wide margin.
CLOCK_MARGIN_SECONDS = 5
WIDE_MARGIN_SECONDS = 600
DONE = ("processed", "processing_failed")
STUCK_SECONDS = 20  # a trigger instance that is not processed by then may never be
# When StackStorm's services die between their database and their bus, an execution stays for good
# in a state that lasts a moment, or as long as StackStorm is behind. Canceled in it, it never runs.
UNSTARTED_SECONDS = {"requested": 90, "scheduled": 600}
PAUSED = ("pausing", "paused")
ASK = "core.ask"
ROUTE = "poundcake"  # of the inquiries that the pack's own workflows make
# What PoundCake answers for a person who did not (the workflows tell it from a no).
TIME_IS_UP = {"approved": False, "expired": True}
# Of a response; every other field is a parameter that the person has changed.
ANSWER_FIELDS = ("approved", "expired", "by", "reason")
ERROR_CHARACTERS = 500
QUESTION_CHARACTERS = 300
_SAID_OUTCOMES = (REMEDIATED, NOT_NEEDED, ESCALATED, FAILED)  # by the output of a workflow


def observe(
    stackstorm: StackStorm,
    dispatches: List[Tuple[Row, Attempt]],
    now: Optional[float] = None,
    patience: float = STUCK_SECONDS,
) -> Tuple[List[Fact], List[str]]:
    """Return ``(facts, lost)`` about dispatches that have not ended.

    :param stackstorm: client.StackStorm.
    :param dispatches: list of ``(row, attempt)``.
    :param patience: how many seconds the rules engine may take over a trigger instance before it
        counts as having died over it.
    :returns: lifecycle facts in the order in which they are to be applied, and the dispatch ids of
        which StackStorm has no trigger instance, or only ones over which its rules engine died.
    """
    now = time.time() if now is None else now
    unsettled = [(row, attempt) for row, attempt in dispatches if not attempt["settled_at"]]
    settled, started, lost = _settle(stackstorm, unsettled, now, patience)
    for row, attempt in dispatches:
        for execution in attempt["executions"]:
            if execution["status"] not in ENDED_STATUSES:
                started.append((row, attempt, execution["execution_id"]))
    found = _follow(stackstorm, started, now)
    changed = [fact for *_, fact in found if fact]
    return changed + settled + _inquiries(stackstorm, found, now), lost


def never_starts(execution: Execution, now: float) -> bool:
    """True when an execution of a row has been about to start for so long that it never will."""
    patience = UNSTARTED_SECONDS.get(execution["status"])
    if patience is None or not execution["started_at"]:
        return False
    return now - clock.to_seconds(execution["started_at"]) > patience


def _settle(
    stackstorm: StackStorm, unsettled: List[Tuple[Row, Attempt]], now: float, patience: float
) -> Tuple[List[Fact], List[Started], List[str]]:
    """Find the executions of the dispatches whose rules have all been evaluated."""
    facts: List[Fact] = []
    started: List[Started] = []
    lost: List[str] = []
    if not unsettled:
        return facts, started, lost
    instances = _instances(stackstorm, unsettled, now)
    times = [item["occurrence_time"] for found in instances.values() for item in found]
    enforcements: Dict[str, List[Document]] = {}
    # Read after the instances, those of a processed instance are all there; and by StackStorm's
    # own clock.
    since = clock.to_text(clock.to_seconds(min(times)) - 1) if times else ""
    for enforcement in stackstorm.list_enforcements(since) if times else []:
        enforcements.setdefault(enforcement["trigger_instance_id"], []).append(enforcement)
    rules = unmatched.Rules(stackstorm)
    for row, attempt in unsettled:
        found = instances.get(attempt["dispatch_id"], [])
        undone = [instance for instance in found if instance["status"] not in DONE]
        if any(now - clock.to_seconds(i["occurrence_time"]) < patience for i in undone):
            continue
        execution_ids, reason = _enforced(found, enforcements)
        for instance in undone:
            # The rules engine died over it. What it had started by then has no enforcement.
            begun = stackstorm.list_executions_of(instance["id"])
            execution_ids += [item for item in begun if item not in execution_ids]
        if len(undone) == len(found) and not execution_ids:
            lost.append(attempt["dispatch_id"])
            continue
        if undone:
            text = "StackStorm stopped in the middle of the rules for trigger instance %s"
            reason = "; ".join([reason] * bool(reason) + [text % undone[0]["id"]])
        if not execution_ids and not reason:
            reason = rules.reason(found[0]["payload"])
        started += [(row, attempt, execution_id) for execution_id in execution_ids]
        facts.append(Settled(*_about(row, attempt, now), reason))
    return facts, started, lost


def _instances(
    stackstorm: StackStorm, unsettled: List[Tuple[Row, Attempt]], now: float
) -> Dict[str, List[Document]]:
    """Return ``{dispatch_id: [trigger instance]}`` of some dispatches, as far as there are any."""
    wanted = {attempt["dispatch_id"]: _dispatched(attempt) for _, attempt in unsettled}
    found: Dict[str, List[Document]] = {}
    for margin in (CLOCK_MARGIN_SECONDS, WIDE_MARGIN_SECONDS):
        missing = [at for dispatch_id, at in wanted.items() if dispatch_id not in found]
        if margin == WIDE_MARGIN_SECONDS:
            # Before a dispatch counts as lost, clocks that differ much are allowed for.
            missing = [at for at in missing if now - at > CLOCK_MARGIN_SECONDS]
        if missing:
            since = clock.to_text(min(missing) - margin)
            found = {}
            for instance in stackstorm.list_trigger_instances(triggers.ALERT, since):
                dispatch_id = instance["payload"].get("dispatch_id")
                if dispatch_id in wanted:
                    found.setdefault(dispatch_id, []).append(instance)
    return found


def _dispatched(attempt: Attempt) -> float:
    assert attempt["dispatched_at"], "only what was dispatched is observed"
    return clock.to_seconds(attempt["dispatched_at"])


def _enforced(
    instances: List[Document], enforcements: Dict[str, List[Document]]
) -> Tuple[List[str], str]:
    """Return the executions that rules started for some trigger instances, and what went wrong."""
    execution_ids, reasons = [], []
    for instance in instances:
        if instance["status"] == "processing_failed":
            reasons.append(f"StackStorm failed to process the trigger instance {instance['id']}")
        for enforcement in enforcements.get(instance["id"], []):
            if enforcement.get("execution_id"):
                execution_ids.append(enforcement["execution_id"])
            elif enforcement.get("failure_reason"):
                rule_ref = (enforcement.get("rule") or {}).get("ref", "a rule")
                reasons.append(f"{rule_ref}: {enforcement['failure_reason']}")
    return execution_ids, "; ".join(reasons)[:ERROR_CHARACTERS]


def _follow(stackstorm: StackStorm, started: List[Started], now: float) -> List[Followed]:
    """Read executions that have not ended.

    :returns: list of ``(row, attempt, execution, fact)``; the fact is None when nothing is new.
    """
    if not started:
        return []
    name = triggers.ALERT.split(".", 1)[1]
    # A person may take hours: what waits for one does not widen the look at what runs.
    waiting = {item["execution_id"] for _, a, _ in started for item in open_inquiries(a)}
    running = [_dispatched(attempt) for _, attempt, identity in started if identity not in waiting]
    listed = stackstorm.list_executions(name, status="paused") if waiting else []
    if running:
        since = clock.to_text(min(running) - CLOCK_MARGIN_SECONDS)
        listed = listed + stackstorm.list_executions(name, since)
    by_id = {item["id"]: item for item in listed}
    found: List[Followed] = []
    for row, attempt, execution_id in started:
        execution = by_id.get(execution_id) or stackstorm.get_execution(execution_id)
        if execution is None:
            execution = {"status": "abandoned", "gone": True}
        described = _describe(stackstorm, execution_id, execution, now)
        fact = None
        if described not in attempt["executions"]:  # most looks at what runs find nothing new
            fact = Executed(*_about(row, attempt, now), described)
        found.append((row, attempt, described, fact))
    return found


def _inquiries(stackstorm: StackStorm, found: List[Followed], now: float) -> List[Fact]:
    """Find out which executions wait for a person, and which no longer do.

    A workflow is paused when all that it still does is wait, be it a workflow below it that asks.
    """
    facts: List[Fact] = []
    paused = [item for item in found if item[2]["status"] in PAUSED]
    pending = stackstorm.list_pending_inquiries() if paused else set()
    for row, attempt, execution, _ in found:
        identity = execution["execution_id"]
        known = [i for i in open_inquiries(attempt) if i["execution_id"] == identity]
        waits = execution["status"] in PAUSED
        for inquiry in known:
            if not waits or inquiry["inquiry_id"] not in pending:
                document = stackstorm.get_execution(inquiry["inquiry_id"]) or {}
                answer, answered = _answer(document), document.get("end_timestamp")
                # When it was answered, not when this saw it: the workflow may have ended since.
                at = min(now, clock.to_seconds(answered)) if answered else now
                about = _about(row, attempt, at)
                facts.append(Answered(*about, identity, inquiry["inquiry_id"], **answer))
        if waits and not any(i["inquiry_id"] in pending for i in known):
            for child in asked_below(stackstorm, identity):
                asked = clock.to_seconds(child["start_timestamp"])
                about, until = _about(row, attempt, asked), _until(child, asked)
                facts.append(Asked(*about, identity, child["id"], until, question_of(child)))
    return facts


def asked_below(stackstorm: StackStorm, execution_id: str) -> List[Document]:
    """Return the inquiries that an execution, or one that it started, waits for."""
    found = []
    for child in stackstorm.list_children(execution_id):
        if child["action"]["ref"] == ASK and child["status"] == "pending":
            found.append(child)
        elif child["status"] in PAUSED:
            found += asked_below(stackstorm, child["id"])
    return found


def fields_of(inquiry: Document) -> Dict[str, Any]:
    """Return the fields that an inquiry asks for, with their schemas."""
    schema = (inquiry.get("parameters") or {}).get("schema")
    fields = schema.get("properties") if isinstance(schema, dict) else None
    return fields if isinstance(fields, dict) else {}


def question_of(inquiry: Document) -> str:
    """Return what an inquiry asks, on one line: the description of ``approved``, or the first."""
    fields = fields_of(inquiry)
    asked = fields.get("approved") or next(iter(fields.values()), None)
    text = str(asked.get("description") or "") if isinstance(asked, dict) else ""
    return _one_line(text, QUESTION_CHARACTERS)


def _answer(inquiry: Document) -> Dict[str, Any]:
    """Return what a person answered, as the last fields of ``facts.Answered``.

    The response is what ``approve_alert`` sends, or what somebody wrote in the web UI.
    """
    response = (inquiry.get("result") or {}).get("response")
    if not isinstance(response, dict) or response.get("expired"):
        return {}
    approved, fields = response.get("approved"), fields_of(inquiry)
    answers_this = inquiry.get("status") == SUCCEEDED and set(response) <= set(fields)
    if approved is None and answers_this and "approved" in fields:
        approved = False  # the web UI sends nothing for a box that is not ticked
    parameters = {name: response[name] for name in response if name not in ANSWER_FIELDS}
    return {
        "approved": approved if isinstance(approved, bool) else None,
        "by": str(response.get("by") or "")[:ERROR_CHARACTERS],
        "reason": str(response.get("reason") or "")[:ERROR_CHARACTERS],
        "parameters": parameters,
    }


def _until(inquiry: Document, asked: float) -> Optional[str]:
    """Return until when PoundCake lets a person answer, None when the inquiry is not its own.

    StackStorm itself ends inquiries only where [garbagecollector] purge_inquiries is set.
    """
    parameters = inquiry.get("parameters") or {}
    if parameters.get("route") != ROUTE or not parameters.get("ttl"):
        return None
    return clock.to_text(asked + 60 * parameters["ttl"])


def _describe(
    stackstorm: StackStorm, execution_id: str, execution: Document, now: float
) -> Execution:
    status = execution["status"]
    ended = status in ENDED_STATUSES
    described: Execution = {
        "execution_id": execution_id,
        "status": status,
        "rule_ref": (execution.get("rule") or {}).get("ref", ""),
        "action_ref": (execution.get("action") or {}).get("ref", ""),
        "started_at": _time(execution.get("start_timestamp")),
        "ended_at": _time(execution.get("end_timestamp"))
        or (clock.to_text(now) if ended else None),
        "error": "",
        "ran": True,
        "outcome": "",
        "remediation": "",
        "verification": "",
    }
    if execution.get("gone"):
        described["error"] = "StackStorm no longer has this execution"
    elif ended and (status != SUCCEEDED or _is_workflow(execution)):
        whole = execution if "log" in execution else stackstorm.get_execution(execution_id)
        _add_result(described, whole or {})
    return described


def _is_workflow(execution: Document) -> bool:
    """Return whether an execution may have an output that says what it did."""
    return (execution.get("runner") or {}).get("name") == "orquesta"


def _add_result(described: Execution, execution: Document) -> None:
    """Add to the description of an execution that has ended what its result says."""
    result = execution.get("result")
    output = result.get("output") if isinstance(result, dict) else None
    said = output if isinstance(output, dict) else {}
    if said.get("outcome") in _SAID_OUTCOMES:
        described["outcome"] = said["outcome"]
    described["remediation"] = _line(said.get("remediation"))
    described["verification"] = _line(said.get("verification"))
    if described["status"] == SUCCEEDED:
        described["error"] = _line(said.get("reason"))
        return
    described["error"] = error_of(result)
    # StackStorm writes every status that an execution goes through into its log.
    log = execution.get("log") or []
    described["ran"] = not log or any(entry.get("status") == "running" for entry in log)


def _line(value: Any) -> str:
    line = _one_line(value) if isinstance(value, str) else ""
    return "" if line == "none" else line


def _one_line(text: str, most: int = ERROR_CHARACTERS) -> str:
    return " ".join(text.split())[:most]


def error_of(result: Any) -> str:
    """Return why an execution failed, from its result: one line of at most 500 characters."""
    text = ""
    if isinstance(result, dict):
        errors = result.get("errors")
        output = result.get("output")
        if isinstance(output, dict) and isinstance(output.get("reason"), str):
            text = output["reason"]  # what the workflow itself says, as the pack's own do
        elif isinstance(errors, list) and errors:
            text = "; ".join(_error_line(item) for item in errors)
        else:
            inner = result.get("result")
            parts = [result.get("error"), result.get("message"), result.get("stderr")]
            if isinstance(inner, dict):
                parts = [inner.get("error"), inner.get("reason"), inner.get("message")] + parts
            elif isinstance(inner, str):
                parts.insert(0, inner)
            text = next((str(part) for part in parts if part and part != "None"), "")
    elif result:
        text = str(result)
    return _one_line(text)


def _error_line(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    line = str(item.get("message", ""))
    inner = error_of(item.get("result"))
    if item.get("task_id"):
        line = "task %s: %s" % (item["task_id"], line)
    return "%s (%s)" % (line, inner) if inner else line


def _time(text: Optional[str]) -> Optional[str]:
    if not text:
        return None
    return clock.to_text(clock.to_seconds(text))


def _about(row: Row, attempt: Attempt, seconds: float) -> Tuple[str, str, str, str]:
    """Return what every fact about an attempt begins with; ``seconds`` is Unix time."""
    at = clock.to_text(seconds)
    return row["fingerprint"], attempt["episode"], at, attempt["dispatch_id"]
