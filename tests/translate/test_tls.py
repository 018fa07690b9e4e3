"""The TLS extension as Apache's variables, and the reverse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scopes import http_scope

from bridge.translate.environ import EnvironBuilder
from bridge.translate.scope import ScopeBuilder
from bridge.translate.tls import environ_from_tls, tls_from_environ

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


# -- variables -> extension


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("TLSv1.3", 0x0304),
        ("TLSv1.2", 0x0303),
        ("TLSv1.1", 0x0302),
        ("TLSv1", 0x0301),
        ("SSLv3", 0x0300),
    ],
)
def test_the_name_of_a_protocol_version_is_its_number(name: str, version: int) -> None:
    assert tls_from_environ({"SSL_PROTOCOL": name}) == {**UNKNOWN, "tls_version": version}


@pytest.mark.req("X-11")
def test_the_name_of_a_cipher_suite_is_its_number() -> None:
    assert tls_from_environ({"SSL_CIPHER": "TLS_AES_128_GCM_SHA256"}) == {**UNKNOWN, "cipher_suite": 0x1301}


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HTTPS": "on", "wsgi.url_scheme": "https"},
        {"SSL_PROTOCOL": "", "SSL_CIPHER": "", "SSL_CLIENT_CERT": "", "SSL_CLIENT_S_DN": ""},
        {"SSL_CLIENT_VERIFY": "NONE"},
        {"SSL_PROTOCOL": None, "SSL_CLIENT_CERT": b"PEM", "SSL_CLIENT_S_DN": 1},
        {"SSL_CERT_FILE": "/etc/ssl/cert.pem", "SSL_CERT_DIR": "/etc/ssl"},
        {"HTTP_SSL_PROTOCOL": "TLSv1.3", "HTTP_SSL_CLIENT_S_DN": "CN=root", "HTTP_X_SSL_CLIENT_CERT": "PEM"},
        {"gunicorn.socket": object(), "werkzeug.socket": None},
    ],
)
def test_of_an_encryption_that_is_not_known_nothing_is_said(environ: dict[str, Any]) -> None:
    assert tls_from_environ(environ) is None


@pytest.mark.req("X-11")
def test_the_mandatory_keys_are_there_whatever_is_known() -> None:
    assert tls_from_environ({"SSL_CLIENT_S_DN": "CN=ann"}) == {**UNKNOWN, "client_cert_name": "CN=ann"}
    assert tls_from_environ({"SSL_PROTOCOL": "QUIC", "SSL_SERVER_CERT": "PEM"}) == {
        **UNKNOWN,
        "server_cert": "PEM",
    }


@pytest.mark.req("X-11")
def test_certificates_become_a_chain() -> None:
    assert tls_from_environ(
        {
            "SSL_SERVER_CERT": "SERVER PEM",
            "SSL_CLIENT_CERT": "LEAF PEM",
            "SSL_CLIENT_CERT_CHAIN_0": "CA 1 PEM",
            "SSL_CLIENT_CERT_CHAIN_1": "CA 2 PEM",
            "SSL_CLIENT_CERT_CHAIN_3": "NOT IN SEQUENCE",
            "SSL_CLIENT_S_DN": "CN=ann,O=ex",
            "SSL_CLIENT_VERIFY": "SUCCESS",
        }
    ) == {
        **UNKNOWN,
        "server_cert": "SERVER PEM",
        "client_cert_chain": ["LEAF PEM", "CA 1 PEM", "CA 2 PEM"],
        "client_cert_name": "CN=ann,O=ex",
    }


@pytest.mark.req("X-11")
@pytest.mark.parametrize(
    ("verified", "error"),
    [
        ("SUCCESS", None),
        ("FAILED:certificate has expired", "certificate has expired"),
        ("FAILED:", "FAILED:"),
        ("FAILED", "FAILED"),
        ("GENEROUS", "GENEROUS"),
        ("success", "success"),
        ("0", "0"),
    ],
)
def test_only_a_certificate_that_was_verified_has_no_error(verified: str, error: str | None) -> None:
    info = tls_from_environ({"SSL_CLIENT_CERT": "PEM", "SSL_CLIENT_VERIFY": verified})
    assert info is not None
    assert info.get("client_cert_error") == error


TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@pytest.mark.req("X-11", "S-20")
@given(
    st.fixed_dictionaries(
        {
            "server_cert": st.none() | TEXT.filter(str.isascii),
            "tls_version": st.none() | st.sampled_from([0x0301, 0x0303, 0x0304]),
            "cipher_suite": st.none() | st.sampled_from([0x1301, 0xC02F]),
        },
        optional={
            "client_cert_chain": st.lists(TEXT.filter(str.isascii), min_size=1, max_size=3),
            "client_cert_name": TEXT,
            "client_cert_error": TEXT,
        },
    )
)
def test_the_extension_comes_back_from_its_variables(info: dict[str, Any]) -> None:
    environ = environ_from_tls(info)
    assert tls_from_environ(environ) == (info if any(info.values()) else None)


@pytest.mark.req("X-11", "X-01", "H-05")
@pytest.mark.parametrize(
    ("overrides", "known"),
    [
        ({"wsgi.url_scheme": "https", "SSL_PROTOCOL": "TLSv1.3"}, True),
        ({"wsgi.url_scheme": "http", "SSL_PROTOCOL": "TLSv1.3", "SSL_CLIENT_CERT": "PEM"}, False),
        ({"wsgi.url_scheme": "https"}, False),
        ({"wsgi.url_scheme": "https", "HTTP_SSL_PROTOCOL": "TLSv1.3", "HTTP_X_SSL_CLIENT_S_DN": "x"}, False),
        ({"wsgi.url_scheme": "http", "HTTP_X_FORWARDED_PROTO": "https", "SSL_PROTOCOL": "TLSv1.3"}, False),
    ],
)
def test_the_extension_is_never_invented(overrides: dict[str, Any], known: bool) -> None:
    scope, _ = ScopeBuilder().build({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **overrides})
    assert ("tls" in scope["extensions"]) is known
