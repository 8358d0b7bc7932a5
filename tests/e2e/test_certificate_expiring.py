"""certificate_expiring for real: certificates that a real TLS server serves, read and renewed."""

import contextlib
import json
import os
import re
import socket
import sys
from pathlib import Path

import pytest

from tests.support.alerts import alert
from tests.support.ports import free_port
from tests.support.remediations import (
    ESCALATED,
    FAILED,
    NOT_NEEDED,
    REMEDIATED,
    enabled,
    outcome_of,
    output_of,
    run,
    started_for,
)
from tests.support.world import open_world, unique

if os.environ.get("ST2_API_URL"):
    pytest.skip("needs servers where StackStorm runs", allow_module_level=True)

from tests.demo.servers import Server
from tests.support import tls


class TlsServer(Server):
    """Serves a certificate of so many days in its folder, on a port of 127.0.0.1."""

    name = "tls"

    def __init__(self, folder, days, *options, **more):
        super().__init__(folder)
        self.certificate = tls.make_certificate(self.folder, days, **more)
        self.port, self._options = free_port(), options
        self.address = "127.0.0.1:%d" % self.port

    def renewal(self, days, reload=True):
        """A command that puts another certificate there, and has the server load it."""
        folder = self.folder / "renewed"
        folder.mkdir(exist_ok=True)
        command = "cp %s %s" % (tls.make_certificate(folder, days), self.certificate)
        return command + " && kill -HUP %d" % self.pid if reload else command

    def _command(self):
        return [sys.executable, tls.__file__, str(self.folder), str(self.port), *self._options]

    def _ready(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


def renew(world, endpoint, **parameters):
    """Run the workflow with its own check to its end."""
    given = {"endpoint": endpoint, "settle_seconds": 0}
    return run(world, "poundcake.certificate_expiring", **dict(given, **parameters))


@pytest.mark.parametrize("days", [10, -10], ids=["it_expires", "it_has_expired"])
def test_a_certificate_is_read_renewed_and_read_again(world, tmp_path, days):
    """Though nobody has signed it and its name is another; a second run finds nothing to do."""
    with TlsServer(tmp_path, days) as server:
        command = server.renewal(90)
        execution = renew(world, server.address, renew_command=command)
        assert outcome_of(execution) == REMEDIATED, execution["result"]
        output = output_of(execution)
        assert "days left: %d\n" % days in output["evidence"]
        for start in ("subject=.*shop", "issuer=.*shop", "notAfter=", " *DNS:shop"):
            assert re.search("^" + start, output["evidence"], re.MULTILINE), start
        said = "renewed the certificate of " + server.address
        assert (output["remediation"], output["reason"]) == (said, None)
        assert output["verification"] == "checked again, days left: 90"

        again = renew(world, server.address, renew_command="false")
        said = "none, the certificate is valid for more than 30 days"
        assert (outcome_of(again), output_of(again)["remediation"]) == (NOT_NEEDED, said)


def test_what_expires_is_a_parameter(world, tmp_path):
    """Ten days are enough where five are asked for: the alert came late."""
    with TlsServer(tmp_path, 10) as server:
        execution = renew(world, server.address, renew_command="false", within_days=5)
    assert execution["status"] == "succeeded"
    assert output_of(execution)["remediation"].startswith("none, the certificate is valid")


def test_a_renewal_that_the_server_has_not_loaded_is_none(world, tmp_path):
    """The file is new, and clients see the old one: it is what is served that counts."""
    with TlsServer(tmp_path, 10) as server:
        command = server.renewal(90, reload=False)
        execution = renew(world, server.address, renew_command=command)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["verification"] == "checked again, days left: 10"
    assert output["reason"].startswith("renewed the certificate of 127.0.0.1")
    assert "but the symptom remains - " in output["reason"]


def test_a_renewal_that_fails_says_so(world, tmp_path):
    """With what it printed."""
    with TlsServer(tmp_path, 10) as server:
        command = 'echo "$SERVER_NAME $PORT: too many requests"; exit 1'
        execution = renew(world, "https://me:pw@%s/x" % server.address, renew_command=command)
    assert execution["status"] == "failed"
    output = output_of(execution)
    assert output["remediation"] == "the renewal command failed"
    assert "127.0.0.1 %d: too many requests" % server.port in output["reason"]


def test_without_a_command_nothing_is_done_and_the_reason_says_so(world, tmp_path):
    """What was read is kept; the alert must not look remediated."""
    with TlsServer(tmp_path, 10) as server:
        execution = renew(world, server.address)
    assert outcome_of(execution) == ESCALATED
    output = output_of(execution)
    assert output["remediation"] == "none" and "days left: 10\n" in output["evidence"]
    assert "set certificate_renew_command in the pack's config" in output["reason"]


# --- what can be read -------------------------------------------------------------------------


def test_the_server_is_asked_for_the_name_of_the_endpoint(world, tmp_path):
    """Many certificates live behind one address (SNI)."""
    with TlsServer(tmp_path, 90) as server:
        execution = renew(world, "https://localhost:%d/health" % server.port)
        assert execution["status"] == "succeeded", execution["result"]
        assert "asked for localhost" in server.log()


def test_a_server_that_asks_for_a_certificate_shows_its_own(world, tmp_path):
    """As Kubernetes and etcd do; the handshake fails, after the certificate has been seen."""
    with TlsServer(tmp_path, 10, "asks_for_one") as server:
        execution = renew(world, server.address, dry_run=True, renew_command="false")
    assert execution["status"] == "succeeded", execution["result"]
    said = "none, this is a dry run; it would renew the certificate"
    assert output_of(execution)["remediation"] == said


def nothing_seen(world, endpoint):
    """Why no certificate could be read; nothing is renewed then."""
    mark = Path("/tmp", unique("poundcake-e2e-renewed-"))
    execution = renew(world, endpoint, renew_command="touch %s" % mark)
    assert outcome_of(execution) == FAILED and not mark.exists()
    output = output_of(execution)
    assert output["remediation"] == "none"
    assert output["reason"].startswith("could not read the certificate, nothing was done - ")
    return output["reason"]


def test_a_port_that_is_closed_is_said(world):
    """With the address, in openssl's words."""
    address = "127.0.0.1:%d" % free_port()
    reason = nothing_seen(world, address)
    assert "Connection refused" in reason or "errno=111" in reason
    assert "no certificate came from %s" % address in reason


def test_a_server_that_speaks_no_tls_is_said(world):
    """HTTP, for one: StackStorm's own API here."""
    address = world.api_url.split("/")[2]
    assert "wrong version number" in nothing_seen(world, "http://" + address)


def test_a_server_that_hangs_is_left(world):
    """It takes the connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "127.0.0.1:%d" % silent.getsockname()[1]
        assert "came from %s within 10 s" % address in nothing_seen(world, address)


def test_a_name_that_nobody_has_is_said(world):
    """Without a port it is 443."""
    assert "poundcake.invalid:443" in nothing_seen(world, "https://poundcake.invalid/path")


# --- data -------------------------------------------------------------------------------------


def test_a_certificates_subject_is_data(world, tmp_path):
    """It neither reads a secret nor passes for another certificate or for another line."""
    key, value = unique("poundcake_e2e_"), unique("certificate-secret-")
    good = tls.make_certificate(tmp_path, 900).read_text()
    evil = "{{ st2kv('system.%s', decrypt=true) }}\n" % key
    evil += "<%% st2kv('system.%s', decrypt => true) %%>\ndays left: 900\n" % key
    evil += good[good.index("-----BEGIN CERT") :]
    world.st2("key", "set", key, value, "--encrypt")
    try:
        with TlsServer(tmp_path / "server", 10, organisation=evil) as server:
            execution = renew(world, server.address, renew_command=server.renewal(90))
    finally:
        world.st2("key", "delete", key)
    assert execution["status"] == "succeeded", execution["result"]
    output = output_of(execution)
    assert output["remediation"].startswith("renewed")
    assert "❴❴ st2kv" in output["evidence"] and "‹% st2kv" in output["evidence"]
    lines = [line for line in output["evidence"].splitlines() if line.startswith("days left:")]
    assert lines == ["days left: 10"]
    children = world.api("GET", "/executions/%s/children?depth=-1" % execution["id"])
    whole = json.dumps([world.execution(one["id"]) for one in [execution, *children]])
    assert "st2kv" in whole and value not in whole


# --- from the alert on ------------------------------------------------------------------------


def test_the_rule_takes_blackbox_exporters_alert(world):
    """The endpoint is what was probed, the host is its name."""
    made = alert(
        alertname="BlackboxSslCertificateWillExpireSoon",
        instance="https://%s.invalid/health" % unique("shop-"),
        renew_command="id",
        certificate_renew_command="id",
    )
    with enabled(world, "certificate_expiring"):
        request_id = world.accept(made)
        execution = started_for(world, request_id)
    given = execution["parameters"]
    endpoint = made["labels"]["instance"]
    assert (given["endpoint"], given["host"]) == (endpoint, endpoint.split("/")[2])
    assert given["alert"]["request_id"] == request_id
    assert given["renew_command"] == "", "an alert does not choose it"


def test_an_endpoint_that_is_none_is_told_to_a_person(world):
    """openssl never sees it."""
    for endpoint in ("-connect x", "https://-x@shop/", "shop:443 -starttls smtp", "", "a\nb"):
        execution = renew(world, endpoint, check_command="exit 1", renew_command="false")
        assert outcome_of(execution) == ESCALATED
        assert "endpoint: " in output_of(execution)["reason"]


def test_the_config_names_the_command_that_renews(tmp_path):
    """It gets the endpoint, its name and its port."""
    with TlsServer(tmp_path / "server", 10) as server:
        command = server.renewal(90)
        command += ' && echo "$ENDPOINT $SERVER_NAME $PORT" >%s/seen' % tmp_path
        with open_world(tmp_path / "world", certificate_renew_command=command) as world:
            execution = renew(world, "https://%s/" % server.address)
    assert execution["status"] == "succeeded", execution["result"]
    expected = "https://%s/ 127.0.0.1 %d\n" % (server.address, server.port)
    assert (tmp_path / "seen").read_text() == expected
