"""Secrets come from the config or from the datastore, when they are used, and show nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poundcake import settings
from poundcake.errors import ExpectedError, SettingsError, StackStormError

from tests.support.fakes import PROPERTY

SECRETS = [name for name, entry in settings.schema().items() if entry.get("secret")]


def made(read=None, **config):
    return settings.from_config(config, read)


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_can_name_a_key(name):
    """The setting with _key at its end does, and nothing is read before the value is asked for."""
    partner = {"password": "username", "alertmanager_password": "alertmanager_username"}
    partner.update(prometheus_password="prometheus_username", kube_token="kube_api_url")
    partner.update(s3_secret_access_key="s3_access_key_id")
    config = {name + "_key": "a_key", **({partner[name]: "x"} if name in partner else {})}
    asked = []

    def read(key):
        asked.append(key)
        return "s3cret"

    secret = settings.value_of(made(read, **config), name)
    assert secret and asked == []
    assert (secret.value, secret.value, asked) == ("s3cret", "s3cret", ["a_key"])


def test_the_secrets_can_be_listed():
    """check_health tries each of them."""
    assert [secret.setting for secret in settings.secrets_of(made())] == SECRETS
    assert {"s3_secret_access_key", "git_ssh_key"} < set(SECRETS)


def test_a_secret_in_the_config_is_still_taken():
    """Configs of before stay valid."""
    assert made(token="t").listener.token.value == "t"
    assert made().listener.token.value == "" and not made().listener.token


def test_a_key_counts_as_credentials():
    """The listener may open, and half of basic auth is refused."""
    assert made(token_key="k").listener.has_credentials
    with pytest.raises(SettingsError, match="username: missing; expected username and password"):
        made(password_key="k")


def test_both_forms_at_once_are_refused():
    """Nobody could tell which of them counts."""
    with pytest.raises(SettingsError, match="token_key: given together with token"):
        made(token="t", token_key="k")


@pytest.mark.parametrize("key", ["a b", "a/b", "-----BEGIN KEY-----\nx", "k" * 201, "{{ x }}"])
def test_what_is_no_name_is_refused_and_not_repeated(key):
    """It may be the secret itself."""
    with pytest.raises(SettingsError) as caught:
        made(token_key=key)
    assert str(caught.value).startswith("token_key: not a name; expected")
    assert key not in str(caught.value)


def test_a_key_that_is_missing_is_told_with_the_command():
    """And so is an API that is away."""
    with pytest.raises(ExpectedError) as caught:
        made(lambda key: None, git_token_key="gone").git.token.value  # noqa: B018
    assert str(caught.value) == (
        "git_token_key: the datastore has no key gone. "
        "Set it with: st2 key set gone '<value>' --encrypt"
    )

    def away(key):
        raise StackStormError("GET /keys/gone: refused")

    with pytest.raises(ExpectedError, match="git_token_key: .* cannot be read: GET"):
        made(away, git_token_key="gone").git.token.value  # noqa: B018


def test_a_secret_that_could_not_be_read_is_read_again():
    """The listener starts before the API is up."""
    answers = iter([None, "t"])
    token = made(lambda key: next(answers), token_key="k").listener.token
    with pytest.raises(ExpectedError):
        token.value  # noqa: B018
    assert token.value == "t"


@PROPERTY
@given(st.text(min_size=8))
def test_settings_never_show_a_secret(value):
    """In a log or a traceback."""
    found = made(lambda key: value, token=value, git_token_key="k")
    assert found.git.token.value == value
    shown = repr(found)
    assert repr(value) not in shown and f"plain={value}" not in shown
