"""Pull requests at GitHub, GitLab and Gitea, over their REST APIs.

https://docs.github.com/en/rest/pulls/pulls
https://docs.gitlab.com/api/merge_requests/
https://docs.gitea.com/api/ (repository: repoCreatePullRequest, repoListPullRequests, ...)
"""

import urllib.parse

import requests

from poundcake.errors import ExpectedError

NONE = "none"
TIMEOUT_SECONDS = 30
MOST_PAGES = 40
_PAGE = 50  # Gitea gives no more, unless it is told to


def host_of(settings, url):
    """Return the host of a repository, None for NONE.

    :param url: a GitUrl.
    :raises ExpectedError: when the settings do not say how to reach it.
    """
    if settings.git.provider == NONE:
        return None
    if settings.git.provider not in _HOSTS:
        text = 'git_provider: "%s" is none; write one of %s'
        raise ExpectedError(text % (settings.git.provider, ", ".join([*_HOSTS, NONE])))
    if not settings.git.token:
        text = "git_token: is not set, and %s opens no pull request without; set it, or "
        raise ExpectedError((text + "git_provider to none") % settings.git.provider)
    return _HOSTS[settings.git.provider](settings, url)


class _Exists(ExpectedError):
    """There is an open pull request for this branch already."""


class _Host:
    """What the three have in common; a pull request is ``{number, url}`` of it."""

    def __init__(self, settings, url):
        self._token = settings.git.token.strip()  # of a file, it has a line break
        self._trusted = settings.git.ca_path or True  # True: those that requests brings
        self._base = settings.git.branch
        self._api = (settings.git.api_url or self._api_of(url)).rstrip("/")
        self._project = url.path
        if settings.git.provider != "gitlab" and "/" in url.path:
            self._project = "/".join(url.path.split("/")[-2:])  # owner/name, below any prefix
        self._owner = self._project.split("/")[0]
        parts = urllib.parse.urlsplit(self._api)
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ExpectedError(
                "git_api_url: http would show git_token to the network; write https"
            )

    def propose(self, branch, title, body):
        """Open the pull request of a branch, or give the open one this title and body.

        :returns: number, url, and ``state``: opened or updated.
        :raises ExpectedError: with the setting that it is about, and what the host said.
        """
        found = self._find(branch)
        if found is None:
            try:
                return dict(self._create(branch, title, body), state="opened")
            except _Exists as error:
                found = self._find(branch)  # somebody was quicker
                if found is None:
                    raise ExpectedError(str(error))
        return dict(self._update(found["number"], title, body), state="updated")

    def _ask(self, method, path, **more):
        """Return the decoded answer of the API."""
        url = self._api + path
        try:
            answer = requests.request(
                method,
                url,
                auth=self._login,
                verify=self._trusted,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # another place must not get the token
                **more,
            )
        except (requests.RequestException, OSError, UnicodeError) as error:
            text = "git_api_url: %s cannot be reached: %s"
            if isinstance(error, requests.exceptions.SSLError):
                text = "git_ca_path: %s is not trusted: %s"
            raise ExpectedError(text % (url, error))
        except ValueError:  # its text has the token in it
            raise ExpectedError(
                "git_token: has a character that no token has, such as a line break"
            )
        if 200 <= answer.status_code < 300:
            try:
                return answer.json()
            except ValueError:
                raise ExpectedError("git_api_url: %s answers no JSON; is it the API?" % url)
        raise self._error(answer)

    def _error(self, answer):
        words = self._words(answer)
        told = "%s %s answers %d: %s" % (
            answer.request.method,
            answer.url.split("?")[0],
            answer.status_code,
            words.replace(self._token, "***"),
        )
        if answer.status_code in (409, 422) and "already exists" in words.lower():
            return _Exists("git_provider: " + told)
        if answer.status_code in (401, 403):
            return ExpectedError("git_token: %s; it must be allowed to write pull requests" % told)
        if answer.status_code == 404:
            told += "; there is no such repository, or git_token may not see it"
        return ExpectedError("git_api_url: " + told)

    def _login(self, request):
        # A callable: for a header, requests would take a login of ~/.netrc instead.
        request.headers["Authorization"] = "%s %s" % (self._scheme, self._token)
        return request

    @staticmethod
    def _words(answer):
        """Return what an error says, of any of the forms that these APIs have."""
        try:
            body = answer.json()
        except ValueError:
            return answer.text.strip()[:300]
        if not isinstance(body, dict):
            return str(body)[:300]
        words = [body.get("message"), body.get("error"), body.get("errors")]
        return " / ".join(str(word) for word in words if word)[:600]


class GitHub(_Host):
    """Also GitHub Enterprise Server."""

    _scheme = "Bearer"

    @staticmethod
    def _api_of(url):
        return "https://api.github.com" if url.host == "github.com" else url.origin + "/api/v3"

    def _ask(self, method, path, **more):
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        return super()._ask(method, path, headers=headers, **more)

    def _find(self, branch):
        asked = {"state": "open", "head": self._owner + ":" + branch, "base": self._base}
        found = self._ask("GET", "/repos/%s/pulls" % self._project, params=asked)
        return _first(found, lambda item: item["head"]["ref"] == branch)

    def _create(self, branch, title, body):
        sent = {"title": title, "body": body, "head": branch, "base": self._base}
        return _request(self._ask("POST", "/repos/%s/pulls" % self._project, json=sent))

    def _update(self, number, title, body):
        path = "/repos/%s/pulls/%d" % (self._project, number)
        return _request(self._ask("PATCH", path, json={"title": title, "body": body}))


class Gitea(_Host):
    """Also Forgejo, which speaks the same API."""

    _scheme = "token"

    @staticmethod
    def _api_of(url):
        return url.origin + "/api/v1"

    def _find(self, branch):
        # It has no filter for the branch; pages are counted from 1, and one is empty in the end.
        for page in range(1, MOST_PAGES + 1):
            asked = {"state": "open", "page": page, "limit": _PAGE}
            items = self._ask("GET", "/repos/%s/pulls" % self._project, params=asked)
            found = _first(items, lambda item: self._is_of(item, branch))
            if found or not items:
                return found
        return None

    def _is_of(self, item, branch):
        head, base = item["head"], item["base"]
        own = head.get("repo_id") == base.get("repo_id")  # none of a fork
        return own and (head["ref"], base["ref"]) == (branch, self._base)

    _create = GitHub._create
    _update = GitHub._update


class GitLab(_Host):
    """Its pull requests are merge requests, and their numbers are iids."""

    _scheme = "Bearer"

    @staticmethod
    def _api_of(url):
        return url.origin + "/api/v4"

    @property
    def _path(self):
        return "/projects/%s/merge_requests" % urllib.parse.quote(self._project, safe="")

    def _find(self, branch):
        asked = {"state": "opened", "source_branch": branch, "target_branch": self._base}
        found = self._ask("GET", self._path, params=asked)
        return _first(found, lambda item: item["source_project_id"] == item["target_project_id"])

    def _create(self, branch, title, body):
        sent = {
            "title": title,
            "description": body,
            "source_branch": branch,
            "target_branch": self._base,
            "remove_source_branch": True,
        }
        return _request(self._ask("POST", self._path, json=sent))

    def _update(self, number, title, body):
        sent = {"title": title, "description": body}
        return _request(self._ask("PUT", "%s/%d" % (self._path, number), json=sent))


_HOSTS = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}


def _first(items, is_it):
    return next((_request(item) for item in items if is_it(item)), None)


def _request(item):
    """Return the number and the page of a pull request as an API gives it."""
    return {
        "number": item.get("iid", item.get("number")),
        "url": item.get("web_url") or item.get("html_url"),
    }
