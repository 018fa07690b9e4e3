"""The TLS extension as Apache's variables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scopes import http_scope

from bridge.translate.environ import EnvironBuilder
from bridge.translate.tls import environ_from_tls

UNKNOWN: dict[str, Any] = {"server_cert": None, "tls_version": None, "cipher_suite": None}


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    ("version", "name"),
    [
        (0x0304, "TLSv1.3"),
        (0x0303, "TLSv1.2"),
        (0x0302, "TLSv1.1"),
        (0x0301, "TLSv1"),
        (0x0300, "SSLv3"),
    ],
)
def test_the_protocol_version_has_its_openssl_name(version: int, name: str) -> None:
    assert environ_from_tls({**UNKNOWN, "tls_version": version}) == {"SSL_PROTOCOL": name}


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    ("suite", "name"),
    [
        (0x1301, "TLS_AES_128_GCM_SHA256"),
        (0x1302, "TLS_AES_256_GCM_SHA384"),
        (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
        (0xC02F, "ECDHE-RSA-AES128-GCM-SHA256"),
        (0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (0xC030, "ECDHE-RSA-AES256-GCM-SHA384"),
        (0xC02C, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (0xCCA8, "ECDHE-RSA-CHACHA20-POLY1305"),
        (0xCCA9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_the_cipher_suite_has_its_openssl_name(suite: int, name: str) -> None:
    """Numbers of the IANA registry; names as `openssl ciphers` prints them."""
    assert environ_from_tls({**UNKNOWN, "cipher_suite": suite}) == {"SSL_CIPHER": name}


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    "info",
    [
        {},
        UNKNOWN,
        {"tls_version": 0x9999},
        {"cipher_suite": 0xFFFF},
        {"client_cert_chain": []},
        {"client_cert_chain": None, "client_cert_name": None, "client_cert_error": None},
        {"client_cert_name": ""},
    ],
)
def test_what_is_unknown_has_no_key(info: dict[str, Any]) -> None:
    assert environ_from_tls(info) == {}


@pytest.mark.req("X-11")
def test_certificates_and_the_clients_name_are_passed() -> None:
    assert environ_from_tls(
        {
            "server_cert": "SERVER PEM",
            "tls_version": None,
            "cipher_suite": None,
            "client_cert_chain": ["LEAF PEM", "CA 1 PEM", "CA 2 PEM"],
            "client_cert_name": "CN=ann,O=ex",
        }
    ) == {
        "SSL_SERVER_CERT": "SERVER PEM",
        "SSL_CLIENT_CERT": "LEAF PEM",
        "SSL_CLIENT_CERT_CHAIN_0": "CA 1 PEM",
        "SSL_CLIENT_CERT_CHAIN_1": "CA 2 PEM",
        "SSL_CLIENT_S_DN": "CN=ann,O=ex",
        "SSL_CLIENT_VERIFY": "SUCCESS",
    }


@pytest.mark.req("X-11")
def test_a_certificate_that_failed_verification_never_looks_verified() -> None:
    environ = environ_from_tls({"client_cert_chain": ["LEAF PEM"], "client_cert_error": "expired"})
    assert environ["SSL_CLIENT_VERIFY"] == "FAILED:expired"


@pytest.mark.req("X-11", "E-02")
@given(st.text(min_size=1), st.text(min_size=1))
def test_names_beyond_latin1_are_tunnelled(name: str, error: str) -> None:
    """A client chooses the name in its certificate; a WSGI value holds bytes below 256 only."""
    environ = environ_from_tls({"client_cert_name": name, "client_cert_error": error})
    assert environ["SSL_CLIENT_S_DN"].encode("latin-1").decode("utf-8") == name
    assert environ["SSL_CLIENT_VERIFY"].encode("latin-1").decode("utf-8") == f"FAILED:{error}"


TLS13 = {"tls": {**UNKNOWN, "tls_version": 0x0304, "client_cert_name": "CN=ann"}}


@pytest.mark.req("X-11")
@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_an_encrypted_request_has_the_variables(scheme: str) -> None:
    environ = EnvironBuilder({}).build(http_scope(scheme=scheme, extensions=TLS13))[0]
    assert (environ["SSL_PROTOCOL"], environ["SSL_CLIENT_S_DN"]) == ("TLSv1.3", "CN=ann")


@pytest.mark.req("X-11", "H-05")
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"scheme": "http", "extensions": TLS13}, id="not encrypted"),
        pytest.param({"scheme": "https", "extensions": {}}, id="no extension"),
        pytest.param({"scheme": "https", "extensions": None}, id="no extensions at all"),
        pytest.param({"scheme": "https", "extensions": {"tls": {}}}, id="empty extension"),
        pytest.param(
            {
                "scheme": "http",
                "headers": [
                    (b"ssl-protocol", b"TLSv1.3"),
                    (b"ssl_client_s_dn", b"CN=root"),
                    (b"x-ssl-client-verify", b"SUCCESS"),
                    (b"x-forwarded-proto", b"https"),
                ],
            },
            id="headers",
        ),
    ],
)
def test_the_variables_are_never_invented(overrides: dict[str, Any]) -> None:
    environ = EnvironBuilder({}).build(http_scope(**overrides))[0]
    assert [key for key in environ if key.startswith("SSL_")] == []
