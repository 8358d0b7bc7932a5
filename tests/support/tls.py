"""A real TLS server: a process that serves a certificate, and loads it again on SIGHUP."""

import contextlib
import datetime
import ipaddress
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "shop.example.com"


def make_certificate(folder, days, organisation="PoundCake"):
    """Write a self-signed certificate for ``NAME`` with its key, as ``certificate.pem``.

    :param days: how long it lasts; below zero it has expired so long ago.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    words = [(NameOID.COMMON_NAME, NAME), (NameOID.ORGANIZATION_NAME, organisation)]
    name = x509.Name([x509.NameAttribute(*word) for word in words])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1 if days > 0 else -1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    text = key.private_bytes(*form, serialization.NoEncryption())
    path = Path(folder, "certificate.pem")
    path.write_bytes(text + made.public_bytes(serialization.Encoding.PEM))
    return path


def certificate_of_this_host(folder):
    """Write a key with its certificate for 127.0.0.1, and the certificate; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    forms = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = key.private_bytes(serialization.Encoding.PEM, *forms)
    server, authority = Path(folder, "server.pem"), Path(folder, "ca.pem")
    server.write_bytes(pem + made)
    authority.write_bytes(made)
    return server, authority


def main(folder, port, *options):
    """Serve, log the name that each client asks for, and load the certificate again on SIGHUP."""
    path = str(Path(folder, "certificate.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.sni_callback = lambda _, name, __: print("asked for", name, flush=True)
    if "asks_for_one" in options:
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # where this ends the handshake
    signal.signal(signal.SIGHUP, lambda *_: context.load_cert_chain(path))

    def serve(connection):
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    with socket.create_server(("127.0.0.1", int(port))) as server:
        while True:
            threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
