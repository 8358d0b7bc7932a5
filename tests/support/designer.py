"""What the designer of st2web 3.9 does to the text of a workflow, edit by edit.

It edits tokens, not data: in block style a change stays where it is made. Other forms come out
broken, and that is imitated here too (docs/editing-workflows.md).
"""

import json
import re

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Designer:
    """A workflow that is open in the designer; ``text`` is what it would save."""

    def __init__(self, text):
        self.text = text

    # --- tasks ------------------------------------------------------------------------------------

    def rename_task(self, name, new):
        """Give a task another name, also where transitions lead to it."""
        self.text = re.sub(rf"(?m)^(\s+)do: {name}$", rf"\1{new}: {name}", self.text)
        self.text = re.sub(rf"(?m)^(          - ){name}$", rf"\g<1>{new}", self.text)
        self.text = re.sub(rf"(?m)^  {name}:", f"  {new}:", self.text)

    def move_task(self, name, x, y):
        """Drag a task: its place is the first pair of numbers in the comments above it."""
        begin, _ = self._task(name)
        lines = self.text.split("\n")
        above = begin
        while lines[above - 1].strip().startswith("#"):
            above -= 1
        comments = "\n".join(lines[above:begin])
        moved, found = re.subn(r"\[\s*-?\d+\s*,\s*-?\d+\s*\]", f"[{x}, {y}]", comments, count=1)
        if not found:
            moved = (comments + "\n" if comments else "") + f"  # [{x}, {y}]"
        self._replace(above, begin, moved)

    def add_task(self, name, action):
        """Drop an action on the canvas."""
        task = f"  # [100, 100]\n  {name}:\n    action: {action}"
        self.text = self.text.rstrip("\n") + "\n" + task + "\n"

    def delete_task(self, name):
        """Delete a task, and it from the transitions that lead to it."""
        self.text = re.sub(
            rf"(?m)^        do:\n          - {name}\n(?!          - )", "", self.text
        )
        begin, end = self._task(name)
        self._replace(begin, end, None)

    def set_action(self, name, action):
        self._set(name, "action", action)

    def set_delay(self, name, delay):
        self._set(name, "delay", delay)

    def set_input(self, name, key, value):
        """Change one parameter of a task."""
        begin, end = self._task(name)
        text = self._lines(begin, end)
        if re.search(r"(?m)^    input: <%", text):
            whole = re.search(r"(?m)^    input: (<%.*)$", text).group(1)
            broken = "\n".join(f"      '{n}': '{c}'" for n, c in enumerate(whole))
            text = re.sub(r"(?m)^    input: <%.*$", lambda _: "    input:\n" + broken, text)
        elif re.search(r"(?m)^    input: \{", text):
            text = re.sub(r"(?m)^(    input: \{.*)\}$", rf"\1, {key}: {value}", text)
        elif re.search(rf"(?m)^      {key}: ", text):
            old = rf"(?m)^      {key}: .*\n(        .*\n)*"  # a text may have several lines
            text = re.sub(old, lambda _: f"      {key}: {value}\n", text)
        else:
            text = text.replace("    input:\n", f"    input:\n      {key}: {value}\n", 1)
        self._replace(begin, end, text)

    # --- transitions ------------------------------------------------------------------------------

    def add_transition(self, name, following):
        """Draw a line to another task; it has no condition."""
        begin, end = self._task(name)
        text = self._lines(begin, end).rstrip("\n")
        text += "" if "    next:" in text else "\n    next:"
        self._replace(begin, end, f"{text}\n      - do:\n          - {following}\n")

    def delete_transition(self, name, number):
        begin, end = self._task(name)
        head, steps = self._steps(begin, end)
        del steps[number]
        self._replace(
            begin, end, "".join([head if steps else head.replace("    next:\n", ""), *steps])
        )

    def set_condition(self, name, number, when):
        self._set_step(name, number, r"when: .*", f"when: {when}")

    def set_publish(self, name, number, key, value):
        """Change one published value, or add it."""
        begin, end = self._task(name)
        head, steps = self._steps(begin, end)
        step = steps[number]
        if re.search(r"(?m)^        publish: ", step):
            step = re.sub(r"(?m)^        publish: .*$", f"        publish: {key}={value}", step)
        elif re.search(rf"(?m)^          - {key}: ", step):
            step = re.sub(
                rf"(?m)^          - {key}: .*$", lambda _: f"          - {key}: {value}", step
            )
        elif "        publish:\n" in step:
            step = step.replace(
                "        publish:\n", f"        publish:\n          - {key}: {value}\n"
            )
        else:
            step = step.rstrip("\n") + f"\n        publish:\n          - {key}: {value}\n"
        steps[number] = step
        self._replace(begin, end, head + "".join(steps))

    # --- the workflow -----------------------------------------------------------------------------

    def set_inputs(self, names):
        """Change the parameters: the list is written anew."""
        if re.search(r"(?m)^input: \[", self.text):
            self.text = re.sub(r"(?m)^input: \[.*$", "input: [" + ", ".join(names), self.text)
        else:
            block = "".join(f"  - {name}\n" for name in names)
            self.text = re.sub(r"(?m)^input:\n(  - .*\n)+", "input:\n" + block, self.text)

    def set_var(self, name, value):
        """Change a variable: all of them are written anew, an empty text as null, no comment."""
        variables = [dict(item) for item in yaml.load(self.text, Loader=LOADER)["vars"]]
        if name not in {key for item in variables for key in item}:
            variables.append({name: value})
        block = ["vars:"]
        for item in variables:
            for key, old in item.items():
                block.append(f"  - {key}: {_written(value if key == name else old)}")
        lines = self.text.split("\n")
        begin = lines.index("vars:")
        end = begin + 1
        while lines[end].startswith("  "):
            end += 1
        self._replace(begin, end, "\n".join(block))

    # --- text -------------------------------------------------------------------------------------

    def _task(self, name):
        """Return the lines of a task: of its key, and behind its end."""
        lines = self.text.split("\n")
        begin = lines.index(f"  {name}:")
        end = begin + 1
        while end < len(lines) and not re.match(r"  \S|\S", lines[end]):
            end += 1
        return begin, end

    def _lines(self, begin, end):
        return "\n".join(self.text.split("\n")[begin:end])

    def _replace(self, begin, end, text):
        lines = self.text.split("\n")
        lines[begin:end] = [] if text is None else [text]
        self.text = "\n".join(lines)

    def _steps(self, begin, end):
        head, *steps = re.split(r"(?m)^(?=      - )", self._lines(begin, end))
        return head, [step if step.endswith("\n") else step + "\n" for step in steps]

    def _set(self, name, key, value):
        begin, end = self._task(name)
        text = self._lines(begin, end)
        if re.search(rf"(?m)^    {key}: ", text):
            text = re.sub(rf"(?m)^    {key}: .*$", lambda _: f"    {key}: {value}", text)
        else:
            text = text.replace("\n", f"\n    {key}: {value}\n", 1)
        self._replace(begin, end, text)

    def _set_step(self, name, number, pattern, value):
        begin, end = self._task(name)
        head, steps = self._steps(begin, end)
        steps[number] = re.sub(pattern, lambda _: value, steps[number], count=1)
        self._replace(begin, end, head + "".join(steps))


def metadata_with(text, name, key, value):
    """Return the metadata after a field of one parameter was changed: all are written anew."""
    document = yaml.load(text, Loader=LOADER)
    document["parameters"][name][key] = value
    head = text[: text.index("parameters:")]
    block = "parameters:\n"
    for parameter, schema in document["parameters"].items():
        block += f"  {parameter}:\n"
        for field, item in schema.items():
            block += f"    {field}: {_written(item)}\n"
    return head + block


def _written(value):
    """A value as the designer writes it: nothing for what is empty, quotes without escapes."""
    if value in ("", {}, None):
        return "null"
    if isinstance(value, bool) or not isinstance(value, str):
        return json.dumps(value)
    if value.startswith("<%") and '": ' not in value and ": " not in value:
        return value
    if re.search(r"[:#{}\[\],&*!|>'\"%@`\\]", value):
        return '"' + value.replace('"', '\\"') + '"'
    return value
