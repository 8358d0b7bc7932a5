"""check_expression and verify_remediation against a real Prometheus."""

import os
import re

import pytest
import requests
from poundcake.inert import inert
from poundcake.upstream import prometheus

from tests.support.fakes import make_settings

if os.environ.get("ST2_API_URL"):
    pytest.skip("needs a config of its own", allow_module_level=True)

from tests.demo import servers
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.remediations import output_of, run
from tests.support.world import World

pytestmark = pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers installs Prometheus"
)

# The rule sets a severity that differs from that of the series.
RULES = [
    {
        "alert": "QueueLong",
        "expr": 'queue_length{job="demo"} > 5',
        "labels": {"severity": "critical", "team": "{{ $labels.queue }}"},
    }
]
WAIT_SECONDS = 30


class Queues:
    """Queue lengths as metrics; Prometheus scrapes ``lengths``."""

    def __init__(self):
        self.lengths = {}

    def text(self):
        line = 'queue_length{queue="%s",severity="low"} %d\n'
        return "".join(line % item for item in self.lengths.items())


@pytest.fixture(scope="module")
def queues():
    return Queues()


@pytest.fixture(scope="module")
def prom(queues, tmp_path_factory):
    """A Prometheus that scrapes the queues every second."""

    class Handler(QuietHandler):
        def do_GET(self):
            body = queues.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    queues.lengths = {"mail": 9, "{{ 7*7 }}": 9, "print": 1}
    folder = tmp_path_factory.mktemp("prometheus")
    with LocalServer(Handler) as scraped:
        targets = [servers.target(scraped.address)]
        with servers.Prometheus(folder, targets, RULES) as found:
            servers.wait_until(lambda: len(firing(found)) == 2, "two alerts to fire")
            yield found


@pytest.fixture(autouse=True)
def lengths(queues):
    queues.lengths = {"mail": 9, "{{ 7*7 }}": 9, "print": 1}


def firing(prom):
    """The firing alerts of Prometheus, as in its API."""
    found = requests.get(prom.url + "/api/v1/alerts", timeout=5).json()["data"]["alerts"]
    return [item for item in found if item["state"] == "firing"]


def alert_of(prom, queue):
    """An alert as rules get it in ``trigger``, with the values that Prometheus would send."""
    (found,) = [item for item in firing(prom) if item["labels"]["queue"] == queue]
    expression = requests.utils.quote(RULES[0]["expr"])
    url = "http://prometheus.example.com/graph?g0.expr=%s&g0.tab=1" % expression
    return inert({"labels": found["labels"], "generator_url": url})


def ask(prom, alert, wait_seconds=0, **more):
    settings = make_settings(**dict({"prometheus_url": prom.url}, **more))
    return prometheus.holds(settings, alert, wait_seconds)


@pytest.mark.parametrize("queue", ["mail", "{{ 7*7 }}"])
def test_an_expression_that_holds_is_recognized(prom, queue):
    """The rule has changed the labels of the alert, and they reach us inert."""
    servers.wait_until(lambda: len(firing(prom)) == 2, "two alerts to fire")
    found = ask(prom, alert_of(prom, queue))
    assert found["holds"] is True
    assert found["expression"] == RULES[0]["expr"]


def test_it_keeps_asking_until_the_expression_no_longer_holds(prom, queues):
    """Prometheus has to scrape the change first. Other queues of the rule do not count."""
    servers.wait_until(lambda: len(firing(prom)) == 2, "two alerts to fire")
    alert = alert_of(prom, "mail")
    queues.lengths = {"mail": 0, "{{ 7*7 }}": 9}
    assert ask(prom, alert, WAIT_SECONDS)["holds"] is False


def test_the_answer_is_none_when_prometheus_cannot_tell(prom):
    """The detail says why."""
    alert = {"labels": {"alertname": "QueueLong"}, "generator_url": "http://x/graph?g0.expr=up"}
    for more, said in (
        ({"prometheus_url": ""}, "prometheus_url is not set"),
        ({"prometheus_url": "http://127.0.0.1:1"}, "cannot be reached"),
    ):
        found = ask(prom, alert, **more)
        assert found["holds"] is None and said in found["detail"]
    for url in ("", "http://prometheus.example.com/alerts", "no url at all"):
        found = ask(prom, dict(alert, generator_url=url))
        assert found["holds"] is None and "no generator_url with an expression" in found["detail"]
    found = ask(prom, dict(alert, generator_url="http://x/graph?g0.expr=up%20%3D%3D"))
    assert found["holds"] is None and "answers 400" in found["detail"]


def test_a_scalar_holds_and_an_empty_result_does_not(prom):
    """Prometheus fires alerts for scalar expressions, too."""
    url = "http://x/graph?g0.expr="
    assert ask(prom, {"generator_url": url + "vector(1)"})["holds"] is True
    assert ask(prom, {"generator_url": url + "scalar(vector(1))"})["holds"] is True
    assert ask(prom, {"generator_url": url + "absent(up)"})["holds"] is False


# --- as the last phase of a remediation -------------------------------------------------------


@pytest.fixture(scope="module")
def world(prom, tmp_path_factory):
    """An embedded engine whose pack is configured with the Prometheus."""
    folder = tmp_path_factory.mktemp("verified")
    with servers.Engine(folder, prometheus_url=prom.url) as engine:
        yield World(engine.api_url, engine.api_key, engine.listener_url, engine.env)


def service_down(world, prom, folder, verify_seconds):
    check = "test -e %s/up" % folder
    return run(
        world,
        "poundcake.service_down",
        service="mail",
        check_command=check,
        restart_command="touch %s/up" % folder,
        settle_seconds=0,
        verify_seconds=verify_seconds,
        alert=alert_of(prom, "mail"),
    )


def test_a_restart_that_does_not_end_the_symptom_fails(world, prom, tmp_path):
    """The service is up, but Prometheus says that the expression still holds."""
    servers.wait_until(lambda: len(firing(prom)) == 2, "two alerts to fire")
    execution = service_down(world, prom, tmp_path, 0)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["outcome"] == "failed"
    assert output["remediation"].startswith("restarted ")
    assert "but the symptom remains - the alert's expression still holds after" in output["reason"]


def test_a_restart_that_ends_the_symptom_succeeds(world, prom, queues, tmp_path):
    """Prometheus says that the expression no longer holds."""
    servers.wait_until(lambda: len(firing(prom)) == 2, "two alerts to fire")
    alert_of(prom, "mail")
    queues.lengths = {"mail": 0, "{{ 7*7 }}": 9}
    labels = {"alertname": "QueueLong", "queue": "mail", "severity": "critical"}
    url = "http://x/graph?g0.expr=" + requests.utils.quote(RULES[0]["expr"])
    execution = run(
        world,
        "poundcake.verify_remediation",
        alert={"labels": labels, "generator_url": url},
        wait_seconds=WAIT_SECONDS,
        command="false",
    )
    assert execution["status"] == "succeeded", execution["result"]
    said = r"the alert's expression no longer holds after \d+ s"
    assert re.fullmatch(said, output_of(execution)["text"])
