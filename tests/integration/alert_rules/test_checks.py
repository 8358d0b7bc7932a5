"""Rules that Prometheus would refuse are found before they are written: by the real promtool, and
by the real Prometheus where there is none."""

import copy
import shutil
import subprocess
import urllib.parse

import pytest
import yaml
from poundcake.alert_rules import checks, syntax
from poundcake.alert_rules.errors import BrokenRules
from poundcake.errors import ExpectedError

from tests.demo import servers
from tests.support.fakes import make_settings
from tests.support.local_server import LocalServer, QuietHandler

GOOD = [
    {
        "name": 'ho"sts 😀',
        "interval": "30s",
        "partial_response_strategy": "warn",
        "rules": [
            {
                "alert": "Host down",
                "expr": 'up{job="node"} == 0',
                "for": "1h30m",
                "labels": {"severity": "critical", "tier": 1},
                "annotations": {
                    "summary": "{{ $labels.instance }} {{ if gt $value 1.0 }}a}}b{{ end }}",
                    "odd": '{{ "}}" }} {{- `{{` -}} 😀',
                },
            },
            {"record": "job:up:sum", "expr": "sum by (job) (up)"},
            {"alert": "Always", "expr": 1, "for": 0},
        ],
    },
    {"name": "empty", "rules": []},
]
# What is done to the first rule, and what the reason says: promtool's words, Prometheus's or ours.
BROKEN = [
    ("expr", "sum(", "unclosed left parenthesis", "unclosed left parenthesis"),
    ("expr", "up ==\n", "unexpected end of input", "unexpected end of input"),
    ("labels", {"a-b": "x"}, "invalid label name: a-b", "labels: a-b is not a valid label name"),
    (
        "labels",
        {"__name__": "x"},
        "invalid label name: __name__",
        "labels: __name__ is not a valid",
    ),
    ("annotations", {"s": "{{ $labels.x "}, "unclosed action", "annotations: s has {{ without }}"),
    ("annotations", {"s": "{{}}"}, "missing value for command", "annotations: s has {{ without }}"),
    ("labels", {"s": "a {{"}, 'label "s": template:', "labels: s has {{ without }}"),
]


@pytest.fixture(scope="module")
def with_promtool():
    """Settings of a node that has promtool."""
    try:
        return make_settings(promtool_path=servers.program("promtool"))
    except servers.ServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def with_prometheus(tmp_path_factory):
    """Settings of a node that has none, beside a real Prometheus."""
    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    with servers.Prometheus(tmp_path_factory.mktemp("prometheus"), []) as found:
        yield make_settings(promtool_path="/no/promtool", prometheus_url=found.url)


def broken(**fields):
    """Return GOOD with fields of its first rule replaced."""
    groups = copy.deepcopy(GOOD)
    groups[0]["rules"][0].update(fields)
    return groups


def errors_of(settings, groups):
    with pytest.raises(BrokenRules) as caught:
        checks.check(settings, groups)
    return caught.value.details["errors"]


def test_promtool_finds_no_fault_with_good_rules(with_promtool):
    """Nor with what a PrometheusRule says to Thanos, which promtool does not know."""
    assert checks.check(with_promtool, GOOD) == "promtool"
    assert checks.check(with_promtool, []) == "promtool"


def test_prometheus_is_asked_where_there_is_no_promtool(with_prometheus):
    """The real one."""
    assert checks.check(with_prometheus, GOOD) == "prometheus"


@pytest.mark.parametrize("field, value, reason, _", BROKEN)
def test_promtool_says_which_rule_is_broken_and_why(with_promtool, field, value, reason, _):
    """With the group and name exactly as written, even unusual ones."""
    (error,) = errors_of(with_promtool, broken(**{field: value}))
    assert (error["group"], error["rule"]) == ('ho"sts 😀', "Host down")
    assert reason in error["reason"] and "\n" not in error["reason"]


@pytest.mark.parametrize("field, value, _, reason", BROKEN)
def test_without_promtool_the_same_rules_are_broken(with_prometheus, field, value, _, reason):
    """PoundCake checks label names and templates; Prometheus checks expressions."""
    (error,) = errors_of(with_prometheus, broken(**{field: value}))
    assert (error["group"], error["rule"]) == ('ho"sts 😀', "Host down")
    assert reason in error["reason"]


def test_every_broken_rule_is_named(with_promtool, with_prometheus):
    """Not only the first; the message names them, too."""
    groups = broken(expr="sum(")
    groups[0]["rules"][1]["expr"] = "up =="
    for settings in (with_promtool, with_prometheus):
        with pytest.raises(BrokenRules) as caught:
            checks.check(settings, groups)
        named = [error["rule"] for error in caught.value.details["errors"]]
        assert named == ["Host down", "job:up:sum"]
        assert "job:up:sum: " in str(caught.value) and "Host down: " in str(caught.value)


def test_what_promtool_says_of_no_rule_is_an_error_all_the_same(with_promtool):
    """Such as a field that it does not know."""
    (error,) = errors_of(with_promtool, broken(foo="bar"))
    assert (error["group"], error["rule"]) == ("", "") and "foo" in error["reason"]


def test_a_field_that_prometheus_does_not_know_is_found_without_promtool(with_prometheus):
    """Prometheus would refuse the whole file."""
    (error,) = errors_of(with_prometheus, broken(foo="bar"))
    assert error["reason"] == "unknown field foo"


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"for": "5x"}, 'for: "5x" is not a duration'),
        ({"for": "m"}, 'for: "m" is not a duration'),
        ({"for": 5}, 'for: "5" is not a duration'),
        ({"keep_firing_for": "1 h"}, 'keep_firing_for: "1 h" is not a duration'),
        ({"expr": ""}, "expr is empty"),
        ({"expr": None}, "expr is empty"),
        ({"expr": ["up"]}, "expr is empty or not a string"),
        ({"alert": ""}, "needs a name as alert"),
        ({"record": "a"}, "needs a name as alert or as record, and not both"),
        ({"labels": ["a"]}, "labels is not a mapping"),
        ({"annotations": {"a": ["b"]}}, "annotations: a is not a string"),
        ({"labels": {"a": None}}, "labels: a is not a string"),
        ({"labels": {1: "a"}}, "labels: 1 is not a string"),
    ],
)
def test_the_wrong_form_is_found_without_anybody(change, reason):
    """The reason names the field; promtool alone would not name the rule of a duration."""
    errors = syntax.form_errors(broken(**change))
    assert len(errors) == 1 and errors[0]["reason"].startswith(reason)


@pytest.mark.parametrize(
    "groups, reason",
    [
        (None, "groups is not a list"),
        ([None], "a group has no name"),
        ([{"name": "a"}, {"name": "a"}], "two groups have this name"),
        ([{"name": "a", "rules": {}}], "rules is not a list"),
        ([{"name": "a", "rules": [None]}], "is not a mapping"),
        ([{"name": "a", "interval": "often"}], 'interval: "often" is not a duration'),
        ([{"name": "a", "rules": [{"record": "b", "expr": "1", "for": "1m"}]}], "a record takes"),
    ],
)
def test_groups_of_the_wrong_form_are_found(groups, reason):
    """It is never a traceback."""
    (error,) = syntax.form_errors(groups)
    assert error["reason"].startswith(reason)


@pytest.mark.parametrize(
    "text",
    ["0", "0s", "5m", "1h30m", "1y2w3d4h5m6s7ms", "90s", "", "s", "1.5h", "5m5m", "1m1h", "-5m"],
)
def test_a_duration_is_one_exactly_when_promtool_takes_it(with_promtool, tmp_path, text):
    """Else the form would refuse what is good, or pass what is not."""
    path = tmp_path / "rules.yaml"
    rule = {"alert": "A", "expr": "up", "for": text}
    path.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [rule]}]}))
    done = subprocess.run([with_promtool.promtool_path, "check", "rules", str(path)], check=False)
    assert syntax.is_duration(text) == (done.returncode == 0)


def test_without_promtool_and_prometheus_nothing_is_taken():
    """Nothing can check the expression; the message has the remedy."""
    with pytest.raises(ExpectedError) as caught:
        checks.check(make_settings(promtool_path="/no/promtool"), GOOD)
    assert str(caught.value).startswith("promtool_path: /no/promtool does not exist")
    assert "prometheus_url" in str(caught.value)


@pytest.mark.parametrize("path, says", [("/tmp", "cannot be run"), ("a\0b", "cannot be run")])
def test_a_promtool_that_cannot_be_run_is_told(path, says):
    """That is a mistake in the config, so the rules are not accepted unchecked."""
    with pytest.raises(ExpectedError) as caught:
        checks.check(make_settings(promtool_path=path), GOOD)
    assert str(caught.value).startswith("promtool_path: ") and says in str(caught.value)


def test_a_promtool_that_fails_without_a_word_is_an_error():
    """A bad status without a message is an error, too."""
    (error,) = errors_of(make_settings(promtool_path=shutil.which("false")), GOOD)
    assert error["reason"] == "promtool ended with status 1 and no message"


@pytest.mark.parametrize("status", [400, 503])
def test_a_prometheus_before_2_34_is_asked_with_a_query(status):
    """The query is for a time without series; only 400 means that the expression is wrong."""
    seen = []

    class Handler(QuietHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            seen.append((self.path, body))
            old = self.path == "/api/v1/format_query"
            text = b"404 page not found" if old else b'{"status":"error","error":"parse error"}'
            self.send_response(404 if old else status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    groups = [{"name": "a", "rules": [{"alert": "A", "expr": "by"}]}]
    with LocalServer(Handler) as server:
        settings = make_settings(promtool_path="/no/promtool", prometheus_url=server.url)
        with pytest.raises(ExpectedError) as caught:
            checks.check(settings, groups)
    assert seen == [("/api/v1/format_query", "query=by"), ("/api/v1/query", "query=by&time=1")]
    assert isinstance(caught.value, BrokenRules) == (status == 400)


def test_a_prometheus_that_does_not_answer_is_no_fault_of_the_rule():
    """The setting is named."""
    settings = make_settings(promtool_path="/no/promtool", prometheus_url="http://127.0.0.1:1")
    with pytest.raises(ExpectedError) as caught:
        checks.check(settings, GOOD)
    assert str(caught.value).startswith("prometheus_url: ")


UTF8 = [
    {
        "name": "shop",
        "rules": [
            {
                "alert": "CartSlow",
                "expr": '{"http.duration", "service.name"="cart"} > 1',
                "labels": {"service.name": "cart"},
            },
            {"record": 'http.duration:"rate5m', "expr": 'rate({"http.duration"}[5m])'},
        ],
    }
]


@pytest.mark.parametrize("takes_utf8", [True, False])
def test_prometheus_decides_on_names(takes_utf8):
    """Prometheus 3 takes any name, Prometheus 2 only letters, digits, _ and : in them."""
    asked = []

    class Handler(QuietHandler):
        def do_POST(self):
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            query = dict(urllib.parse.parse_qsl(form))["query"]
            asked.append(query)
            good = takes_utf8 or not query.startswith('{"')
            body = b'{"status": "success", "data": "ok"}' if good else b'{"error": "unexpected"}'
            self.send_response(200 if good else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with LocalServer(Handler) as server:
        settings = make_settings(promtool_path="/no/promtool", prometheus_url=server.url)
        if takes_utf8:
            assert checks.check(settings, UTF8) == checks.PROMETHEUS
        else:
            with pytest.raises(BrokenRules) as caught:
                checks.check(settings, UTF8)
            assert [one["reason"] for one in caught.value.details["errors"]] == [
                "labels: service.name is not a valid label name",
                "record is not a valid metric name",
            ]
    assert asked[:2] == ['{"service.name"="x"}', '{"http.duration:\\"rate5m"="x"}']
