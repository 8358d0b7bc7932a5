"""Applying mappings when something is wrong, against an in-memory StackStorm."""

import copy

import pytest
from poundcake import files
from poundcake.errors import ExpectedError
from poundcake.mappings import sync

from tests.support.fakes import FakeContent

ONE = "alerts: {A: {actions: [{action: core.noop}]}}"
TWO = "alerts: {A: {actions: [{action: core.noop}]}, B: {actions: [{action: core.noop}]}}"


@pytest.fixture
def stackstorm():
    return FakeContent()


def apply(stackstorm, text):
    return sync.apply(stackstorm, "", text, "poundcake", 300)


def test_an_action_is_written_before_its_rule_and_removed_after_it(stackstorm):
    """A rule never names a missing action."""
    ref = "poundcake.mapping_A"
    apply(stackstorm, ONE)
    assert stackstorm.writes == [("actions", ref), ("rules", ref)]
    apply(stackstorm, ONE)
    assert len(stackstorm.writes) == 2, "what is as it should be is not written"
    apply(stackstorm, "alerts: {}")
    assert stackstorm.writes[2:] == [("rules", ref), ("actions", ref)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.files.clear(),  # an upgrade of the pack removes its folder
        lambda s: s.files.update({"poundcake.mapping_A": "{"}),
        lambda s: s.found["rules"].clear(),
        lambda s: s.found["rules"]["poundcake.mapping_A"].update(criteria={}),
        lambda s: s.found["rules"]["poundcake.mapping_A"]["action"].update(ref="core.noop"),
        lambda s: s.found["actions"]["poundcake.mapping_A"].update(parameters={}),
    ],
)
def test_what_is_missing_or_was_changed_is_written_again(stackstorm, spoil):
    """And nothing else."""
    apply(stackstorm, TWO)
    good = copy.deepcopy((stackstorm.found, stackstorm.files))
    spoil(stackstorm)
    done = apply(stackstorm, TWO)
    assert "A" in done["updated"]
    assert (stackstorm.found, stackstorm.files) == good


def test_a_rule_without_its_action_is_removed(stackstorm):
    """No matter who deleted the action."""
    apply(stackstorm, ONE)
    del stackstorm.found["actions"]["poundcake.mapping_A"]
    assert apply(stackstorm, "alerts: {}")["removed"] == ["A"]
    assert stackstorm.found["rules"] == {}


def test_a_refusal_of_stackstorm_is_reported_with_what_was_done(stackstorm):
    """The next run does the rest."""
    stackstorm.refuse = "mapping_B"
    with pytest.raises(ExpectedError) as caught:
        apply(stackstorm, TWO)
    assert str(caught.value).startswith("B: POST /actions: 400 no")
    assert caught.value.details["created"] == ["A"]
    stackstorm.refuse = None
    done = apply(stackstorm, TWO)
    assert (done["unchanged"], done["created"]) == (["A"], ["B"])


@pytest.mark.parametrize("kind", ["actions", "rules"])
def test_a_name_that_is_taken_is_an_error_before_anything_is_written(stackstorm, kind):
    """Other people's content is never changed."""
    taken = {"pack": "poundcake", "name": "mapping_B", "id": "x"}
    stackstorm.found[kind]["poundcake.mapping_B"] = taken
    with pytest.raises(ExpectedError, match="was not made by apply_mappings"):
        apply(stackstorm, TWO)
    assert stackstorm.writes == []


@pytest.mark.parametrize("pack, told", [("core", "is a system pack"), ("nope", "is not installed")])
def test_a_pack_that_cannot_be_written_to_is_refused(stackstorm, pack, told):
    """By each of the actions."""
    for question in (sync.apply, sync.preview, sync.validate):
        with pytest.raises(ExpectedError, match=told):
            question(stackstorm, "", ONE, pack)
    with pytest.raises(ExpectedError, match=told):
        sync.export(stackstorm, pack, 300)


def test_mappings_are_read_from_a_file_or_a_folder(stackstorm, tmp_path):
    """All files of a folder are one set."""
    (tmp_path / "b.yml").write_text("alerts: {B: {actions: [{action: core.noop}]}}")
    (tmp_path / "a.yaml").write_text(ONE)
    (tmp_path / "notes.txt").write_text("{")
    done = sync.apply(stackstorm, str(tmp_path), "", "poundcake", 300)
    assert done["created"] == ["A", "B"]
    done = sync.apply(stackstorm, str(tmp_path / "a.yaml"), "", "poundcake", 300)
    assert (done["unchanged"], done["removed"]) == (["A"], ["B"])
    (tmp_path / "b.yml").write_text(ONE)
    with pytest.raises(ExpectedError) as caught:
        sync.apply(stackstorm, str(tmp_path), "", "poundcake", 300)
    assert str(tmp_path / "b.yml") + ":1" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff", b"a" * (files.LARGEST_BYTES + 1)])
def test_a_file_that_cannot_be_read_says_so(stackstorm, tmp_path, content):
    """Missing, not UTF-8, too large."""
    path = tmp_path / "m.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExpectedError, match="^path: "):
        sync.validate(stackstorm, str(path), "", "poundcake")


def test_a_folder_without_files_is_no_empty_set(stackstorm, tmp_path):
    """Applying an empty set would remove everything."""
    apply(stackstorm, ONE)
    with pytest.raises(ExpectedError, match="has no"):
        sync.apply(stackstorm, str(tmp_path), "", "poundcake", 300)
    for path, text in (("", ""), ("x", "y")):
        with pytest.raises(ExpectedError, match="give one of them"):
            sync.apply(stackstorm, path, text, "poundcake", 300)


def test_an_export_of_nothing_is_an_empty_set(stackstorm):
    """And it can be applied."""
    text = sync.export(stackstorm, "poundcake", 300)["yaml"]
    assert apply(stackstorm, text)["removed"] == []
