"""The roles in rbac/: they grant what their people need, and nothing that changes anything else."""

import os
from glob import glob

import pytest
import yaml

from tests.support.fakes import PACK

FOLDER = os.path.join(PACK, "rbac", "stackstorm")


def load(path):
    with open(path, encoding="utf-8") as handle:
        return yaml.safe_load(handle)


ROLES = {role["name"]: role for role in map(load, glob(os.path.join(FOLDER, "roles", "*.yaml")))}
ASSIGNMENTS = [load(path) for path in glob(os.path.join(FOLDER, "assignments", "*.yaml"))]


def actions_of(role):
    """Return the names of the actions that a role may execute."""
    grants = ROLES[role]["permission_grants"]
    uids = [grant["resource_uid"] for grant in grants if "resource_uid" in grant]
    assert all(uid.startswith("action:poundcake:") for uid in uids)
    return [uid.split(":")[2] for uid in uids]


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_grants_actions_that_exist(role):
    """Each is granted alone: with the whole pack, run_command would be granted, too."""
    for name in actions_of(role):
        assert os.path.isfile(os.path.join(PACK, "actions", name + ".yaml"))


def test_who_looks_runs_no_action_that_changes_anything():
    """Whatever changes something says who did it, so it has the parameter by."""
    for name in actions_of("poundcake_viewer"):
        described = load(os.path.join(PACK, "actions", name + ".yaml"))
        assert "by" not in described["parameters"], name
        assert name.startswith(("get_", "list_"))


def test_assignments_name_roles_that_exist():
    """StackStorm's own, or those beside them."""
    for item in ASSIGNMENTS:
        assert set(item["roles"]) <= {"admin", "observer", *ROLES}
