"""The policies of the pack fit what StackStorm registers."""

import os
from glob import glob

import pytest
import yaml

from tests.support.fakes import PACK

# What 3.9.0 takes; see st2common/policies/meta and PolicyAPI in its source.
PARAMETERS = {
    "action.concurrency": {"threshold", "action"},
    "action.retry": {"retry_on", "max_retry_count", "delay"},
}
FIELDS = ["name", "description", "enabled", "resource_ref", "policy_type", "parameters"]


def load(path):
    with open(path, encoding="utf-8") as handle:
        return yaml.safe_load(handle)


POLICIES = {
    os.path.splitext(os.path.basename(path))[0]: load(path)
    for path in glob(os.path.join(PACK, "policies", "*.yaml"))
}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_is_named_after_its_action_and_its_type(name):
    """The pack is left to StackStorm, which knows it from the folder."""
    policy = POLICIES[name]
    assert list(policy) == FIELDS and policy["enabled"] is True
    action = policy["resource_ref"].split(".", 1)[1]
    assert policy["name"] == name == policy["policy_type"].replace("action", action, 1)
    assert os.path.isfile(os.path.join(PACK, "actions", action + ".yaml"))


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_has_parameters_that_its_type_takes(name):
    """StackStorm registers nothing of a pack in which one does not fit."""
    policy = POLICIES[name]
    assert set(policy["parameters"]) <= PARAMETERS[policy["policy_type"]]


def test_no_action_has_two_policies_of_a_type():
    """StackStorm's database has a unique index on the two, and the pack would not install."""
    places = [(p["resource_ref"], p["policy_type"]) for p in POLICIES.values()]
    assert len(set(places)) == len(places)


def test_track_is_retried_and_runs_alone():
    """It alone writes rows, and rows must be written."""
    assert POLICIES["track.retry"]["parameters"]["retry_on"] == "failure"
    limit = {"threshold": 1, "action": "delay"}
    assert POLICIES["track.concurrency"]["parameters"] == limit
