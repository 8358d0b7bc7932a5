"""The table of docs/remediations.md: which alerts the shipped rules take, and with which labels."""

import re

import yaml

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "remediations.md"
BEGIN = "<!-- From rules/*.yaml, by python -m tests.support.reference. -->\n"
END = "<!-- End of the table. -->\n"
# What a rule tests or passes on, and what fills it.
FIELDS = {"host": "instance (the host it names)", "labels": "", "alertname": ""}


def rules():
    """Return the rules of remediations by name."""
    found = {}
    for path in sorted((ROOT / "rules").glob("*.yaml")):
        rule = yaml.safe_load(path.read_text(encoding="utf-8"))
        if rule["trigger"]["type"] == "poundcake.alert":
            found[rule["name"]] = rule
    return found


def alertnames(rule):
    """Return the alert names that a rule takes."""
    pattern = rule["criteria"]["trigger.alertname"]["pattern"]
    return re.sub(r"^\^\(?|\)?\$$", "", pattern).split("|")


def labels(rule):
    """Return the labels that a rule reads, in the order in which it names them."""
    text = yaml.safe_dump([list(rule["criteria"]), rule["action"]["parameters"]], width=10**6)
    text = re.sub(r"trigger\.pod and trigger\.labels\.endpoint is defined", "", text)
    names = re.findall(r"trigger\.labels\.(\w+)|trigger\.(\w+)", text)
    shown = [FIELDS.get(name or field, name or field) for name, field in names]
    return list(dict.fromkeys(name for name in shown if name))


def table():
    """Return the table as Markdown."""
    rows = ["| rule | action | alerts | labels |", "|---|---|---|---|"]
    for name, rule in rules().items():
        taken = ", ".join(name.replace(".*", "…") for name in alertnames(rule))
        read = ", ".join(labels(rule))
        rows.append(f"| `{name}` | `{rule['action']['ref'].split('.')[1]}` | {taken} | {read} |")
    return BEGIN + "\n".join(rows) + "\n" + END


def page():
    """Return the page with the table of now."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + table() + rest.partition(END)[2]
