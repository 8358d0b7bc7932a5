"""The engine's services do what StackStorm's do: over HTTP, as tests of the pack use them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine import testing

DEMO = Path(testing.__file__).with_name("demo_pack")
CONFIG = {"token": "{{ st2kv.system.demo_token }}"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine with the demo pack for all tests here."""
    handle = testing.start(tmp_path_factory.mktemp("engine"), [DEMO], {"enginedemo": CONFIG})
    yield handle
    handle.stop()


def put_key(engine, name, value, **more):
    """Write a datastore key over the API."""
    answer = engine.request("PUT", f"/keys/{name}", json={"name": name, "value": value, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def value_of(engine, name, **params):
    """A datastore key's value; None when absent."""
    answer = engine.request("GET", f"/keys/{name}", params=params)
    return answer.json()["value"] if answer.status_code == 200 else None


def executions_of(engine, instance_id, count=1):
    """The finished executions that a trigger instance led to."""

    def finished():
        found = engine.get("/executions", trigger_instance=instance_id)
        return found if len(found) >= count and all("end_timestamp" in e for e in found) else None

    return engine.wait_for(finished, f"executions of {instance_id}")


def test_python_action_gets_its_context(engine):
    """Config with defaults and a decrypted secret, actions/lib, datastore client, environment."""
    put_key(engine, "demo_token", "s3cret", secret=True)
    execution = engine.run("enginedemo.context", text="abc")
    assert execution["status"] == "succeeded", execution["result"]
    assert execution["result"]["result"] == {
        "text": "ABC",
        "greeting": "hello",
        "token": "s3cret",
        "count": 3,
        "user": "st2admin",
        "execution": execution["id"],
        "pack": "enginedemo",
    }
    assert execution["result"]["stdout"] == "on stdout\n"
    assert "on stderr" in execution["result"]["stderr"]
    assert execution["result"]["exit_code"] == 0
    assert value_of(engine, "enginedemo.ContextAction:seen") == "abc"


@pytest.mark.parametrize(
    ("mode", "status", "result"),
    [
        ("fail", "failed", {"why": "as asked"}),
        ("raise", "failed", "None"),
        ("big", "succeeded", "x" * 1_000_000),
    ],
)
def test_python_action_ends(engine, mode, status, result):
    """A tuple decides on the status; an exception is a traceback on stderr and exit code 1."""
    execution = engine.run("enginedemo.context", mode=mode)
    assert execution["status"] == status
    assert execution["result"]["result"] == result
    if mode == "raise":
        assert execution["result"]["exit_code"] == 1
        assert "RuntimeError: as asked" in execution["result"]["stderr"]


def test_python_action_with_a_status_that_is_none(engine):
    """A first item that is no boolean fails the execution with an explanation."""
    execution = engine.run("enginedemo.context", mode="status")
    assert execution["status"] == "failed"
    assert "must either be True or False" in execution["result"]["error"]


def test_timeouts(engine):
    """What runs too long is killed, with the words of StackStorm."""
    body = {"action": "core.local", "parameters": {"cmd": "sleep 30", "timeout": 1}}
    made = engine.request("POST", "/executions", json=body).json()
    execution = engine.finished(made["id"])
    assert execution["status"] == "timeout"
    assert execution["result"]["return_code"] == -9
    assert execution["result"]["error"] == "Action failed to complete in 1 seconds"


def test_shell_output_that_is_json_is_parsed(engine):
    """core.local gives an object for a command that prints one."""
    execution = engine.run("core.local", cmd="""echo '{"a": 1}'""")
    assert execution["result"]["stdout"] == {"a": 1}


def test_http_runner(engine):
    """core.http calls, parses JSON, and fails on a status that is not 2xx."""
    url = engine.api_url + "/user"
    execution = engine.run("core.http", url=url, headers={"St2-Api-Key": engine.api_key})
    assert execution["status"] == "succeeded"
    assert execution["result"]["body"]["username"] == "st2admin"
    execution = engine.run("core.http", url=url)
    assert execution["status"] == "failed"
    assert execution["result"]["status_code"] == 401


def test_remote_runner_uses_ssh(engine):
    """When no host is there, core.remote fails with ssh's words, as StackStorm tells them."""
    execution = engine.run("core.remote", cmd="true", hosts="127.0.0.1:1")
    assert execution["status"] == "failed"
    assert set(execution["result"]) == {"error", "traceback"}
    assert "Failed connecting to host 127.0.0.1" in execution["result"]["error"]


def test_secret_parameters_are_masked(engine):
    """A parameter that is declared secret never comes back, unless asked for."""
    execution = engine.run("enginedemo.context", password="hunter2")
    assert execution["parameters"]["password"] == "********"
    assert execution["liveaction"]["parameters"]["password"] == "********"
    shown = engine.get(f"/executions/{execution['id']}", show_secrets="true")
    assert shown["parameters"]["password"] == "hunter2"


def test_workflow(engine):
    """Children run with the parent's user; the result has the output."""
    execution = engine.run("enginedemo.flow", host="web1")
    assert execution["status"] == "succeeded", execution["result"]
    assert execution["result"] == {"output": {"said": "web1"}}
    children = engine.get(f"/executions/{execution['id']}/children")
    assert [c["action"]["ref"] for c in children] == ["core.echo", "core.local", "core.noop"]
    for child in children:
        assert child["parent"] == execution["id"]
        assert child["context"]["parent"]["execution_id"] == execution["id"]
        assert child["context"]["user"] == "st2admin"
    assert children[0]["context"]["orquesta"]["task_name"] == "first"
    assert sorted(c["id"] for c in children) == sorted(execution["children"])
    statuses = [entry["status"] for entry in execution["log"]]
    assert statuses == ["requested", "scheduled", "running", "succeeded"]
    assert execution["elapsed_seconds"] > 0


def test_workflow_cancel(engine):
    """A canceled workflow waits for the task that runs, and starts no other."""
    body = {"action": "enginedemo.flow", "parameters": {"seconds": 2}}
    id_ = engine.request("POST", "/executions", json=body).json()["id"]
    engine.wait_for(
        lambda: any(
            child["action"]["ref"] == "core.local" and child["status"] == "running"
            for child in engine.get(f"/executions/{id_}/children")
        ),
        "the second task",
    )
    answer = engine.request("DELETE", f"/executions/{id_}").json()
    assert answer["status"] == "canceling"
    execution = engine.finished(id_)
    assert execution["status"] == "canceled"
    refs = [c["action"]["ref"] for c in engine.get(f"/executions/{id_}/children")]
    assert refs == ["core.echo", "core.local"]


def test_cancel_reaches_what_is_below(engine):
    """A workflow and a delayed task in a canceled one are canceled; a process runs to its end."""
    definition = {
        "version": 1.0,
        "tasks": {
            "inner": {"action": "enginedemo.flow", "input": {"seconds": 2}},
            "later": {"delay": 60, "action": "core.noop"},
        },
    }
    path = "workflows/outer.yaml"
    action = {"name": "outer", "pack": "default", "runner_type": "orquesta", "entry_point": path}
    files = [{"file_path": path, "content": json.dumps(definition)}]
    answer = engine.request("POST", "/actions", json=dict(action, data_files=files))
    assert answer.status_code == 201, answer.text
    id_ = engine.request("POST", "/executions", json={"action": "default.outer"}).json()["id"]

    def below():
        return {c["action"]["ref"]: c for c in engine.get(f"/executions/{id_}/children")}

    statuses = {"core.local": "running", "core.noop": "delayed"}
    engine.wait_for(
        lambda: all(below().get(ref, {}).get("status") == s for ref, s in statuses.items()),
        "the process and the delayed task",
    )
    assert engine.request("DELETE", f"/executions/{id_}").json()["status"] == "canceling"
    assert engine.finished(id_)["status"] == "canceled"
    children = below()
    assert {ref: child["status"] for ref, child in children.items()} == {
        "core.echo": "succeeded",
        "core.local": "succeeded",
        "core.noop": "canceled",
        "enginedemo.flow": "canceled",
    }
    went = [entry["status"] for entry in children["core.noop"]["log"]]
    assert went == ["requested", "delayed", "canceling", "canceled"]
    went = [entry["status"] for entry in children["enginedemo.flow"]["log"]]
    assert went == ["requested", "scheduled", "running", "canceling", "canceled"]


def test_a_pack_with_two_policies_of_a_type_for_one_action_is_refused(engine, tmp_path):
    """As by the unique index of StackStorm's database."""
    pack = tmp_path / "twice"
    (pack / "policies").mkdir(parents=True)
    (pack / "pack.yaml").write_text("{name: twice, ref: twice, version: 0.1.0}")
    for when in ("failure", "timeout"):
        policy = {"name": f"noop.{when}", "resource_ref": "core.noop", "parameters": {}}
        policy.update(policy_type="action.retry", parameters={"retry_on": when})
        (pack / "policies" / f"{when}.yaml").write_text(json.dumps(policy))
    with pytest.raises(RuntimeError, match="duplicate unique keys"):
        testing.start(tmp_path / "state", [pack])


def test_concurrency_policy_delays(engine):
    """With a threshold of one a name, the second execution of a name is delayed."""
    ids = [
        engine.request(
            "POST", "/executions", json={"action": "enginedemo.slow", "parameters": {"name": name}}
        ).json()["id"]
        for name in ("a", "a", "b")
    ]
    done = [engine.finished(id_) for id_ in ids]
    assert [e["status"] for e in done] == ["succeeded"] * 3
    delayed = ["delayed" in [entry["status"] for entry in e["log"]] for e in done]
    assert delayed == [False, True, False]


def test_retry_policy(engine):
    """An execution that failed is run again as often as the policy says."""
    first = engine.run("enginedemo.flaky")
    assert first["status"] == "failed"

    def retried():
        found = engine.get("/executions", action="enginedemo.flaky")
        return found if len(found) == 3 and all("end_timestamp" in e for e in found) else None

    found = engine.wait_for(retried, "two retries")
    counts = [e["context"].get("policies", {}).get("retry", {}).get("retry_count") for e in found]
    assert sorted(counts, key=lambda c: c or 0) == [None, 1, 2]


def test_rule_trace_and_enforcement(engine):
    """A dispatch is found again by trace tag, trigger instance and enforcement."""
    payload = {"host": "db1", "severity": "critical"}
    answer = engine.request(
        "POST",
        "/webhooks/st2",
        json={"trigger": "enginedemo.alert", "payload": payload},
        headers={"St2-Trace-Tag": "tag-1"},
    )
    assert answer.status_code == 202, answer.text
    instance = engine.wait_for(
        lambda: engine.get("/triggerinstances", trigger="enginedemo.alert", status="processed"),
        "the trigger instance",
    )[0]
    assert instance["payload"] == payload
    (execution,) = executions_of(engine, instance["id"])
    assert execution["trigger_type"]["ref"] == "enginedemo.alert"
    assert execution["trigger_instance"]["payload"] == payload
    assert execution["rule"]["ref"] == "enginedemo.on_alert"
    assert execution["context"]["trigger_instance"]["id"] == instance["id"]
    assert execution["id"] in [e["id"] for e in engine.get("/executions", trigger_type="alert")]
    assert engine.get("/executions", trigger_type="enginedemo.alert") == []
    (enforcement,) = engine.get("/ruleenforcements", trigger_instance=instance["id"])
    assert enforcement["status"] == "succeeded"
    assert enforcement["execution_id"] == execution["id"]
    (trace,) = engine.get("/traces", trace_tag="tag-1")
    assert [c["object_id"] for c in trace["trigger_instances"]] == [instance["id"]]
    assert [c["ref"] for c in trace["rules"]] == ["enginedemo.on_alert"]
    assert trace["action_executions"][0]["object_id"] == execution["id"]
    # The workflow's children belong to the trace, too.
    assert len(trace["action_executions"]) == 4


def test_dispatch_that_does_not_fit_its_schema(engine):
    """Over REST it is refused with a reason."""
    body = {"trigger": "enginedemo.alert", "payload": {"host": 1}}
    answer = engine.request("POST", "/webhooks/st2", json=body)
    assert answer.status_code == 400
    assert "1 is not of type 'string'" in answer.json()["faultstring"]
    answer = engine.request("POST", "/webhooks/st2", json={"trigger": "no.such", "payload": {}})
    assert answer.status_code == 400


def test_schema_with_a_list_of_required(engine):
    """StackStorm's schemas say `required` at each property; draft 4's list of names is refused."""
    sensor = engine.folder / "packs/default/sensors/listing.yaml"
    schema = {"type": "object", "required": ["batch_id"], "properties": {"batch_id": {}}}
    trigger_type = {"name": "listing", "payload_schema": schema}
    content = {"class_name": "X", "entry_point": "x.py", "enabled": False}
    sensor.write_text(json.dumps({**content, "trigger_types": [trigger_type]}))
    engine.request("POST", "/packs/register", json={"packs": ["default"]})
    body = {"trigger": "default.listing", "payload": {"batch_id": "b"}}
    answer = engine.request("POST", "/webhooks/st2", json=body)
    assert answer.status_code == 400
    assert "['batch_id'] is not of type 'boolean'" in answer.json()["faultstring"]


def test_failed_enforcement(engine):
    """A template that names what the payload lacks leaves a failed enforcement and execution."""
    rule = {
        "name": "lacking",
        "enabled": True,
        "trigger": {"type": "enginedemo.alert"},
        "criteria": {"trigger.host": {"type": "equals", "pattern": "lacking"}},
        "action": {"ref": "core.echo", "parameters": {"message": "{{ trigger.nothing }}"}},
    }
    assert engine.request("POST", "/rules", json=rule).status_code == 201
    body = {"trigger": "enginedemo.alert", "payload": {"host": "lacking"}}
    engine.request("POST", "/webhooks/st2", json=body)
    enforcement = engine.wait_for(
        lambda: engine.get("/ruleenforcements", rule_ref="default.lacking"), "the enforcement"
    )[0]
    assert enforcement["status"] == "failed"
    assert "nothing" in enforcement["failure_reason"]
    assert "execution_id" not in enforcement
    (execution,) = executions_of(engine, enforcement["trigger_instance_id"])
    assert execution["status"] == "failed"
    assert execution["parameters"] == {"message": "{{ trigger.nothing }}"}


@pytest.mark.parametrize(
    "label",
    [
        "<% st2kv('system.injected', decrypt => true) %>",
        "{{ st2kv('system.injected', decrypt=true) }}",
    ],
)
def test_text_from_outside_is_evaluated(engine, label):
    """The engine is as vulnerable as StackStorm: else no test of a pack's protection means much."""
    put_key(engine, "injected", "the-secret", secret=True)
    body = {"trigger": "enginedemo.alert", "payload": {"host": label, "severity": "high"}}
    headers = {"St2-Trace-Tag": f"injection {label[0]}"}
    engine.request("POST", "/webhooks/st2", json=body, headers=headers)
    trace = engine.wait_for(lambda: engine.get("/traces", trace_tag=headers["St2-Trace-Tag"]), "it")
    id_ = engine.wait_for(
        lambda: engine.get(f"/traces/{trace[0]['id']}")["action_executions"], "the execution"
    )[0]["object_id"]
    execution = engine.finished(id_)
    assert execution["parameters"]["host"] == label
    assert execution["result"]["output"] == {"said": "the-secret"}


def test_webhook(engine):
    """A rule's webhook passes on body and headers, without the credentials to StackStorm."""
    answer = engine.request(
        "POST",
        "/webhooks/enginedemo",
        json={"name": "alice"},
        headers={"Authorization": "Bearer x"},
    )
    assert answer.status_code == 202
    assert answer.json() == {"name": "alice"}

    def run():
        found = engine.get("/executions", rule="on_hook")
        return found if found and "end_timestamp" in found[0] else None

    (execution,) = engine.wait_for(run, "the hook's execution")
    assert execution["result"]["stdout"] == "alice"
    headers = execution["trigger_instance"]["payload"]["headers"]
    assert headers["Authorization"] == "Bearer x"
    assert "St2-Api-Key" not in headers
    assert engine.request("POST", "/webhooks/nosuch", json={}).status_code == 404
    # With the key in the query, as older Alertmanagers need it.
    bare = engine.session.post(
        f"{engine.api_url}/webhooks/enginedemo?st2-api-key={engine.api_key}",
        json={"name": "b"},
        headers={"St2-Api-Key": None},
    )
    assert bare.status_code == 202


def test_keys(engine):
    """Time to live, prefixes, secrets, names that st2client mangles."""
    put_key(engine, "t.ttl", "v", ttl=1)
    assert value_of(engine, "t.ttl") == "v"
    engine.wait_for(lambda: value_of(engine, "t.ttl") is None, "the key to expire")
    for number in range(3):
        put_key(engine, f"p.{number}", str(number))
    assert [k["value"] for k in engine.get("/keys", prefix="p.")] == ["0", "1", "2"]
    assert [k["value"] for k in engine.get("/keys", prefix="p.", limit=1, offset=1)] == ["1"]
    made = put_key(engine, "s.ecret", "plain", secret=True)
    assert made["value"] != "plain"
    assert made["encrypted"] is True
    assert value_of(engine, "s.ecret") != "plain"
    assert value_of(engine, "s.ecret", decrypt="true") == "plain"
    assert engine.request("DELETE", "/keys/s.ecret").status_code == 204
    answer = engine.request("DELETE", "/keys/s.ecret")
    assert answer.status_code == 404
    assert answer.json()["faultstring"] == (
        'The key "s.ecret" does not exist in the StackStorm datastore.'
    )
    assert engine.request("PUT", "/keys/a/b", json={"value": "x"}).status_code == 404
    put_key(engine, "a?b", "x")
    assert value_of(engine, "a") == "x"


def test_unauthorized(engine):
    """401 with StackStorm's words."""
    for headers, words in (
        ({"St2-Api-Key": None}, "Unauthorized - One of Token or API key required."),
        ({"St2-Api-Key": None, "X-Auth-Token": "nope"}, "Unauthorized"),
        ({"St2-Api-Key": "nope"}, "Unauthorized - ApiKey with key_hash="),
    ):
        answer = engine.request("GET", "/packs", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["faultstring"].startswith(words)


def test_absent_features_say_so(engine):
    """501 with a sentence that names StackStorm."""
    answer = engine.request("GET", "/rules/views/x")
    assert answer.status_code == 501
    assert "use StackStorm" in answer.json()["faultstring"]
    assert engine.request("GET", "/nosuch").status_code == 404


def sensor(engine):
    """What the demo sensor wrote down about itself."""
    value = engine.wait_for(lambda: value_of(engine, "enginedemo.sensor"), "the sensor")
    return json.loads(value)


def command(engine, **what):
    """Have the sensor do something."""
    put_key(engine, "enginedemo.do", json.dumps(what))


def test_sensor_dispatches(engine):
    """dispatch answers None whether or not the payload fits; what does not fit is logged only."""
    about = sensor(engine)
    assert about["config"]["greeting"] == "hello"
    assert not any(path.endswith("actions/lib") for path in about["path"])
    command(engine, dispatch={"host": "from-sensor", "severity": "high"}, tag="sensor-tag")
    trace = engine.wait_for(lambda: engine.get("/traces", trace_tag="sensor-tag"), "the trace")[0]
    instance = engine.wait_for(
        lambda: engine.get(f"/traces/{trace['id']}")["trigger_instances"], "its instance"
    )[0]
    (execution,) = executions_of(engine, instance["object_id"])
    assert execution["parameters"]["host"] == "from-sensor"
    engine.wait_for(lambda: value_of(engine, "enginedemo.did") == "None", "the answer")
    engine.request("DELETE", "/keys/enginedemo.did")
    command(engine, dispatch={"host": 5})
    engine.wait_for(lambda: value_of(engine, "enginedemo.did") == "None", "the answer")
    engine.wait_for(lambda: "5 is not of type 'string'" in engine.log(), "the log line")


def test_sensor_respawns_and_restarts(engine):
    """Non-zero exit: started again after 2.5 s; registering the pack restarts it; 0: never."""
    pid = sensor(engine)["pid"]
    command(engine, exit=1)
    engine.wait_for(lambda: sensor(engine)["pid"] != pid, "the respawn")
    pid = sensor(engine)["pid"]
    body = {"packs": ["enginedemo"], "types": ["all"]}
    counts = engine.request("POST", "/packs/register", json=body).json()
    assert counts["actions"] >= 4
    assert counts["rules"] == 2
    engine.wait_for(lambda: sensor(engine)["pid"] != pid, "the restart")
    assert not alive(pid)
    pid = sensor(engine)["pid"]
    command(engine, exit=0)
    engine.wait_for(lambda: not alive(pid), "the exit")
    time.sleep(4)
    assert sensor(engine)["pid"] == pid
    # Enabling starts it again.
    found = engine.get("/sensortypes/enginedemo.DemoSensor")
    engine.request("PUT", f"/sensortypes/{found['id']}", json=dict(found, enabled=True))
    engine.wait_for(lambda: sensor(engine)["pid"] != pid, "the start")


def alive(pid):
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_action_saved_with_its_workflow(engine):
    """As the web UI does it: the file lands below actions/, and runs."""
    action = {
        "name": "saved",
        "pack": "default",
        "runner_type": "orquesta",
        "enabled": True,
        "entry_point": "workflows/saved.yaml",
        "parameters": {},
        "data_files": [
            {
                "file_path": "workflows/saved.yaml",
                "content": "version: 1.0\ntasks:\n  one:\n    action: core.noop\n",
            }
        ],
    }
    answer = engine.request("POST", "/actions", json=action)
    assert answer.status_code == 201, answer.text
    assert (engine.folder / "packs/default/actions/workflows/saved.yaml").exists()
    assert engine.run("default.saved")["status"] == "succeeded"
    answer = engine.request("GET", "/actions/views/entry_point/default.saved")
    assert answer.text == action["data_files"][0]["content"]
    assert answer.headers["Content-Type"] == "application/x-yaml"
    assert engine.request("POST", "/actions", json=action).status_code == 409
    answer = engine.request("PUT", "/actions/default.saved", json=dict(action, description="new"))
    assert answer.json()["description"] == "new"
    action["data_files"][0]["file_path"] = "../../x.yaml"
    answer = engine.request("PUT", "/actions/default.saved", json=action)
    assert answer.status_code == 400
    assert "Invalid file path" in answer.json()["faultstring"]


def test_pack_install_from_git(engine, tmp_path):
    """packs.install clones and registers."""
    source = tmp_path / "gitdemo"
    source.mkdir()
    (source / "pack.yaml").write_text("ref: gitdemo\nname: gitdemo\nversion: 1.0.0\n")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=source, check=True)
    done = engine.st2("pack", "install", f"file://{source}", "-j")
    assert json.loads(done.stdout)["ref"] == "gitdemo"


def test_start_on_a_taken_port(engine, tmp_path):
    """One sentence that names the option, and exit status 1."""
    port = engine.env["ST2_BASE_URL"].rpartition(":")[2]
    command = [sys.executable, "-m", "tests.engine", "--dir", str(tmp_path), "--api-port", port]
    done = subprocess.run(command, capture_output=True, text=True, cwd=testing.ROOT)
    assert done.returncode == 1
    assert done.stderr == f"--api-port {port}: Address already in use on 127.0.0.1\n"


def test_interrupted_start_leaves_no_process(tmp_path, monkeypatch):
    """What Ctrl-C interrupts is ended."""
    made = []

    def interrupt(handle):
        made.append(handle.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(testing.EngineHandle, "_read_env", interrupt)
    with pytest.raises(KeyboardInterrupt):
        testing.start(tmp_path)
    assert not alive(made[0])


def test_restart_and_crash_keep_state(tmp_path):
    """After SIGKILL: keys, executions and enforcements are there; what ran is abandoned."""
    engine = testing.start(tmp_path, [DEMO])
    try:
        put_key(engine, "kept", "v")
        rule = engine.get("/rules/enginedemo.on_hook")
        engine.request("PUT", "/rules/enginedemo.on_hook", json=dict(rule, enabled=False))
        body = {"action": "core.local", "parameters": {"cmd": "sleep 5"}}
        id_ = engine.request("POST", "/executions", json=body).json()["id"]
        flow = {"action": "enginedemo.flow", "parameters": {"seconds": 5}}
        flow_id = engine.request("POST", "/executions", json=flow).json()["id"]
        engine.wait_for(
            lambda: len(engine.get(f"/executions/{flow_id}").get("children", [])) == 2,
            "the second task",
        )
        engine.wait_for(
            lambda: engine.get(f"/executions/{id_}")["status"] == "running", "the action"
        )
        pid = sensor(engine)["pid"]
        engine.kill()
        # The parent-death signal ends the sensor.
        deadline = time.monotonic() + 30
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(pid)
        engine.start()
        assert value_of(engine, "kept") == "v"
        assert engine.get("/rules/enginedemo.on_hook")["enabled"] is False
        assert engine.finished(id_)["status"] == "abandoned"
        # Its second task was abandoned, which fails the workflow.
        assert engine.finished(flow_id)["status"] == "failed"
        assert engine.run("core.noop")["status"] == "succeeded"
        assert os.path.exists(engine.folder / "env")
    finally:
        engine.stop()


def test_a_further_pack_leaves_the_rules_of_the_first_as_they_ship(tmp_path):
    """A disabled rule that is called as its action, which is enabled, stays disabled."""
    packs = [testing.ROOT, testing.ROOT / "tests" / "fixtures" / "packs" / "linux"]
    engine = testing.start(tmp_path, packs, {"poundcake": {"port": 0}})
    try:
        assert engine.get("/actions/poundcake.service_down")["enabled"] is True
        assert engine.get("/rules/poundcake.service_down")["enabled"] is False
    finally:
        engine.stop()
