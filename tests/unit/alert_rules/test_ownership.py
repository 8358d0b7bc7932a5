"""Who wrote which rule is known, whatever others do in between. Pure, for any groups."""

import copy

from hypothesis import given
from hypothesis import strategies as st
from poundcake.alert_rules import apply, manifests, ownership
from poundcake.alert_rules.ownership import CHANGED, POUNDCAKE, SOMEBODY, parts

from tests.support.fakes import PROPERTY, make_settings

RULES = st.fixed_dictionaries(
    {"expr": st.sampled_from(["1", "2", "3"])},
    optional={"labels": st.fixed_dictionaries({"severity": st.sampled_from(["page", "info"])})},
)
NAMED = st.tuples(st.sampled_from(["alert", "record"]), st.sampled_from("AB"), RULES).map(
    lambda one: {one[0]: one[1], **one[2]}
)
GROUPS = st.dictionaries(
    st.sampled_from("xy"),
    st.tuples(st.sampled_from(["", "1m"]), st.lists(NAMED, max_size=4)),
).map(
    lambda groups: [
        dict({"interval": interval} if interval else {}, name=name, rules=rules)
        for name, (interval, rules) in groups.items()
    ]
)


def signed(before, groups):
    """Return a resource as PoundCake writes it over another one."""
    made = copy.deepcopy(before) or manifests.new(make_settings(), "r")
    made["spec"] = {"groups": copy.deepcopy(groups)}
    ownership.sign(before, made)
    return made


def writers(document):
    known = ownership.written(document)
    groups = ownership.groups_of(document)
    found = {key: ownership.writer(key, value, known) for key, value in parts(groups).items()}
    return found


@given(GROUPS, GROUPS, GROUPS)
@PROPERTY
def test_a_rule_is_whose_who_changed_it_last(first, theirs, last):
    """PoundCake's, somebody's over it, PoundCake's again."""
    mine = signed(None, first)
    assert set(writers(mine).values()) <= {POUNDCAKE}
    edited = dict(mine, spec={"groups": theirs})
    old, new = parts(first), parts(theirs)
    for key, by in writers(edited).items():
        wanted = SOMEBODY if key not in old else POUNDCAKE if old[key] == new[key] else CHANGED
        assert by == wanted
    again = signed(edited, last)
    for key, by in writers(again).items():
        same = key in new and new[key] == parts(last)[key]
        assert by == (writers(edited)[key] if same else POUNDCAKE)


@given(GROUPS, GROUPS, GROUPS)
@PROPERTY
def test_nothing_of_others_changes_that_is_no_trespass(first, theirs, last):
    """Whatever is written over it; and what is PoundCake's own is none."""
    edited = dict(signed(None, first), spec={"groups": theirs})
    after = signed(edited, last)
    found = ownership.overwritten(edited, after)
    by, kept = writers(edited), parts(last)
    for key, value in parts(theirs).items():
        changes = key in kept and kept[key] != value
        goes = key not in kept and ownership.is_rule(key)
        assert (key in found) == ((changes or goes) and by[key] != POUNDCAKE)


@given(GROUPS, GROUPS)
@PROPERTY
def test_what_yaml_does_not_say_stays(present, wanted):
    """And what it says is so, in its order."""
    merged = apply.merged(copy.deepcopy(present), copy.deepcopy(wanted), set())
    found, asked = parts(merged), parts(wanted)
    assert {key: found[key] for key in asked} == asked
    others = {key: value for key, value in parts(present).items() if key not in asked}
    assert {key: found[key] for key in others} == others
    assert set(found) == set(asked) | set(others)
    goes = {key for key in parts(present) if ownership.is_rule(key)}
    left = parts(apply.merged(copy.deepcopy(present), copy.deepcopy(wanted), goes))
    assert {key for key in left if ownership.is_rule(key)} == {
        key for key in asked if ownership.is_rule(key)
    }
