"""The ASGI TLS extension -> Apache's `SSL_*` variables, which WSGI applications know (X-11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .text import tunnel

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
