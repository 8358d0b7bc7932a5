"""The embedded engine agrees with what was recorded from StackStorm."""

import json
from pathlib import Path

import pytest

from tests.engine import conformance

ROOT = Path(__file__).resolve().parents[2]
OWN = sorted(ROOT.glob("tests/fixtures/conformance/*.json"))
SHARED = sorted(ROOT.parent.glob("shared/conformance/*.json"))


def _differences(file):
    return [line for line in conformance.compare(json.loads(file.read_text())) if line]


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.stem)
def test_own_cases(file):
    """Cases of this repository, each checked against StackStorm 3.9.0, agree."""
    assert _differences(file) == []


@pytest.mark.skipif(not SHARED, reason="no ../shared/conformance beside this checkout")
def test_shared_cases():
    """All cases recorded from StackStorm 3.9.0 agree."""
    assert [line for file in SHARED for line in _differences(file)] == []


def test_disagreement_is_told(tmp_path, capsys):
    """A case that disagrees is printed, counted, and gives exit status 1."""
    criterion = {"trigger.a": {"type": "eq", "pattern": 1}}
    cases = [{"criteria": criterion, "matches": value, "error": False} for value in (True, False)]
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"payload": {"a": 1}, "cases": cases}))
    assert conformance.main([file]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert '"matches": false' in lines[0]
    assert lines[-1] == "1 passed, 1 failed"


def test_an_operator_that_does_not_exist_is_an_error():
    """Not only "does not match": StackStorm marks the trigger instance as failed."""
    got = conformance.run_criteria(
        {"criteria": {"trigger.a": {"type": "like", "pattern": 1}}}, {"a": 1}
    )
    assert got == {"matches": False, "error": True}


@pytest.mark.parametrize(
    "tasks, branches",
    [
        ("  a:\n    next:\n      - do: b\n  b: {}\n", False),
        ("  a:\n    next:\n      - do: [b, c]\n  b: {}\n  c: {}\n", True),
        ("  a:\n    next:\n      - do: b, c\n  b: {}\n  c: {}\n", True),
        ("  a: {}\n  b: {}\n", True),
    ],
)
def test_only_branches_may_end_in_another_order(tasks, branches):
    """The order of one branch is part of the recording on however busy a machine."""
    assert conformance._has_branches("version: 1.0\ntasks:\n" + tasks) == branches
