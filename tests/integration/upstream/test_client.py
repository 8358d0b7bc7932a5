"""Credentials for Alertmanager and Prometheus, and the errors about them."""

import pytest
from poundcake.errors import ExpectedError
from poundcake.upstream import client

from tests.support.fakes import make_settings
from tests.support.local_server import LocalServer, QuietHandler


class Echo(QuietHandler):
    """Answers with the Authorization header of the request."""

    def do_GET(self):
        data = ('{"got": "%s"}' % self.headers.get("Authorization")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def ask(server, token):
    settings = make_settings(prometheus_url=server.url, prometheus_token=token)
    return client.call(settings, "prometheus", "GET", "/")["got"]


@pytest.mark.parametrize("token", ["t0ken", "t0ken\n", " t0ken "])
def test_space_around_a_token_is_removed(token):
    """A token that was put into the datastore from a file ends in a line break."""
    with LocalServer(Echo) as server:
        assert ask(server, token) == "Bearer t0ken"


@pytest.mark.parametrize("token", ["s3cret\nvalue", "s3cret\u2019value"])
def test_an_invalid_token_is_not_shown(token):
    """The error of the HTTP library would show the whole header."""
    with LocalServer(Echo) as server, pytest.raises(ExpectedError) as caught:
        ask(server, token)
    assert "s3cret" not in str(caught.value) and "value" not in str(caught.value)
