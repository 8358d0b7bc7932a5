"""Checks the values of an alert by their types when a mapping runs, before any of its steps."""

from typing import Any, Dict, Mapping

from poundcake import typed_values
from poundcake.errors import ExpectedError, MappingError
from poundcake.mappings import templates
from poundcake.settings import Settings


def check(steps: Mapping[str, Mapping[str, Any]], settings: Settings) -> Dict[str, Any]:
    """Check the values of each step.

    :param steps: ``{step: {declaration: value}}``; a declaration is a template without its braces,
        such as ``labels.service | unit``.
    :returns: values: ``{step: {declaration: value}}``, a host without its port. problems:
        ``{step: what is wrong, "" if nothing is}``.
    """
    checked: Dict[str, Dict[str, str]] = {}
    problems: Dict[str, str] = {}
    for step, values in steps.items():
        checked[step], problems[step] = {}, ""
        for declaration, value in values.items():
            template = templates.parse(declaration)
            if template is None:
                raise MappingError("steps", f'"{declaration}"', "a template with its type")
            try:
                checked[step][declaration] = _checked(template, value, settings)
            except ExpectedError as error:
                problems[step] = problems[step] or str(error)
    return {"values": checked, "problems": problems}


def _checked(template: templates.Template, value: Any, settings: Settings) -> str:
    text = "" if value is None else str(value)
    value = typed_values.check(template.kind, text, template.name, settings)
    return without_port(value) if template.kind == "host" else value


def without_port(host: str) -> str:
    """Return a host or address without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host
