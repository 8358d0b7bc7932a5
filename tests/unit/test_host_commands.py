"""What goes to a host is checked on the StackStorm node first."""

import pytest
from poundcake import host_commands
from poundcake.errors import ExpectedError
from poundcake.settings import from_config

SETTINGS = from_config({"allowed_hosts": ["*.shop.example"]})


def prepare(host="", script=None, values=None, types=None):
    return host_commands.prepare(SETTINGS, host, script, values, types)


def test_values_of_their_types_are_no_error():
    """A script comes back as text; a caller with a command of its own names none."""
    values, types = {"SERVICE": "nginx", "PORT": 80}, {"SERVICE": "unit", "PORT": "number"}
    assert prepare("web-1.shop.example", None, values, types) == {"command": ""}
    assert "systemctl restart" in prepare(script="restart_service", values=values)["command"]
    assert prepare(None, None, None, None) == {"command": ""}


@pytest.mark.parametrize(
    "given, start",
    [
        ({"host": "web-1"}, 'host: "web-1" does not match the setting allowed_hosts'),
        ({"host": "a,b"}, 'host: "a,b"; expected one name or address'),
        ({"values": {"SERVICE": ""}}, "service: empty"),
        ({"values": {"A": "x"}, "types": {"A": "unti"}}, 'a: no type of values is called "unti"'),
        ({"values": {"A": "*"}, "types": {"A": "unit"}}, 'a: "*"; expected'),
        ({"types": {"A": "unit"}}, "types: A is not in env"),
        ({"script": ""}, 'script: no script is called ""'),
        ({"script": "../workflows"}, 'script: no script is called "../workflows"'),
    ],
)
def test_anything_else_is_an_error_that_names_it(given, start):
    """The next try would end there too."""
    with pytest.raises(ExpectedError) as caught:
        prepare(**given)
    assert str(caught.value).startswith(start)
