"""Where a value of an alert may stand in a command: as an argument of a program that takes data."""

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from poundcake.errors import MappingError
from poundcake.mappings.programs import (
    ANY,
    FILTERS,
    FOLDERS,
    KEYWORDS,
    PROGRAMS,
    REASONS,
    SHELL_BUILTINS,
    WRAPPERS,
    Program,
)
from poundcake.mappings.shell import REMEDY, Command, Slot, Word, parse
from poundcake.mappings.templates import Template

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[|\+?=)")
_SIMILAR_NAMES = ("name", "pod", "namespace", "database", "host", "number")


def kinds_of(command: str, env: Mapping[str, Template]) -> Dict[int, str]:
    """Return the type of each value of an alert in a command, by its place among the templates.

    :param env: the variables whose values come from an alert.
    :raises MappingError: for a value in a place where it could be more than data.
    """
    check = _Check(env)
    for pipeline in parse(command, env):
        reads_values = False
        for part in pipeline:
            check.command(part, reads_values)
            reads_values = reads_values or bool(part.slots)
            for slot in part.slots:
                if slot.index is not None and slot.index not in check.kinds:
                    raise MappingError(f"{slot.template}: an alert must not choose this. {REMEDY}")
    return check.kinds


class _Check:
    """Checks commands, and gathers the types of the values in them."""

    def __init__(self, env: Mapping[str, Template]):
        self.kinds: Dict[int, str] = {}
        self._env = env

    def command(self, command: Command, reads_values: bool) -> None:
        """Check one command.

        :param reads_values: its input has values of an alert in it.
        """
        self._check_name(command)
        self._check_texts(command)
        if not command.slots and not reads_values:
            return
        self._check_redirections(command)
        words = _unwrapped(command.words)
        name = _program(words[0].literal or "")
        known = FILTERS if reads_values else PROGRAMS
        subject = str(command.slots[0].template) if command.slots else "a value of an alert"
        if name not in known:
            raise MappingError(_not_listed(subject, name, words, known, reads_values))
        verb = words[1].literal if len(words) > 1 and not words[1].start.startswith("-") else ""
        self._check_arguments(known[name], f"{name} {verb or ''}".strip(), words[1:], subject)

    def _check_name(self, command: Command) -> None:
        first = command.words[0] if command.words else Word([""])
        variable = _ASSIGNMENT.match(first.start)
        if variable:
            raise MappingError(
                f"{variable.group(1)}= and a value of an alert in one command: the shell may "
                "evaluate what a variable holds; set variables in the parameter env"
            )
        if first.slots:
            raise MappingError(
                f"{first.slots[0].template}: an alert must not choose which program runs; write "
                "the program's name"
            )
        name = first.literal
        if name is None:
            raise MappingError(
                "a variable chooses which program runs, beside a value of an alert; write the "
                "program's name"
            )
        if name in KEYWORDS or name in SHELL_BUILTINS:
            reason = REASONS.get(name, "changes what the shell does with the rest")
            raise MappingError(
                f"{name} {reason}, beside a value of an alert; expected simple commands. {REMEDY}"
            )

    def _check_texts(self, command: Command) -> None:
        """Refuse a program in quotes that reads a variable with a value of an alert."""
        for word in command.words:
            for text in (piece for piece in word.pieces if isinstance(piece, str)):
                for name in re.findall(r"\$\{?([A-Za-z_]\w*)", text):
                    if name in self._env:
                        raise MappingError(
                            f"${name} in a text that a program may evaluate. {REMEDY}"
                        )

    def _check_redirections(self, command: Command) -> None:
        for sign, word in command.redirections:
            if word.slots:
                raise MappingError(
                    f"{word.slots[0].template} as the file of a redirection; expected a value as "
                    f"an argument. {REMEDY}"
                )
            is_harmless = sign == "<" or (sign == ">&" and (word.literal or "").isdigit())
            if not is_harmless and word.literal != "/dev/null":
                raise MappingError(
                    f"a value of an alert is written to a file; use logger, or > /dev/null. "
                    f"{REMEDY}"
                )

    def _check_arguments(
        self, program: Program, name: str, words: Sequence[Word], subject: str
    ) -> None:
        if program in (
            PROGRAMS["echo"],
            PROGRAMS["printf"],
        ):  # what they do not know as an option is text
            while words and words[0].literal in program.flags:
                words = words[1:]
            operands = [(word, True) for word in words]
        else:
            operands = self._operands(program, name, words)
        pattern = next(filter(None, (_match(one, operands) for one in program.operands)), None)
        if pattern is None:
            raise MappingError(
                f"{subject}: {name} with these arguments is not on the list of commands that take "
                f"data; expected the form {program.usage}. {REMEDY}"
            )
        for (word, is_after_end), kind in zip(operands, pattern):
            if not word.slots or not isinstance(kind, str):
                continue
            self._check_place(word, kind, program)
            if program.ends_options and not is_after_end and not word.start:
                raise MappingError(
                    f"{word.slots[0].template}: a value may begin with -; write -- before it, as "
                    f"in {program.usage}"
                )

    def _operands(
        self, program: Program, name: str, words: Sequence[Word]
    ) -> List[Tuple[Word, bool]]:
        """Return ``(word, whether -- is before it)`` of the operands; check the options."""
        operands: List[Tuple[Word, bool]] = []
        rest = list(words)
        is_after_end = False
        while rest:
            word = rest.pop(0)
            if is_after_end or not word.start.startswith("-") or word.literal == "-":
                operands.append((word, is_after_end))
            elif word.literal == "--" and program.ends_options:
                is_after_end = True
            else:
                self._check_option(program, name, word, rest)
        return operands

    def _check_option(self, program: Program, name: str, word: Word, rest: List[Word]) -> None:
        option, value = _split_option(program, word)
        if option in program.valued:
            if value is None and rest:
                value = rest.pop(0)
            if value is not None and value.slots:
                self._check_place(value, program.valued[option], program)
        elif option not in program.flags or value is not None:
            shown = option or word.start
            raise MappingError(
                f"the option {shown} of {name}, beside a value of an alert, is not on the list of "
                f"those that take data; expected the form {program.usage}. {REMEDY}"
            )

    def _check_place(self, word: Word, kind: str, program: Program) -> None:
        """Check the values in a word, and note their types."""
        slots = word.slots
        problem = _form_problem(word, kind)
        if problem:
            raise MappingError(
                f"{slots[0].template}: {problem}; expected the form {program.usage}. {REMEDY}"
            )
        for slot in slots:
            self._note(slot, *_accepted(word, kind), program)

    def _note(self, slot: Slot, default: str, accepted: Tuple[str, ...], program: Program) -> None:
        kind = slot.template.kind or default
        group = "path below" if kind.startswith("path below ") else kind
        if not kind or (accepted and group not in accepted):
            shown = ", ".join("path below /DIRECTORY" if a == "path below" else a for a in accepted)
            given = f"the type {kind}" if kind else "no type"
            raise MappingError(
                f"{slot.template}: {given}; expected one of the types {shown} here, as in "
                f"{program.usage}"
            )
        if slot.index is not None:
            self.kinds[slot.index] = kind


def _form_problem(word: Word, kind: str) -> str:
    """Return what is wrong with a word that has values of an alert, "" if nothing is."""
    is_alone = len(word.pieces) == 1
    if word.has_pattern:
        return "an unquoted *, ?, [, { or ~ beside it"
    if kind in ("", ANY, "format"):
        return "an alert must not choose this"
    if kind in ("unit", "host", "number", "name") and not is_alone:
        return "there is text beside it; it must be a whole argument"
    if kind == "object" and (len(word.pieces) > 2 or not re.match(r"[a-z][a-z.]*/\Z", word.start)):
        return "it must be behind KIND/, and end there"
    if kind == "field" and not re.match(r"[\w.-]+=", word.start):
        return "it must be behind NAME="
    if kind == "path" and not is_alone and not re.match(r"/\w", word.start):
        return "the path must be absolute and below a directory"
    if kind == "url" and not re.match(r"https?://[\w.-]+(?::\d+)?/", word.start):
        return "an alert must not choose a host"
    return ""


def _accepted(word: Word, kind: str) -> Tuple[str, Tuple[str, ...]]:
    """Return the type of a value without one, and the accepted types, () for all."""
    if kind in ("text", "field"):
        return "text", ()
    if kind == "path" and len(word.pieces) == 1:
        return "", ("path below",)
    if kind in ("path", "url", "object", "name"):
        return "name", _SIMILAR_NAMES
    return kind, (kind,)


def _split_option(program: Program, word: Word) -> Tuple[str, Optional[Word]]:
    """Return an option and its value in the same word, None if that is empty."""
    start = word.start
    if start.startswith("--"):
        option, sign, _ = start.partition("=")
        if sign or word.literal is not None:
            return option, word.without(option + "=") if sign else None
        return "", None
    for place in range(1, len(start)):
        option = "-" + start[place]
        if option in program.valued:
            value = word.without(start[: place + 1])
            return option, value if value.pieces else None
        if option not in program.flags:
            break
    else:
        return (option, None) if word.literal is not None else ("", None)
    return start if start in program.flags else option, None


def _match(pattern: Tuple[Any, ...], operands: Sequence[Tuple[Word, bool]]) -> Optional[List[Any]]:
    """Return the part of a pattern for each operand, or None if they do not match."""
    repeats = pattern[-1:] == (...,)
    items = list(pattern[:-1] if repeats else pattern)
    if repeats and len(operands) > len(items):
        items += items[-1:] * (len(operands) - len(items))
    required = len(items) - (1 if repeats else 0)
    if not required <= len(operands) <= len(items):
        return None
    for (word, _), item in zip(operands, items):
        if isinstance(item, frozenset) and word.literal not in item:
            return None
        if item == "format" and not _is_safe_format(word.literal):
            return None
        if item == "object" and "/" not in word.start:
            return None
    return [*items[: len(operands)]] or [None]


def _is_safe_format(text: Optional[str]) -> bool:
    """Return whether a format of printf makes none of its arguments the name of a variable."""
    if text is None or text.startswith("-"):
        return False
    return re.fullmatch(r"(?:[^%]|%%|%[-+ 0#]*\d*(?:\.\d+)?[sqdiufegxXoc])*", text) is not None


def _unwrapped(words: Sequence[Word]) -> Sequence[Word]:
    """Return a command without sudo and similar programs before it."""
    while words and _program(words[0].literal or "") in WRAPPERS:
        name = _program(words[0].literal or "")
        wrapper, rest = WRAPPERS[name], list(words[1:])
        while rest and (rest[0].literal or "").startswith("-"):
            option, value = _split_option(wrapper, rest.pop(0))
            if option in wrapper.valued:
                if value is None and rest:
                    rest.pop(0)
            elif option not in wrapper.flags:
                raise MappingError(
                    f"the option {option} of {name}, beside a value of an alert; expected one of "
                    f"{', '.join(sorted(wrapper.flags | set(wrapper.valued)))}"
                )
        if name == "timeout" and rest:
            rest.pop(0)
        if not rest or rest[0].literal is None:
            raise MappingError(f"the program after {name} is missing or not a fixed name; write it")
        words = rest
    return words


def _program(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return base if folder in FOLDERS else name


def _not_listed(
    subject: str,
    name: str,
    words: Sequence[Word],
    known: Mapping[str, Program],
    reads_values: bool,
) -> str:
    reason = REASONS.get(name, "is not on the list of programs that take data")
    place = f"in what {name} reads" if reads_values else f"as an argument of {name}"
    return f"{subject} {place}, which {reason}; expected {', '.join(sorted(known))}. {REMEDY}"
