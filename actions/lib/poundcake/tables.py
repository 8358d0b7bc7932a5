"""Text in columns, for terminals. Pure."""


def text(lines):
    """Return lines of cells as text; the last cell of a line has no width of its own."""
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in lines))]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(line, widths)] + [line[-1]]).rstrip()
        for line in lines
    )
