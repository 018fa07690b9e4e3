"""The ASGI TLS extension <-> Apache's `SSL_*` variables, which WSGI applications know (X-11)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .text import tunnel, untunnel

_VERSIONS = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}

# Suites that current servers negotiate, by IANA number, under the names that OpenSSL and Apache use.
_CIPHERS = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
}

# The names that RFC 4514 gives to attributes, by those that OpenSSL gives them.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

# The variables that say something by themselves.
_READ = frozenset(
    {
        "SSL_PROTOCOL",
        "SSL_CIPHER",
        "SSL_SERVER_CERT",
        "SSL_CLIENT_CERT",
        "SSL_CLIENT_S_DN",
        "SSL_CLIENT_VERIFY",
    }
)

_NAME_SPECIAL = re.compile(r'["+,;<>\\]')

_VERSION_NUMBERS = {name: number for number, name in _VERSIONS.items()}
_CIPHER_NUMBERS = {name: number for number, name in _CIPHERS.items()}


def environ_from_tls(info: Mapping[str, Any]) -> dict[str, str]:
    """Translate `scope["extensions"]["tls"]`; what is unknown (`None`) has no key.

    Text beyond ASCII, which a client may choose in its certificate, becomes UTF-8 bytes as latin-1.
    The chain of the client's certificates becomes `SSL_CLIENT_CERT` and
    `SSL_CLIENT_CERT_CHAIN_0`, `_1`, … (mod_ssl's names). A cipher suite outside the common ones is
    left out rather than misnamed.
    """
    environ: dict[str, str] = {}
    version = _VERSIONS.get(info.get("tls_version") or 0)
    if version:
        environ["SSL_PROTOCOL"] = version
    cipher = _CIPHERS.get(info.get("cipher_suite") or 0)
    if cipher:
        environ["SSL_CIPHER"] = cipher
    if info.get("server_cert"):
        environ["SSL_SERVER_CERT"] = str(info["server_cert"])
    chain = [str(certificate) for certificate in info.get("client_cert_chain") or ()]
    if chain:
        environ["SSL_CLIENT_CERT"] = chain[0]
        for number, certificate in enumerate(chain[1:]):
            environ[f"SSL_CLIENT_CERT_CHAIN_{number}"] = certificate
    if info.get("client_cert_name"):
        environ["SSL_CLIENT_S_DN"] = tunnel(str(info["client_cert_name"]))
    if info.get("client_cert_error"):
        environ["SSL_CLIENT_VERIFY"] = tunnel(f"FAILED:{info['client_cert_error']}")
    elif chain:
        environ["SSL_CLIENT_VERIFY"] = "SUCCESS"
    return environ


def tls_from_environ(environ: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `tls` extension of an encrypted request, `None` if nothing is known of its encryption.

    That the scheme is `https` is no knowledge: a server may have it from a proxy's header. Apache's
    variables are read and, where they say nothing, the TLS socket that some servers expose; what
    describes the client comes from one of the two, never from both. A certificate that the server did
    not verify always has a `client_cert_error`.

    The socket is only asked for what it knows already: nothing is read from it or written to it. It is
    the server's, so call this in the thread that it gave the request to.
    """
    socket = _tls_socket(environ)
    if socket is None and environ.keys().isdisjoint(_READ):
        return None
    version = _VERSION_NUMBERS.get(_variable(environ, "SSL_PROTOCOL"))
    cipher = _CIPHER_NUMBERS.get(_variable(environ, "SSL_CIPHER"))
    info: dict[str, Any] = {
        "server_cert": _variable(environ, "SSL_SERVER_CERT") or None,
        "tls_version": version,
        "cipher_suite": cipher,
    }
    client = _client_from_variables(environ)
    if socket is not None:
        try:
            if version is None and cipher is None:
                info["tls_version"] = _VERSION_NUMBERS.get(socket.version() or "")
                info["cipher_suite"] = _CIPHER_NUMBERS.get((socket.cipher() or ("",))[0])
            if not client:
                client = _client_from_socket(socket)
        except (AttributeError, OSError, ValueError):  # a socket of another kind, closed, or not yet set up
            pass
    if not client and not any(info.values()):
        return None
    return {**info, **client}


def _variable(environ: Mapping[str, Any], name: str) -> str:
    """What a variable says, `""` if it is absent or no text."""
    value = environ.get(name)
    return untunnel(value) if isinstance(value, str) else ""


def _client_from_variables(environ: Mapping[str, Any]) -> dict[str, Any]:
    client: dict[str, Any] = {}
    chain = []
    certificate = _variable(environ, "SSL_CLIENT_CERT")
    while certificate:
        chain.append(certificate)
        certificate = _variable(environ, f"SSL_CLIENT_CERT_CHAIN_{len(chain) - 1}")
    if chain:
        client["client_cert_chain"] = chain
    name = _variable(environ, "SSL_CLIENT_S_DN")
    if name:
        client["client_cert_name"] = name
    # NONE: there is no certificate. Anything but SUCCESS, GENEROUS for one, means it was not verified.
    verified = _variable(environ, "SSL_CLIENT_VERIFY")
    if verified not in ("", "NONE", "SUCCESS"):
        client["client_cert_error"] = verified.removeprefix("FAILED:") or verified
    return client


def _tls_socket(environ: Mapping[str, Any]) -> Any:
    """The connection's socket if a server exposes it and it speaks TLS (a plain one has no `cipher`)."""
    for key in ("gunicorn.socket", "werkzeug.socket"):
        socket = environ.get(key)
        if hasattr(socket, "cipher"):
            return socket
    return None


def _client_from_socket(socket: Any) -> dict[str, Any]:
    der = socket.getpeercert(True)
    if not der:
        return {}
    client: dict[str, Any] = {"client_cert_chain": [_pem(der)]}
    # `ssl` gives the details of a certificate only if it has verified it.
    details = socket.getpeercert()
    if details:
        client["client_cert_name"] = _distinguished_name(details.get("subject", ()))
    else:
        client["client_cert_error"] = "not verified"
    return client


def _pem(der: bytes) -> str:
    encoded = binascii.b2a_base64(der, newline=False).decode("ascii")
    lines = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _distinguished_name(subject: Sequence[Sequence[tuple[str, str]]]) -> str:
    """A subject as `ssl` gives it, in the notation of RFC 4514: the last part first."""
    return ",".join(
        "+".join(f"{_ATTRIBUTES.get(name, name)}={_escaped(value)}" for name, value in part)
        for part in reversed(subject)
    )


def _escaped(value: str) -> str:
    """The value of an attribute with the escapes of RFC 4514 2.4."""
    escaped = _NAME_SPECIAL.sub(r"\\\g<0>", value).replace("\0", r"\00")
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    if len(value) > 1 and escaped[-1] == " ":
        escaped = escaped[:-1] + "\\ "
    return escaped
