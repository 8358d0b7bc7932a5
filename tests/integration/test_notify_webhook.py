"""notify_webhook posts to a URL that stays in the datastore."""

import json

import pytest
from poundcake.errors import ExpectedError
from poundcake.operators import notify

from tests.support.hostile_server import HostileServer, redirect
from tests.support.local_server import LocalServer, QuietHandler


@pytest.fixture
def server():
    """A server that takes what is posted and answers the status of its path."""
    posted = []

    class Handler(QuietHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(int(self.path.rpartition("/")[2]))
            self.send_header("Content-Length", "0")
            self.end_headers()

    with LocalServer(Handler) as made:
        made.posted = posted
        yield made


def post(url, message="hi", **fields):
    keys = {"hook": url + "\n"}
    return notify.post(keys.get, message, "hook", "text", fields)


def test_the_message_is_posted_as_json(server):
    """In the field that the service wants, beside the others, and fit for a message."""
    assert post(server.url + "/200", "<!here> {{ x }}\nb", channel="#ops") == 200
    expected = {"text": "‹!here› ❴❴ x }} b", "channel": "#ops"}
    assert server.posted == [("application/json", expected)]


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_is_a_failure_that_does_not_show_the_url(server, status):
    """The URL is the secret."""
    with pytest.raises(ExpectedError) as caught:
        post(server.url + "/s3cret/%d" % status)
    assert str(caught.value) == (
        "url_key: the URL in hook answers %d; expected 200 to 299" % status
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/s3cret", "s3cret", "http://[s3cret", ""])
def test_a_url_that_leads_nowhere_is_not_shown(url):
    """Nor is one that is none."""
    with pytest.raises(ExpectedError) as caught:
        post(url)
    assert "url_key: the URL in hook cannot be reached" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_redirect_is_a_failure(server):
    """The message goes to no other host."""
    with HostileServer(redirect(server.url + "/200")) as near:
        with pytest.raises(ExpectedError, match="answers 307"):
            post(near.url)
    assert server.posted == []


def test_a_key_that_is_missing_is_told():
    """With the command to set it."""
    with pytest.raises(ExpectedError, match="url_key: the datastore has no key gone"):
        notify.post({}.get, "hi", "gone", "text", {})
