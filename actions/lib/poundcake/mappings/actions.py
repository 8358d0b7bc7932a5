"""The actions that steps run, as far as mappings need to know them. Pure."""

import re
from dataclasses import dataclass
from typing import Any, Dict, Mapping

# What a step is for. A workflow's outcome follows from the steps that ran.
EVIDENCE = "evidence"
REMEDIATION = "remediation"
VERIFICATION = "verification"
ESCALATION = "escalation"
PHASES = (EVIDENCE, REMEDIATION, VERIFICATION, ESCALATION)

SHELLS = ("local-shell-cmd", "remote-shell-cmd")
# Parameter names of older mappings, and their names in StackStorm's packs (linux.service).
OLDER_NAMES = {"host": "hosts", "action": "act"}

_TELL = re.compile(
    r"(?:chat|chatops|email|googlechat|mattermost|msteams|opsgenie|pagerduty|rocketchat|slack|"
    r"telegram|twilio|victorops|xmatters|zulip)\.|(?:core\.sendmail|poundcake\.notify)\Z"
)
_LOOK = re.compile(
    r"core\.(?:echo|noop|pause|winrm_noop)\Z|poundcake\.(?:check|get|list|log|show|find)_|"
    r"network\.(?:ping|port_check)\Z|linux\.(?:check_|diag_|get_|netstat|lsof|vmstat|dig|file_exists)"
)
_LOOKING_COMMANDS = re.compile(
    r"(?:sudo (?:-n )?)?(?:ps|df|du|free|uptime|ls|stat|head|tail|cat|grep|sort|uniq|wc|cut|tr|ss|"
    r"netstat|vmstat|iostat|top -b\S*|lsof|dmesg|last|who|hostname|date|id|echo|printf|logger|true|"
    r"ping|pg_isready|getent|nc -z|journalctl|"
    r"systemctl (?:--\S+ )*(?:status|is-active|is-failed|show)|"
    r"kubectl (?:get|describe|logs|top)|docker (?:ps|logs|inspect|stats))(?![\w./-])"
)


@dataclass(frozen=True)
class ActionInfo:
    """An action as a step needs it: its runner, and the parameter schemas of both."""

    runner: str
    own: Mapping[str, Any]
    of_runner: Mapping[str, Any]

    @property
    def parameters(self) -> Dict[str, Dict[str, Any]]:
        """The parameter schemas of the runner, updated with those of the action."""
        schemas = {name: dict(schema) for name, schema in self.of_runner.items()}
        for name, schema in self.own.items():
            schemas.setdefault(name, {}).update(schema)
        return schemas

    @property
    def takes_default_timeout(self) -> bool:
        """Whether only its runner limits how long it runs."""
        return "timeout" in self.of_runner and "timeout" not in self.own


def renamed(parameters: Mapping[str, Any], known: Mapping[str, Any]) -> Dict[str, Any]:
    """Return parameters with older names replaced if the action has only the newer name."""
    result = {}
    for name, value in parameters.items():
        newer = OLDER_NAMES.get(name)
        if newer and name not in known and newer in known and newer not in parameters:
            name = newer
        result[name] = value
    return result


def phase_of(action: str, parameters: Mapping[str, Any]) -> str:
    """Return what a step is for when its mapping does not say it.

    It looks at the action, and at the programs of a command.
    """
    if parameters.get("dry_run") is True or _LOOK.match(action):
        return EVIDENCE
    if _TELL.match(action):
        return ESCALATION
    command = parameters.get("cmd")
    if action in ("core.local", "core.remote") and isinstance(command, str):
        harmless = re.sub(r"'[^']*'|\"[^\"$`]*\"|\d?>&\d|\d?>\s*/dev/null", "x", command)
        parts = [part.strip() for part in re.split(r"[;&|\n]+", harmless) if part.strip()]
        if all(_LOOKING_COMMANDS.match(part) for part in parts) and not re.search(
            r"[>`$]", harmless
        ):
            return EVIDENCE
    return REMEDIATION
