"""Public alerts from their series on: what promtool and Prometheus make of them, and the rules.

tests/pack/test_rule_labels.py has more labels, without their expressions.
"""

import contextlib
import re
import subprocess
import time

import pytest
import yaml

from tests.demo import servers
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.remediation_table import ROOT
from tests.support.rule_labels import RULES, assert_taken

pytestmark = pytest.mark.skipif(
    bool(servers.missing()), reason="bash tests/demo/install_servers installs Prometheus"
)
PUBLIC = yaml.safe_load((ROOT / "tests/fixtures/public_rules.yaml").read_text(encoding="utf-8"))
MINUTES = 90  # longer than any of the rules waits
FIRES = [(one["alert"], fired) for one in PUBLIC["alerts"] for fired in one["fires"]]


def labels_of(alert, fired):
    """Return all labels of an alert."""
    severity = next(one["severity"] for one in PUBLIC["alerts"] if one["alert"] == alert)
    return dict(fired["labels"], alertname=alert, severity=severity)


def rules(**more):
    """Return the alerting rules, as Prometheus has them."""
    return [
        dict(
            {"alert": one["alert"], "expr": one["expr"], "for": one["for"]},
            labels={"severity": one["severity"]},
            **more,
        )
        for one in PUBLIC["alerts"]
    ]


def scraped(series, target):
    """Return a series as it is after a scrape: the target's labels win, others are renamed."""
    name, _, rest = series.partition("{")
    own = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    own = {("exported_" + key if key in target else key): value for key, value in own.items()}
    shown = ",".join(f'{key}="{value}"' for key, value in {**target, **own}.items())
    return "%s{%s}" % (name, shown)


def input_series():
    """Yield the series of promtool."""
    for name, target in PUBLIC["targets"].items():
        for one in PUBLIC["series"].get(name, []):
            values = one["values"].replace("now+", "") + "x" * ("x" not in one["values"])
            yield {"series": scraped(one["series"], target), "values": f"{values}{MINUTES}"}
        up = 1 if name in PUBLIC["series"] else 0
        yield {"series": scraped("up", target), "values": f"{up}x{MINUTES}"}


class Exporter(LocalServer):
    """A target of Prometheus with the series of one exporter."""

    def __init__(self, series):
        scrapes = []

        class Handler(QuietHandler):
            def do_GET(self):
                scrapes.append(1)
                lines = [f"{one['series']} {_value(one['values'], len(scrapes))}" for one in series]
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(("\n".join(lines) + "\n").encode())

        super().__init__(Handler)


def _value(values, count):
    """Return the value of a series at a scrape, counted from 1."""
    if values.startswith("now+"):
        return time.time() + int(values[len("now+") :])
    start, _, step = values.rstrip("x").partition("+")
    return int(start) + int(step or 0) * count


def test_promtool_fires_the_alerts_with_these_labels(tmp_path):
    """After the time that each waits, and no other ones."""
    tests = [
        {
            "eval_time": f"{MINUTES}m",
            "alertname": one["alert"],
            "exp_alerts": [
                {"exp_labels": dict(fired["labels"], severity=one["severity"])}
                for fired in one["fires"]
            ],
        }
        for one in PUBLIC["alerts"]
    ]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "public", "rules": rules()}]})
    )
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {"interval": "1m", "input_series": list(input_series()), "alert_rule_test": tests}
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        done = subprocess.run(
            [servers.program("promtool"), *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_fires_the_alerts_with_these_labels(tmp_path):
    """Scraped from exporters, with what a scrape does to labels. They wait for nothing here."""
    expected = {_key(labels_of(alert, fired)) for alert, fired in FIRES}
    with contextlib.ExitStack() as stack:
        targets = []
        for name, labels in PUBLIC["targets"].items():
            address = f"127.0.0.1:{servers.free_port()}"
            if name in PUBLIC["series"]:
                address = stack.enter_context(Exporter(PUBLIC["series"][name])).address
            targets.append(servers.target(address, **labels))
        given = [dict(rule, **{"for": "0s"}) for rule in rules()]
        prometheus = servers.Prometheus(tmp_path / "prometheus", targets, given)
        prometheus.check()
        stack.enter_context(prometheus)

        def fired():
            found = {_key(one["labels"]) for one in prometheus.alerts()}
            return found if found >= expected else None

        assert servers.wait_until(fired, f"{len(expected)} alerts") == expected


def _key(labels):
    return tuple(sorted(labels.items()))


@pytest.mark.parametrize("alert, fired", FIRES, ids=[alert for alert, _ in FIRES])
def test_a_rule_takes_what_prometheus_fires(alert, fired):
    """With the subject's names, and never with those of the exporter."""
    assert_taken(labels_of(alert, fired), fired["rule"], fired.get("parameters"))


def test_every_rule_has_a_public_expression():
    """CrateDB's alerts are not public; tests/e2e/test_cratedb.py has theirs."""
    named = {fired["rule"] for _, fired in FIRES if fired["rule"]}
    assert named == {name for name in RULES if not name.startswith("cratedb")}
