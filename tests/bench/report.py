"""What the benches print: tables on stdout, and on stderr what is under way."""

import sys


def print_table(columns, results):
    """Print a table.

    :param columns: ``(title, format, key)`` each; texts (format ``%s``) stand on the left.
    :param results: a dict a line.
    """
    lines = [[title for title, _, _ in columns]]
    lines += [[form % result[key] for _, form, key in columns] for result in results]
    widths = [max(8, *map(len, column)) for column in zip(*lines, strict=True)]
    lefts = [form == "%s" for _, form, _ in columns]
    for number, line in enumerate(lines):
        cells = zip(line, widths, lefts, strict=True)
        print("  ".join(c.ljust(w) if left else c.rjust(w) for c, w, left in cells).rstrip())
        if not number:
            print("-" * (sum(widths) + 2 * len(widths) - 2))


def say(text):
    """Tell whoever waits what is under way."""
    print(text + " ...", file=sys.stderr, flush=True)
