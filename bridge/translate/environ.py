"""scope -> environ: one pass, linear in the scope, from a template made once per application.

The clauses are those of conformance section E; PEP 3333 "environ Variables" and ASGI "WSGI
Compatibility" stand behind them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from ..exceptions import BadRequest
from ..types import Environ, Scope
from . import headers, text, tls

_PROTOCOLS = {
    "1.0": "HTTP/1.0",
    "1": "HTTP/1.0",  # as granian spells it
    "1.1": "HTTP/1.1",
    "2": "HTTP/2.0",
    "2.0": "HTTP/2.0",
    "3": "HTTP/3.0",
    "3.0": "HTTP/3.0",
}

_VERSION_1 = frozenset({"HTTP/1.0", "HTTP/1.1"})

_SCHEMES = {"ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": "80", "https": "443"}

# Every request sets these; they are in the template for the room they take.
_ALWAYS_SET = (
    "REQUEST_METHOD",
    "SERVER_PROTOCOL",
    "wsgi.url_scheme",
    "QUERY_STRING",
    "SCRIPT_NAME",
    "PATH_INFO",
    "RAW_URI",
    "REQUEST_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "asgi.scope",
    "wsgi.input",
)

# The methods whose requests have no body unless a header says so; others are always asked for one.
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_METHODS = _BODILESS | {"POST", "PUT", "PATCH", "DELETE"}

# `server` of scopes -> SERVER_NAME and SERVER_PORT. Emptied at the bound: a machine may have many addresses.
_addresses: dict[tuple[Any, ...], tuple[str, str]] = {}
_ADDRESSES_LIMIT = 256

# What no Host header could hold; an authority may have brought it in percent-encoded.
_BAD_AUTHORITY = re.compile(r"[\x00-\x20\x7f]")


Request: TypeAlias = "tuple[Environ, int | None, bool, bool]"
"""One request, translated: `(environ, content_length, announces_body, expects_continue)`.

- `environ`: everything but `wsgi.input`.
- `content_length`: the announced length of the body in bytes, `None` if it is not announced.
- `announces_body`: whether a body may follow; if not, there is nothing to receive.
- `expects_continue`: whether the client waits for `100 Continue` before it sends the body.

A plain tuple: a named one costs a tenth of the whole translation.
"""


class EnvironBuilder:
    """Builds the environ of each request of one application.

    Args:
        template: the keys that are the same in every request (`wsgi.version`, `wsgi.errors`, …).
        keep_underscore_headers: keep request headers whose name holds an underscore.

    An instance is immutable after construction, so any thread may use it.
    """

    __slots__ = ("_keep_underscores", "_template")

    def __init__(self, template: Mapping[str, Any], *, keep_underscore_headers: bool = False) -> None:
        self._template = {**template, **dict.fromkeys(_ALWAYS_SET, "")}
        # A dict that is copied keeps the room it has. Make room for the headers once, here, so that
        # no request's environ has to be rehashed while it grows.
        self._template["room"] = ""
        del self._template["room"]
        self._keep_underscores = keep_underscore_headers

    def build(self, scope: Scope) -> Request:
        """Translate an `http` scope; the scope is not changed.

        Raises:
            BadRequest: the headers are ambiguous or malformed (E-34), or method or target hold what
                no environ can.
        """
        environ = self._template.copy()
        chunked = headers.add_request_headers(environ, scope["headers"], self._keep_underscores)
        get = scope.get
        method = scope["method"]
        if method not in _METHODS:
            method = _method(method)
        environ["REQUEST_METHOD"] = method
        version = get("http_version") or "1.1"
        protocol = _PROTOCOLS.get(version)
        environ["SERVER_PROTOCOL"] = protocol or f"HTTP/{version}"

        scheme = get("scheme") or "http"
        if scheme != "http":
            scheme = _SCHEMES.get(scheme, scheme)
            if scheme == "https":
                environ["HTTPS"] = "on"
                _add_tls(environ, scope)
        environ["wsgi.url_scheme"] = scheme

        query = get("query_string")
        query_string = query.decode("latin-1") if query else ""
        environ["QUERY_STRING"] = query_string
        path = scope["path"]
        raw_path = get("raw_path")
        # An ASCII path in origin form, at no root: nothing to encode, strip or believe.
        if path[:1] == "/" and path.isascii() and raw_path and b"?" not in raw_path and not get("root_path"):
            environ["SCRIPT_NAME"] = ""
            environ["PATH_INFO"] = path
            target = raw_path.decode("latin-1")
            if query_string:
                target = f"{target}?{query_string}"
            environ["RAW_URI"] = environ["REQUEST_URI"] = target
        else:
            _add_paths(environ, scope, query_string)

        server = get("server")
        # A server listens at few addresses, so what each becomes is remembered.
        address = _addresses.get(server) if type(server) is tuple else None
        if address is None:
            address = _server_address(server, environ.get("HTTP_HOST"), scheme)
        environ["SERVER_NAME"], environ["SERVER_PORT"] = address
        client = get("client")
        if client and client[0]:
            host = client[0]
            environ["REMOTE_ADDR"] = host if host[0] != "[" else host.strip("[]")
            if len(client) > 1 and client[1] is not None:
                environ["REMOTE_PORT"] = str(client[1])
        environ["asgi.scope"] = scope

        if "CONTENT_LENGTH" in environ:
            length: int | None = headers.content_length(environ["CONTENT_LENGTH"])
            # On HTTP/2 and 3 a body without a byte may still have an end to come, in a frame of its own.
            announces_body = length != 0 or protocol not in _VERSION_1
            if chunked:
                # RFC 9112 6.3: the coding overrides the length, and the server has decoded by it.
                del environ["CONTENT_LENGTH"]
                length = None
                announces_body = True
        else:
            length = None
            # HTTP/2 and 3 frame bodies without a header (RFC 9113 8.1), so only 1.x can announce none.
            announces_body = chunked or method not in _BODILESS or protocol not in _VERSION_1
        expects_continue = (
            announces_body and "HTTP_EXPECT" in environ and environ["HTTP_EXPECT"].lower() == "100-continue"
        )
        return environ, length, announces_body, expects_continue


def _method(method: str) -> str:
    """`REQUEST_METHOD` for a method that is unusual or in lower case (E-04)."""
    # Before upper(), which may lead into ASCII (U+0131) as well as out of latin-1 (U+00FF).
    if not method or not method.isascii():
        raise BadRequest("the request's method is empty or not ASCII")
    return method.upper()


def _add_paths(environ: Environ, scope: Scope, query_string: str) -> None:
    """`SCRIPT_NAME`, `PATH_INFO` and the raw target (E-07 to E-18)."""
    path: str = scope["path"]
    raw_path: bytes | None = scope.get("raw_path")
    root_path: str = scope.get("root_path") or ""
    slashed = root_path.endswith("/")
    if root_path:
        root_path = root_path.rstrip("/")
        if root_path and root_path[0] != "/":
            root_path = "/" + root_path
    if path[:1] != "/" or (root_path and "://" in path):
        path, raw_path = _origin_form(environ, path, raw_path, root_path)
    if root_path or text.REPLACEMENT in path:
        script_name, path_info = _split_root(path, raw_path, root_path, scope.get("app_root_path"), slashed)
    else:
        script_name, path_info = "", text.tunnel(path)
    if not path_info and not script_name:
        path_info = "/"
    environ["SCRIPT_NAME"] = script_name
    environ["PATH_INFO"] = path_info

    if raw_path:
        target = raw_path.partition(b"?")[0].decode("latin-1")
    else:
        target = text.quote_path((script_name + path_info).encode("latin-1"))
    if query_string:
        target = f"{target}?{query_string}"
    environ["RAW_URI"] = environ["REQUEST_URI"] = target


def _split_root(
    path: str, raw_path: bytes | None, root_path: str, app_root_path: str | None, slashed: bool
) -> tuple[str, str]:
    """Divide `path` after `root_path`, on a segment boundary or not at all (E-08 to E-11)."""
    full = text.faithful_path_bytes(path, raw_path)
    root = text.path_bytes(root_path)
    rest = full
    # A root configured without its slash may be in the path as it was configured.
    prefixes = [root, root[1:]]
    if app_root_path and root_path.startswith(app_root_path):
        # Behind a proxy that strips the server's root, the path holds only what Starlette's mounts
        # have added to it; `app_root_path` is the root before them.
        prefixes.append(text.path_bytes(root_path[len(app_root_path) :]))
    for prefix in prefixes:
        if prefix and full.startswith(prefix) and full[len(prefix) : len(prefix) + 1] in (b"", b"/"):
            rest = full[len(prefix) :]
            # Configured with a trailing slash, the root is that much longer where a server prepends it.
            if slashed and rest.startswith(b"//"):
                rest = rest[1:]
            break
    return root.decode("latin-1"), rest.decode("latin-1")


def _origin_form(
    environ: Environ, path: str, raw_path: bytes | None, root_path: str
) -> tuple[str, bytes | None]:
    """Reduce an absolute-form target to its path; its authority replaces `Host` (E-18, RFC 9112 3.2.2)."""
    prefix = root_path if root_path and path.startswith(root_path) else ""
    split = text.split_absolute_form(path[len(prefix) :])
    if split is None:
        return path, raw_path
    authority, rest = split
    if authority:
        if _BAD_AUTHORITY.search(authority):
            raise BadRequest("the host in the request's target holds a space or a control character")
        environ["HTTP_HOST"] = text.tunnel(authority)
    if raw_path is not None:
        raw_split = text.split_absolute_form(raw_path.decode("latin-1")[len(prefix.encode()) :])
        raw_path = (prefix + raw_split[1]).encode("latin-1", "replace") if raw_split else None
    return prefix + rest, raw_path


def _server_address(server: Any, host_header: str | None, scheme: str) -> tuple[str, str]:
    """`SERVER_NAME` and `SERVER_PORT`, never empty, whatever shape `server` has (E-22 to E-25)."""
    name: Any = None
    port: Any = None
    if isinstance(server, (tuple, list)) and len(server) >= 2:
        name, port = server[:2]
    if isinstance(name, str) and name and "/" not in name and _is_port(str(port)):
        address = (_bracketed(text.tunnel(name)), str(port))
        if type(server) is tuple and type(port) is int:
            if len(_addresses) >= _ADDRESSES_LIMIT:
                _addresses.clear()
            _addresses[server] = address
        return address
    # A unix socket or unknown: what the client called us (C-15).
    name, port = _host_and_port(host_header or "")
    return _bracketed(name or "localhost"), port or _DEFAULT_PORTS.get(scheme, "80")


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdigit() and len(port) <= 5 and int(port) > 0


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and name[0] != "[" else name


def _host_and_port(host: str) -> tuple[str, str]:
    """Split a `Host` header; IPv6 literals keep their brackets, a bad port is left out."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        name, port = name + bracket, rest.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    return name, port if port.isascii() and port.isdigit() else ""


def _add_tls(environ: Environ, scope: Scope) -> None:
    extensions = scope.get("extensions")
    info = extensions.get("tls") if extensions else None
    if info:
        environ.update(tls.environ_from_tls(info))
