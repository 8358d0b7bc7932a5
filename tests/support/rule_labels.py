"""What the shipped rules make of the labels of an alert."""

from poundcake.core import payload
from poundcake.st2 import criteria, triggers

from tests.engine import expressions
from tests.support.alerts import alert, notification
from tests.support.remediation_table import rules
from tests.support.rows import a_row

RULES = rules()


def assert_taken(labels, rule, parameters):
    """Fail unless one rule takes an alert with these labels, and passes on these parameters.

    :param rule: its name, None when no rule may take the alert.
    :param parameters: those that are compared.
    """
    trigger = trigger_of(labels)
    taken_by = [n for n, one in RULES.items() if criteria.holds(one["criteria"], trigger)[0]]
    assert taken_by == [name for name in [rule] if name]
    for name, value in (parameters or {}).items():
        template = RULES[rule]["action"]["parameters"][name]
        assert expressions.render(template, {"trigger": trigger}) == str(value), name


def trigger_of(labels):
    """Return the payload of the trigger for an alert with these labels."""
    parsed = payload.parse(notification(dict(alert(), labels=labels)))
    row = a_row(parsed.alerts[0], parsed)
    return triggers.alert_payload(row, row["attempts"][0])
