"""StackStorm can register the policies of the pack."""

import os
from glob import glob

import pytest

from tests.support.fakes import PACK
from tests.support.sources import parse_yaml

# The parameters of StackStorm 3.9.0; see st2common/policies/meta and PolicyAPI in its source.
PARAMETERS = {
    "action.concurrency": {"threshold", "action"},
    "action.retry": {"retry_on", "max_retry_count", "delay"},
}
FIELDS = ["name", "description", "enabled", "resource_ref", "policy_type", "parameters"]


def load(path):
    with open(path, encoding="utf-8") as handle:
        return parse_yaml(handle)


POLICIES = {
    os.path.splitext(os.path.basename(path))[0]: load(path)
    for path in glob(os.path.join(PACK, "policies", "*.yaml"))
}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_is_named_after_its_pack_its_action_and_its_type(name):
    """StackStorm looks a policy up by its name alone: another pack must not have the same.

    It has no pack field: StackStorm takes the pack from the folder.
    """
    policy = POLICIES[name]
    assert list(policy) == FIELDS and policy["enabled"] is True
    pack, action = policy["resource_ref"].split(".", 1)
    assert policy["name"] == name == "_".join([pack, action, policy["policy_type"].split(".")[1]])
    assert os.path.isfile(os.path.join(PACK, "actions", action + ".yaml"))


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_has_only_parameters_of_its_type(name):
    """StackStorm registers nothing of a pack with an invalid policy."""
    policy = POLICIES[name]
    assert set(policy["parameters"]) <= PARAMETERS[policy["policy_type"]]


def test_no_action_has_two_policies():
    """StackStorm applies them in any order.

    Once one has delayed an execution, it stops after the first of the others: seen on 3.9.0, where
    a delayed execution came never to its concurrency policy again.
    """
    references = [policy["resource_ref"] for policy in POLICIES.values()]
    assert len(set(references)) == len(references)


def test_track_is_retried():
    """It is the only writer of rows, and no row may be lost; the sensor runs one at a time."""
    assert POLICIES["poundcake_track_retry"]["parameters"]["retry_on"] == "failure"
