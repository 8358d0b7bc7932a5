"""What the shipped rules make of the labels that public alerts really have."""

import pytest
from poundcake.core import payload
from poundcake.st2 import criteria, triggers

from tests.engine import expressions
from tests.support.alerts import alert, notification
from tests.support.remediation_table import PAGE, ROOT, alertnames, page, rules
from tests.support.rows import a_row
from tests.support.sources import parse_yaml

CASES = parse_yaml((ROOT / "tests/fixtures/public_alerts.yaml").read_text(encoding="utf-8"))
RULES = rules()


def trigger_of(labels):
    """Return the payload of the trigger for an alert with these labels."""
    parsed = payload.parse(notification(dict(alert(), labels=labels)))
    row = a_row(parsed.alerts[0], parsed)
    return triggers.alert_payload(row, row["attempts"][0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["labels"]["alertname"])
def test_a_public_alert_reaches_one_rule_with_the_right_values(case):
    """A unit is a unit, and a host is the subject's."""
    trigger = trigger_of(case["labels"])
    taken_by = [n for n, rule in RULES.items() if criteria.holds(rule["criteria"], trigger)[0]]
    assert taken_by == [name for name in [case["rule"]] if name]
    for name, value in (case.get("parameters") or {}).items():
        template = RULES[case["rule"]]["action"]["parameters"][name]
        assert expressions.render(template, {"trigger": trigger}) == str(value), name


def test_every_rule_has_a_public_alert():
    """A rule that takes none would be seen here; CrateDB's alerts are not public."""
    named = {case["rule"] for case in CASES if case["rule"]}
    assert named == {name for name in RULES if not name.startswith("cratedb")}


def test_no_alert_name_is_taken_by_two_rules_for_one_thing():
    """One alert is one remediation."""
    names = [name for rule in RULES.values() for name in alertnames(rule) if isinstance(name, str)]
    assert len(names) == len(set(names))


def test_the_table_of_the_documentation_is_that_of_the_rules():
    """`make docs` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()
