"""Templates in shell commands: their values are passed as environment variables, never as code.

The command of a mapping, ``systemctl restart -- {{labels.service}}``, becomes
``systemctl restart -- "${POUNDCAKE_LABELS_SERVICE}"``. ``commands.py`` decides where a value of an
alert may stand. For it, ``parse`` reads the simple part of the shell's language: commands of words,
joined by ``;``, ``&&``, ``||``, ``|`` and newlines. With a value of an alert in it, a command must
be of that form.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from poundcake.errors import MappingError
from poundcake.mappings.templates import Template, split

PREFIX = "POUNDCAKE_"
REMEDY = (
    "Let a script, a workflow or an action of your own do anything else: give it the value in its "
    'environment, as in env: {VALUE: "{{labels.x | name}}"} with cmd: /opt/scripts/fix, and write '
    '"$VALUE" in the script'
)

# --- from templates to variables, and back --------------------------------------------------------

_REFERENCE = re.compile(r"'\"\$\{(%s\w+)\}\"'|\$\{(%s\w+)\}" % (PREFIX, PREFIX))


def translate(command: str) -> Tuple[str, Dict[str, Template]]:
    """Return a command with references to variables, and ``{variable: template}``.

    :raises MappingError: for a template in a place where the shell would not expand a variable.
    """
    parts = split(command)
    if all(isinstance(part, str) for part in parts):
        return command, {}
    _check_places(command)
    written, quote = "", ""
    variables: Dict[str, Template] = {}
    for part in parts:
        if isinstance(part, str):
            quote = _quote_after(part, quote)
            written += part
            continue
        if quote != "'" and re.search(r"(?:^|[^\\])(?:\\\\)*[\\$]\Z", written):
            raise MappingError(f'"{written[-1]}" before {part}; remove it')
        variable = _variable(part, variables)
        variables[variable] = part
        reference = "${" + variable + "}"
        written += {"": f'"{reference}"', '"': reference, "'": f"'\"{reference}\"'"}[quote]
    return written, variables


def restore(command: str, env: Mapping[str, Any]) -> Tuple[str, Dict[str, Any]]:
    """Return a command with its templates, and the rest of its environment.

    :param env: the parameter ``env``, with templates as values.
    """
    names = {name for match in _REFERENCE.findall(command) for name in match if name in env}
    command = _REFERENCE.sub(
        lambda match: env.get(match.group(1) or match.group(2), match.group()), command
    )
    return command, {name: value for name, value in env.items() if name not in names}


def _variable(template: Template, taken: Mapping[str, Template]) -> str:
    stem = PREFIX + re.sub(r"\W", "_", template.name).upper()
    variable, number = stem, 1
    while taken.get(variable, template) != template:
        number += 1
        variable = f"{stem}_{number}"
    return variable


def _check_places(command: str) -> None:
    if PREFIX in command:
        raise MappingError(f"names that begin with {PREFIX} are reserved for apply_mappings")
    for sign in ("<<", "(("):
        if sign in command:
            raise MappingError(f'"{sign}" and a template in one command. {REMEDY}')


def _quote_after(text: str, quote: str) -> str:
    """Return the quotation mark that is open after a text, "" for none."""
    place = 0
    while place < len(text):
        char = text[place]
        if char == "\\" and quote != "'":
            place += 1
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        place += 1
    return quote


# --- reading commands -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """A value of an alert in a command.

    :param index: its place among the templates of the command, None for a variable of ``env``.
    """

    template: Template
    index: Optional[int]


@dataclass(frozen=True)
class Variable:
    """A value that the author of the mapping chooses."""

    name: str


Piece = Union[str, Slot, Variable]


@dataclass
class Word:
    """A word of a command without its quotes.

    :param has_pattern: it has a character that the shell expands, such as ``*``, out of quotes.
    """

    pieces: List[Piece] = field(default_factory=list)
    has_pattern: bool = False

    def add(self, piece: Piece) -> None:
        """Append a piece; adjacent literals are one, and an empty one stands only alone."""
        last = self.pieces[-1] if self.pieces else None
        if isinstance(piece, str) and isinstance(last, str):
            self.pieces[-1] = last + piece
        elif last == "":
            self.pieces[-1] = piece
        elif piece or last is None:
            self.pieces.append(piece)

    @property
    def literal(self) -> Optional[str]:
        """The text of a word without variables, otherwise None."""
        texts = [piece for piece in self.pieces if isinstance(piece, str)]
        return "".join(texts) if len(texts) == len(self.pieces) else None

    @property
    def slots(self) -> List[Slot]:
        """The values of an alert in it."""
        return [piece for piece in self.pieces if isinstance(piece, Slot)]

    @property
    def start(self) -> str:
        """The literal before the first variable."""
        first = self.pieces[0] if self.pieces else ""
        return first if isinstance(first, str) else ""

    def without(self, start: str) -> "Word":
        """Return the word without a literal at its start."""
        rest = self.start[len(start) :]
        pieces = self.pieces[1:] if self.start else self.pieces
        return Word([rest, *pieces] if rest else list(pieces), self.has_pattern)


@dataclass
class Command:
    """A simple command: its words, and the targets of its redirections as ``(sign, word)``."""

    words: List[Word] = field(default_factory=list)
    redirections: List[Tuple[str, Word]] = field(default_factory=list)

    @property
    def slots(self) -> List[Slot]:
        """The values of an alert in its words and redirections."""
        words = [*self.words, *(word for _, word in self.redirections)]
        return [slot for word in words for slot in word.slots]


def parse(command: str, env: Mapping[str, Template]) -> List[List[Command]]:
    """Return the pipelines of a command.

    :param env: the variables whose values come from an alert.
    :raises MappingError: for anything but simple commands.
    """
    return _Reader(command, env).read()


_PATTERN_SIGNS = "*?[]{}~!"
_REDIRECTIONS = (">>", ">&", ">|", "<", ">")


class _Reader:
    """Reads a command from left to right."""

    def __init__(self, command: str, env: Mapping[str, Template]):
        parts = [[part] if isinstance(part, Template) else list(part) for part in split(command)]
        self._items: List[Union[str, Template]] = [item for part in parts for item in part]
        self._env = env
        self._place = 0
        self._templates = 0
        self._word: Optional[Word] = None
        self._redirection = ""  # the sign whose target is due
        self._pipelines: List[List[Command]] = [[Command()]]

    def read(self) -> List[List[Command]]:
        while self._place < len(self._items):
            item = self._items[self._place]
            if isinstance(item, Template) or item not in " \t\n;&|<>'\"":
                self._read_bare(item)
            elif item in "'\"":
                self._read_quoted(str(item))
            else:
                self._read_sign(item)
        self._end_command()
        commands = [[one for one in line if one.slots or one.words] for line in self._pipelines]
        return [line for line in commands if line]

    def _peek(self, length: int = 1) -> str:
        items = self._items[self._place : self._place + length]
        return "".join(item for item in items if isinstance(item, str))

    def _current(self) -> Word:
        if self._word is None:
            self._word = Word()
        return self._word

    def _take(self) -> Union[str, Template]:
        self._place += 1
        return self._items[self._place - 1]

    def _refuse(self, sign: str) -> MappingError:
        return MappingError(
            f'"{sign}" and a value of an alert in one command; expected simple commands joined by '
            f";, &&, || or |. {REMEDY}"
        )

    # what adds to a word

    def _read_bare(self, item: Union[str, Template]) -> None:
        if item in ("`", "(", ")") or (item == "#" and self._word is None):
            raise self._refuse(str(item))
        if item == "\\":
            self._take()
            if self._place < len(self._items):
                self._read_escaped("")
        elif item == "$":
            self._read_variable(quoted=False)
        else:
            word = self._current()
            word.has_pattern |= isinstance(item, str) and item in _PATTERN_SIGNS
            self._add(self._take())

    def _read_escaped(self, quote: str) -> None:
        item = self._take()
        if isinstance(item, Template):
            raise MappingError(f'"\\" before {item}; remove it')
        if item != "\n":
            keeps = quote and item not in '$`"\\'
            self._current().add("\\" + item if keeps else item)

    def _read_quoted(self, quote: str) -> None:
        self._take()
        self._current().add("")
        while self._place < len(self._items):
            item = self._items[self._place]
            if item == quote:
                self._take()
                return
            if quote == '"' and item == "$":
                self._read_variable(quoted=True)
            elif quote == '"' and item == "`":
                raise self._refuse("`")
            elif quote == '"' and item == "\\" and self._place + 1 < len(self._items):
                self._take()
                self._read_escaped(quote)
            else:
                self._add(self._take())
        raise self._refuse(f"{quote} without its end")

    def _add(self, item: Union[str, Template]) -> None:
        if isinstance(item, str):
            self._current().add(item)
            return
        slot = Slot(item, self._templates)
        self._templates += 1
        self._current().add(slot if item.is_from_alert else Variable(item.name))

    def _read_variable(self, quoted: bool) -> None:
        self._take()
        rest = self._peek(200)
        match = re.match(r"([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\}", rest, re.ASCII)
        if match:
            self._place += match.end()
            self._add_variable(match.group(1) or match.group(2), quoted)
        elif rest[:1] in ("", " ", "\t", "\n", '"') and not self._at_template():
            self._current().add("$")
        else:
            raise self._refuse("$" + rest[:1])

    def _at_template(self) -> bool:
        return self._place < len(self._items) and not isinstance(self._items[self._place], str)

    def _add_variable(self, name: str, quoted: bool) -> None:
        if name not in self._env:
            self._current().add(Variable(name))
        elif quoted:
            self._current().add(Slot(self._env[name], None))
        else:
            raise MappingError(f'${name} out of quotes, a value of an alert; write "${name}"')

    # what ends one

    def _read_sign(self, item: Union[str, Template]) -> None:
        if item in ("<", ">"):
            self._read_redirection()
            return
        self._take()
        if item in (" ", "\t"):
            self._end_word()
            return
        double = str(item) + self._peek()
        if item == "&" and double != "&&" or double == "|&":
            raise self._refuse("|&" if double == "|&" else "&")
        self._end_command()
        if double in ("&&", "||"):
            self._take()
        if item == "|" and double != "||":
            self._pipelines[-1].append(Command())
        else:
            self._pipelines.append([Command()])

    def _read_redirection(self) -> None:
        if self._word and (self._word.literal or "").isdigit():
            self._word = None  # the number of the file
        self._end_word()
        two = self._peek(2)
        if two in ("<<", "<(", ">(", "<&", "<>"):
            raise self._refuse(two)
        self._redirection = next(sign for sign in _REDIRECTIONS if two.startswith(sign))
        self._place += len(self._redirection)

    def _end_word(self) -> None:
        word, self._word = self._word, None
        if word is None:
            return
        command = self._pipelines[-1][-1]
        if self._redirection:
            command.redirections.append((self._redirection, word))
            self._redirection = ""
        else:
            command.words.append(word)

    def _end_command(self) -> None:
        self._end_word()
        if self._redirection:
            raise self._refuse(f"{self._redirection} without a file")
