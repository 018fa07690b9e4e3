"""What a server owes in a scope: its keys, their types, and how they fit together. Pure checks.

Scopes of types that ASGI does not define are left alone; only what all scopes share is checked then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from .asgi_values import ABSENT, get, header_rules, is_one_shot, items_of, typed, version_of
from .header_rules import Broken, shortened

CORE = "ASGI 3.0, Applications"
CORE_EXTENSIONS = "ASGI 3.0, Extensions"
HTTP = "ASGI HTTP 2.5, HTTP Connection Scope"
WEBSOCKET = "ASGI HTTP 2.5, Websocket Connection Scope"
LIFESPAN = "ASGI Lifespan 2.0, Scope"
TLS = "ASGI TLS Extension 0.2"

_CLAUSES = {"http": HTTP, "websocket": WEBSOCKET, "lifespan": LIFESPAN}

# The text names "1.0", "1.1" and "2", but speaks of HTTP/3 as well ("present in HTTP/2 and HTTP/3").
_HTTP_VERSIONS = frozenset({"1.0", "1.1", "2", "3"})
_WEBSOCKET_VERSIONS = frozenset({"1.1", "2", "3"})
_LIFESPAN_VERSIONS = frozenset({(1, 0), (2, 0)})
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def scope_rules(scope: object) -> Iterator[Broken]:
    """Every rule that a scope breaks; `http.scope/…`, `websocket.scope/…`, `lifespan.scope/…`, `scope/…`."""
    if not isinstance(scope, dict):
        yield Broken("scope/dict", CORE, "a dict", type(scope).__name__)
        return
    kind = get(scope, "type")
    yield from typed("scope/type", kind, str, CORE, optional=False)
    strange = [key for key in scope if not isinstance(key, str)]
    if strange:
        yield Broken("scope/keys", "ASGI 3.0, Strings and Unicode", "keys of str", shortened(strange[0]))
    if not isinstance(kind, str) or kind not in _CLAUSES:
        return
    prefix = f"{kind}.scope"
    yield from _asgi_rules(scope, prefix, _CLAUSES[kind])
    yield from _extension_rules(scope, prefix)
    if kind == "http":
        yield from _http_rules(scope)
    elif kind == "websocket":
        yield from _websocket_rules(scope)
    elif kind == "lifespan":
        yield from _lifespan_rules(scope)


def spec_version(scope: Mapping[str, Any]) -> tuple[int, ...]:
    """The version of the HTTP and WebSocket specification that the server understands; (2, 0) if unsaid."""
    asgi = scope.get("asgi")
    version = version_of(asgi.get("spec_version")) if isinstance(asgi, dict) else None
    return version or (2, 0)


def offered(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The extensions that the server offers, by name."""
    extensions = scope.get("extensions")
    return extensions if isinstance(extensions, dict) else {}


def _asgi_rules(scope: Mapping[str, Any], prefix: str, clause: str) -> Iterator[Broken]:
    asgi = get(scope, "asgi")
    yield from typed(f"{prefix}/asgi", asgi, dict, CORE, optional=False)
    if not isinstance(asgi, dict):
        return
    version = get(asgi, "version")
    if version is ABSENT:
        # The text asks for the key and gives a default for its absence.
        yield Broken(f"{prefix}/asgi/version/missing", CORE, "the ASGI version", "no such key", "SHOULD")
    else:
        yield from _version_rules(f"{prefix}/asgi/version", version, CORE)
    number = get(asgi, "spec_version")
    if number is not ABSENT:
        yield from _version_rules(f"{prefix}/asgi/spec_version", number, clause)


def _version_rules(rule: str, value: object, clause: str) -> Iterator[Broken]:
    yield from typed(rule, value, str, clause)
    if isinstance(value, str) and version_of(value) is None:
        yield Broken(f"{rule}/number", clause, 'a version such as "2.3"', shortened(value))


def _extension_rules(scope: Mapping[str, Any], prefix: str) -> Iterator[Broken]:
    extensions = get(scope, "extensions")
    yield from typed(f"{prefix}/extensions", extensions, dict, CORE_EXTENSIONS)
    if not isinstance(extensions, dict):
        return
    for name, value in extensions.items():
        yield from typed(f"{prefix}/extensions/name", name, str, CORE_EXTENSIONS)
        if not isinstance(value, dict):
            yield Broken(
                f"{prefix}/extensions/value",
                CORE_EXTENSIONS,
                f"a dict under {shortened(name)}",
                type(value).__name__,
            )
    if isinstance(extensions.get("tls"), dict):
        yield from _tls_rules(extensions["tls"], f"{prefix}/extensions/tls")


def _tls_rules(tls: Mapping[str, Any], rule: str) -> Iterator[Broken]:
    yield from typed(f"{rule}/server_cert", get(tls, "server_cert"), str, TLS, none=True, optional=False)
    for key in ("tls_version", "cipher_suite"):
        yield from typed(f"{rule}/{key}", get(tls, key), int, TLS, none=True, optional=False)
    for key in ("client_cert_name", "client_cert_error"):
        yield from typed(f"{rule}/{key}", get(tls, key), str, TLS, none=True)
    chain = get(tls, "client_cert_chain")
    if chain is not ABSENT and not is_one_shot(chain):
        items, broken = items_of(chain, f"{rule}/client_cert_chain", TLS, "an iterable of str")
        yield from broken
        for item in items:
            yield from typed(f"{rule}/client_cert_chain/item", item, str, TLS)


def _http_rules(scope: Mapping[str, Any]) -> Iterator[Broken]:
    version = get(scope, "http_version")
    yield from typed("http.scope/http_version", version, str, HTTP, optional=False)
    if isinstance(version, str) and version not in _HTTP_VERSIONS:
        yield Broken("http.scope/http_version/known", HTTP, '"1.0", "1.1" or "2"', shortened(version))
    method = get(scope, "method")
    yield from typed("http.scope/method", method, str, HTTP, optional=False)
    if isinstance(method, str):
        if _METHOD.fullmatch(method) is None:
            yield Broken("http.scope/method/token", "RFC 9110 9.1", "a token", shortened(method))
        elif method != method.upper():
            yield Broken("http.scope/method/upper-case", HTTP, shortened(method.upper()), shortened(method))
    yield from typed("http.scope/query_string", get(scope, "query_string"), bytes, HTTP, optional=False)
    yield from _connection_rules(scope, "http.scope", HTTP)


def _websocket_rules(scope: Mapping[str, Any]) -> Iterator[Broken]:
    version = get(scope, "http_version")
    yield from typed("websocket.scope/http_version", version, str, WEBSOCKET)
    if isinstance(version, str) and version not in _WEBSOCKET_VERSIONS:
        yield Broken("websocket.scope/http_version/known", WEBSOCKET, '"1.1" or "2"', shortened(version))
    yield from typed("websocket.scope/query_string", get(scope, "query_string"), bytes, WEBSOCKET, none=True)
    protocols = get(scope, "subprotocols")
    if protocols is not ABSENT and not is_one_shot(protocols):
        items, broken = items_of(protocols, "websocket.scope/subprotocols", WEBSOCKET, "an iterable of str")
        yield from broken
        for item in items:
            yield from typed("websocket.scope/subprotocols/item", item, str, WEBSOCKET)
    yield from _connection_rules(scope, "websocket.scope", WEBSOCKET)


def _lifespan_rules(scope: Mapping[str, Any]) -> Iterator[Broken]:
    state = get(scope, "state")
    yield from typed("lifespan.scope/state", state, dict, LIFESPAN)
    if isinstance(state, dict) and state:
        yield Broken("lifespan.scope/state/empty", LIFESPAN, "an empty dict", shortened(state), "SHOULD")
    asgi = scope.get("asgi")
    number = version_of(asgi.get("spec_version", "1.0")) if isinstance(asgi, dict) else None
    if number is not None and number not in _LIFESPAN_VERSIONS:
        yield Broken(
            "lifespan.scope/asgi/spec_version/known",
            LIFESPAN,
            'a version of the lifespan specification, "1.0" or "2.0"',
            shortened(asgi["spec_version"] if isinstance(asgi, dict) else None),
            "SHOULD",
        )


def _connection_rules(scope: Mapping[str, Any], prefix: str, clause: str) -> Iterator[Broken]:
    """What `http` and `websocket` scopes have in common."""
    scheme = get(scope, "scheme")
    yield from typed(f"{prefix}/scheme", scheme, str, clause)
    if scheme == "":
        yield Broken(f"{prefix}/scheme/empty", clause, "a scheme, or no such key", "''")
    yield from _path_rules(scope, prefix, clause)
    headers = get(scope, "headers")
    if headers is ABSENT:
        yield Broken(f"{prefix}/headers/missing", clause, "an iterable of pairs", "no such key")
    elif is_one_shot(headers):
        # It cannot be looked at without taking it from the app.
        yield Broken(
            f"{prefix}/headers/one-shot",
            clause,
            "headers that can be read more than once",
            type(headers).__name__,
            "SHOULD",
        )
    else:
        yield from header_rules(headers, f"{prefix}/headers", clause, "SHOULD")[1]
    yield from _address_rules(scope, "client", prefix, clause)
    yield from _address_rules(scope, "server", prefix, clause)
    yield from typed(f"{prefix}/state", get(scope, "state"), dict, clause)


def _path_rules(scope: Mapping[str, Any], prefix: str, clause: str) -> Iterator[Broken]:
    path, raw, root = get(scope, "path"), get(scope, "raw_path"), get(scope, "root_path")
    yield from typed(f"{prefix}/path", path, str, clause, optional=False)
    yield from typed(f"{prefix}/raw_path", raw, bytes, clause, none=True)
    yield from typed(f"{prefix}/root_path", root, str, clause)
    if isinstance(raw, bytes):
        if b"?" in raw:
            yield Broken(f"{prefix}/raw_path/query", clause, "no query string", shortened(raw))
        elif isinstance(path, str) and not _agrees(path, raw):
            # A middleware that rewrites the one has no word about the other, so no MUST.
            yield Broken(
                f"{prefix}/raw_path/agrees",
                clause,
                f"what decodes to the path {shortened(path)}",
                shortened(raw),
                "SHOULD",
            )
    if isinstance(path, str) and isinstance(root, str) and root.strip("/"):
        mount = root.rstrip("/")
        if path != mount and not path.startswith(f"{mount}/"):
            yield Broken(
                f"{prefix}/path/root_path",
                "ASGI HTTP 2.5, WSGI Compatibility",
                f"a path below the root path {shortened(root)}",
                shortened(path),
                "SHOULD",
            )


def _agrees(path: str, raw: bytes) -> bool:
    decoded = unquote_to_bytes(raw)
    try:
        return decoded.decode() == path
    except UnicodeDecodeError:
        return True  # what such bytes become in `path` is not specified


def _address_rules(scope: Mapping[str, Any], key: str, prefix: str, clause: str) -> Iterator[Broken]:
    address = get(scope, key)
    if address is ABSENT or address is None or is_one_shot(address):
        return
    rule = f"{prefix}/{key}"
    items, broken = items_of(address, rule, clause, "a pair (host, port)")
    if broken:
        yield from broken
        return
    if len(items) != 2:
        yield Broken(f"{rule}/pair", clause, "a pair (host, port)", f"{len(items)} items")
        return
    host, port = items
    yield from typed(f"{rule}/host", host, str, clause)
    none = key == "server"
    if none and port is None and spec_version(scope) < (2, 2):
        yield Broken(
            f"{rule}/port/none",
            "ASGI HTTP 2.5, Spec Versions",
            "no port of None below spec version 2.2",
            f"None with spec version {'.'.join(map(str, spec_version(scope)))}",
        )
    yield from typed(f"{rule}/port", port, int, clause, none=none)
