"""Where a value of an alert may stand in a command."""

import pytest
from poundcake.errors import MappingError
from poundcake.mappings import places, programs, shell, templates
from poundcake.mappings.model import Step

from tests.support.mapping_cases import ACTIONS
from tests.support.mapping_commands import GOOD, WAYS_OUT

KINDS = [(kind, command) for kind, commands in GOOD.items() for command in commands]


def typed(command, env=None):
    """Return the command of a step of core.local, with its types."""
    parameters = {"cmd": command, **({"env": env} if env else {})}
    return places.typed(Step("s", "core.local", parameters=parameters), ACTIONS["core.local"])[
        "cmd"
    ]


@pytest.mark.parametrize("kind, command", KINDS)
def test_a_value_has_the_type_of_its_place(kind, command):
    """Or the one that it declares, where text is taken."""
    found = templates.templates_in(typed(command))
    assert {template.kind for template in found} == {kind}
    assert typed(typed(command)) == typed(command)


@pytest.mark.parametrize("command, told", WAYS_OUT)
def test_a_way_out_to_a_program_is_refused_by_name(command, told):
    """The message says what the program would do with the value, and what to write instead."""
    with pytest.raises(MappingError) as caught:
        typed(command)
    assert told in str(caught.value), str(caught.value)


@pytest.mark.parametrize("command, told", WAYS_OUT)
def test_a_variable_with_a_value_of_an_alert_is_no_way_out(command, told):
    """Such as env: {X: "{{labels.x}}"} with "$X" in the command, in quotes or not."""
    if "{{labels.x}}" not in command:
        return
    with pytest.raises(MappingError):
        command = command.replace("'{{labels.x}}'", "$VALUE").replace("{{labels.x}}", "$VALUE")
        typed(command, {"VALUE": "{{labels.x}}"})


@pytest.mark.parametrize("command", [command for command, _ in WAYS_OUT])
def test_what_the_author_writes_is_not_restricted(command):
    """A command without a template of an alert is left alone."""
    command = command.replace("{{labels.x}}", "5")
    if "{{" in command or "POUNDCAKE" in command:
        return
    assert typed(command) == command
    assert shell.translate(command) == (command, {})


@pytest.mark.parametrize("name", sorted(programs.PROGRAMS))
def test_the_usage_of_each_program_is_accepted(name):
    """The messages show it as the way to write the command."""
    assert typed(programs.PROGRAMS[name].usage)


@pytest.mark.parametrize(
    "command",
    [
        "echo {{parameters.text}} | sh",
        "awk '$5 > {{parameters.percent}}' /etc/fstab",
        "/opt/{{config.script}}.sh",
        "systemctl restart {{parameters.unit}}",
        "[ {{parameters.percent}} -gt 5 ] && sync",
        'for i in {{parameters.list}}; do echo "$i"; done',
    ],
)
def test_the_authors_own_values_may_stand_anywhere(command):
    """Who writes the mapping chooses parameters and config, not who fires an alert."""
    assert typed(command) == command


def test_variables_of_env_have_their_types():
    """A variable in quotes is a place like any other; a script gets it in its environment."""
    env = {"UNIT": "{{labels.service | unit}}", "FIXED": "a"}
    assert typed('systemctl restart -- "$UNIT"', env)
    assert typed("/opt/scripts/fix", env) and typed("sh /opt/fix $FIXED", env)
    assert typed('echo "it is ${UNIT}"', env)
    for command in ("systemctl restart -- $UNIT", "$UNIT", '"$UNIT"', "sh -c 'eval \"$UNIT\"'"):
        with pytest.raises(MappingError):
            typed(command, env)
    with pytest.raises(MappingError, match="the type text"):
        typed('systemctl restart -- "$UNIT"', {"UNIT": "{{labels.service}}"})


@pytest.mark.parametrize(
    "url, good",
    [
        ("https://hooks.example.com/{{labels.x}}", "https://hooks.example.com/{{labels.x | name}}"),
        ("http://{{labels.x | host}}:80/a", "http://{{labels.x | host}}:80/a"),
        ("https://h/?q={{labels.x}}", "https://h/?q={{labels.x | name}}"),
        ("{{config.hooks}}/{{labels.x}}", "{{config.hooks}}/{{labels.x | name}}"),
        ("{{labels.x}}", None),
        ("{{labels.x}}/{{labels.y}}", None),
        ("{{config.hooks}}{{labels.x}}", None),
        ("{{labels.x | host}}", None),
        ("http://{{labels.x}}/", None),
        ("http://a@{{labels.x}}/", None),
        ("https://h/{{labels.x | text}}", None),
    ],
)
def test_an_alert_does_not_choose_where_a_request_goes(url, good):
    """A host needs the type host, which the setting allowed_hosts bounds."""
    info = places.ActionInfo("http-request", {}, {"url": {}})
    step = Step("s", "core.http", parameters={"url": url})
    if good:
        assert places.typed(step, info) == {"url": good}
    else:
        with pytest.raises(MappingError, match="where a request goes"):
            places.typed(step, info)


def test_a_script_wants_the_types_of_its_arguments():
    """What a script does with them is unknown."""
    info = places.ActionInfo("remote-shell-script", {"path": {}, "service": {}}, {})
    with pytest.raises(MappingError, match="has no type"):
        places.typed(Step("s", "my.script", parameters={"path": "{{labels.x}}"}), info)
    declared = {"path": "{{labels.x | path below /srv}}"}
    assert places.typed(Step("s", "my.script", parameters=declared), info) == declared
    service = Step("s", "linux.service", parameters={"service": "{{labels.x}}"})
    assert places.typed(service, info) == {"service": "{{labels.x | unit}}"}
