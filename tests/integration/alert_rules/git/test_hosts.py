"""Pull requests at the three hosts are opened once, updated later, and errors have a remedy."""

import pytest
from poundcake.alert_rules.git import hosts
from poundcake.alert_rules.git import url as git_url
from poundcake.errors import ExpectedError

from tests.support.fakes import make_settings
from tests.support.git_servers import (
    TOKEN,
    GiteaHost,
    GitHubHost,
    GitLabHost,
    Refused,
    Repository,
    git,
)

HOSTS = [GitHubHost, GitLabHost, GiteaHost]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with two branches."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    for name in ("change", "other"):
        git(made.path, "branch", name, "main")
    return made


@pytest.fixture(params=HOSTS, ids=[host.provider for host in HOSTS])
def host(request, repository):
    """One of the three."""
    with request.param(repository) as found:
        yield found


def client(host, **more):
    settings = make_settings(**host.settings(**more))
    return hosts.host_of(settings, git_url.parse(settings.git.repo_url))


def test_a_pull_request_is_opened(host):
    """From the branch to the base, with title and body; the answer has the page of it."""
    found = client(host).propose("change", "Title", "Body\n")
    (pull,) = host.pulls
    assert (pull["head"], pull["base"], pull["state"]) == ("change", "main", "open")
    assert (pull["title"], pull["body"]) == ("Title", "Body\n")
    assert (found["number"], found["state"]) == (1, "opened")
    assert found["url"].startswith(host.url + "/team/rules/") and found["url"].endswith("/1")


def test_the_open_pull_request_of_a_branch_is_updated(host):
    """Not one of another branch, another base or a fork, and not a closed one."""
    host.add("other")
    host.add("change", base="other")
    host.add("change", fork=True)
    host.add("change", state="closed")
    mine = host.add("change")
    found = client(host).propose("change", "New title", "New body")
    assert (found["number"], found["state"]) == (5, "updated")
    assert (mine["title"], mine["body"]) == ("New title", "New body")
    assert [pull["title"] for pull in host.pulls[:4]] == ["t"] * 4 and len(host.pulls) == 5


def test_it_is_found_behind_many_others(host):
    """On any page."""
    for number in range(120):
        host.add("other-%d" % number)
    host.add("change")
    assert client(host).propose("change", "t", "b")["number"] == 121
    assert len(host.pulls) == 121


def test_a_pull_request_that_somebody_opens_this_moment_is_updated(host):
    """It did not exist when PoundCake looked for it; the host refuses a second one."""
    create = host.check_new

    def first_somebody(sent):
        if not host.pulls:
            host.add("change")
        create(sent)

    host.check_new = first_somebody
    found = client(host).propose("change", "Mine", "b")
    assert (found["number"], found["state"]) == (1, "updated") and len(host.pulls) == 1


def test_a_token_that_may_not_write_is_told(host):
    """The message says what the token needs, and does not repeat it."""
    host.scopes = {"read"}
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "t", "b")
    assert str(caught.value).startswith("git_token: POST ") and " answers 403: " in str(
        caught.value
    )
    assert "allowed to write pull requests" in str(caught.value)


def test_a_token_that_is_none_is_told(host):
    """And not repeated."""
    with pytest.raises(ExpectedError) as caught:
        client(host, git_token="wrong-token").propose("change", "t", "b")
    assert str(caught.value).startswith("git_token: GET ") and " answers 401: " in str(caught.value)
    assert "wrong-token" not in str(caught.value)


@pytest.mark.parametrize("token", ["s3cret\nvalue", "s3cret\u2019value"])
def test_a_token_that_cannot_be_one_is_not_shown(host, token):
    """The HTTP library's own message has the whole header."""
    with pytest.raises(ExpectedError) as caught:
        client(host, git_token=token).propose("a-branch", "title", "body")
    assert "s3cret" not in str(caught.value) and "value" not in str(caught.value)


def test_a_repository_that_the_token_does_not_see_is_told(host):
    """All three answer 404, as for a repository that does not exist."""
    host.scopes = set()
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "t", "b")
    assert " answers 404: " in str(caught.value) and "may not see it" in str(caught.value)


def test_what_the_host_refuses_is_told_in_its_words(host):
    """Here, an empty title."""
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "", "b")
    assert str(caught.value).startswith("git_api_url: POST ")
    assert "title" in str(caught.value).lower() and host.pulls == []


def test_a_refusal_that_names_another_pull_request_is_no_success(host):
    """The host says that one exists but does not list it, so a person must look."""

    def refuse(sent):
        raise Refused(409, {"message": "Another one already exists"})

    host.check_new = refuse
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "t", "b")
    assert "already exists" in str(caught.value)


def test_a_redirect_does_not_get_the_token(host):
    """The config does not name the other server."""
    seen = []

    def elsewhere(request, path, *more):
        seen.append(path)
        return 307, {"Location": host.url + "/elsewhere"}, b'{"message": "Moved"}'

    host.serve_api = elsewhere
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "t", "b")
    assert " answers 307 and points to " in str(caught.value)
    assert len(seen) == 1 and seen[0] != "/elsewhere"


def test_the_login_of_netrc_is_not_used(host, tmp_path, monkeypatch):
    """requests would prefer that login to a header."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert client(host).propose("change", "t", "b")["state"] == "opened"
    assert all(TOKEN in headers["Authorization"] for headers in host.headers)


def test_an_api_that_does_not_answer_is_told(host):
    """The message has its address."""
    with pytest.raises(ExpectedError) as caught:
        client(host, git_api_url="http://127.0.0.1:1").propose("change", "t", "b")
    assert str(caught.value).startswith("git_api_url: http://127.0.0.1:1/")
    host.answer = None  # the connection ends without an answer
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "t", "b")
    assert "cannot be reached" in str(caught.value)


def test_what_answers_no_json_is_no_api(host):
    """A page for people, as from a proxy."""
    host.serve_api = lambda *asked: (200, {"Content-Type": "text/html"}, b"<html>")
    with pytest.raises(ExpectedError) as caught:
        client(host).propose("change", "t", "b")
    assert "does not answer with JSON" in str(caught.value)


@pytest.mark.parametrize(
    "provider, url, api, project",
    [
        ("github", "https://github.com/o/r.git", "https://api.github.com", "o/r"),
        ("github", "git@github.com:o/r.git", "https://api.github.com", "o/r"),
        ("github", "https://ghe.x.com/o/r", "https://ghe.x.com/api/v3", "o/r"),
        ("gitlab", "git@gitlab.com:a/b/c.git", "https://gitlab.com/api/v4", "a/b/c"),
        ("gitlab", "https://git.x.com:8/a/b", "https://git.x.com:8/api/v4", "a/b"),
        ("gitea", "ssh://git@git.x.com:22/o/r.git", "https://git.x.com/api/v1", "o/r"),
        ("gitea", "https://x.com/gitea/o/r.git", "https://x.com/api/v1", "o/r"),
    ],
)
def test_the_api_follows_from_the_url(provider, url, api, project):
    """Otherwise git_api_url sets it."""
    settings = make_settings(git_provider=provider, git_token="t")
    found = hosts.host_of(settings, git_url.parse(url))
    assert (found._api, found._project) == (api, project)


@pytest.mark.parametrize(
    "more, start",
    [
        ({"git_provider": "svn"}, 'git_provider: unknown "svn"; expected one of github, gitlab'),
        ({"git_token": ""}, "git_token: not set"),
        ({"git_api_url": "http://git.example.com"}, "git_api_url: http would show git_token"),
    ],
    ids=["provider", "token", "http"],
)
def test_a_setting_that_cannot_work_is_named(more, start):
    """Before anything is pushed."""
    settings = make_settings(**dict({"git_provider": "gitlab", "git_token": "t"}, **more))
    with pytest.raises(ExpectedError) as caught:
        hosts.host_of(settings, git_url.parse("https://git.example.com/a/b"))
    assert str(caught.value).startswith(start)


def test_without_a_provider_there_is_no_host():
    """The branch is the result."""
    settings = make_settings(git_provider="none")
    assert hosts.host_of(settings, git_url.parse("https://git.example.com/a/b")) is None
