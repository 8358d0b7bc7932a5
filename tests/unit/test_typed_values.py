"""Values that name what a remediation acts on are of their type, or nothing is done."""

import pytest
from poundcake import typed_values
from poundcake.errors import ExpectedError, SettingsError
from poundcake.settings import from_config

GOOD = {
    "unit": ["nginx", "nginx.service", "getty-like.service", r"dev-disk\x2dby.service"]
    + ["app@1.service", "postgresql@15-main", "chronyd.service", "v1.2"],
    "host": ["web-1", "web-1.example.com", "web-1.example.com.", "10.0.0.5", "10.0.0.5:2222"]
    + ["2001:db8::1", "::1", "[2001:db8::1]:22", "db_1"],
    "name": ["nightly", "a.b-c_d", "0"],
    "path": ["/", "/srv", "/var/lib/a b/ü", "/a/...", "/-rf", "/srv/$HOME"],
    "path below /cache": ["/cache/shop", "/cache/shop/1"],
    "number": ["0", "80", "0.5"],
    "endpoint": ["shop.example.com", "shop.example.com:443", "https://shop.example.com/a?b=c"]
    + ["https://me:pw@127.0.0.1:8443/x", "[2001:db8::1]:443", "10.0.0.5"],
    "database": ["shop", "shop-1", "0abc", "a$b"],
    "pod": ["shop-7d4b9-x2x8p", "a.b"],
    "namespace": ["shop"],
    "context": ["arn:aws:eks:eu-1:1:cluster/shop", "me@cluster"],
    "text": ["any; thing $(at all)\n\tand more"],
}
BAD = {
    "unit": ["reboot.target", "poweroff.target", "rescue.target", "emergency.target", "a.slice"]
    + ["debug-shell.service", "debug-shell", "*", "ngin?", "[a-z]*", "-H", "--now", "a b", "a/b"]
    + ["sshd", "ssh.service", "sshd@1.service", "st2api", "st2actionrunner@1", "systemd-journald"]
    + ["systemd-poweroff.service", "dbus", "NetworkManager", "networking.service", "user@0"]
    + ["-.mount", "home.mount", "a.timer", "nginx\n", "nginx;reboot", "é", "a" * 256, "a\0"],
    "host": ["a,b", "root@a", "-oProxyCommand=x", "a b", "a;b", "a/b", "::1::", "1:2:3", "a:b"]
    + ["a:99999999", "[a]", "[::1", ".", "a..-", "$(a)", "a\n", "*", "ü"],
    "name": ["../precious", "..", ".hidden", "-rf", "a/b", "a b", "*", "a\n", "$x", "a:b"],
    "path": ["srv", "", "/srv/", "//srv", "/srv/../etc", "/..", "/.", "/srv/.", "/a\nb", "/a*"]
    + ["/a?", "/a[b]", "~", "/a\0b", "/srv//a"],
    "path below /cache": ["/cache", "/cache/", "/cache/../etc", "/cachex/a", "/etc", "/cache/*"]
    + ["shop", "../precious", "/cache//a"],
    "number": ["-1", "1e9", "0x1", "1 2", "", "1;2", "٣", "1\n", "." * 3],
    "endpoint": ["-connect", "a -starttls x", "a:443 -x", "https://-x@a/", "https://", "a:x"]
    + ["a\n", "file:///etc/passwd", "@a", "a;b", "`a`"],
    "database": ["a b", "-c", "dbname=a host=b", "postgresql://a", "a;b", "'a"],
    "pod": ["A", "a..b", "-a", "a-", "a/b", "a_b", "a" * 254],
    "namespace": ["a.b", "a" * 64, "--all"],
    "context": ["-x", "a b", "/a"],
    "text": ["a\0", "\x1b[2J", "a" * 4097, ""],
}


@pytest.mark.parametrize(
    "kind, value", [(kind, value) for kind, values in GOOD.items() for value in values]
)
def test_a_value_of_its_kind_is_returned_as_it_is(kind, value):
    """It is not changed on the way."""
    assert typed_values.check(kind, value, "x") == value


@pytest.mark.parametrize(
    "kind, value", [(kind, value) for kind, values in BAD.items() for value in values]
)
def test_any_other_value_is_an_error_that_names_the_parameter(kind, value):
    """It is one line, of bounded length, and says what is expected."""
    with pytest.raises(ExpectedError) as caught:
        typed_values.check(kind, value, "label_of_alert")
    text = str(caught.value)
    assert text.startswith("label_of_alert: ") and "; expected " in text
    assert text.isprintable() and len(text) < 300


def test_every_kind_is_tried():
    """A new kind comes with its values."""
    plain = set(typed_values.KINDS) - {"anything"} | {"path below /cache"}
    assert plain == set(GOOD) == set(BAD)


def test_an_unknown_kind_is_an_error_with_the_known_ones():
    """A typo in a workflow or a mapping."""
    with pytest.raises(ExpectedError, match="units.*host.*unit"):
        typed_values.check("units", "nginx", "service")
    with pytest.raises(ExpectedError):
        typed_values.kind_of("path below cache")


def test_unit_pattern_decides_alone():
    """An operator may allow what is protected, or one timer only; never a glob."""
    settings = from_config({"unit_pattern": r"sshd\.service|backup\.timer|nginx.*"})
    for value in ("sshd", "sshd.service", "backup.timer", "nginx-1"):
        assert typed_values.check("unit", value, "service", settings) == value
    for value in ("shop", "backup.target", "nginx*", "backup"):
        with pytest.raises(ExpectedError):
            typed_values.check("unit", value, "service", settings)
    with pytest.raises(SettingsError, match="unit_pattern"):
        from_config({"unit_pattern": "("})


def test_allowed_hosts_bounds_the_hosts():
    """Whatever their case, with or without a port and a dot at the end."""
    settings = from_config({"allowed_hosts": ["*.shop.example", "10.0.*", "2001:db8::*"]})
    for value in ("web-1.shop.example", "WEB-1.Shop.Example.", "10.0.3.4:22", "[2001:db8::1]:22"):
        assert typed_values.check("host", value, "host", settings) == value
    for value in ("web-1", "10.1.0.1", "web-1.shop.example.evil.example", "2001:db9::1"):
        with pytest.raises(ExpectedError, match="allowed_hosts"):
            typed_values.check("host", value, "host", settings)


def test_all_values_that_are_wrong_are_named():
    """One error for all of them; a value without a kind must not be empty."""
    typed_values.check_all({"SERVICE": "unit"}, {"SERVICE": "nginx", "OTHER": "any; thing"})
    with pytest.raises(ExpectedError) as caught:
        values = {"SERVICE": "*", "OTHER": "", "PORT": "80"}
        typed_values.check_all({"SERVICE": "unit", "PORT": "number"}, values)
    assert str(caught.value).startswith('service: "*"; expected ')
    assert "other: empty" in str(caught.value) and "port" not in str(caught.value)
