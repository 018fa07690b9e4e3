"""environ -> scope: one pass over the environ of each request.

The clauses are those of conformance section S; ASGI "WSGI Compatibility" and PEP 3333 "environ
Variables" stand behind them. An environ may come from any server and through any middleware, so
nothing in it is relied on: what is missing or malformed has a meaning, given in each place.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from ..types import Environ, Scope
from . import headers, text, tls

_VERSIONS = {
    "HTTP/1.0": "1.0",
    "HTTP/1": "1.0",  # as granian spells it
    "HTTP/1.1": "1.1",
    "HTTP/2": "2",  # as granian spells it
    "HTTP/2.0": "2",
    "HTTP/3": "3",
    "HTTP/3.0": "3",
}

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE"})

# A path that is its own percent-encoding: what RFC 3986 allows in one, but no escapes.
_is_plain_path = re.compile(r"/[A-Za-z0-9\-._~/!$&'()*+,;=:@]*").fullmatch

# What no Host header could hold; an authority may have brought it in percent-encoded.
_BAD_AUTHORITY = re.compile(r"[\x00-\x20\x7f]")

_Server: TypeAlias = "tuple[str, int | None] | None"

# SERVER_NAME and SERVER_PORT -> `server`. Emptied at the bound: some servers take both from the Host header.
_servers: dict[tuple[object, object], _Server] = {}
_SERVERS_LIMIT = 256
_SERVER_NAME_LIMIT = 256

# What servers put into REMOTE_ADDR for the client of a unix socket.
_NO_ADDRESS = frozenset({"", "<local>"})


class ScopeBuilder:
    """Builds the scope of each request of one adapter.

    An instance is immutable, so any thread may use it.
    """

    __slots__ = ()

    def build(self, environ: Environ) -> tuple[Scope, int | None]:
        """Translate an environ, which is not changed, into a new `http` scope.

        Returns the scope, without `state`, and the announced length of the body, `None` if there is
        none.

        Raises:
            BadRequest: `CONTENT_LENGTH` is not a number of ASCII digits (A-07).
        """
        get = environ.get
        request_headers = headers.scope_headers(environ)
        length: int | None = None
        announced = get("CONTENT_LENGTH")
        if announced is not None and announced != "":
            digits = str(announced).strip(" \t")
            if digits:
                length = headers.content_length(digits)
                request_headers.append((b"content-length", digits.encode("ascii")))

        version = _VERSIONS.get(get("SERVER_PROTOCOL", ""), "1.0")
        method = get("REQUEST_METHOD")
        if method not in _METHODS:
            method = _method(method)
        scheme = get("wsgi.url_scheme") or "http"
        query = get("QUERY_STRING")

        path = get("PATH_INFO")
        target = get("REQUEST_URI") or get("RAW_URI")
        # A path that needs no escapes, at no root, whose sender used none.
        if (
            path
            and not get("SCRIPT_NAME")
            and _is_plain_path(path)
            and (not target or "%" not in target or "%" not in target.partition("?")[0])
        ):
            root_path = ""
            raw_path = path.encode("ascii")
        else:
            root_path, path, raw_path = _paths(environ, request_headers)

        address = (get("SERVER_NAME"), get("SERVER_PORT"))
        # A server listens at few addresses, so what each becomes is remembered.
        server = _servers.get(address)
        if server is None:
            server = _server(*address)

        extensions: dict[str, dict[str, Any]] = {
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
        }
        if version != "1.0" and callable(get("wsgi.early_hints")):
            extensions["http.response.early_hint"] = {}
        if version == "2":
            if callable(get("gunicorn.http2.send_trailers")):
                extensions["http.response.trailers"] = {}
            if get("HTTP_VERSION") == "2":
                # Gunicorn's word for the protocol, no header of the client (S-11).
                request_headers = [pair for pair in request_headers if pair[0] != b"version"]
        if scheme == "https":
            info = tls.tls_from_environ(environ)
            if info is not None:
                extensions["tls"] = info

        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": version,
            "method": method,
            "scheme": scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": text.wsgi_bytes(query) if query else b"",
            "root_path": root_path,
            "headers": request_headers,
            "client": _client(get("REMOTE_ADDR"), get("REMOTE_PORT")),
            "server": server,
            "extensions": extensions,
            "wsgi_environ": environ,
        }, length


def _method(method: str | None) -> str:
    """A method that is unusual, in lower case or missing (S-02)."""
    if not method:
        return "GET"
    # Beyond ASCII upper() may lead to other letters, and into ASCII (U+0131).
    return method.upper() if method.isascii() else method


def _paths(environ: Environ, request_headers: list[tuple[bytes, bytes]]) -> tuple[str, str, bytes]:
    """`root_path`, `path` and `raw_path` (S-03 to S-07).

    `PATH_INFO` in absolute form is reduced to its path, and its authority replaces `Host`, first
    in `request_headers` (RFC 9112 3.2.2).
    """
    script_name: str = environ.get("SCRIPT_NAME") or ""
    path_info: str = environ.get("PATH_INFO") or ""
    root = script_name.rstrip("/")
    if root and root[0] != "/":
        root = "/" + root
    if path_info[:1] != "/":
        split = text.split_absolute_form(path_info)
        if split is not None:
            authority, path_info = split
            if path_info[0] != "/":
                path_info = "/" + path_info
            _replace_host(request_headers, authority)
        if path_info == "*":
            # Not a path below any root, but the server itself.
            return text.untunnel(root), "*", b"*"
        if path_info and path_info[0] != "/" and script_name:
            path_info = "/" + path_info
    whole = text.wsgi_bytes(root) + text.wsgi_bytes(path_info) or b"/"
    root_path = text.untunnel(root)
    path = root_path + text.untunnel(path_info) or "/"
    for key in ("REQUEST_URI", "RAW_URI"):
        target = environ.get(key)
        if target:
            raw_path = _target_path(target)
            if text.unquote_path(raw_path) == whole:
                return root_path, path, raw_path
    return root_path, path, text.quote_path(whole).encode("ascii")


def _target_path(target: str) -> bytes:
    """The path of a request's raw target, without query, fragment, scheme and authority (S-06)."""
    target = target.partition("?")[0].partition("#")[0]
    if target[:1] != "/":
        split = text.split_absolute_form(target)
        if split is not None:
            target = split[1]
    return text.wsgi_bytes(target)


def _replace_host(request_headers: list[tuple[bytes, bytes]], authority: str) -> None:
    if authority and not _BAD_AUTHORITY.search(authority):
        if request_headers and request_headers[0][0] == b"host":
            del request_headers[0]
        request_headers.insert(0, (b"host", text.wsgi_bytes(authority)))


def _server(name: object, port: object) -> _Server:
    """`server` from `SERVER_NAME` and `SERVER_PORT`, whatever they hold (S-13, S-14)."""
    server: _Server = None
    if isinstance(name, str) and name:
        host, number = name.strip("[]"), _port(port)
        if name[0] == "/":
            server = (name, None)
        elif host and number:
            server = (host, number)
    if server is None and isinstance(port, str) and port[:1] == "/":
        server = (port, None)  # as waitress has it
    if server is not None and type(name) is type(port) is str and len(name + port) <= _SERVER_NAME_LIMIT:
        if len(_servers) >= _SERVERS_LIMIT:
            _servers.clear()
        _servers[name, port] = server
    return server


def _client(address: object, port: object) -> tuple[str, int] | None:
    """`client` from `REMOTE_ADDR` and `REMOTE_PORT`; port 0 stands for an unknown one (S-15)."""
    if not isinstance(address, str):
        return None
    if address[:1] == "[":
        address = address.strip("[]")
    return None if address in _NO_ADDRESS else (address, _port(port))


def _port(port: object) -> int:
    """A port as a number, 0 if it is none."""
    digits = port if type(port) is str else str(port)
    # Of the characters of a WSGI str only the ASCII digits are decimal.
    if digits.isdecimal() and len(digits) <= 5:
        number = int(digits)
        if number <= 65535:
            return number
    return 0
