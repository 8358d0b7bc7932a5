"""Text in columns, for terminals. Pure."""

from typing import Sequence


def text(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as aligned text; the last cell of a line is not padded."""
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in lines))]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(line, widths)] + [line[-1]]).rstrip()
        for line in lines
    )
