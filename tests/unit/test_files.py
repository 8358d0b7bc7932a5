"""The YAML that an action gets: as text, or from the StackStorm node."""

import pytest
from poundcake import files
from poundcake.errors import ExpectedError


def test_a_file_is_as_large_as_it_is_on_disk(tmp_path, monkeypatch):
    """Its bytes count, not its characters."""
    monkeypatch.setattr(files, "LARGEST_BYTES", 40)
    path = tmp_path / "rules.yaml"
    path.write_text("🔥" * 10, encoding="utf-8")
    assert files.read("rules", str(path), "") == [(str(path), "🔥" * 10)]
    path.write_text("🔥" * 11, encoding="utf-8")
    with pytest.raises(ExpectedError, match="rules.yaml has more than 40 bytes"):
        files.read("rules", str(path), "")


def test_a_file_that_is_no_text_is_told(tmp_path):
    """With the parameter that names it."""
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    with pytest.raises(ExpectedError, match="path: 'utf-8' codec"):
        files.read("rules", str(tmp_path), "")
