"""What the shipped rules make of the labels that public alerts really have."""

import pytest

from tests.support.remediation_table import PAGE, ROOT, alertnames, page
from tests.support.rule_labels import RULES, assert_taken
from tests.support.sources import parse_yaml

CASES = parse_yaml((ROOT / "tests/fixtures/public_alerts.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["labels"]["alertname"])
def test_a_public_alert_reaches_one_rule_with_the_right_values(case):
    """A unit is a unit, and a host is the subject's."""
    assert_taken(case["labels"], case["rule"], case.get("parameters"))


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
