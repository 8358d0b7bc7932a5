"""Templates in shell commands: their values travel as environment variables, never as text.

The command of a mapping, ``systemctl restart {{labels.service}}``, becomes
``systemctl restart "${POUNDCAKE_LABELS_SERVICE}"``. A shell does not read the value of a variable
as a command, with a few exceptions, which are refused here: places that a second interpreter reads,
arithmetic, and names of programs.
"""

import re

from poundcake.mappings.templates import split

PREFIX = "POUNDCAKE_"
_REFERENCE = re.compile(r"\$\{(%s\w+)\}" % PREFIX)

_SEPARATORS = ";&|(\n"
# A word after one of these is the name of a program.
_KEYWORDS = "! { then do else elif if while until source .".split()
# And so it is after one of these, their options and their numbers.
_WRAPPERS = (
    "sudo doas nohup exec command builtin time env nice ionice setsid stdbuf timeout chroot".split()
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
# They read their arguments as programs.
_READER = re.compile(
    r"(?<![\w.-])(eval|ssh|runuser|xargs|awk|gawk|mawk|sed|trap|parallel|declare|typeset)(?![\w.-])"
)
# These, too; but they are words of every message as well, so only where a program may stand.
_READER_IN_PLACE = re.compile(
    r"(?:^|[;&|(\n{!]|(?<![\w.-])(?:%s)(?![\w.-])[^;&|\n]*\s)\s*(at|batch|let|node|su|watch)(?![\w.-])"
    % "|".join(["find"] + _WRAPPERS + [word for word in _KEYWORDS if word.isalpha()])
)
# So do they (-c, -e, standard input), unless they are given the file of a script.
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
    """A template where a shell could take its value for more than data; the text says why."""


def translate(command):
    """Return a command with references to variables, and ``{variable: template name}``.

    Raises CommandError, and TemplateError for a template that names nothing.
    """
    parts = split(command)
    if not any(name for name, _ in parts):
        return command, {}
    _check(command)
    written, variables, quotes = "", {}, _Quotes()
    for name, literal in parts:
        if not name:
            quotes.read(literal)
            written += literal
            continue
        quotes.check(written)
        variable = _variable(name, variables)
        variables[variable] = name
        reference = "${%s}" % variable
        written += reference if quotes.double else '"%s"' % reference
        quotes.word += "x"
    return written, variables


def restore(command, env):
    """Return a command with its templates and the environment that is left.

    :param env: what ``env`` holds, with templates in it.
    """
    ours = set(_REFERENCE.findall(command)) & set(env)
    command = _REFERENCE.sub(
        lambda match: env[match.group(1)] if match.group(1) in ours else match.group(), command
    )
    return command, {name: value for name, value in env.items() if name not in ours}


def _variable(name, taken):
    stem = PREFIX + re.sub(r"\W", "_", name).upper()
    variable, number = stem, 1
    while taken.get(variable, name) != name:
        number += 1
        variable = "%s_%d" % (stem, number)
    return variable


def _check(command):
    if PREFIX in command:
        raise CommandError("names that begin with %s are apply_mappings' own" % PREFIX)
    readers = (_READER, _READER_IN_PLACE, _INTERPRETER)
    reader = next(filter(None, (pattern.search(command) for pattern in readers)), None)
    if reader:
        text = "%s reads its argument as a program, and an alert must not write one; %s"
        raise CommandError(text % (reader.group(1), REMEDY))
    found = _UNSAFE.search(command)
    if found:
        text = '"%s" and a template in one command: the shell would read the value once more; %s'
        raise CommandError(text % (found.group(), REMEDY))


class _Quotes:
    """Where in a command line the reading stands: in which quotes, and in which word."""

    def __init__(self):
        self.double = False
        self.word = ""
        self._single = False
        self._escaped = False
        self._substitutes = False  # there is a $( in the double quotes that are open
        self._start_command()

    def _start_command(self):
        self.word = ""
        self._program_due = True  # the next word is, or may be, the name of a program
        self._wrapped = False
        self._after_option = False

    def read(self, text):
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

    def _end_word(self):
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

    def check(self, written):
        """Raise CommandError when a template must not stand here."""
        if self._single:
            raise CommandError("a template in single quotes; write double quotes")
        if self._escaped or written.endswith("$"):
            raise CommandError('"%s" before a template; remove it' % written[-1])
        if self._substitutes:
            raise CommandError("a template in $( ) in double quotes; %s" % REMEDY)
        if _TESTS_VARIABLE.search(written):
            raise CommandError("a template as the name of a variable; %s" % REMEDY)
        if self._program_due and not _ASSIGNMENT.match(self.word):
            raise CommandError(
                "an alert must not choose which program runs; write the program's name, after "
                "options of sudo and the like with -- in front"
            )
