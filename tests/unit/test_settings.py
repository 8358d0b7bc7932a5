"""The config is checked before anything starts, and faults name the setting and the remedy."""

from dataclasses import replace

import pytest
from poundcake import settings
from poundcake.settings import SettingsError


@pytest.mark.parametrize("config", [None, {}, {"token": None, "port": None}])
def test_an_empty_config_works(config):
    """Right after the install, on loopback, with every default."""
    made = settings.from_config(config)
    assert made == settings.from_config({})
    settings.check_exposure(made)
    assert made.listener.host == "127.0.0.1" and not made.listener.has_credentials


def test_what_is_set_is_taken():
    """And the rest keeps its default."""
    made = settings.from_config({"port": 9999, "token": "t", "notify_parameters": {"a": 1}})
    assert (made.listener.port, made.listener.token, made.notify.parameters) == (
        9999,
        "t",
        {"a": 1},
    )
    assert made.admission.max_concurrent == settings.from_config({}).admission.max_concurrent


def test_a_setting_of_a_later_version_is_no_error():
    """A pack that is rolled back still starts."""
    assert settings.from_config({"not_yet_known": 1}) == settings.from_config({})


@pytest.mark.parametrize(
    "config, start",
    [
        ({"port": "8090"}, "port: a string; expected a whole number"),
        ({"port": True}, "port: true or false; expected a whole number"),
        ({"port": 8090.5}, "port: a number; expected a whole number"),
        ({"port": -1}, "port: -1 is out of range"),
        ({"port": 65536}, "port: 65536 is out of range"),
        ({"host": 1}, "host: a number; expected a string"),
        ({"token": 12345}, "token: a number; expected a string"),
        (
            {"allow_unauthenticated": "yes"},
            "allow_unauthenticated: a string; expected true or false",
        ),
        ({"allow_unauthenticated": 1}, "allow_unauthenticated: a number; expected true or false"),
        ({"notify_parameters": []}, "notify_parameters: a list; expected an object"),
        ({"max_concurrent": 0}, "max_concurrent: 0 is out of range"),
        ({"max_backlog": 0}, "max_backlog: 0 is out of range"),
        ({"threads": 0}, "threads: 0 is out of range"),
        ({"max_body_bytes": 10}, "max_body_bytes: 10 is out of range"),
        ({"alert_retention_seconds": 1}, "alert_retention_seconds: 1 is out of range"),
        ({"serialize_by": None, "max_attempts": 0}, "max_attempts: 0 is out of range"),
        ({"cooldown_seconds": -1}, "cooldown_seconds: -1 is out of range"),
        ({"backoff_factor": 0}, "backoff_factor: 0 is out of range"),
        ({"backoff_factor": 1.5}, "backoff_factor: a number; expected a whole number"),
        ({"breaker_failures": -1}, "breaker_failures: -1 is out of range"),
        ({"watchdog_seconds": 1}, "watchdog_seconds: 1 is out of range"),
        ({"breaker_seconds": 0}, "breaker_seconds: 0 is out of range"),
        ({"dry_run": "yes"}, "dry_run: a string; expected true or false"),
        (
            {"dry_run_alertnames": "HostDown"},
            "dry_run_alertnames: a string; expected a list of strings",
        ),
        ({"dry_run_alertnames": [1]}, "dry_run_alertnames: a list; expected a list of strings"),
        ({"rate_limit": "3/1h"}, "rate_limit: a string; expected a list of strings"),
        ({"rate_limit": ["3/h"]}, 'rate_limit: "3/h"; expected a count and a time'),
        ({"rate_limit": ["3/1h", "often"]}, 'rate_limit: "often"; expected a count and a time'),
        (
            {"rate_limit": ["0/1h"]},
            'rate_limit: "0/1h" is out of range; expected a count of 1 to 50',
        ),
        (
            {"rate_limit": ["51/1d"]},
            'rate_limit: "51/1d" is out of range; expected a count of 1 to 50',
        ),
        (
            {"target_rate_limit": ["6/day"]},
            'target_rate_limit: "6/day"; expected a count and a time',
        ),
        (
            {"target_labels": ["namespace,,pod"]},
            'target_labels: "namespace,,pod"; expected label names separated by commas',
        ),
        ({"username": "u"}, "password: missing"),
        ({"password": "p"}, "username: missing"),
        ({"jfr_timeout_seconds": 600}, "jfr_timeout_seconds: 600 is out of range"),
        ({"alertmanager_username": "u"}, "alertmanager_password: missing"),
        ({"s3_secret_access_key": "s"}, "s3_access_key_id: missing"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(config, start):
    """With what is wrong and what was expected."""
    with pytest.raises(SettingsError) as caught:
        settings.from_config(config)
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize(
    "texts, wanted",
    [
        (["3/1h", "7/1d"], [(3, 3600), (7, 86400)]),
        ([" 1 / 90s "], [(1, 90)]),
        (["2/1h30m"], [(2, 5400)]),
        ([], []),
    ],
)
def test_rates_are_how_many_in_how_many_seconds(texts, wanted):
    """All of them hold; an empty list limits nothing."""
    assert settings.from_config({"rate_limit": texts}).admission.rates["rate"] == wanted


def test_everything_or_some_alertnames_are_dry():
    """Nothing is, unless the config says so."""
    assert not settings.from_config({}).admission.is_dry("HostDown")
    assert settings.from_config({"dry_run": True}).admission.is_dry("HostDown")
    some = settings.from_config({"dry_run_alertnames": ["HostDown"]})
    assert some.admission.is_dry("HostDown") and not some.admission.is_dry("ServiceDown")


@pytest.mark.parametrize("name", ["token", "password"])
def test_a_wrong_secret_is_not_repeated_in_the_message(name):
    """The message ends in a log."""
    with pytest.raises(SettingsError) as caught:
        settings.from_config({name: ["s3cret-value"], "username": "u"})
    assert "s3cret-value" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_credentials(host):
    """Only who is on the machine reaches it."""
    settings.check_exposure(settings.from_config({"host": host}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "127.0.0.1.evil"])
def test_an_open_address_without_credentials_is_refused_with_the_remedy(host):
    """The message says what to set."""
    with pytest.raises(SettingsError) as caught:
        settings.check_exposure(settings.from_config({"host": host}))
    for word in ("token", "username and password", "127.0.0.1", "allow_unauthenticated"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [{"token": "t"}, {"username": "u", "password": "p"}, {"allow_unauthenticated": True}],
)
def test_an_open_address_with_credentials_or_on_purpose_is_taken(more):
    """Each of the three ways alone is enough."""
    settings.check_exposure(settings.from_config(dict(more, host="0.0.0.0")))


def test_a_name_without_a_password_gives_no_credentials():
    """Half of basic auth is none."""
    listener = settings.from_config({}).listener
    assert not replace(listener, username="u").has_credentials
    assert not replace(listener, password="p").has_credentials
