"""Git repositories for the tests, and hosts that serve them: real git over HTTP, and the REST APIs
of GitHub, GitLab and Gitea as far as pull requests need them.

The APIs are written from their public documentation, and enforce what it says: how a token is sent,
which fields are needed, which status what is refused with, pages, one open pull request a branch.

https://docs.github.com/en/rest/pulls/pulls
https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api (404, 403, 422)
https://docs.gitlab.com/api/merge_requests/ and https://docs.gitlab.com/api/rest/ (pages, status)
https://docs.gitea.com/api/ and https://docs.gitea.com/development/api-usage (tokens, pages)
"""

import base64
import json
import os
import re
import ssl
import subprocess
import urllib.parse
from pathlib import Path

from tests.support.local_server import LocalServer, QuietHandler

TOKEN = "t0ken/of+the=tests"


def git(folder, *arguments, **more):
    """Run git in a folder, as somebody else than PoundCake; its output."""
    environment = dict(
        os.environ,
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL="/dev/null",
        GIT_AUTHOR_NAME="Ann",
        GIT_AUTHOR_EMAIL="ann@example.com",
        GIT_COMMITTER_NAME="Ann",
        GIT_COMMITTER_EMAIL="ann@example.com",
    )
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


class Repository:
    """A bare repository, `<folder>/<path>.git`, and somebody's clone of it.

    ``url`` is its file URL.
    """

    def __init__(self, folder, path="team/rules", files=()):
        self.path = Path(folder, path + ".git")
        self.path.mkdir(parents=True)
        git(self.path, "init", "-q", "--bare", "-b", "main")
        git(self.path, "config", "http.receivepack", "true")
        self.url = "file://%s" % self.path
        self._clone = Path(folder, "clone-of-ann")
        git(folder, "clone", "-q", str(self.path), str(self._clone))
        git(self._clone, "checkout", "-q", "-B", "main")
        self.write(dict({"README.md": "Rules.\n"}, **dict(files)))

    def write(self, files, branch="main", links=()):
        """Commit and push files (None: without the file) to a branch, as Ann; the commit's id."""
        if branch != "main":
            git(self._clone, "fetch", "-q", "origin")
            git(self._clone, "checkout", "-q", "-B", branch, "origin/" + branch)
        for name, text in dict(files).items():
            path = self._clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, target in dict(links).items():
            (self._clone / name).parent.mkdir(parents=True, exist_ok=True)
            (self._clone / name).symlink_to(target)
        git(self._clone, "add", "-A")
        git(self._clone, "commit", "-q", "-m", "Ann's")
        git(self._clone, "push", "-q", "origin", branch)
        made = git(self._clone, "rev-parse", "HEAD")
        git(self._clone, "checkout", "-q", "main")
        return made

    def branches(self):
        """Its branches, {name: id of the newest commit}."""
        told = git(self.path, "for-each-ref", "--format=%(refname:short) %(objectname)")
        return dict(line.split() for line in told.splitlines())

    def read(self, branch, path):
        """The text of a file in a branch."""
        return git(self.path, "show", "%s:%s" % (branch, path)) + "\n"

    def changed(self, branch):
        """What a branch changes of main, as `git diff --name-status` says it."""
        return git(self.path, "diff", "--name-status", "main...%s" % branch).split("\n")

    def log(self, branch, form="%an <%ae>%n%B"):
        """The newest commit of a branch."""
        return git(self.path, "log", "-1", "--format=" + form, branch)

    def hook(self, name, script):
        """Have the server run a shell script when somebody pushes."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)


class Refused(Exception):
    """An error of the API: status and body."""


class GitHost(LocalServer):
    """Serves a Repository over HTTP and an API beside it, both with TOKEN.

    ``requests`` has what the API was asked: (method, path with query). ``pulls`` are the pull
    requests. ``scopes`` is what TOKEN may: take "write" away, and it may only read. ``on_git`` is
    called at every authorized git request, while the client waits.
    """

    provider = None
    default_page, largest_page = 20, 100

    def __init__(self, repository):
        self.repository = repository
        self.project = str(repository.path.relative_to(repository.path.parents[1]))[: -len(".git")]
        self.owner = self.project.split("/")[0]
        self.pulls, self.requests, self.headers = [], [], []
        self.scopes = {"read", "write"}
        self.on_git = lambda: None
        host = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                path, _, query = self.path.partition("?")
                if "/info/refs" in path or "/git-" in path:
                    status, headers, content = host.serve_git(self, path, query, body)
                else:
                    status, headers, content = host.serve_api(self, path, query, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = handle_any

        super().__init__(Handler)
        self.clone_url = "%s/%s.git" % (self.url, self.project)

    def speak_tls(self, certificate, key):
        """Speak HTTPS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake is the handler's, so that a client that breaks it off stops nobody else.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = "https://" + self.address
        self.clone_url = "%s/%s.git" % (self.url, self.project)

    def settings(self, **more):
        """What PoundCake is told to reach it."""
        found = {
            "git_repo_url": self.clone_url,
            "git_token": TOKEN,
            "git_provider": self.provider or "none",
        }
        return dict(found, **more)

    # --- git ---

    def serve_git(self, request, path, query, body):
        scheme, _, login = request.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(login).decode().partition(":")[2] if scheme == "Basic" else None
        if given != TOKEN:
            return 401, {"WWW-Authenticate": 'Basic realm="git"'}, b"no"
        if "receive-pack" in path + query and "write" not in self.scopes:
            return 403, {}, b"no"
        self.on_git()
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.repository.path.parents[1]),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "poundcake",
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return int(headers.pop("Status", "200").split()[0]), headers, content

    # --- the API ---

    def serve_api(self, request, path, query, body):
        self.requests.append((request.command, request.path))
        self.headers.append(dict(request.headers))
        try:
            self.check_login(request.headers)
            asked = dict(urllib.parse.parse_qsl(query))
            status, answer = self.answer(request.command, path, asked, self.sent(request, body))
        except Refused as refused:
            status, answer = refused.args
        content = json.dumps(answer).encode()
        return status, {"Content-Type": "application/json"}, content

    def sent(self, request, body):
        if not body:
            return {}
        assert request.headers["Content-Type"] == "application/json"
        return json.loads(body)

    def answer(self, method, path, asked, sent):
        match = re.match(self.pattern, path)
        if not match or match.group(1) != self.project_in_path:
            raise Refused(404, self.error("Not Found"))
        number = match.group(2)
        if method == "GET" and number is None:
            return 200, self.page(asked)
        if "write" not in self.scopes:
            raise Refused(403, self.error("Resource not accessible by this token"))
        if method == "POST" and number is None:
            return 201, self.shown(self.create(sent))
        if method == self.update_method and number is not None:
            found = [pull for pull in self.pulls if pull["number"] == int(number)]
            if not found:
                raise Refused(404, self.error("Not Found"))
            found[0].update({k: sent[v] for k, v in self.fields.items() if v in sent})
            return self.update_status, self.shown(found[0])
        raise Refused(405, self.error("Method Not Allowed"))

    def page(self, asked):
        size = min(int(asked.get(self.size_name, self.default_page)), self.largest_page)
        first = (int(asked.get("page", 1)) - 1) * size
        return [self.shown(pull) for pull in self.filtered(asked)[first : first + size]]

    def create(self, sent):
        self.check_new(sent)
        pull = {name: sent.get(field) for name, field in self.fields.items()}
        return self.add(head=sent[self.head_name], base=sent[self.base_name], **pull)

    def add(self, head, base="main", state="open", fork=False, title="t", body="b"):
        """A pull request that somebody made; of a fork, it is of another repository's branch."""
        pull = {
            "number": len(self.pulls) + 1,
            "head": head,
            "base": base,
            "state": state,
            "fork": fork,
            "title": title,
            "body": body,
        }
        self.pulls.append(pull)
        return pull

    def open(self, head, base):
        """The open pull request of a branch of this repository, None when there is none."""
        mine = [p for p in self.pulls if p["state"] == "open" and not p["fork"]]
        return next((p for p in mine if (p["head"], p["base"]) == (head, base)), None)

    def error(self, text):
        return {"message": text}

    fields = {"title": "title", "body": "body"}
    head_name, base_name, size_name = "head", "base", "per_page"
    update_method, update_status = "PATCH", 200

    @property
    def project_in_path(self):
        return self.project


class GitHubHost(GitHost):
    """api.github.com, or GitHub Enterprise Server's /api/v3."""

    provider = "github"
    pattern = r"/api/v3/repos/([^/]+/[^/]+)/pulls(?:/(\d+))?\Z"
    default_page = 30

    def check_login(self, headers):
        if not headers.get("User-Agent"):
            raise Refused(403, self.error("Request forbidden by administrative rules."))
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme not in ("Bearer", "token"):
            raise Refused(401, self.error("Requires authentication"))
        if token != TOKEN:
            raise Refused(401, self.error("Bad credentials"))
        if "read" not in self.scopes:
            raise Refused(404, self.error("Not Found"))

    def filtered(self, asked):
        found = [p for p in self.pulls if asked.get("state", "open") in ("all", p["state"])]
        if "base" in asked:
            found = [p for p in found if p["base"] == asked["base"]]
        if ":" in asked.get("head", ""):  # it passes over a filter that names no owner
            found = [p for p in found if self.label(p) == asked["head"]]
        return found

    def label(self, pull):
        return "%s:%s" % ("somebody" if pull["fork"] else self.owner, pull["head"])

    def check_new(self, sent):
        errors = [
            {"resource": "PullRequest", "field": name, "code": "missing_field"}
            for name in ("title", "head", "base")
            if not sent.get(name)
        ]
        for name in ("head", "base"):
            if not errors and sent[name] not in self.repository.branches():
                errors.append({"resource": "PullRequest", "field": name, "code": "invalid"})
        if not errors and self.open(sent["head"], sent["base"]):
            text = "A pull request already exists for %s:%s." % (self.owner, sent["head"])
            errors.append({"resource": "PullRequest", "code": "custom", "message": text})
        if errors:
            raise Refused(422, {"message": "Validation Failed", "errors": errors})

    def shown(self, pull):
        return {
            "number": pull["number"],
            "html_url": "%s/%s/pull/%d" % (self.url, self.project, pull["number"]),
            "state": pull["state"],
            "title": pull["title"],
            "body": pull["body"],
            "head": {"ref": pull["head"], "label": self.label(pull)},
            "base": {"ref": pull["base"]},
        }


class GiteaHost(GitHost):
    """Gitea's and Forgejo's /api/v1."""

    provider = "gitea"
    pattern = r"/api/v1/repos/([^/]+/[^/]+)/pulls(?:/(\d+))?\Z"
    size_name = "limit"
    default_page, largest_page = 30, 50
    update_status = 201

    def check_login(self, headers):
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme not in ("token", "Bearer") or token != TOKEN:
            raise Refused(401, self.error("invalid username, password or token"))
        if "read" not in self.scopes:
            raise Refused(404, self.error("The target couldn't be found."))

    def filtered(self, asked):
        return [p for p in self.pulls if asked.get("state", "open") in ("all", p["state"])]

    def check_new(self, sent):
        for name in ("head", "base"):
            if sent.get(name) not in self.repository.branches():
                raise Refused(404, self.error("The target couldn't be found."))
        if not sent.get("title"):
            raise Refused(422, self.error("[Title]: Required"))
        found = self.open(sent["head"], sent["base"])
        if found:
            text = "pull request already exists for these targets [id: %d]" % found["number"]
            raise Refused(409, self.error(text))

    def shown(self, pull):
        return {
            "number": pull["number"],
            "html_url": "%s/%s/pulls/%d" % (self.url, self.project, pull["number"]),
            "state": pull["state"],
            "title": pull["title"],
            "body": pull["body"],
            "head": {"ref": pull["head"], "repo_id": 2 if pull["fork"] else 1},
            "base": {"ref": pull["base"], "repo_id": 1},
        }


class GitLabHost(GitHost):
    """GitLab's /api/v4, which names a project by its whole path in one segment."""

    provider = "gitlab"
    pattern = r"/api/v4/projects/([^/]+)/merge_requests(?:/(\d+))?\Z"
    head_name, base_name = "source_branch", "target_branch"
    fields = {"title": "title", "body": "description"}
    update_method = "PUT"

    def check_login(self, headers):
        bearer = headers.get("Authorization", "").partition("Bearer ")[2]
        if TOKEN not in (bearer, headers.get("PRIVATE-TOKEN")):
            raise Refused(401, self.error("401 Unauthorized"))
        if "read" not in self.scopes:
            raise Refused(404, self.error("404 Project Not Found"))

    @property
    def project_in_path(self):
        return urllib.parse.quote(self.project, safe="")

    def filtered(self, asked):
        state = {"opened": "open"}.get(asked.get("state"), asked.get("state", "all"))
        found = [p for p in self.pulls if state in ("all", p["state"])]
        for name, field in (("head", "source_branch"), ("base", "target_branch")):
            found = [p for p in found if asked.get(field, p[name]) == p[name]]
        return found

    def check_new(self, sent):
        missing = [n for n in ("source_branch", "target_branch", "title") if not sent.get(n)]
        if missing:
            raise Refused(400, {"error": ", ".join("%s is missing" % name for name in missing)})
        found = self.open(sent["source_branch"], sent["target_branch"])
        if found:
            text = "Another open merge request already exists for this source branch: !%d"
            raise Refused(409, {"message": [text % found["number"]]})

    def shown(self, pull):
        return {
            "id": 1000 + pull["number"],
            "iid": pull["number"],
            "web_url": "%s/%s/-/merge_requests/%d" % (self.url, self.project, pull["number"]),
            "state": {"open": "opened"}.get(pull["state"], pull["state"]),
            "title": pull["title"],
            "description": pull["body"],
            "source_branch": pull["head"],
            "target_branch": pull["base"],
            "source_project_id": 2 if pull["fork"] else 1,
            "target_project_id": 1,
        }
