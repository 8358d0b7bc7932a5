"""Opens pull requests at GitHub, GitLab and Gitea, over their REST APIs.

https://docs.github.com/en/rest/pulls/pulls
https://docs.gitlab.com/api/merge_requests/
https://docs.gitea.com/api/ (repository: repoCreatePullRequest, repoListPullRequests, ...)
"""

import urllib.parse
from typing import Any, Callable, Dict, Iterable, Optional

from poundcake import logins
from poundcake.alert_rules.errors import PullRequestExists
from poundcake.alert_rules.git.url import GitUrl
from poundcake.errors import ExpectedError
from poundcake.settings import Settings
from poundcake.upstream.bounded import Answer
from poundcake.upstream.client import Server

PullRequest = Dict[str, Any]  # number and url

NONE = "none"
MOST_PAGES = 40
_PAGE = 50  # the default limit of Gitea


def host_of(settings: Settings, url: GitUrl) -> "Optional[_Host]":
    """Return the host of a repository, None for NONE.

    :raises ExpectedError: when the settings do not say how to reach it.
    """
    provider = settings.git.provider
    if provider == NONE:
        return None
    if provider not in _HOSTS:
        expected = f"one of {', '.join([*_HOSTS, NONE])}"
        raise ExpectedError("git_provider", f'unknown "{provider}"', expected)
    if not settings.git.token:
        raise ExpectedError(
            "git_token",
            f"not set, but {provider} needs it to open a pull request",
            remedy="Set it, or set git_provider to none",
        )
    return _HOSTS[provider](settings, url)


class _Host:
    """What the three hosts have in common."""

    _scheme = "Bearer"

    def __init__(self, settings: Settings, url: GitUrl):
        self._token = settings.git.token.value.strip()  # a token from a file ends with a line break
        self._base = settings.git.branch
        self._api = (settings.git.api_url or self._api_of(url)).rstrip("/")
        self._project = url.path
        if settings.git.provider != "gitlab" and "/" in url.path:
            self._project = "/".join(url.path.split("/")[-2:])  # owner/name, below any prefix
        self._owner = self._project.split("/")[0]
        parts = urllib.parse.urlsplit(self._api)
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise logins.unencrypted("git_api_url", "git_token")
        self._server = Server(
            "the API",
            self._api,
            auth=logins.with_token(self._token, self._scheme),
            verify=settings.git.ca_path or True,  # True: the authorities that requests brings
            url_setting="git_api_url",
            token_setting="git_token",
            ca_setting="git_ca_path",
        )

    def propose(self, branch: str, title: str, body: str) -> PullRequest:
        """Open the pull request of a branch, or give the open one this title and body.

        :returns: number, url, and ``state``: opened or updated.
        :raises ExpectedError: that names the setting and has the host's message.
        """
        pull_request = self._find(branch)
        if pull_request is None:
            try:
                return dict(self._create(branch, title, body), state="opened")
            except PullRequestExists:
                pull_request = self._find(branch)  # somebody has just opened it
                if pull_request is None:
                    raise
        return dict(self._update(pull_request["number"], title, body), state="updated")

    @staticmethod
    def _api_of(url: GitUrl) -> str:
        """Return the URL of the API of a repository's host."""
        raise NotImplementedError

    def _find(self, branch: str) -> Optional[PullRequest]:
        """Return the open pull request of a branch, None when there is none."""
        raise NotImplementedError

    def _create(self, branch: str, title: str, body: str) -> PullRequest:
        raise NotImplementedError

    def _update(self, number: int, title: str, body: str) -> PullRequest:
        raise NotImplementedError

    def _request(self, method: str, path: str, **options: Any) -> Any:
        """Return the decoded answer of the API."""
        answer = self._server.request(method, path, **options)
        if answer.status < 300:
            return self._server.json(answer, path)
        raise self._error(f"{method} {self._api}{path}", answer)

    def _error(self, asked: str, answer: Answer) -> ExpectedError:
        message, status = self._message(answer), answer.status
        problem = f"{asked} answers {status}: {message.replace(self._token, '***')}"
        if status in (409, 422) and "already exists" in message.lower():
            return PullRequestExists("git_provider", problem)
        if status in (401, 403):
            expected = "a token that is allowed to write pull requests"
            return ExpectedError("git_token", problem, expected)
        if status == 404:
            problem += "; the repository does not exist, or git_token may not see it"
        return ExpectedError("git_api_url", problem)

    @staticmethod
    def _message(answer: Answer) -> str:
        """Return the message of an error, in any of the forms that these APIs use."""
        try:
            body = answer.json()
        except ValueError:
            return answer.text.strip()[:300]
        if not isinstance(body, dict):
            return str(body)[:300]
        messages = [body.get("message"), body.get("error"), body.get("errors")]
        return " / ".join(str(message) for message in messages if message)[:600]


class GitHub(_Host):
    """Also GitHub Enterprise Server."""

    @staticmethod
    def _api_of(url):
        return "https://api.github.com" if url.host == "github.com" else url.origin + "/api/v3"

    def _request(self, method, path, **options):
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return super()._request(method, path, headers=headers, **options)

    def _find(self, branch):
        query = {"state": "open", "head": f"{self._owner}:{branch}", "base": self._base}
        items = self._request("GET", f"/repos/{self._project}/pulls", params=query)
        return _first(items, lambda item: item["head"]["ref"] == branch)

    def _create(self, branch, title, body):
        content = {"title": title, "body": body, "head": branch, "base": self._base}
        return _pull_request(self._request("POST", f"/repos/{self._project}/pulls", json=content))

    def _update(self, number, title, body):
        path = f"/repos/{self._project}/pulls/{number}"
        return _pull_request(self._request("PATCH", path, json={"title": title, "body": body}))


class Gitea(_Host):
    """Also Forgejo, which speaks the same API."""

    _scheme = "token"

    @staticmethod
    def _api_of(url):
        return url.origin + "/api/v1"

    def _find(self, branch):
        # There is no filter for the branch. Pages count from 1; the one after the last is empty.
        for page in range(1, MOST_PAGES + 1):
            query = {"state": "open", "page": page, "limit": _PAGE}
            items = self._request("GET", f"/repos/{self._project}/pulls", params=query)
            pull_request = _first(items, lambda item: self._is_of(item, branch))
            if pull_request or not items:
                return pull_request
        return None

    def _is_of(self, item, branch):
        head, base = item["head"], item["base"]
        is_own = head.get("repo_id") == base.get("repo_id")  # not from a fork
        return is_own and (head["ref"], base["ref"]) == (branch, self._base)

    _create = GitHub._create  # type: ignore[assignment]  # the same API
    _update = GitHub._update  # type: ignore[assignment]


class GitLab(_Host):
    """Its pull requests are merge requests, and their numbers are iids."""

    @staticmethod
    def _api_of(url):
        return url.origin + "/api/v4"

    @property
    def _path(self):
        return f"/projects/{urllib.parse.quote(self._project, safe='')}/merge_requests"

    def _find(self, branch):
        query = {"state": "opened", "source_branch": branch, "target_branch": self._base}
        items = self._request("GET", self._path, params=query)
        return _first(items, lambda item: item["source_project_id"] == item["target_project_id"])

    def _create(self, branch, title, body):
        content = {
            "title": title,
            "description": body,
            "source_branch": branch,
            "target_branch": self._base,
            "remove_source_branch": True,
        }
        return _pull_request(self._request("POST", self._path, json=content))

    def _update(self, number, title, body):
        content = {"title": title, "description": body}
        return _pull_request(self._request("PUT", f"{self._path}/{number}", json=content))


_HOSTS = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}


def _first(items: Iterable[Any], matches: Callable[[Any], bool]) -> Optional[PullRequest]:
    return next((_pull_request(item) for item in items if matches(item)), None)


def _pull_request(item: Dict[str, Any]) -> PullRequest:
    """Return number and web page of a pull request from the answer of an API."""
    return {
        "number": item.get("iid", item.get("number")),
        "url": item.get("web_url") or item.get("html_url"),
    }
