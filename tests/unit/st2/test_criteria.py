"""A rule's criteria on what is known of an alert: StackStorm's answer, or that it depends."""

import datetime
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake.st2 import criteria
from poundcake.st2.criteria import PERHAPS, PRESENT, Open

from tests.support.fakes import PACK, PROPERTY

with open(os.path.join(PACK, "tests/fixtures/conformance/criteria.json"), "rb") as handle:
    RECORDED = json.load(handle)
WHOLE = ("trigger.labels", "trigger.tags", "trigger.disks")
PAYLOAD = {
    "alertname": "DiskFull",
    "host": PRESENT,
    "labels": Open({"alertname": "DiskFull", "team": "infra", "gone": None, "size": PERHAPS}),
    "annotations": {"summary": "full"},
}


def holds(key, kind, pattern=None):
    return criteria.holds({key: {"type": kind, "pattern": pattern}}, PAYLOAD)[0]


@pytest.mark.parametrize("number", range(len(RECORDED["cases"])))
def test_where_all_is_known_the_answer_is_what_stackstorm_3_9_0_said(number):
    """Or none, where more than a comparison is asked for: templates, lists, datastore."""
    case = RECORDED["cases"][number]
    answer, depends = criteria.holds(case["criteria"], RECORDED["payload"])
    assert answer in (case["matches"], None)
    text = json.dumps(list(case["criteria"].values()))
    templates = "{{" in text or "{%" in text or '"search"' in text
    whole = any("[" in key or key in WHOLE for key in case["criteria"])
    assert answer is not None or templates or whole
    assert bool(depends) == (answer is None)


@pytest.mark.parametrize(
    "key, kind, pattern, wanted",
    [
        ("trigger.alertname", "eq", "DiskFull", True),
        ("trigger.labels.team", "eq", "infra", True),
        ("trigger.labels['team']", "eq", "other", False),
        ('trigger["labels"]."team"', "eq", "infra", True),
        ("trigger.labels.'team'", "in", ["infra"], True),
        ("trigger.labels.team#2", "eq", "infra", True),
        ("trigger.alertname", "eq", "DiskFull\n", True),
        ("trigger.labels.instance", "eq", "web", None),
        ("trigger.labels.instance", "exists", None, None),
        ("trigger.labels.size", "exists", None, None),
        ("trigger.labels.gone", "exists", None, False),
        ("trigger.labels.gone", "eq", "x", False),
        ("trigger.host", "neq", "", None),
        ("trigger.host", "exists", None, True),
        ("trigger.host", "NExists", None, False),
        ("trigger.annotations.summary", "contains", "ful", True),
        ("trigger.annotations.other", "exists", None, False),
        ("trigger.annotations.summary.deeper", "exists", None, False),
        ("trigger.host.deeper", "eq", "x", None),
        ("trigger.unknown", "exists", None, False),
        ("trigger.labels", "contains", "team", None),
        ("trigger", "exists", None, None),
        ("trigger.*", "eq", "x", None),
        ("st2kv.system.key", "eq", "x", None),
        ("trigger.alertname", "eq", "{{ st2kv.system.key }}", None),
        ("trigger.alertname", "bogus", "x", False),
        ("trigger.alertname", 5, "x", False),
        ("trigger.alertname", "lt", 5, False),
        ("trigger.nothing", "search", {}, False),
        ("trigger.labels", "search", {}, None),
    ],
)
def test_what_is_not_known_leaves_the_answer_open(key, kind, pattern, wanted):
    """What is known decides nevertheless."""
    assert holds(key, kind, pattern) is wanted


def test_one_criterion_that_fails_decides_whatever_the_others_depend_on():
    """All of them must hold; what the answer depends on is told."""
    open_one = {"trigger.host": {"type": "neq", "pattern": ""}}
    exists = {"trigger.labels.instance#1": {"type": "exists"}}
    answer = criteria.holds(dict(open_one, **exists), PAYLOAD)
    assert answer == (None, ["trigger.host neq", "trigger.labels.instance exists"])
    never = {"trigger.alertname": {"type": "eq", "pattern": "Other"}}
    assert criteria.holds(dict(open_one, **never), PAYLOAD) == (False, [])
    assert criteria.holds({"trigger.alertname": {}}, PAYLOAD) == (False, [])
    assert criteria.holds({}, PAYLOAD) == (True, [])


KINDS = st.sampled_from(
    "eq ieq neq contains icontains ncontains startswith endswith in nin regex iregex matchwildcard "
    "matchregex exists nexists lt gt td_gt search".split()
)
TEXTS = st.sampled_from(["", "a", "A", "ab", "b", "a.*", "[", "2026-01-01T00:00:00Z"])
NAMES = st.sampled_from(["known", "present", "perhaps", "missing"])


@given(KINDS, TEXTS | st.lists(TEXTS, max_size=2) | st.none() | st.integers(), NAMES, TEXTS, TEXTS)
@PROPERTY
def test_a_certain_answer_holds_for_every_alert_that_may_come(kind, pattern, name, known, brought):
    """With any text, or none, in place of what was not known."""
    one = {"trigger.labels." + name: {"type": kind, "pattern": pattern}}
    payload = {"labels": Open({"known": known, "present": PRESENT, "perhaps": PERHAPS})}
    answer, _ = criteria.holds(one, payload)
    certain = {"known": known, "present": brought}
    for more in ({}, {"perhaps": brought, "missing": brought}):
        full = {"labels": dict(certain, **more)}
        assert answer in (None, criteria.holds(one, full)[0])


def test_times_are_compared_with_now():
    """As StackStorm's operators do; a payload's own times are not known beforehand."""
    moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    payload = {"starts_at": moment.isoformat()}
    for pattern, wanted in ((60, True), (7200, False)):
        found = criteria.holds(
            {"trigger.starts_at": {"type": "td_gt", "pattern": pattern}}, payload
        )
        assert found[0] is wanted
