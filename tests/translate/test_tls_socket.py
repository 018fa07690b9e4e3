"""What a TLS socket that a server exposes tells of its connection; in memory, with real handshakes."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from bridge.translate.tls import environ_from_tls, tls_from_environ

UNKNOWN: dict[str, Any] = {"server_cert": None, "tls_version": None, "cipher_suite": None}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, in a file that `ssl` can load."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    path: Path


def issued(name: x509.Name, path: Path, issuer: Identity | None = None) -> Identity:
    """A new certificate for `name`, signed by `issuer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Identity(certificate, key, path)


def subject(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A distinguished name of these attributes, the most general first."""
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Whom both sides trust."""
    return issued(subject((NameOID.COMMON_NAME, "ca")), tmp_path_factory.mktemp("ca") / "ca.pem")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Identity) -> Identity:
    """The server's own certificate."""
    return issued(subject((NameOID.COMMON_NAME, "h")), tmp_path_factory.mktemp("s") / "s.pem", authority)


def shaken(
    authority: Identity,
    server: Identity,
    client: Identity | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str | None = None,
) -> ssl.SSLObject:
    """The server's end of a finished handshake, all in memory."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(server.path)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.load_verify_locations(authority.path)
    theirs.maximum_version = theirs.minimum_version = version
    if ciphers:
        theirs.set_ciphers(ciphers)
    if client is not None:
        ours.verify_mode = ssl.CERT_OPTIONAL
        ours.load_verify_locations(authority.path)
        theirs.load_cert_chain(client.path)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [ours.wrap_bio(to_us, to_them, server_side=True), theirs.wrap_bio(to_them, to_us)]
    waiting = ends.copy()
    for _ in range(10):
        for end in waiting.copy():
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    assert waiting == []
    return ends[0]


@pytest.mark.req("X-11")
@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_a_tls_socket_tells_version_and_cipher(key: str, authority: Identity, server: Identity) -> None:
    """Gunicorn and Werkzeug set no variables for them."""
    new = shaken(authority, server)
    info = tls_from_environ({key: new})
    assert info is not None
    assert info["tls_version"] == 0x0304
    assert environ_from_tls(info)["SSL_CIPHER"] == (new.cipher() or ("",))[0]
    assert info["server_cert"] is None
    assert not info.keys() & {"client_cert_chain", "client_cert_name", "client_cert_error"}

    old = shaken(authority, server, version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    assert tls_from_environ({key: old}) == {**UNKNOWN, "tls_version": 0x0303, "cipher_suite": 0xC02B}


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(NameOID.COMMON_NAME, "ann")], id="plain"),
        pytest.param(
            [
                (NameOID.COUNTRY_NAME, "DE"),
                (NameOID.STATE_OR_PROVINCE_NAME, "S"),
                (NameOID.LOCALITY_NAME, "L"),
                (NameOID.ORGANIZATION_NAME, "ex"),
                (NameOID.ORGANIZATIONAL_UNIT_NAME, "u"),
                (NameOID.COMMON_NAME, "ann"),
            ],
            id="the order is reversed",
        ),
        pytest.param([(NameOID.COMMON_NAME, 'a, b+c"d\\e<f>g;h=i')], id="special characters"),
        pytest.param([(NameOID.COMMON_NAME, " a "), (NameOID.ORGANIZATION_NAME, "#1")], id="outer spaces"),
        pytest.param([(NameOID.COMMON_NAME, " "), (NameOID.ORGANIZATION_NAME, "  ")], id="only spaces"),
        pytest.param([(NameOID.COMMON_NAME, "ann,O=root")], id="a name that looks like two"),
        pytest.param([(NameOID.COMMON_NAME, "caf\u00e9 \u65e5")], id="beyond ASCII"),
        pytest.param(
            [(NameOID.DOMAIN_COMPONENT, "org"), (NameOID.USER_ID, "7"), (NameOID.STREET_ADDRESS, "s 1")],
            id="other attributes",
        ),
    ],
)
def test_a_tls_socket_tells_the_clients_certificate_and_name(
    tmp_path: Path,
    authority: Identity,
    server: Identity,
    parts: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    client = issued(subject(*parts), tmp_path / "client.pem", authority)
    info = tls_from_environ({"gunicorn.socket": shaken(authority, server, client)})
    assert info is not None
    pem = client.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
    assert info["client_cert_chain"] == [pem]
    assert info["client_cert_name"] == client.certificate.subject.rfc4514_string()
    assert "client_cert_error" not in info


@pytest.mark.req("X-11")
def test_parts_of_a_name_may_have_several_attributes(
    tmp_path: Path, authority: Identity, server: Identity
) -> None:
    several = x509.RelativeDistinguishedName(
        [x509.NameAttribute(NameOID.COMMON_NAME, "ann"), x509.NameAttribute(NameOID.USER_ID, "7")]
    )
    one = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ex")])
    client = issued(x509.Name([one, several]), tmp_path / "client.pem", authority)
    info = tls_from_environ({"gunicorn.socket": shaken(authority, server, client)})
    assert info is not None
    first, _, last = info["client_cert_name"].partition(",")
    assert sorted(first.split("+")) == ["CN=ann", "UID=7"]
    assert last == "O=ex"


class FakeSocket:
    """A TLS socket that says what it is told to, or raises it."""

    def __init__(self, certificate: object = None, details: object = None, error: Exception | None = None):
        self.certificate = certificate
        self.details = details
        self.error = error

    def version(self) -> str | None:
        """The protocol, or the error."""
        if self.error:
            raise self.error
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int] | None:
        """No suite is known."""
        return None

    def getpeercert(self, binary_form: bool = False) -> object:
        """The certificate, or its details."""
        return self.certificate if binary_form else self.details


@pytest.mark.req("X-11")
def test_a_certificate_that_the_socket_has_not_verified_has_an_error() -> None:
    """`ssl` gives no details of such a certificate."""
    info = tls_from_environ({"gunicorn.socket": FakeSocket(b"DER", {})})
    assert info is not None
    assert len(info["client_cert_chain"]) == 1
    assert "client_cert_name" not in info
    assert info["client_cert_error"] == "not verified"


@pytest.mark.req("X-11")
@pytest.mark.parametrize("error", [ValueError("no handshake"), OSError("closed"), AttributeError("_sslobj")])
def test_a_socket_that_cannot_answer_says_nothing(error: Exception) -> None:
    assert tls_from_environ({"gunicorn.socket": FakeSocket(error=error)}) is None


@pytest.mark.req("X-11")
def test_a_socket_that_never_shook_hands_says_nothing() -> None:
    waiting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True
    )
    assert tls_from_environ({"gunicorn.socket": waiting}) is None


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SSL_CLIENT_S_DN": "CN=end"}, {"client_cert_name": "CN=end"}),
        ({"SSL_CLIENT_CERT": "END PEM"}, {"client_cert_chain": ["END PEM"]}),
        (
            {"SSL_CLIENT_VERIFY": "FAILED:expired", "SSL_CLIENT_S_DN": "CN=end"},
            {"client_cert_name": "CN=end", "client_cert_error": "expired"},
        ),
    ],
)
def test_a_client_is_never_put_together_from_variables_and_socket(
    variables: dict[str, str], expected: dict[str, Any]
) -> None:
    """The socket's client may be a proxy, and the variables speak of the client before it."""
    proxy = FakeSocket(b"DER", {"subject": ((("commonName", "proxy"),),)})
    info = tls_from_environ({"gunicorn.socket": proxy, **variables})
    assert info == {**UNKNOWN, "tls_version": 0x0304, **expected}


@pytest.mark.req("X-11")
def test_variables_of_the_session_are_preferred_to_the_socket() -> None:
    info = tls_from_environ({"gunicorn.socket": FakeSocket(), "SSL_PROTOCOL": "TLSv1.2"})
    assert info == {**UNKNOWN, "tls_version": 0x0303}


@pytest.mark.req("X-11")
@given(TEXT)
def test_no_value_of_a_name_can_pass_for_another_attribute(value: str) -> None:
    """Parsed by the other library, the name is what the certificate said."""
    fake = FakeSocket(b"DER", {"subject": ((("organizationName", "ex"),), (("commonName", value),))})
    info = tls_from_environ({"gunicorn.socket": fake})
    assert info is not None
    parsed = x509.Name.from_rfc4514_string(info["client_cert_name"])
    assert [(each.oid, each.value) for each in parsed] == [
        (NameOID.ORGANIZATION_NAME, "ex"),
        (NameOID.COMMON_NAME, value),
    ]
