"""URLs of repositories: those that git accepts, but no secrets and no options."""

import pytest
from poundcake.alert_rules.git import url
from poundcake.errors import ExpectedError


@pytest.mark.parametrize(
    "text, scheme, host, origin, path",
    [
        ("https://github.com/a/b.git", "https", "github.com", "https://github.com", "a/b"),
        ("https://git.x.com:8443/a/b/c", "https", "git.x.com", "https://git.x.com:8443", "a/b/c"),
        ("http://127.0.0.1:1/a/b.git", "http", "127.0.0.1", "http://127.0.0.1:1", "a/b"),
        ("https://[::1]:1/a/b.git/", "https", "::1", "https://[::1]:1", "a/b"),
        ("ssh://git@git.x.com:2222/a/b.git", "ssh", "git.x.com", "https://git.x.com", "a/b"),
        ("git@gitlab.com:a/b/c.git", "ssh", "gitlab.com", "https://gitlab.com", "a/b/c"),
        ("file:///srv/a/b.git", "file", "", "https://", "srv/a/b"),
    ],
)
def test_a_url_has_its_parts(text, scheme, host, origin, path):
    """The origin is where the API is; the port of SSH is not the port of the API."""
    found = url.parse(text, has_token=True)
    assert (found.address, found.scheme, found.host) == (text, scheme, host)
    assert (found.origin, found.path) == (origin, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rules",
        "/srv/rules.git",
        "-oProxyCommand=x@host:path",
        "--upload-pack=x",
        "ext::sh -c x",
        "ftp://host/a",
        "https://",
        "https://host",
        "https://host/",
        "https://host/a b",
        "https://host/a\nb",
        "https://host:port/a",
        "https://[host/a",
        "ssh://-oProxyCommand=x/a",
        "ssh://-x@host/a",
        "git@host:-x",
        "git@-host:a",
        "https://host/a?token=x",
        "https://host/a#x",
    ],
)
def test_what_is_no_url_of_a_repository_is_refused(text):
    """Git would take some of these as options or commands."""
    with pytest.raises(ExpectedError) as caught:
        url.parse(text)
    assert str(caught.value).startswith("git_repo_url: ")


@pytest.mark.parametrize(
    "text",
    ["https://s3cret@host/a", "https://u:s3cret@host/a", "ssh://git:s3cret@host/a"],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(text):
    """The message has the remedy instead."""
    with pytest.raises(ExpectedError) as caught:
        url.parse(text)
    assert "s3cret" not in str(caught.value) and "git_token" in str(caught.value)


def test_a_token_does_not_travel_in_the_clear():
    """Without a token, http is allowed."""
    assert url.parse("http://host/a").scheme == "http"
    with pytest.raises(ExpectedError) as caught:
        url.parse("http://host/a", has_token=True)
    assert "http would show git_token" in str(caught.value)
