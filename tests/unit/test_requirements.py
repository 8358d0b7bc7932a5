"""The oldest versions that requirements.txt allows are the ones that are looked up."""

from pathlib import Path

import pytest

from tests.support import audit
from tests.support.fakes import PACK


def test_every_package_has_an_oldest_version():
    """The one that may be installed; faults of older ones are nobody's concern."""
    pinned = audit.floors(Path(PACK, "requirements.txt").read_text(encoding="utf-8"))
    assert "waitress==3.0.1" in pinned and len(pinned) >= 5


def test_the_oldest_version_of_a_line_is_taken():
    """Markers and comments are left out, and what is accepted on purpose."""
    lines = 'a>=1.2,<3; python_version >= "3.9"\n# b\n\nc-d==2  # why\nwaitress>=3.0.0,<3.0.1\n'
    assert audit.floors(lines) == ["a==1.2", "c-d==2"]
    with pytest.raises(ValueError, match="a<3: expected the oldest version"):
        audit.floors("a<3")


def test_what_is_accepted_is_said():
    """With what guards against it."""
    page = Path(PACK, "SECURITY.md").read_text(encoding="utf-8")
    for name, version in audit.ACCEPTED:
        assert f"{name} {version}" in page
