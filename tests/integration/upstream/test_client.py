"""What the servers around PoundCake are asked with, and what is told when that fails."""

import pytest
from poundcake.errors import ExpectedError
from poundcake.upstream import client

from tests.support.fakes import make_settings
from tests.support.local_server import LocalServer, QuietHandler


class Echo(QuietHandler):
    """Answers with the Authorization header that it got."""

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
def test_blanks_around_a_token_are_no_part_of_it(token):
    """Whoever put it into the datastore from a file has a line break there."""
    with LocalServer(Echo) as server:
        assert ask(server, token) == "Bearer t0ken"


@pytest.mark.parametrize("token", ["s3cret\nvalue", "s3cret\u2019value"])
def test_a_token_that_cannot_be_one_is_not_shown(token):
    """The HTTP library's own words have the whole header."""
    with LocalServer(Echo) as server, pytest.raises(ExpectedError) as caught:
        ask(server, token)
    assert "s3cret" not in str(caught.value) and "value" not in str(caught.value)
