"""Templates in shell commands: their values are passed as environment variables, never as code.

The command of a mapping, ``systemctl restart {{labels.service}}``, becomes
``systemctl restart "${POUNDCAKE_LABELS_SERVICE}"``. A shell does not evaluate the value of a
variable as a command, with a few exceptions, which are refused here: text that a second interpreter
reads, arithmetic, and names of programs.
"""

import re
from typing import Any, Dict, Mapping, Tuple

from poundcake.mappings.templates import split

PREFIX = "POUNDCAKE_"
_REFERENCE = re.compile(r"\$\{(%s\w+)\}" % PREFIX)

_SEPARATORS = ";&|(\n"
# A word after one of these is the name of a program.
_KEYWORDS = "! { then do else elif if while until source .".split()
# The same holds after one of these, its options and its numbers.
_WRAPPERS = (
    "sudo doas nohup exec command builtin time env nice ionice setsid stdbuf timeout chroot".split()
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# These read their arguments as programs.
_READER = re.compile(
    r"(?<![\w.-])(eval|ssh|runuser|xargs|awk|gawk|mawk|sed|trap|parallel|declare|typeset)(?![\w.-])"
)
# So do these; but they are everyday words too, so only the place of a program name counts.
_READER_IN_PLACE = re.compile(
    r"(?:^|[;&|(\n{!]|(?<![\w.-])(?:%s)(?![\w.-])[^;&|\n]*\s)\s*(at|batch|let|node|su|watch)(?![\w.-])"
    % "|".join(["find"] + _WRAPPERS + [word for word in _KEYWORDS if word.isalpha()])
)
# So do these (-c, -e, standard input), unless they get a script file.
_INTERPRETER = re.compile(
    r"(?<![\w.-])(sh|bash|dash|ash|zsh|ksh|csh|tcsh|fish|python[\d.]*|perl|ruby|php|lua|psql|"
    r"mysql|mariadb|sqlite3|mongo|mongosh|redis-cli)(?![\w.-])(?!\s+[^-\s;&|])"
)
_UNSAFE = re.compile(r"`|\(\(|\[\[|<<|\$\[")
_TESTS_VARIABLE = re.compile(r"(?:\[|\btest|\bprintf)\s+-v\s+[\"']?\Z")

REMEDY = (
    'give the value to the command in the parameter env, as in env: {VALUE: "{{...}}"}, and write '
    '"$VALUE" where it is data'
)


class CommandError(ValueError):
    """A template whose value a shell could evaluate; the text says why."""


def translate(command: str) -> Tuple[str, Dict[str, str]]:
    """Return a command with references to variables, and ``{variable: template name}``.

    Raises CommandError for an unsafe command, and TemplateError for an unknown template.
    """
    parts = split(command)
    if not any(name for name, _ in parts):
        return command, {}
    _check(command)
    written, quotes = "", _Quotes()
    variables: Dict[str, str] = {}
    for name, literal in parts:
        if not name:
            quotes.read(literal)
            written += literal
            continue
        quotes.check(written)
        variable = _variable(name, variables)
        variables[variable] = name
        reference = "${" + variable + "}"
        written += reference if quotes.double else f'"{reference}"'
        quotes.word += "x"
    return written, variables


def restore(command: str, env: Mapping[str, Any]) -> Tuple[str, Dict[str, Any]]:
    """Return a command with its templates, and the rest of its environment.

    :param env: the parameter ``env``, with templates as values.
    """
    ours = set(_REFERENCE.findall(command)) & set(env)
    command = _REFERENCE.sub(
        lambda match: env[match.group(1)] if match.group(1) in ours else match.group(), command
    )
    return command, {name: value for name, value in env.items() if name not in ours}


def _variable(name: str, taken: Mapping[str, str]) -> str:
    stem = PREFIX + re.sub(r"\W", "_", name).upper()
    variable, number = stem, 1
    while taken.get(variable, name) != name:
        number += 1
        variable = f"{stem}_{number}"
    return variable


def _check(command: str) -> None:
    if PREFIX in command:
        raise CommandError(f"names that begin with {PREFIX} are reserved for apply_mappings")
    readers = (_READER, _READER_IN_PLACE, _INTERPRETER)
    reader = next(filter(None, (pattern.search(command) for pattern in readers)), None)
    if reader:
        raise CommandError(
            f"{reader.group(1)} reads its argument as a program, and an alert must not write one; "
            f"{REMEDY}"
        )
    unsafe = _UNSAFE.search(command)
    if unsafe:
        raise CommandError(
            f'"{unsafe.group()}" and a template in one command: the shell would evaluate it; '
            f"{REMEDY}"
        )


class _Quotes:
    """The state at a place in a command line: the open quotes and the current word."""

    def __init__(self) -> None:
        self.double = False
        self.word = ""
        self._single = False
        self._escaped = False
        self._substitutes = False  # the open double quotes contain a $(
        self._start_command()

    def _start_command(self) -> None:
        self.word = ""
        self._program_due = True  # the next word may be the name of a program
        self._wrapped = False
        self._after_option = False

    def read(self, text: str) -> None:
        """Advance over literal text."""
        for index, char in enumerate(text):
            if self._escaped:
                self._escaped = False
                self.word += char
            elif char == "\\" and not self._single:
                self._escaped = True
            elif char == "'" and not self.double:
                self._single = not self._single
            elif char == '"' and not self._single:
                self.double = not self.double
                self._substitutes = False
            elif self._single or self.double:
                self.word += char
                self._substitutes |= self.double and text[index : index + 2] == "$("
            elif char in _SEPARATORS:
                self._start_command()
            elif char.isspace():
                self._end_word()
            else:
                self.word += char

    def _end_word(self) -> None:
        word, self.word = self.word, ""
        if not word or not self._program_due or _ASSIGNMENT.match(word):
            return
        after_option, self._after_option = self._after_option, False
        if word in _WRAPPERS:
            self._wrapped = True
        elif self._wrapped and word.startswith("-"):
            self._after_option = word != "--"
        elif word not in _KEYWORDS and not (self._wrapped and word.isdigit()):
            # What follows an option may be its value: sudo -u root
            self._program_due = after_option

    def check(self, written: str) -> None:
        """Raise CommandError when a template is not allowed here.

        :param written: the command up to here.
        """
        if self._single:
            raise CommandError("a template in single quotes; use double quotes")
        if self._escaped or written.endswith("$"):
            raise CommandError(f'"{written[-1]}" before a template; remove it')
        if self._substitutes:
            raise CommandError(f"a template in $( ) in double quotes; {REMEDY}")
        if _TESTS_VARIABLE.search(written):
            raise CommandError(f"a template as the name of a variable; {REMEDY}")
        if self._program_due and not _ASSIGNMENT.match(self.word):
            raise CommandError(
                "an alert must not choose which program runs; write the program's name, and put -- "
                "between it and the options of sudo and similar programs"
            )
