"""The page on mappings says what the code does."""

import re
from pathlib import Path

import yaml
from poundcake.mappings import checks, model, programs

from tests.support.fakes import PACK
from tests.support.mapping_cases import ACTIONS

PAGE = Path(PACK, "docs", "mappings.md").read_text(encoding="utf-8")


def test_the_table_has_every_program_with_its_usage():
    """And no other."""
    section = PAGE.partition("## Values of an alert in commands")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| `(.*)` \|$", section, re.MULTILINE)
    written = {name: usage.replace("\\|", "|") for name, usage in rows}
    assert written == {name: program.usage for name, program in programs.PROGRAMS.items()}


def test_the_examples_are_mappings_without_mistakes():
    """The whole one, and the step that runs a script."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    whole = next(block for block in blocks if block.startswith("alerts:"))
    step = next(block for block in blocks if "name: clean" in block)
    for text in (whole, f"alerts:\n  A:\n    actions:\n{step}"):
        book = model.parse([("docs", text)])
        checks.check(book, ACTIONS, list(ACTIONS), {})
        assert book.mistakes == [] and yaml.safe_load(text)
