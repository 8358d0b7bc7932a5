"""The CrateDB flight recorder for real: a recording of an alert's pod is in the bucket, or why not.

StackStorm, Prometheus, Alertmanager and S3 are real servers, the latter moto's; hemako is a script
that takes the same arguments.
"""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.alerts import alert
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.pack import Pack
from tests.support.remediations import asked, children_of, output_of, run
from tests.support.world import World, unique

if os.environ.get("ST2_API_URL"):
    pytest.skip("needs a config of its own", allow_module_level=True)

from tests.demo import servers
from tests.support.s3 import S3

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "cratedb"
HAS_ONE = "none, this episode has its recording"
ALERT = {"alertname": "CrateDBContainerRestart", "starts_at": "2026-11-21T08:00:00.5Z"}
RULES = ("poundcake.cratedb_not_responsive", "poundcake.cratedb_container_restart")
needs_servers = pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers installs them"
)


class Recorder:
    """StackStorm with the pack, S3, and the script that replaces hemako."""

    def __init__(self, engine, s3, folder):
        self.engine, self.s3, self.folder = engine, s3, folder
        self.world = World(engine.api_url, engine.api_key, engine.listener_url, engine.env)

    def fail(self, times):
        """Let hemako fail this many times from now on."""
        (self.folder / "failures").write_text(str(times))

    def calls(self, pod):
        """The arguments of each call of hemako for a pod."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [call for call in map(json.loads, lines) if pod in call]

    def kept(self):
        """The recordings on this node."""
        return sorted((self.folder / "kept").glob("*"))

    def run(self, **more):
        """Run the workflow for a pod to its end; return the execution and the pod's name."""
        pod = more.setdefault("pod", unique("crate-"))
        given = {"kube_context": "eks1", "namespace": "ns-1", "sts": "sts-1", "retry_seconds": 0}
        given["alert"] = ALERT
        return run(self.world, "poundcake.cratedb_jfr", **dict(given, **more)), pod


@contextlib.contextmanager
def recorder_in(folder, **config):
    """A Recorder, without a bucket."""
    shutil.copy(str(FIXTURES / "hemako"), str(folder / "hemako"))
    given = {"hemako_path": str(folder / "hemako"), "jfr_directory": str(folder / "kept")}
    with S3(folder / "s3") as s3:
        given.update(s3.settings, **config)
        with servers.Engine(folder / "engine", **given) as engine:
            for rule in RULES:
                engine.st2("rule", "enable", rule)
            yield Recorder(engine, s3, folder)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    """A Recorder with a bucket, where no alert is remediated twice or waits for another."""
    folder = tmp_path_factory.mktemp("recorder")
    with recorder_in(folder, max_concurrent=100, breaker_failures=0) as found:
        found.s3.make_bucket()
        yield found


def tasks_of(recorder, execution):
    """The actions that a workflow ran, in order, without the pack's name and without retries."""
    found = recorder.world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])
    found.sort(key=lambda child: child["start_timestamp"])
    names = [child["action"]["ref"].split(".")[1] for child in found]
    return [name for name in names if name not in ("retry_action", "noop")]


def crate_alert(alertname="CrateDBContainerRestart", **labels):
    """An alert as the Prometheus rules of the fixtures produce it, for a unique pod."""
    given = {"kube_context": "eks1", "namespace": "ns-1", "pod": unique("crate-"), "sts": "sts-1"}
    given.update(labels)
    entry = alert(alertname=alertname, starts_at="2026-01-31T12:00:00.123Z", **given)
    del entry["labels"]["instance"]
    entry["labels"] = {name: value for name, value in entry["labels"].items() if value}
    return entry


# --- the workflow -----------------------------------------------------------------------------


def test_a_recording_is_collected_uploaded_and_verified(recorder):
    """It is under the key of its episode, and no longer on the node."""
    execution, pod = recorder.run()
    assert execution["status"] == "succeeded", execution["result"]
    key = "poundcake/jfr/eks1/ns-1/%s/CrateDBContainerRestart-2026-11-21T080000Z.jfr" % pod
    content = recorder.s3.body(key)
    assert content.startswith(b"FLR\0") and pod.encode() in content
    assert output_of(execution) == {
        "outcome": "remediated",
        "evidence": "s3://recordings/%s is not there" % key,
        "remediation": "collected and uploaded to s3://recordings/" + key,
        "verification": "%d bytes are there" % len(content),
        "reason": None,
    }
    steps = ["log_alert", "prepare_command", "find_file_s3", "collect_jfr"]
    steps += ["upload_file_s3", "find_file_s3"]
    assert tasks_of(recorder, execution) == steps
    words = ["--kube-context", "eks1", "--namespace", "ns-1", "--pod", pod, "--duration", "30s"]
    assert recorder.calls(pod) == [["jfr", "collect"] + words + ["--approve"]]
    assert recorder.kept() == []
    path = "/executions/%s/children?depth=-1" % execution["id"]
    seen = json.dumps([execution, recorder.world.api("GET", path)]) + recorder.engine.log()
    assert recorder.s3.settings["s3_secret_access_key"] not in seen


def test_the_alert_is_logged_with_its_request(recorder):
    """One line of JSON, for a log collector."""
    execution, pod = recorder.run(alert=dict(ALERT, request_id="r-1", severity="critical"))
    (logged,) = children_of(recorder.world, execution, "poundcake.log_alert")
    result = recorder.world.execution(logged["id"])["result"]
    line = next(line for line in result["stderr"].splitlines() if '"event"' in line)
    entry = json.loads(line[line.index("{") :])
    assert entry == {
        "event": "alert",
        "request_id": "r-1",
        "alertname": "CrateDBContainerRestart",
        "severity": "critical",
        "labels": {"kube_context": "eks1", "namespace": "ns-1", "pod": pod, "sts": "sts-1"},
    }


def test_an_episode_is_collected_once_whoever_asks_twice(recorder):
    """Its recording is found in the bucket; another episode gets its own."""
    _, pod = recorder.run()
    again, _ = recorder.run(pod=pod)
    assert again["status"] == "succeeded"
    output = output_of(again)
    assert output["remediation"] == HAS_ONE and output["evidence"].endswith(" is there")
    assert len(recorder.calls(pod)) == 1
    later, _ = recorder.run(pod=pod, alert=dict(ALERT, starts_at="2026-11-21T09:00:00Z"))
    assert output_of(later)["remediation"].startswith("collected and uploaded to s3://")
    assert len(recorder.calls(pod)) == 2


def test_by_hand_it_needs_no_alert(recorder):
    """Then the recording is named after the current time."""
    execution, pod = recorder.run(alert={})
    assert execution["status"] == "succeeded", execution["result"]
    (key,) = [key for key in recorder.s3.keys() if pod in key]
    assert key.split("/by_hand-")[1].startswith("20") and key.endswith("Z.jfr")


def test_a_context_with_slashes_is_one_folder(recorder):
    """EKS names its contexts like this; hemako gets the name unchanged."""
    context = "arn:aws:eks:eu-1:123:cluster/x"
    execution, pod = recorder.run(kube_context=context)
    assert "/arn_aws_eks_eu-1_123_cluster_x/ns-1/" in output_of(execution)["remediation"]
    assert context in recorder.calls(pod)[0]


def test_a_dry_run_records_nothing(recorder):
    """It says that it would, unless this episode already has a recording."""
    execution, pod = recorder.run(dry_run=True)
    assert execution["status"] == "succeeded"
    said = "none, this is a dry run; it would record the pod"
    assert output_of(execution)["remediation"] == said
    assert tasks_of(recorder, execution) == ["log_alert", "prepare_command", "find_file_s3"]
    assert recorder.calls(pod) == [] and not [key for key in recorder.s3.keys() if pod in key]
    recorder.run(pod=pod)
    again, _ = recorder.run(pod=pod, dry_run=True)
    assert output_of(again)["remediation"] == HAS_ONE


@pytest.mark.parametrize("approved", [True, False], ids=["yes", "no"])
def test_a_person_is_asked_before_anything_is_recorded(recorder, approved):
    """The question names the pod; without approval hemako does not run."""
    body = {"kube_context": "eks1", "namespace": "ns-1", "pod": unique("crate-"), "sts": "sts-1"}
    body = {"action": "poundcake.cratedb_jfr", "parameters": dict(body, approval=True)}
    started = recorder.world.api("POST", "/executions", json=body)
    inquiry = asked(recorder, started["id"])
    pod = body["parameters"]["pod"]
    assert pod in inquiry["schema"]["properties"]["approved"]["description"]
    assert recorder.calls(pod) == []
    answer = json.dumps({"approved": approved})
    recorder.world.st2("inquiry", "respond", inquiry["id"], "-r", answer)
    execution = recorder.world.finished(started["id"])
    assert execution["status"] == ("succeeded" if approved else "failed"), execution["result"]
    assert len(recorder.calls(pod)) == approved
    reason = output_of(execution)["reason"]
    assert reason == (None if approved else "a person said no, nothing was done")


def test_what_fails_is_collected_at_the_next_try(recorder):
    """Each wait is twice the one before it."""
    recorder.fail(2)
    execution, pod = recorder.run(retry_seconds=1)
    assert execution["status"] == "succeeded", execution["result"]
    assert len(recorder.calls(pod)) == 3
    tried = children_of(recorder.world, execution, "poundcake.collect_jfr")
    tried.sort(key=lambda child: child["start_timestamp"])
    waits = [recorder.world.execution(child["id"]).get("delay") or 0 for child in tried]
    assert waits == [0, 1000, 2000], "in milliseconds"


def test_what_cannot_be_collected_says_why(recorder):
    """In hemako's own words, which are data."""
    recorder.fail(2)
    execution, pod = recorder.run(tries=2)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "none"
    said = "hemako: failed with exit status 3; its output: error: the pod does not answer, "
    assert output["reason"] == "not collected in 2 tries. %s❴❴ 7 * 7 }} ‹%% 7 * 7 %%>" % said
    assert recorder.kept() == []


def test_what_cannot_be_uploaded_is_tried_again_and_then_kept(tmp_path):
    """The bucket is made between two tries; without it the recording stays on the node."""
    with recorder_in(tmp_path) as recorder:
        kept, pod = recorder.run(tries=2)
        assert kept["status"] == "failed"
        output = output_of(kept)
        assert output["evidence"].endswith(" is not there")
        assert output["remediation"] == "collected, not uploaded"
        (path,) = recorder.kept()
        assert path.stat().st_mode & 0o777 == 0o600
        start = "the recording stays at %s as it was not uploaded in 2 tries. s3_bucket: " % path
        assert output["reason"].startswith(start) and "NoSuchBucket" in output["reason"]
        assert len(recorder.calls(pod)) == 1
        path.unlink()

        body = {"kube_context": "c", "namespace": "n", "pod": "crate-1", "sts": "s", "tries": 8}
        body = {"action": "poundcake.cratedb_jfr", "parameters": dict(body, retry_seconds=1)}
        started = recorder.world.api("POST", "/executions", json=body)

        def upload_failed():
            tried = children_of(recorder.world, started, "poundcake.upload_file_s3")
            return [child for child in tried if child["status"] == "failed"]

        recorder.world.wait(upload_failed, "an upload to fail")
        recorder.s3.make_bucket()
        execution = recorder.world.finished(started["id"])
        said = output_of(execution)["remediation"]
        assert said.startswith("collected and uploaded to s3://"), execution["result"]
        assert len(recorder.calls("crate-1")) == 1
        assert recorder.kept() == []


# --- from the alert on ------------------------------------------------------------------------


@pytest.mark.parametrize("alertname", ["CrateDBCloudNotResponsive", "CrateDBContainerRestart"])
def test_the_rules_take_their_alerts(recorder, alertname):
    """Each with its own labels."""
    entry = crate_alert(alertname)
    row = recorder.world.completed(recorder.world.accept(entry))
    assert row["alerts"][0]["outcome"] == "remediated", row
    pod = entry["labels"]["pod"]
    (key,) = [key for key in recorder.s3.keys() if pod in key]
    assert key.endswith("/eks1/ns-1/%s/%s-2026-01-31T120000Z.jfr" % (pod, alertname))


def test_the_same_alert_twice_is_collected_once(recorder):
    """Admission decides that the second is a duplicate, during the collection and afterwards."""
    entry = crate_alert()
    ids = [recorder.world.accept(entry) for _ in range(3)]
    rows = [recorder.world.completed(request_id) for request_id in ids]
    ids.append(recorder.world.accept(entry))
    rows.append(recorder.world.completed(ids[-1]))
    decisions = [row["alerts"][0]["decision"] for row in rows]
    assert decisions == ["dispatch"] + ["duplicate"] * 3
    assert len(recorder.calls(entry["labels"]["pod"])) == 1


@pytest.mark.parametrize("missing", ["kube_context", "namespace", "pod", "sts"])
def test_a_label_that_is_missing_is_told_to_a_person(recorder, missing):
    """It does not end as a rule that silently does not fire."""
    entry = crate_alert(**{missing: "", "n": unique("n")})
    request_id = recorder.world.accept(entry)
    recorder.world.completed(request_id)
    assert told(recorder, request_id).startswith(missing + ": empty; expected")


def calls_so_far(recorder):
    path = recorder.folder / "calls"
    return path.read_text() if path.exists() else ""


def told(recorder, request_id):
    """Return what a person was told about the labels of the only alert of a request."""
    found = recorder.world.ask("list_executions", request_id=request_id)["executions"]
    (one,) = [one for one in found if one["action_ref"] == "poundcake.cratedb_jfr"]
    output = output_of(recorder.world.execution(one["execution_id"]))
    assert output["outcome"] == "escalated"
    start = "hemako needs these labels, nothing was done - "
    assert output["reason"].startswith(start)
    return output["reason"][len(start) :]


@pytest.mark.parametrize(
    "evil",
    ["x; touch {mark}", "$(touch {mark})", "`touch {mark}`", "--mark={mark}", "../../{mark}"]
    + ["x\ntouch {mark}", "{{{{ 7 * 7 }}}}", "<% 7 * 7 %>"],
)
@pytest.mark.parametrize("label", ["kube_context", "pod"])
def test_a_label_is_data(recorder, label, evil):
    """A name that is invalid in Kubernetes reaches nothing, least of all a shell."""
    mark = recorder.folder / unique("mark")
    value = evil.format(mark=mark)
    entry = crate_alert(**{label: value, "n": unique("n")})
    before = recorder.s3.keys(), calls_so_far(recorder)
    request_id = recorder.world.accept(entry)
    recorder.world.completed(request_id)
    assert (recorder.s3.keys(), calls_so_far(recorder)) == before
    assert not mark.exists()
    assert told(recorder, request_id).startswith(label + ': "')


# --- Prometheus and Alertmanager --------------------------------------------------------------


@needs_servers
def test_the_rules_and_the_configuration_of_the_fixtures_are_good():
    """promtool and amtool accept them, and promtool fires the alerts from recorded series."""
    for command in (
        [servers.program("promtool"), "check", "rules", "prometheus_rules.yml"],
        [servers.program("promtool"), "test", "rules", "prometheus_rules_test.yml"],
        [servers.program("amtool"), "check-config", "alertmanager.yml"],
    ):
        done = subprocess.run(command, cwd=str(FIXTURES), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_servers
@pytest.mark.parametrize("alertname", ["CrateDBCloudNotResponsive", "CrateDBContainerRestart"])
def test_the_route_of_the_fixtures_takes_the_alerts(alertname):
    """And nothing else; people are notified too."""
    command = [servers.program("amtool"), "config", "routes", "test"]
    command += ["--config.file=alertmanager.yml"]
    for name, receivers in ((alertname, "poundcake"), ("HostDown", "people")):
        asked = command + ["alertname=" + name]
        done = subprocess.run(asked, cwd=str(FIXTURES), capture_output=True, text=True)
        assert done.stdout.split() == [receivers], done.stderr


@pytest.mark.parametrize("name", ["not_responsive", "container_restart"])
def test_the_sample_notifications_are_taken(recorder, name):
    """As Alertmanager sent them; the following resolve starts nothing."""
    firing, resolved = json.loads((FIXTURES / (name + ".json")).read_text())
    pod = unique("crate-")
    for one in (firing, resolved):
        one["alerts"][0]["labels"]["pod"] = pod
        del one["alerts"][0]["fingerprint"]
    status, answer = recorder.world.post(firing)
    assert status == 202, answer
    row = recorder.world.completed(answer["request_id"])
    assert row["alerts"][0]["outcome"] == "remediated", row
    status, answer = recorder.world.post(resolved)
    row = recorder.world.completed(answer["request_id"])
    assert (status, row["alerts"][0]["decision"]) == (202, "resolve")
    assert len(recorder.calls(pod)) == 1


class Exporter(LocalServer):
    """A target for Prometheus: CrateDB's exporter and kube-state-metrics in one."""

    def __init__(self):
        exporter = self
        self.restarts = 0

        class Handler(QuietHandler):
            def do_GET(self):
                name = 'kube_pod_container_status_restarts_total{container="crate"}'
                body = ("%s %d\n" % (name, exporter.restarts)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

        super().__init__(Handler)


def alertmanager_of_the_fixtures(folder, url):
    """Alertmanager with the configuration of the fixtures, and PoundCake's real address."""
    found = servers.Alertmanager(folder, [])
    token = folder / "token"
    token.write_text("any")
    text = (FIXTURES / "alertmanager.yml").read_text()
    for placeholder, value in (
        ("http://stackstorm.example.com:8090/webhook", url),
        ("/etc/alertmanager/poundcake_token", str(token)),
    ):
        assert text.count(placeholder) == 1
        text = text.replace(placeholder, value)
    found.config_path.write_text(text)
    return found


def rules_of_the_fixtures():
    """The alerting rules, which fire at once here; promtool has tested their waiting time."""
    document = yaml.safe_load((FIXTURES / "prometheus_rules.yml").read_text())
    return [dict(rule, **{"for": "0s"}) for rule in document["groups"][0]["rules"]]


@needs_servers
def test_a_pod_that_prometheus_sees_fail_is_recorded(recorder, tmp_path):
    """One pod that is down and one that restarts, from the scrape to the bucket."""
    down, restarts = unique("crate-down-"), unique("crate-restarts-")
    labels = {"job": "cratedb", "kube_context": "eks1", "namespace": "ns-1", "sts": "sts-1"}
    with contextlib.ExitStack() as stack:
        exporter = stack.enter_context(Exporter())
        am = alertmanager_of_the_fixtures(tmp_path / "am", recorder.engine.webhook_url)
        stack.enter_context(am)
        dead = "127.0.0.1:%d" % servers.free_port()
        targets = [
            servers.target(dead, **dict(labels, pod=down)),
            servers.target(exporter.address, **dict(labels, pod=restarts)),
        ]
        rules = rules_of_the_fixtures()
        prometheus = servers.Prometheus(tmp_path / "prom", targets, rules, am.address)
        prometheus.check()
        stack.enter_context(prometheus)
        exporter.restarts = 1
        for pod, alertname in (
            (down, "CrateDBCloudNotResponsive"),
            (restarts, "CrateDBContainerRestart"),
        ):
            (key,) = recorder.world.wait(
                lambda pod=pod: [key for key in recorder.s3.keys() if pod in key],
                "the recording of " + pod,
            )
            assert "/eks1/ns-1/%s/%s-" % (pod, alertname) in key
            assert recorder.s3.body(key).startswith(b"FLR\0")
            assert len(recorder.calls(pod)) == 1


# --- how many at once -------------------------------------------------------------------------


def test_a_hundred_are_in_flight_at_once():
    """Without serialize_by, no pod waits for another of its stateful set."""
    pack = Pack(max_concurrent=100, serialize_by="none", rate_limit=[])
    pack.stackstorm.rule("poundcake.cratedb_container_restart")
    for number in range(120):
        pack.post(dict(crate_alert(pod="crate-%d" % number), startsAt="2026-11-21T08:00:00Z"))
    pack.steps(5)
    assert len(pack.stackstorm.running()) == pack.most_in_flight == 100
    pack.settle()
    assert {row["state"] for row in pack.alerts()} == {"remediated"}
    assert pack.most_in_flight == 100
