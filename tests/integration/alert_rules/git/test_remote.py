"""Git over HTTP and SSH: it gets in with the secrets of the config, and shows them nowhere."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from poundcake.alert_rules import change
from poundcake.alert_rules.git import hosts, remote, url
from poundcake.alert_rules.git import propose as gitops
from poundcake.errors import ExpectedError

from tests.demo import servers
from tests.support.fakes import make_settings
from tests.support.git_servers import TOKEN, GiteaHost, GitHost, GitHubHost, GitLabHost, Repository
from tests.support.tls import certificate_of_this_host

RULES = "groups:\n- name: hosts\n  rules:\n  - alert: HostDown\n    expr: up == 0\n"
BASIC = "b2F1dGgyOnQwa2VuL29mK3RoZT10ZXN0cw=="  # oauth2:<TOKEN> as HTTP sends it


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path, files={"prometheus/rules/hosts.yaml": RULES}.items())


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files are made, empty."""
    folder = tmp_path / "scratch of $HOME"  # a shell must not read it
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    if servers.missing():
        pytest.skip("bash tests/demo/install_servers installs %s" % ", ".join(servers.missing()))
    with servers.Sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found


def propose(**settings):
    made = change.make("update", "node-alerts", "hosts", "HostDown", for_duration="10m")
    found = make_settings(**dict({"promtool_path": servers.program("promtool")}, **settings))
    return gitops.propose(found, made)


def over_ssh(sshd, repository, **more):
    found = {
        "git_repo_url": "ssh://%s@%s%s" % (sshd.username, sshd.address, repository.path),
        "git_provider": "none",
        "git_ssh_key": Path(sshd.private_key).read_text(),
        "git_known_hosts": sshd.known_hosts.read_text(),
    }
    return dict(found, **more)


def command_lines():
    """Those of all processes, as ps shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            pass  # it has ended
    return "\n".join(found)


def written_below(folder):
    """What is in all files below a folder, with their names and modes."""
    found = []
    for path in sorted(Path(folder).rglob("*")):
        try:
            if path.is_file():
                mode = "%o" % (path.stat().st_mode & 0o777)
                found.append("%s %s %s" % (path.name, mode, path.read_bytes().decode("latin-1")))
        except OSError:
            pass
    return found


@pytest.mark.parametrize("kind", [GitHubHost, GitLabHost, GiteaHost], ids=lambda k: k.provider)
def test_git_and_pull_request_over_http_with_one_token(repository, kind):
    """At each of the hosts."""
    with kind(repository) as host:
        found = propose(**host.settings())
    assert repository.branches()[found["branch"]] == found["commit"]
    assert [pull["head"] for pull in host.pulls] == [found["branch"]]
    assert found["url"].startswith(host.url)


def test_the_token_is_in_no_command_line_file_answer_or_log(repository, scratch, caplog, capfd):
    """Looked for while git runs, by the server that it speaks to; and nothing stays on disk."""
    lines, files = [], []
    with GitHubHost(repository) as host:

        def look():
            lines.append(command_lines())
            files.extend(written_below(scratch))

        host.on_git = look
        found = propose(**host.settings())
    assert any("git-remote-http" in line for line in lines) and files
    out, err = capfd.readouterr()
    seen = "\n".join([*lines, *files, repr(found), caplog.text, out, err, repository.log("main")])
    seen += repository.log(found["branch"], "%B") + repr(host.pulls)
    for secret in (TOKEN, BASIC):
        assert secret not in seen
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("scopes", [{"read"}, {"read", "write"}], ids=["read", "wrong"])
def test_a_token_that_does_not_do_is_told_and_not_repeated(repository, scopes):
    """Whether it may only read, or is none."""
    with GitHost(repository) as host:
        host.scopes = scopes
        token = TOKEN if scopes == {"read"} else "wrong/token"
        with pytest.raises(ExpectedError) as caught:
            propose(**host.settings(git_token=token))
    assert str(caught.value).startswith("git_token: git ")
    assert token not in str(caught.value) and BASIC not in str(caught.value)
    assert list(repository.branches()) == ["main"]


def test_without_a_token_nobody_is_asked_for_one(repository):
    """A terminal, a helper or an askpass program of the node: it would wait for ever."""
    with GitHost(repository) as host, pytest.raises(ExpectedError) as caught:
        propose(**host.settings(git_token=""))
    assert str(caught.value).startswith("git_token: git ls-remote ")


def test_another_server_does_not_get_the_token(repository, tmp_path):
    """A redirect to another origin is not followed: what it serves is not believed either."""
    (tmp_path / "other").mkdir()
    other = Repository(tmp_path / "other", files={"prometheus/rules/hosts.yaml": RULES}.items())
    seen = []
    with GitHost(other) as far, GitHost(repository) as near:
        serve = far.serve_git

        def listen(request, *more):
            seen.append(request.headers.get("Authorization"))
            return serve(request, *more)

        far.serve_git = listen
        near.serve_git = lambda request, path, query, body: (
            302,
            {"Location": "%s%s?%s" % (far.url, path, query)},
            b"",
        )
        with pytest.raises(ExpectedError) as caught:
            propose(**near.settings())
    assert "git_repo_url: git ls-remote " in str(caught.value) and not seen


def test_a_server_cannot_fill_disk_or_memory(repository, monkeypatch):
    """A list of branches without end; git's files and its output have a limit."""
    monkeypatch.setattr(remote, "LARGEST_PACK", 1 << 20)

    def flood(request, path, query, body):
        line = b"003d" + b"a" * 40 + b" refs/heads/main\n"
        return 200, {"Content-Type": "application/x-git-upload-pack-advertisement"}, line * 100000

    with GitHost(repository) as host:
        host.serve_git = flood
        with pytest.raises(ExpectedError) as caught:
            propose(**host.settings())
    assert str(caught.value).startswith("git_repo_url: git ")


def test_git_writes_no_file_above_the_limit(repository, tmp_path, monkeypatch):
    """What it fetches is such a file."""
    big = ("big.bin", "".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(40000)))
    (tmp_path / "big").mkdir()
    monkeypatch.setattr(remote, "LARGEST_PACK", 1 << 20)
    with GitHost(Repository(tmp_path / "big", files=[big])) as host:
        with pytest.raises(ExpectedError) as caught:
            propose(**host.settings())
    assert str(caught.value).startswith("git_repo_url: git fetch ")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The file of a server, and the authority to trust it by."""
    return certificate_of_this_host(tmp_path_factory.mktemp("certificate"))


def test_a_certificate_of_ones_own_is_trusted_when_the_config_says_so(repository, certificate):
    """By git and for the API; without it neither gets the token."""
    with GitLabHost(repository) as host:
        host.speak_tls(certificate[0], certificate[0])
        with pytest.raises(ExpectedError) as caught:
            propose(**host.settings())
        assert str(caught.value).startswith("git_ca_path: git ls-remote ")
        found = propose(**host.settings(git_ca_path=str(certificate[1])))
        assert found["url"].startswith("https://127.0.0.1:") and found["state"] == "opened"
        settings = make_settings(**host.settings())
        client = hosts.host_of(settings, url.parse(settings.git.repo_url))
        with pytest.raises(ExpectedError) as caught:
            client.propose("change", "t", "b")
        assert str(caught.value).startswith("git_ca_path: https://127.0.0.1:")
        settings = make_settings(**host.settings(git_ca_path="/no/such/file"))
        client = hosts.host_of(settings, url.parse(settings.git.repo_url))
        with pytest.raises(ExpectedError) as caught:
            client.propose("change", "t", "b")
        assert "/no/such/file" in str(caught.value)


def test_what_a_server_says_has_no_secret_in_it(repository):
    """One that repeats what it was sent."""
    repository.hook("pre-receive", "echo 'no: %s %s' >&2; exit 1\n" % (TOKEN, BASIC))
    with GitHost(repository) as host, pytest.raises(ExpectedError) as caught:
        propose(**host.settings())
    assert "no: *** ***" in str(caught.value)


def test_git_over_ssh_with_the_key_of_the_config(sshd, repository, scratch):
    """Only its owner may read the file; it is in no command line, and gone afterwards."""
    seen = repository.path / "seen"
    look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' > %s; ls -lR '%s' >> %s\n"
    repository.hook("update", look % (seen, scratch, seen))
    settings = over_ssh(sshd, repository)
    found = propose(**settings)
    assert repository.branches()[found["branch"]] == found["commit"]
    told = seen.read_text(errors="replace")
    assert "StrictHostKeyChecking=yes" in told and " push --porcelain " in told
    (line,) = [line for line in told.splitlines() if line.endswith(" ssh_key")]
    assert line.startswith("-rw------- ")
    for secret in settings["git_ssh_key"].splitlines()[1:-1]:
        assert secret not in told
    assert os.listdir(scratch) == []


def test_a_key_may_have_lost_its_line_ends_on_the_way(sshd, repository):
    """As from a web form or $(cat key)."""
    key = Path(sshd.private_key).read_text().strip().replace("\n", "\r\n")
    assert propose(**over_ssh(sshd, repository, git_ssh_key=key))["pushed"]


def test_a_server_that_is_not_known_is_refused(sshd, repository, tmp_path):
    """Nobody types yes for a program."""
    key = tmp_path / "other"
    command = [servers.program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    other = "[%s]:%d %s" % (sshd.host, sshd.port, Path(str(key) + ".pub").read_text())
    for known in (other, "# nobody"):
        with pytest.raises(ExpectedError) as caught:
            propose(**over_ssh(sshd, repository, git_known_hosts=known))
        assert str(caught.value).startswith("git_known_hosts: git ls-remote ")


def test_a_key_that_the_server_does_not_take_is_told(sshd, repository, tmp_path):
    """Also one that is no key; neither is in the message."""
    path = tmp_path / "other"
    command = [servers.program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    for key in (path.read_text(), "s3cret that is no key at all"):
        with pytest.raises(ExpectedError) as caught:
            propose(**over_ssh(sshd, repository, git_ssh_key=key))
        assert str(caught.value).startswith("git_ssh_key: git ls-remote ")
        assert not any(line in str(caught.value) for line in key.splitlines())
