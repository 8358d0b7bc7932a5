"""What is wrong with mappings, as far as it takes StackStorm's actions to know. Pure."""

import difflib

from poundcake.mappings import content, shell
from poundcake.mappings.shell import CommandError
from poundcake.mappings.templates import TemplateError, is_from_alert

# The runner's parameters that may take the text of an alert: data, wherever it goes from there.
_FOR_ALERTS = ("env", "hosts", "url", "headers", "cookies")


def check(book, actions, known, secrets):
    """Note every mistake of a book's mappings in the book.

    :param actions: ``{action reference: ActionInfo}`` of those that there are.
    :param known: all action references of the StackStorm, for a hint; may be empty.
    :param secrets: names of the settings that ``{{config.KEY}}`` must not show.
    """
    for mapping in book.mappings.values():
        for index, step in enumerate(mapping.steps):
            _Step(book, mapping, index, step, secrets).check(actions, known)


class _Step:
    def __init__(self, book, mapping, index, step, secrets):
        self._book = book
        self._mapping = mapping
        self._index = index
        self._step = step
        self._secrets = secrets

    def _complain(self, path, text):
        path = ("actions", self._index) + tuple(path)
        self._book.complain(self._mapping.alertname, path, text)

    def check(self, actions, known):
        self._check_conditions()
        if self._step.action in actions:
            self._check_parameters(actions[self._step.action])
        elif self._step.action:
            self._complain(("action",), _unknown(self._step.action, known))

    def _check_conditions(self):
        found = self._step.conditions
        never = "this can never hold: "
        names = found.labels.get("alertname")
        if names and self._mapping.alertname not in names:
            text = never + "the alert is %s; remove it"
            self._complain(("conditions", "labels", "alertname"), text % self._mapping.alertname)
        severity = found.labels.get("severity")
        if severity and found.severity and not set(severity) & set(found.severity):
            text = never + "severity says %s" % " or ".join(found.severity)
            self._complain(("conditions", "labels", "severity"), text + "; keep one of them")
        for label in found.has_labels:
            if set(found.labels.get(label, "x")) == {""}:
                text = never + "labels wants %s to be empty, and an empty label is none; keep one"
                self._complain(("conditions", "has_labels"), text % label)
        if "" in found.severity and "severity" in found.has_labels and len(found.severity) == 1:
            self._complain(("conditions", "severity"), never + "has_labels wants one; keep one")

    def _check_parameters(self, info):
        known = info.parameters
        given = content.renamed(self._step.parameters, known)
        older = dict(zip(given, self._step.parameters))  # as the file has it
        for name, value in given.items():
            path = ("parameters", older[name])
            if name not in known:
                self._complain(path, _unknown_parameter(self._step.action, name, known))
            elif known[name].get("immutable"):
                self._complain(path, "%s sets it itself; remove it" % self._step.action)
            else:
                self._check_value(info, name, value, path)
        for name, schema in known.items():
            if schema.get("required") and "default" not in schema and name not in given:
                text = "%s needs the parameter %s (%s); add it"
                what = schema.get("description") or schema.get("type", "any type")
                self._complain(("parameters",), text % (self._step.action, name, what))
        if self._step.timeout and ("timeout" not in known or "timeout" in given):
            text = "timeout is among the parameters, too; keep one"
            if "timeout" not in known:
                text = "%s takes no timeout; remove it, and limit what it runs"
                text = text % self._step.action
            self._complain(("timeout",), text)

    def _check_value(self, info, name, value, path):
        try:
            names = content.template_names(value)
        except TemplateError:
            return  # it is noted already
        for template in names:
            self._check_template(template, path)
        if name == "cmd" and info.runner in content.SHELLS:
            self._check_command(value, path)
        elif any(is_from_alert(template) for template in names):
            self._check_place(info, name, value, path)

    def _check_template(self, template, path):
        group, _, key = template.partition(".")
        if group == "parameters" and key not in self._mapping.parameters:
            there = ", ".join(self._mapping.parameters) or "none"
            text = "parameters.%s names nothing; the parameters of this alert are: %s"
            self._complain(path, text % (key, there))
        if group == "config" and key in self._secrets:
            text = "config.%s is a secret, which executions would show; let the action read it"
            self._complain(path, text % key)

    def _check_command(self, value, path):
        env = self._step.parameters.get("env")
        if not isinstance(value, str):
            self._complain(path, "expected text")
        elif env is not None and not isinstance(env, dict):
            self._complain(path[:-1] + ("env",), "expected an object (NAME: value)")
        else:
            try:
                shell.translate(value)
            except CommandError as error:
                self._complain(path, str(error))

    def _check_place(self, info, name, value, path):
        if name in content.HOSTS:
            if not content.host_template(name, value):
                text = "a host is one template alone, as in {{instance}}, or plain text"
                self._complain(path, text)
        elif name in info.of_runner and name not in _FOR_ALERTS:
            text = "an alert must not choose %s; write it out, or use parameters.KEY or config.KEY"
            self._complain(path, text % name)
        elif name not in info.of_runner and info.runner.endswith("-cmd"):
            text = "%s puts %s on its command line; use core.local with cmd, where values are data"
            self._complain(path, text % (self._step.action, name))


def _unknown(action, known):
    pack = action.partition(".")[0]
    if known and not any(ref.startswith(pack + ".") for ref in known):
        return "%s: there is no pack %s here; st2 pack install %s" % (action, pack, pack)
    close = difflib.get_close_matches(action, known, 1)
    hint = "did you mean %s?" % close[0] if close else "st2 action list --pack %s" % pack
    return "there is no action %s; %s" % (action, hint)


def _unknown_parameter(action, name, known):
    close = difflib.get_close_matches(name, known, 1)
    hint = (
        "did you mean %s?" % close[0] if close else "it has " + (", ".join(sorted(known)) or "none")
    )
    return "%s has no parameter %s; %s" % (action, name, hint)
