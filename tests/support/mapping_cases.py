"""Mappings that the tests make up, and the actions that these know."""

from hypothesis import strategies as st
from poundcake.mappings.actions import PHASES, ActionInfo
from poundcake.mappings.model import Conditions, Mapping, Step

from tests.support.fakes import PACK
from tests.support.sources import parse_yaml


def _runners():
    with open(PACK + "/tests/engine/content/runners.yaml", encoding="utf-8") as handle:
        return {runner["name"]: runner["runner_parameters"] for runner in parse_yaml(handle)}


_RUNNERS = _runners()
_CMD = {"cmd": {"type": "string", "required": True}, "sudo": {"immutable": True}}
_ECHO = {"message": {"type": "string"}, "cmd": {"default": 'echo "{{message}}"', "immutable": True}}
_SERVICE = {"act": {"type": "string"}, "service": {"type": "string"}}


def _info(runner, own):
    return ActionInfo(runner, own, _RUNNERS[runner])


ACTIONS = {
    "core.local": _info("local-shell-cmd", _CMD),
    "core.remote": _info("remote-shell-cmd", _CMD),
    "core.echo": _info("local-shell-cmd", _ECHO),
    "core.noop": _info("noop", {}),
    "linux.service": _info("remote-shell-script", _SERVICE),
    "chat.post": _info("python-script", {"channel": {}, "message": {"required": True}}),
}

# Names and texts that are awkward in YAML, in YAQL or in both.
_WORDS = st.sampled_from(
    ["yes", "1", "a b", "ü", "x%>y", '"q"', "it's", "# no", "\\n", "a: b", "- a"]
)
_LABELS = st.sampled_from(["job", "service", "items", "get", "a_1", "app.kubernetes.io/name"])
_TEMPLATES = st.one_of(
    st.sampled_from(["alertname", "instance", "severity", "alert.status", "alert.attempt"]),
    _LABELS.map("labels.{}".format),
    st.sampled_from(["annotations.summary", "parameters.unit", "config.region"]),
).map("{{{{{}}}}}".format)
TEXTS = st.lists(st.one_of(_WORDS, _TEMPLATES), min_size=1, max_size=4).map(" ".join)
_CHECKED = st.lists(_WORDS, min_size=1, max_size=2, unique=True).map(tuple)
_CONDITIONS = st.builds(
    Conditions,
    severity=st.sampled_from([(), ("critical",), ("warning", "critical")]),
    labels=st.dictionaries(_LABELS, _CHECKED, max_size=2),
    has_labels=st.lists(_LABELS, max_size=2, unique=True).map(tuple),
)
_COMMANDS = st.sampled_from(
    [
        'systemctl restart -- "{{labels.service}}"',
        'echo "{{instance}} is {{severity}}" | logger',
        "df -h /",
        'printf %s "{{parameters.unit}}" "{{labels.service}}"',
        "df -P / | awk '$5 > {{parameters.percent}} {print}'; echo {{labels.a_1}}",
        "logger -t poundcake -- '{{alertname}} on {{labels.job | name}}'",
        "tail -n {{parameters.percent}} -- /var/log/{{labels.service | name}}.log",
    ]
)
_ENV = st.dictionaries(st.sampled_from(["A", "B_2"]), TEXTS, min_size=1, max_size=2)
_HOSTS = st.sampled_from(["{{instance}}", "{{labels.job}}", "web-01", "{{parameters.unit}}.lan"])


def _with_env(parameters):
    return st.one_of(st.just(parameters), _ENV.map(lambda env: dict(parameters, env=env)))


_STEPS = st.one_of(
    st.tuples(st.just("core.noop"), st.just({})),
    st.tuples(st.just("core.local"), _COMMANDS.flatmap(lambda cmd: _with_env({"cmd": cmd}))),
    st.tuples(st.just("core.remote"), st.fixed_dictionaries({"hosts": _HOSTS, "cmd": _COMMANDS})),
    st.tuples(
        st.just("linux.service"),
        st.fixed_dictionaries({"hosts": _HOSTS, "act": st.just("restart"), "service": TEXTS}),
    ),
    st.tuples(
        st.just("chat.post"),
        st.fixed_dictionaries(
            {"channel": st.sampled_from(["#a", 3, [1, "x"], None]), "message": TEXTS}
        ),
    ),
)


@st.composite
def steps(draw, name):
    action, parameters = draw(_STEPS)
    values = {}
    if "message" in parameters and draw(st.booleans()):
        values = {"own": draw(st.sampled_from(["nginx", "", 5, 0.5, True]))}
        parameters = dict(parameters, message="{{parameters.own}} " + parameters["message"])
    retries = draw(st.sampled_from([0, 0, 2]))
    return Step(
        name=name,
        action=action,
        description=draw(st.sampled_from(["", "What it does", "ü: 'quoted'"])),
        conditions=draw(_CONDITIONS),
        parameters=parameters,
        values=values,
        phase=draw(st.sampled_from(["", "", *PHASES])),
        timeout=draw(st.sampled_from([None, 30])) if action != "core.noop" else None,
        retry_count=retries,
        retry_delay=draw(st.sampled_from([0, 5])) if retries else 0,
        continue_on_failure=draw(st.booleans()),
    )


@st.composite
def mappings(draw, alertname=None):
    """A Mapping without mistakes."""
    count = draw(st.integers(1, 5))
    return Mapping(
        alertname=alertname
        or draw(st.sampled_from(["HighCPU", "High CPU!", "ü", "a{b", "1", "%x"])),
        description=draw(st.sampled_from(["", "A description", "with: colon"])),
        enabled=draw(st.sampled_from([None, False])),
        parameters={
            "unit": draw(st.sampled_from(["nginx", "yes", ""])),
            "percent": draw(st.sampled_from([90, 0.5])),
            "more": [1, {"a": None, "b": {}}, []],
        },
        steps=tuple(draw(steps("step_%d" % (number + 1))) for number in range(count)),
    )


OLDER = """\
alerts:
  HighCPUUsage:
    description: "Remediate high CPU usage"
    handler: yaml_config
    actions:
      - name: identify_cpu_process
        action: core.remote
        description: "Identify CPU-intensive processes"
        parameters:
          hosts: "{{instance}}"
          cmd: "ps aux --sort=-%cpu | head -10"
        timeout: 60

      - name: restart_service
        action: linux.service
        description: "Restart the problematic service"
        conditions:
          severity: critical
          has_labels:
            - service
        parameters:
          host: "{{instance}}"
          service: "{{labels.service}}"
          action: restart
        timeout: 120
"""
