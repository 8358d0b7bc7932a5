"""The `st2` command up to the moment when it reads its arguments.

For the preloaded interpreter, which forks from here: more than half of what a call of `st2` takes
is the making of its parser, the same each time.
"""

import sys

_own = sys.argv
# What the usage calls it, also where this is imported.
sys.argv = ["st2"]

from st2client import shell  # noqa: E402
from st2client.utils.misc import reencode_list_with_surrogate_escape_sequences  # noqa: E402

_made = shell.Shell()
_main = shell.main
sys.argv = _own


def main(argv=None):
    """What `st2client.shell` does with the arguments of its process when it is imported."""
    if argv is None:
        if shell.REENCODE_ARGV:
            sys.argv = reencode_list_with_surrogate_escape_sequences(sys.argv)
        argv = sys.argv[1:]
    return _main(argv)


shell.Shell = lambda: _made
shell.main = main
