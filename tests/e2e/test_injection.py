"""Alert text is data: no expression in it is ever evaluated, wherever a template meets it.

The datastore holds an encrypted secret. Every text that Alertmanager can send carries expressions
that would read it; a rule passes all of them on, and a workflow uses them in every place where
Orquesta evaluates. The secret must not appear anywhere afterwards. A control shows that the same
expressions do read the secret when they reach StackStorm by another way, so the test can fail.
"""

import json
import uuid

import pytest

from tests.support.alerts import alert, notification
from tests.support.injection import EXPRESSIONS, JINJA, JINJA_FILTER, SECRET_KEY, YAQL
from tests.support.world import unique

# Every value that a rule hands on: the workflow's inputs, each from another place of the payload.
PLACES = {
    "label": "{{ trigger.labels.evil }}",
    "joined": "{{ trigger.labels.left }}{{ trigger.labels.right }}",
    "cut": "{{ trigger.labels.cut.split(':')[1] }}",
    "linked": "<{{ trigger.labels.percent }}>",
    "annotation": "{{ trigger.annotations.evil }}",
    "summary": "{{ trigger.summary }}",
    "names": "{{ trigger.labels }}",
    "dumped": "{{ trigger | to_json_string }}",
    "receiver": "{{ trigger.receiver }}",
    "group_key": "{{ trigger.group_key }}",
    "external_url": "{{ trigger.external_url }}",
    "generator_url": "{{ trigger.generator_url }}",
    "host": "{{ trigger.host }}",
    "row": "{{ st2kv.system[trigger.labels.rowkey] | default('') }}",
}

WORKFLOW = """
version: 1.0
input: [{inputs}]
vars:
  - all_of_it: <% {joined} %>
tasks:
  yaql:
    action: poundcake.log_notification
    input:
      message: <% ctx().all_of_it %>
    next:
      - publish:
          - published: <% result().result.message %>
          - again: <% ctx().all_of_it %>
        do: jinja
  jinja:
    action: poundcake.log_notification
    input:
      message: "{{{{ ctx().published }}}} {{{{ ctx().again }}}}"
    next:
      - publish: found=<% result().result.message %>
        do: inline
  inline:
    action: poundcake.log_notification message=<% ctx().found %>
output:
  - found: <% ctx().found %>
  - again: <% ctx().again %>
"""

READ_BACK = """
version: 1.0
input: [key, fingerprint]
tasks:
  row:
    action: core.noop
    next:
      - publish: row=<% st2kv("system." + ctx().key) %>
        do: use_row
  use_row:
    action: poundcake.log_notification
    input:
      message: <% ctx().row %>
    next:
      - publish: used=<% result().result.message %>
        do: ask
  ask:
    action: poundcake.get_alert
    input:
      fingerprint: <% ctx().fingerprint %>
    next:
      - publish: labels=<% str(result().result) %>
        do: use_answer
  use_answer:
    action: poundcake.log_notification
    input:
      message: <% ctx().labels %>
output:
  - used: <% ctx().used %>
  - labels: <% ctx().labels %>
"""

CONTROL = """
version: 1.0
input: [text]
tasks:
  use:
    action: poundcake.log_notification
    input:
      message: <% ctx().text %>
    next:
      - publish: said=<% result().result.message %>
output:
  - said: <% ctx().said %>
"""


@pytest.fixture(scope="module")
def secret(world):
    """An encrypted secret in the datastore; its value."""
    value = "secret-" + uuid.uuid4().hex
    world.st2("key", "set", SECRET_KEY, value, "--encrypt")
    yield value
    world.st2("key", "delete", SECRET_KEY)


@pytest.mark.parametrize("expression", [JINJA_FILTER, YAQL])
def test_the_expressions_do_read_the_secret_without_poundcake(world, secret, expression):
    """The control: given to a workflow by hand, StackStorm evaluates them."""
    with world.workflow(CONTROL, ["text"]) as action:
        body = {"action": action, "parameters": {"text": expression}}
        done = world.finished(world.api("POST", "/executions", json=body)["id"])
        assert secret in json.dumps(done["result"])


@pytest.mark.parametrize("index", range(len(EXPRESSIONS)))
def test_no_alert_text_is_evaluated(world, secret, index):
    """Not in rule parameters, inputs, task inputs, published values, outputs or rows."""
    evil = EXPRESSIONS[index]
    name = unique("E2eInjection")
    inputs = sorted(PLACES)
    joined = ' + " " + '.join("ctx().%s" % place for place in inputs)
    definition = WORKFLOW.format(inputs=", ".join(inputs), joined=joined)
    fingerprint = uuid.uuid4().hex[:16]
    entry = alert(
        alertname=name,
        instance=evil,
        evil=evil,
        left=evil[:1],
        right=evil[1:],
        cut="x:%s:y" % evil.replace(":", ""),
        percent=evil[1:-1],
        rowkey="poundcake.alert." + fingerprint,
    )
    entry["labels"][evil] = "a label name"
    entry["fingerprint"] = fingerprint
    entry["annotations"] = {"evil": evil, "summary": evil, evil: "an annotation name"}
    entry["generatorURL"] = evil
    body = notification(entry, receiver=evil, groupKey=evil, externalURL=evil)

    with world.workflow(definition, inputs) as action, world.rule(name, action, PLACES):
        status, answer = world.post(body)
        assert status == 202
        row = world.completed(answer["request_id"])
        assert row["alerts"][0]["outcome"] == "succeeded", world.ask(
            "get_alert", fingerprint=fingerprint
        )["reason"]
        executions = _executions_of(world, answer["request_id"])
        assert len(executions) >= 4, "the workflow and its three tasks"
    _assert_nowhere(world, secret, answer["request_id"], executions)
    stored = json.loads(world.api("GET", "/keys/poundcake.alert." + fingerprint)["value"])
    assert stored["labels"]["evil"] == evil, "the row keeps the original"
    assert stored["labels"][evil] == "a label name"


@pytest.mark.parametrize("evil", [JINJA, JINJA_FILTER, YAQL])
def test_rows_and_answers_can_be_used_in_a_workflow(world, secret, evil):
    """What st2kv reads back, and what get_alert answers, is data too."""
    row = world.completed(
        world.accept(alert(alertname=unique("E2eReadBack"), evil=evil, **{evil: "x"}))
    )
    fingerprint = row["alerts"][0]["fingerprint"]
    with world.workflow(READ_BACK, ["key", "fingerprint"]) as action:
        parameters = {"key": "poundcake.alert." + fingerprint, "fingerprint": fingerprint}
        body = {"action": action, "parameters": parameters}
        done = world.finished(world.api("POST", "/executions", json=body)["id"])
    assert done["status"] == "succeeded", done["result"]
    assert fingerprint in done["result"]["output"]["used"]
    assert fingerprint in done["result"]["output"]["labels"]
    assert secret not in json.dumps(done)


@pytest.mark.parametrize("evil", EXPRESSIONS[:4])
def test_stackstorms_own_webhook_evaluates_nothing(world, secret, evil):
    """The body passes a rule's parameters on its way to receive_webhook, and stays what it is."""
    name = unique("E2eInjectionWebhook")
    entry = alert(alertname=name, evil=evil, **{evil: "x"})
    world.api("POST", "/webhooks/poundcake", json=notification(entry, receiver=evil))

    def listed():
        status, result = world.run("list_alerts", alertname=name)
        return result["alerts"] if status == "succeeded" else None

    fingerprint = world.wait(listed, "the alert")[0]["fingerprint"]
    stored = json.loads(world.api("GET", "/keys/poundcake.alert." + fingerprint)["value"])
    assert stored["labels"]["evil"] == evil
    assert stored["receiver"] == evil
    found = world.api("GET", "/executions?action=poundcake.receive_webhook&limit=20")
    assert secret not in json.dumps(found)
    assert secret not in json.dumps(stored)


def test_rejected_alerts_and_errors_evaluate_nothing(world, secret):
    """The reason of a rejected alert quotes its text; it is data as well."""
    bad = dict(alert(alertname=unique("E2eRejected")), startsAt=JINJA_FILTER)
    status, answer = world.post(notification(bad))
    assert status == 202
    row = world.completed(answer["request_id"])
    assert "startsAt" in row["alerts"][0]["reason"]
    assert secret not in json.dumps(world.ask("get_request", request_id=answer["request_id"]))


def _executions_of(world, request_id):
    """Every execution, children too, that carries the request's id anywhere."""
    found = []
    for tracked in world.ask("list_executions", request_id=request_id)["executions"]:
        found.append(world.execution(tracked["execution_id"]))
        path = "/executions/%s/children?depth=-1" % tracked["execution_id"]
        found += [world.execution(child["id"]) for child in world.api("GET", path)]
    return found


def _assert_nowhere(world, secret, request_id, executions):
    rows = world.api("GET", "/keys?prefix=poundcake.&limit=-1")
    rows = [row for row in rows if row["name"] != SECRET_KEY]
    instances = world.api("GET", "/triggerinstances?trigger=poundcake.alert&limit=50")
    instances += world.api("GET", "/triggerinstances?trigger=poundcake.lifecycle&limit=50")
    enforcements = world.api("GET", "/ruleenforcements?limit=50")
    answers = [
        world.ask("get_request", request_id=request_id),
        world.ask("get_stats"),
        world.status(request_id),
    ]
    for name, found in (
        ("an execution", executions),
        ("a row", rows),
        ("a trigger payload", instances),
        ("a rule enforcement", enforcements),
        ("an answer", answers),
    ):
        text = json.dumps(found)
        assert text != "[]", "nothing was looked at for " + name
        assert secret not in text, "the secret is in " + name
