"""A host in a label is one name or address, and never the machine that this runs on."""

import platform

import pytest
from poundcake.hosts import host_of, is_local


@pytest.mark.parametrize(
    "instance, wanted",
    [
        ("web:9100", "web"),
        ("web", "web"),
        ("10.0.0.1:9100", "10.0.0.1"),
        ("[2001:db8::1]:9100", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::1", "::1"),
        ("https://web.example.com/probe", "web.example.com"),
        ("https://web.example.com:8443/probe?x=1", "web.example.com"),
        ("https://user:word@[::1]:8443/", "::1"),
        ("web.example.com/health", "web.example.com"),
        ("web.example.com:8080/health", "web.example.com"),
        ("WEB.Example.com.:9100", "web.example.com"),
        (" web:9100 ", "web"),
        ("", ""),
    ],
)
def test_the_host_is_the_instance_without_port_and_path(instance, wanted):
    """IPv6 and URLs too; case and a dot at the end do not make another host."""
    assert host_of(instance) == wanted


@pytest.mark.parametrize("instance", ["a,b", "a b:1", "root@a", "-oX=y", "a\nb", "{{ x }}", "a;b"])
def test_what_is_not_one_host_is_no_host(instance):
    """core.remote takes lists and user names; a label must not choose where a fix works."""
    assert host_of(instance) == ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "localhost.localdomain",
        "localhost6",
        "ip6-localhost",
        "db.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        platform.node(),
        platform.node().upper() + ".",
    ],
)
def test_every_name_of_this_machine_is_local(host):
    """Also the forms of an address that only the resolver knows."""
    assert is_local(host)


@pytest.mark.parametrize("host", ["web-1", "10.0.0.1", "localhost.example.com", "128.0.0.1", ""])
def test_other_hosts_are_not_local(host):
    """However much they look like it."""
    assert not is_local(host)
