"""Alert rules in a YAML file, changed in place: no other line of the file changes.

A file is a Prometheus rule file, or holds PrometheusRule resources, one a document.
Values are put in place where ruamel.yaml says that they begin and end. It could write the file as a
whole, and keep comments and order; but it was seen to indent every line anew, to move comments and
to lose one behind a replaced value, and nobody can review that. What was written is read again, and
must be what was wanted.
"""

import copy
import io
import re
import textwrap

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import (
    DoubleQuotedScalarString,
    LiteralScalarString,
    SingleQuotedScalarString,
)

from poundcake.alert_rules import change as rule_change
from poundcake.errors import ExpectedError

RULES, RESOURCE = FORMS = ("rules", "PrometheusRule")
# A file of aliases of aliases is small and unfolds to more than any memory holds.
MOST_VALUES = 200000
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


def documents(text):
    """Return the documents of a file as plain values.

    :raises ExpectedError: when it is no YAML, or more than can be.
    """
    return _read(text)[0]


def has(change, text):
    """True when a file has a rule that a change may mean; one that is no YAML has none."""
    if change.rule not in text:
        return False
    try:
        return any(_has(change, document) for document in _read(text)[0])
    except ExpectedError:
        return False


def apply(change, text):
    """Return ``(text, groups)`` of a file after a change; the same text when nothing changed.

    The text is None when no rule is left and the file can go. The groups are those of the document
    that was meant, to be checked.

    :raises ExpectedError: when the file cannot be read, or the change not be made.
    """
    documents, nodes = _read(text)
    at = _meant(change, documents)
    wanted = copy.deepcopy(documents)
    holder = _holder(change, wanted[at])
    holder["groups"] = [] if holder["groups"] is None else holder["groups"]
    if not rule_change.apply(change, holder["groups"]):
        return text, holder["groups"]
    if not holder["groups"] and len(documents) == 1:
        return None, []
    try:
        edits = _Edits(text)
        edits.value(nodes[at], documents[at], wanted[at], 0)
        written = edits.made()
        if _read(written)[0] == wanted:
            return written, holder["groups"]
    except (_NotInPlace, ExpectedError):
        pass
    raise ExpectedError(
        "file: the rule is written in a way that no program can change without harm, such as with "
        "an alias; change it by hand"
    )


def new(change, form, namespace, labels):
    """Return ``(text, groups)`` of a new file for a rule that a change creates.

    :param form: one of FORMS.
    :param namespace, labels: of a PrometheusRule.
    """
    groups = []
    rule_change.apply(change, groups)
    if form == RULES:
        return dump({"groups": groups}), groups
    metadata = {"name": change.resource, "namespace": namespace, "labels": dict(labels)}
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {name: value for name, value in metadata.items() if value},
        "spec": {"groups": groups},
    }
    return dump(document), groups


def _meant(change, documents):
    """Return the index of the document that a change means."""
    found = [at for at, document in enumerate(documents) if _holder(change, document)]
    if not found:
        text = 'file: it has neither groups nor a PrometheusRule "%s" with groups'
        raise ExpectedError(text % change.resource)
    if len(found) > 1:
        found = [at for at in found if _has(change, documents[at])]
    if len(found) != 1:
        text = 'file: it has several documents with groups, and %s of them have the rule "%s"'
        raise ExpectedError(text % (len(found) or "none", change.rule))
    return found[0]


def _has(change, document):
    holder = _holder(change, document)
    if holder is None or holder["groups"] is None:
        return False
    return rule_change.has(change, holder["groups"])


def _holder(change, document):
    """Return what has the groups in a document, None when a change does not mean this one."""
    if isinstance(document, dict) and document.get("kind") == "PrometheusRule":
        metadata, document = document.get("metadata"), document.get("spec")
        if not isinstance(metadata, dict) or metadata.get("name") != change.resource:
            return None
    return document if isinstance(document, dict) and "groups" in document else None


def _read(text):
    """Return the documents of a file as plain values, and their nodes."""
    try:
        # In Python and as YAML 1.2: "yes" and "on" are text to Prometheus.
        reader = YAML(typ="safe", pure=True)
        nodes = list(reader.compose_all(text))
        for node in nodes:
            _size(node, {})
        values = [reader.constructor.construct_document(node) for node in nodes]
        return [_unshared(value) for value in values], nodes
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = " (line %d)" % (mark.line + 1) if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ExpectedError("file: it is no YAML that can be read: %s%s" % (what, where))


def _unshared(value):
    """Return a value in which an alias is a value of its own."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _size(node, known):
    """Return how many values a node unfolds to; ValueError when there is no end of it."""
    if isinstance(node, (MappingNode, SequenceNode)):
        if known.setdefault(id(node), 0) is None:
            raise ValueError("a value is inside of itself")
        if not known[id(node)]:
            known[id(node)] = None
            inner = node.value
            if isinstance(node, MappingNode):
                inner = [one for pair in inner for one in pair]
            known[id(node)] = 1 + sum(_size(one, known) for one in inner)
        if known[id(node)] > MOST_VALUES:
            raise ValueError("more than %d values" % MOST_VALUES)
        return known[id(node)]
    return 1


class _NotInPlace(Exception):
    """A value cannot be put in the place of another, the rest being as it is."""


class _Edits:
    """What to put in place of which parts of a text, so that it says another value."""

    def __init__(self, text):
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._found = []  # (begin, end, new text)

    def made(self):
        parts, place = [], 0
        for begin, end, new in sorted(self._found, key=lambda edit: edit[:2]):
            parts += [self._text[place:begin], new]
            place = end
        return "".join(parts) + self._text[place:]

    def value(self, node, before, after, column):
        """Note the edits that a node needs to say another value; column is that of its key."""
        begin, end = node.start_mark.index, self._end(node)
        if not before and isinstance(after, (dict, list)):  # [], {} or nothing behind the key
            written = "\n" + textwrap.indent(dump(after), " " * column).rstrip("\n")
            begin = len(self._text[:begin].rstrip())
            self._put(begin, max(begin, end), written)
        elif isinstance(node, ScalarNode) and isinstance(after, str):
            comment = self._text[end : self._line_end(end)].strip()
            written = _scalar(after, node.style, one_line=bool(comment))
            self._put(begin, end, textwrap.indent(written, " " * column).lstrip())
        elif isinstance(node, ScalarNode):
            raise _NotInPlace
        elif node.flow_style:
            self._put(begin, end, dump(after, flow=True).strip())
        elif not after:
            self._put(self._line_start(begin), end, " " * (column + 1) + "[]")
        else:
            edit = self._mapping if isinstance(node, MappingNode) else self._sequence
            edit(node, before, after)

    def _mapping(self, node, before, after):
        entries = {key.value: (key, value) for key, value in node.value}
        if list(entries) != list(before):  # there are merges, or keys that are no text
            raise _NotInPlace
        column = node.start_mark.column
        place = None
        for name, value in after.items():
            if name in before:
                key, found = entries[name]
                if before[name] != value:
                    self.value(found, before[name], value, column)
                place = self._line_end(self._end(found))
            elif place is None:
                raise _NotInPlace
            else:
                self._insert(place, dump({name: value}), column)
        for name in before:
            if name not in after:
                key, found = entries[name]
                self._cut(key.start_mark.index, self._end(found))

    def _sequence(self, node, before, after):
        column, items = node.start_mark.column, node.value
        if len(after) == len(before):
            for item, one, other in zip(items, before, after):
                if one != other:
                    self.value(item, one, other, column)
        elif len(after) < len(before):
            at = next((at for at, one in enumerate(after) if one != before[at]), len(after))
            above = self._line_end(self._end(items[at - 1])) if at else 0
            self._cut(items[at].start_mark.index, self._end(items[at]), "-", above)
        else:
            written = dump(after[len(before) :], self._offset(items[-1]))
            if len(items) > 1:
                between = self._text[self._end(items[-2]) : items[-1].start_mark.index]
                written = "\n" * bool(_BLANK_LINE.search(between)) + written
            self._insert(self._line_end(self._end(items[-1])), written, column)

    def _offset(self, item):
        """Return how far the dashes of a list below a key are from the key, as this file has it."""
        if isinstance(item, MappingNode):
            for key, value in item.value:
                if isinstance(value, SequenceNode) and not value.flow_style:
                    return value.start_mark.column - key.start_mark.column
        return 2

    def _insert(self, place, written, column):
        written = textwrap.indent(written, " " * column)
        if place == len(self._text) and not self._text.endswith("\n"):
            written = "\n" + written.rstrip("\n")
        self._put(place, place, written)

    def _cut(self, begin, end, dash="", above=None):
        """Cut the lines of an entry; those of a list's also up to where the one above it ends."""
        start = self._line_start(begin)
        if self._text[start:begin].strip() != dash:
            raise _NotInPlace
        # A comment right above a rule is about it.
        while above is not None and start > above and self._above(start).startswith("#"):
            start = self._line_start(start - 1)
        end = self._line_end(end)
        if not self._text[end : self._line_end(end)].strip():
            while start and not self._above(start):
                start = self._line_start(start - 1)
        self._put(start, end, "")

    def _put(self, begin, end, written):
        self._found.append((begin, end, written.replace("\n", self._newline)))

    def _end(self, node):
        """Return where the text of a node ends, without what stands behind it."""
        if isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        return len(self._text[: node.end_mark.index].rstrip())

    def _line_start(self, place):
        return self._text.rfind("\n", 0, place) + 1

    def _line_end(self, place):
        return self._text.find("\n", place) + 1 or len(self._text)

    def _above(self, start):
        """Return the line above one that starts somewhere, without what indents it."""
        return self._text[self._line_start(start - 1) : start].strip()


def _scalar(text, style, one_line):
    """Return a text as it stands behind its key, quoted as it was before."""
    quotes = {'"': DoubleQuotedScalarString, "'": SingleQuotedScalarString}
    if one_line and "\n" in text:
        text = DoubleQuotedScalarString(text)
    elif style in quotes and "\n" not in text:
        text = quotes[style](text)
    return dump({"k": text})[len("k:") :].strip()


def dump(value, offset=2, flow=False):
    """Return a plain value as YAML, text as every reader of YAML takes it for such.

    :param offset: of a dash from the key above it.
    :param flow: whether it is written as ``{...}``.
    """
    writer = YAML()
    writer.width = 1 << 20
    writer.default_flow_style = flow
    writer.indent(mapping=2, sequence=offset + 2, offset=offset)
    out = io.StringIO()
    writer.dump(_quoted(value), out)
    return textwrap.dedent(out.getvalue())


def _quoted(value):
    """Return a value whose texts are written so that every reader of YAML reads them as such."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if type(value) is not str:
        return value
    if "\n" in value:
        return LiteralScalarString(value)
    try:
        plain = yaml.safe_load(value) == value  # by YAML 1.1, where yes, on and 1:30 are no text
    except yaml.YAMLError:
        plain = False
    if plain:
        return value
    return SingleQuotedScalarString(value) if '"' in value else DoubleQuotedScalarString(value)
