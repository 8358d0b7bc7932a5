"""Credentials for Alertmanager and Prometheus, and the errors about them."""

import ssl

import pytest
from poundcake.errors import ExpectedError
from poundcake.upstream import client

from tests.support.fakes import make_settings
from tests.support.local_server import LocalServer, QuietHandler
from tests.support.tls import certificate_of_this_host


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


@pytest.fixture
def tls(tmp_path):
    """An HTTPS server, and the file of the authority that signed its certificate."""
    file, authority = certificate_of_this_host(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with LocalServer(Echo) as server:
        server._server.socket = context.wrap_socket(
            server._server.socket, server_side=True, do_handshake_on_connect=False
        )
        yield server.url.replace("http:", "https:"), str(authority)


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_an_authority_of_ones_own_is_trusted_when_the_config_says_so(tls, name, recwarn):
    """Or no certificate is checked; otherwise the server gets no token."""
    url, authority = tls

    def ask(**more):
        config = {"url": url, "token": "t0ken", **more}
        settings = make_settings(**{f"{name}_{key}": value for key, value in config.items()})
        return client.call(settings, name, "GET", "/")["got"]

    assert ask(ca_path=authority) == "Bearer t0ken"
    assert ask(verify=False) == "Bearer t0ken"
    with pytest.raises(ExpectedError, match=f"{name}_ca_path: .* is not trusted"):
        ask()
    with pytest.raises(ExpectedError, match=f"{name}_ca_path: .*/gone"):
        ask(ca_path="/gone")
