"""upload_file_s3 and find_file_s3 against a real S3 API over HTTP, moto's server."""

import pytest
import requests
from poundcake.errors import ExpectedError
from poundcake.flight_recorder import s3

from tests.support.fakes import make_settings
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.s3 import S3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """S3 with its bucket."""
    with S3(tmp_path_factory.mktemp("s3")) as found:
        found.make_bucket()
        yield found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.jfr"
    path.write_bytes(b"FLR\0 a recording")
    return path


class Front(LocalServer):
    """A proxy for S3 that answers 503 a number of times before it lets a request pass."""

    def __init__(self, behind, refuse):
        front = self
        self.left, self.seen = refuse, []

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                front.seen.append(self.command)
                body = self.rfile.read(length)
                if front.left:
                    front.left -= 1
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
                answer = requests.request(
                    self.command, behind + self.path, headers=headers, data=body, timeout=30
                )
                self.send_response(answer.status_code)
                for name in ("ETag", "Last-Modified"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                size = answer.headers.get("Content-Length", "0")
                self.send_header("Content-Length", size if self.command == "HEAD" else "0")
                self.end_headers()

            do_PUT = do_HEAD = handle_any

        super().__init__(Handler)


def settings(server, **more):
    return make_settings(**dict(server.settings, **more))


def test_a_file_is_uploaded_and_found_in_its_size(server, file):
    """Under the key, below the prefix."""
    found = s3.upload(settings(server), str(file), "ctx/ns/pod/a.jfr", False)
    assert found == {
        "found": True,
        "uri": "s3://recordings/poundcake/jfr/ctx/ns/pod/a.jfr",
        "bucket": "recordings",
        "key": "poundcake/jfr/ctx/ns/pod/a.jfr",
        "size": 16,
    }
    assert server.body(found["key"]) == file.read_bytes()
    assert s3.find(settings(server), "ctx/ns/pod/a.jfr") == found
    assert file.exists()


def test_a_large_file_is_uploaded_in_parts(server, tmp_path):
    """And found with its full size; without a prefix, the key is used alone."""
    path = tmp_path / "large.jfr"
    path.write_bytes(b"x" * (20 << 20))
    assert s3.upload(settings(server, s3_prefix=""), str(path), "large", False)["size"] == 20 << 20
    assert len(server.body("large")) == 20 << 20


def test_a_file_is_removed_when_that_is_asked_for(server, file):
    """Once it is in the bucket."""
    s3.upload(settings(server), str(file), "removed", True)
    assert not file.exists()
    assert s3.find(settings(server), "removed")["size"] == 16


def test_what_is_not_there_is_not_found(server):
    """That is an answer, not a failure."""
    found = s3.find(settings(server), "nothing/here")
    assert (found["found"], found["size"]) == (False, None)


def test_a_server_that_is_busy_is_asked_again(server, file):
    """boto3 waits between the tries, each time longer."""
    with Front(server.url, refuse=2) as front:
        found = s3.upload(settings(server, s3_endpoint_url=front.url), str(file), "busy", True)
    assert found["found"] and front.seen == ["PUT"] * 3 + ["HEAD"]
    assert server.body("poundcake/jfr/busy").startswith(b"FLR\0")


def test_a_server_that_stays_busy_is_a_failure_and_the_file_stays(server, file, monkeypatch):
    """After TRIES tries."""
    monkeypatch.setattr(s3, "TRIES", 2)
    with Front(server.url, refuse=99) as front, pytest.raises(ExpectedError) as caught:
        s3.upload(settings(server, s3_endpoint_url=front.url), str(file), "busy", True)
    assert front.seen == ["PUT"] * 2
    assert str(caught.value).startswith("s3_bucket: the request to recordings failed: ")
    assert file.exists()


def test_an_object_of_another_size_is_a_failure_and_the_file_stays(server, file, monkeypatch):
    """If the store lost part of it, the original must remain."""
    find = s3.find
    monkeypatch.setattr(s3, "find", lambda *asked: dict(find(*asked), size=15))
    with pytest.raises(ExpectedError) as caught:
        s3.upload(settings(server), str(file), "short", True)
    assert "short has 15 bytes after the upload; expected 16 bytes" in str(caught.value)
    assert file.exists()


@pytest.mark.parametrize(
    "more, start",
    [
        ({"s3_bucket": ""}, "s3_bucket: not set"),
        ({"s3_bucket": "nobodys"}, "s3_bucket: the request to nobodys failed: "),
        ({"s3_endpoint_url": "no url"}, "s3_bucket: the request to recordings failed: "),
        (
            {"s3_endpoint_url": "http://127.0.0.1:1"},
            "s3_bucket: the request to recordings failed: ",
        ),
    ],
    ids=["no_bucket", "not_mine", "no_url", "nobody_there"],
)
def test_a_setting_that_cannot_work_is_named(server, file, monkeypatch, more, start):
    """And no secret is in the message."""
    monkeypatch.setattr(s3, "TRIES", 1)
    with pytest.raises(ExpectedError) as caught:
        s3.upload(settings(server, **more), str(file), "a", True)
    assert str(caught.value).startswith(start)
    assert server.settings["s3_secret_access_key"] not in str(caught.value)
    assert file.exists()


def test_credentials_may_come_from_the_environment(server, file, monkeypatch):
    """boto3's usual way; without any, the error names the settings."""
    bare = settings(server, s3_access_key_id="", s3_secret_access_key="")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(file.parent))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with pytest.raises(ExpectedError) as caught:
        s3.find(bare, "a")
    assert str(caught.value).startswith("s3_access_key_id: no credentials. Set it")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert s3.find(bare, "a")["found"] is False


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/./b", "a/ /b", "a\nb", "a\0"])
def test_an_invalid_key_is_refused(server, file, key):
    """Label values are part of keys."""
    with pytest.raises(ExpectedError) as caught:
        s3.upload(settings(server), str(file), key, False)
    assert str(caught.value).startswith("key: ")


def test_a_key_that_is_too_long_is_refused(server, file):
    """S3 allows 1024 bytes."""
    with pytest.raises(ExpectedError) as caught:
        s3.upload(settings(server), str(file), "é" * 600, False)
    assert str(caught.value) == "key: too long; expected at most 1024 bytes"


@pytest.mark.parametrize("path", ["/no/such/file", "/tmp"])
def test_a_file_that_cannot_be_read_is_named(server, path):
    """It is the parameter that is wrong."""
    with pytest.raises(ExpectedError) as caught:
        s3.upload(settings(server), path, "a", False)
    assert str(caught.value).startswith("path: ")
