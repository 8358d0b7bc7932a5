"""Changes alert rules in a YAML file in place: no other line of the file changes.

A file is a Prometheus rule file, or has one PrometheusRule resource in each document. ruamel.yaml
says where each value begins and ends. It could also write the whole file and keep comments and
order. But it reindents lines, moves comments, and can lose a comment after a replaced value, and
nobody can review such a diff. The result is parsed again and must equal the wanted documents.
"""

import copy
import io
import re
import textwrap
from typing import Any, Dict, List, Mapping, Optional, Tuple

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import (
    DoubleQuotedScalarString,
    LiteralScalarString,
    SingleQuotedScalarString,
)

from poundcake import yaml_guard
from poundcake.alert_rules import change as rule_change
from poundcake.alert_rules.change import RuleChange
from poundcake.errors import ExpectedError

RULES, RESOURCE = FORMS = ("rules", "PrometheusRule")
_MERGE = "tag:yaml.org,2002:merge"
_NOT_STRINGS = ["tag:yaml.org,2002:" + name for name in ("bool", "int", "float", "timestamp")]
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


def documents(source: str) -> List[Any]:
    """Return the documents of a file as plain values.

    :raises ExpectedError: when it is not valid YAML, or is too large.
    """
    return _read(source)[0]


def may_have(change: RuleChange, source: bytes) -> bool:
    """Return whether a file is worth reading for a change's rule.

    Only part of the name is looked for, because YAML has several ways to write the rest.
    """
    words = re.findall("[A-Za-z0-9]+", change.rule)
    return not words or max(words, key=len).encode() in source


def has(change: RuleChange, source: str) -> bool:
    """Return whether a file has a rule that a change may mean.

    :raises ExpectedError: when the file cannot be read.
    """
    return any(_has(change, document) for document in _read(source)[0])


def has_same(change: RuleChange, source: str) -> bool:
    """Return whether a file has the rule that a create would make, by its severity too.

    :raises ExpectedError: when the file cannot be read.
    """
    holders = [_holder(change, one) for one in _read(source)[0] if _has(change, one)]
    return any(rule_change.has_same(change, holder["groups"]) for holder in holders)


def apply(change: RuleChange, source: str) -> Tuple[Optional[str], List[Dict[str, Any]]]:
    """Return ``(content, groups)`` of a file after a change; the same content for no change.

    The content is None when no rule is left and the file can be deleted. The groups are those of
    the changed document, to be checked.

    :raises ExpectedError: when the file cannot be read, or the change cannot be made.
    """
    documents, nodes = _read(source)
    index = _find_document(change, documents)
    wanted = copy.deepcopy(documents)
    holder = _holder(change, wanted[index])
    holder["groups"] = [] if holder["groups"] is None else holder["groups"]
    if not rule_change.apply(change, holder["groups"]):
        return source, holder["groups"]
    if not holder["groups"] and len(documents) == 1:
        return None, []
    try:
        edits = _Edits(source)
        edits.value(nodes[index], documents[index], wanted[index], 0)
        edited = edits.apply()
        if _read(edited)[0] == wanted:
            return edited, holder["groups"]
    except (_NotInPlace, ExpectedError):
        pass
    raise ExpectedError(
        "file",
        "the rule uses YAML that cannot be changed safely, such as an alias",
        remedy="Please change it by hand",
    )


def new(
    change: RuleChange, form: str, namespace: str, labels: Mapping[str, str]
) -> Tuple[str, List[Dict[str, Any]]]:
    """Return ``(content, groups)`` of a new file for the rule that a change creates.

    :param form: one of FORMS.
    :param namespace, labels: for a PrometheusRule.
    """
    groups: List[Dict[str, Any]] = []
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


def _find_document(change, documents):
    """Return the index of the document that a change means."""
    indexes = [index for index, document in enumerate(documents) if _holder(change, document)]
    if not indexes:
        problem = f'it has neither groups nor a PrometheusRule "{change.resource}" with groups'
        raise ExpectedError("file", problem)
    if len(indexes) > 1:
        indexes = [index for index in indexes if _has(change, documents[index])]
    if len(indexes) != 1:
        problem = f'several documents have groups, and {len(indexes)} have the rule "{change.rule}"'
        raise ExpectedError("file", problem, "exactly one")
    return indexes[0]


def _has(change, document):
    holder = _holder(change, document)
    if holder is None or holder["groups"] is None:
        return False
    try:
        return rule_change.has(change, holder["groups"])
    except ExpectedError:  # other YAML may have groups, too
        return False


def _holder(change, document):
    """Return the mapping with ``groups`` in a document, None when a change cannot mean it."""
    if isinstance(document, dict) and document.get("kind") == "PrometheusRule":
        metadata, document = document.get("metadata"), document.get("spec")
        if not isinstance(metadata, dict) or metadata.get("name") != change.resource:
            return None
    return document if isinstance(document, dict) and "groups" in document else None


def _read(source):
    """Return the documents of a file as plain values, and their nodes."""
    try:
        # Pure Python reads YAML 1.2, where "yes" and "on" are strings, as for Prometheus.
        reader = YAML(typ="safe", pure=True)
        nodes = list(reader.compose_all(source))
        for node in nodes:
            yaml_guard.check(node)
            _keep_texts(node)
        values = [reader.constructor.construct_document(node) for node in nodes]
        return [_unshared(value) for value in values], nodes
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ExpectedError("file", f"not valid YAML: {reason}{line}")


def _keep_texts(node):
    """Have the texts of rules below a node read as they are written.

    Prometheus does so: for ``version: 1.10`` in labels it takes 1.10, where YAML reads 1.1.
    """
    for key, value in _pairs(node):
        if key.value == "spec":
            _keep_texts(value)
        elif key.value == "items" and isinstance(value, SequenceNode):
            for item in value.value:
                _keep_texts(item)
        elif key.value == "groups" and isinstance(value, SequenceNode):
            for group in value.value:
                _keep_texts_of(group, ["name"])
                for name, rules in _pairs(group):
                    if name.value == "rules" and isinstance(rules, SequenceNode):
                        for rule in rules.value:
                            _keep_texts_of(rule, ["alert", "record", "expr"])


def _keep_texts_of(node, fields):
    """Mark the values of these fields, and all in labels and annotations, as strings."""
    for key, value in _pairs(node):
        if key.value in fields:
            _mark(value)
        elif key.value in ("labels", "annotations"):
            for name, item in _pairs(value):
                _mark(name)
                _mark(item)


def _pairs(node):
    """Yield the keys and values of a mapping node, those that it merges (``<<``) included."""
    for key, value in node.value if isinstance(node, MappingNode) else ():
        if key.tag != _MERGE:
            yield key, value
            continue
        for merged in value.value if isinstance(value, SequenceNode) else [value]:
            yield from _pairs(merged)


def _mark(node):
    if isinstance(node, ScalarNode) and node.tag in _NOT_STRINGS:
        node.tag = "tag:yaml.org,2002:str"


def _unshared(value):
    """Return a copy of a value in which no two places share a list or mapping."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


class _NotInPlace(Exception):
    """A value cannot be replaced without changing anything else."""


class _Edits:
    """The replacements that turn a YAML source into one with other values."""

    def __init__(self, source):
        self._source = source
        self._newline = "\r\n" if "\r\n" in source else "\n"
        self._replacements = []  # (begin, end, new)

    def apply(self):
        """Return the source with all replacements made."""
        parts, place = [], 0
        for begin, end, new in sorted(self._replacements, key=lambda edit: edit[:2]):
            parts += [self._source[place:begin], new]
            place = end
        return "".join(parts) + self._source[place:]

    def value(self, node, before, after, column):
        """Add the replacements that give a node another value; column is that of its key."""
        begin, end = node.start_mark.index, self._end(node)
        if not before and isinstance(after, (dict, list)):  # [], {} or nothing after the key
            written = "\n" + textwrap.indent(dump(after), " " * column).rstrip("\n")
            begin = len(self._source[:begin].rstrip())
            self._put(begin, max(begin, end), written)
        elif isinstance(node, ScalarNode) and isinstance(after, str):
            comment = self._source[end : self._line_end(end)].strip()
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
        if list(entries) != list(before):  # merge keys, or keys that are not strings
            raise _NotInPlace
        column = node.start_mark.column
        place = None
        for name, value in after.items():
            if name in before:
                _, item = entries[name]
                if before[name] != value:
                    self.value(item, before[name], value, column)
                place = self._line_end(self._end(item))
            elif place is None:
                raise _NotInPlace
            else:
                self._insert(place, dump({name: value}), column)
        for name in before:
            if name not in after:
                key, item = entries[name]
                self._cut(key.start_mark.index, self._end(item))

    def _sequence(self, node, before, after):
        column, items = node.start_mark.column, node.value
        if len(after) == len(before):
            for item, one, other in zip(items, before, after):
                if one != other:
                    self.value(item, one, other, column)
        elif len(after) < len(before):
            cut = next((at for at, one in enumerate(after) if one != before[at]), len(after))
            above = self._line_end(self._end(items[cut - 1])) if cut else 0
            self._cut(items[cut].start_mark.index, self._end(items[cut]), "-", above)
        else:
            written = dump(after[len(before) :], self._offset(items[-1]))
            if len(items) > 1:
                between = self._source[self._end(items[-2]) : items[-1].start_mark.index]
                written = "\n" * bool(_BLANK_LINE.search(between)) + written
            self._insert(self._line_end(self._end(items[-1])), written, column)

    def _offset(self, item):
        """Return how far this file indents the dashes of a list below its key."""
        if isinstance(item, MappingNode):
            for key, value in item.value:
                if isinstance(value, SequenceNode) and not value.flow_style:
                    return value.start_mark.column - key.start_mark.column
        return 2

    def _insert(self, place, written, column):
        written = textwrap.indent(written, " " * column)
        if place == len(self._source) and not self._source.endswith("\n"):
            written = "\n" + written.rstrip("\n")
        self._put(place, place, written)

    def _cut(self, begin, end, dash="", above=None):
        """Cut the lines of an entry; for a list item, also its comment above, down from above."""
        start = self._line_start(begin)
        if self._source[start:begin].strip() != dash:
            raise _NotInPlace
        # A comment directly above a rule belongs to it.
        while above is not None and start > above and self._above(start).startswith("#"):
            start = self._line_start(start - 1)
        end = self._line_end(end)
        if not self._source[end : self._line_end(end)].strip():
            while start and not self._above(start):
                start = self._line_start(start - 1)
        self._put(start, end, "")

    def _put(self, begin, end, written):
        self._replacements.append((begin, end, written.replace("\n", self._newline)))

    def _end(self, node):
        """Return where a node ends, without the spaces and comments after it."""
        if isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        return len(self._source[: node.end_mark.index].rstrip())

    def _line_start(self, place):
        return self._source.rfind("\n", 0, place) + 1

    def _line_end(self, place):
        return self._source.find("\n", place) + 1 or len(self._source)

    def _above(self, start):
        """Return the line above the one that begins at start, without its indent."""
        return self._source[self._line_start(start - 1) : start].strip()


def _scalar(value, style, one_line):
    """Return a string as YAML for the place after its key, with the quotes it had before."""
    quotes = {'"': DoubleQuotedScalarString, "'": SingleQuotedScalarString}
    if one_line and "\n" in value:
        value = DoubleQuotedScalarString(value)
    elif style in quotes and "\n" not in value:
        value = quotes[style](value)
    return dump({"k": value})[len("k:") :].strip()


def dump(value: Any, offset: int = 2, flow: bool = False) -> str:
    """Return a plain value as YAML, in which every YAML reader takes strings for strings.

    :param offset: how far to indent a dash below its key.
    :param flow: whether to write ``{...}``.
    """
    writer = YAML()
    writer.width = 1 << 20
    writer.default_flow_style = flow
    writer.indent(mapping=2, sequence=offset + 2, offset=offset)
    out = io.StringIO()
    writer.dump(_quoted(value), out)
    return textwrap.dedent(out.getvalue())


def _quoted(value):
    """Return a value with its strings quoted where a YAML reader could take them for others."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if type(value) is not str:
        return value
    if "\n" in value:
        return LiteralScalarString(value)
    try:
        plain = yaml.safe_load(value) == value  # in YAML 1.1, yes, on and 1:30 are not strings
    except yaml.YAMLError:
        plain = False
    if plain:
        return value
    return SingleQuotedScalarString(value) if '"' in value else DoubleQuotedScalarString(value)
