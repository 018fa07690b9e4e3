"""The environ of a request, as a server makes it from what came over the wire.

Written anew beside `bridge.translate.environ`, which starts from a scope: a comparison of an app's own
interface with the adapters would prove little if both built the environ by the same code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..._version import __version__
from ...adapters.wsgi_input import FileWrapper
from ...translate.text import unquote_path
from .library import httpx2
from .wire import is_below, server_of, target_of

# Known to this server by name, so not given as HTTP_ keys (RFC 3875 section 4.1).
_UNPREFIXED = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}
# The transfer coding is the server's affair; "Proxy" would pose as the variable HTTP_PROXY.
_DROPPED = frozenset({"TRANSFER-ENCODING", "PROXY"})


class EnvironMaker:
    """Makes the environs of one client.

    Args:
        root_path: `SCRIPT_NAME`; what the path has of it is not repeated in `PATH_INFO`.
        client: address and port of the client, `None` if it has none.
        extra: keys that are put over each environ.
    """

    __slots__ = ("_extra", "_root", "_template")

    def __init__(
        self, root_path: str, client: tuple[str, int] | None, extra: Mapping[str, Any] | None
    ) -> None:
        self._root = root_path.encode("utf-8")
        self._extra = dict(extra) if extra else None
        self._template: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": f"bridge.testing/{__version__}",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": self._root.decode("latin-1"),
        }
        if client is not None:
            self._template["REMOTE_ADDR"] = client[0]
            self._template["REMOTE_PORT"] = str(client[1])

    def make(self, request: httpx2.Request, body: Any) -> dict[str, Any]:
        """The environ of one request (PEP 3333, "environ Variables").

        Args:
            request: what the client sends.
            body: becomes `wsgi.input`.
        """
        url = request.url
        target = target_of(request)
        raw_path, _, query = target.partition(b"?")
        host, port = server_of(url)
        environ = self._template.copy()
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = self._path_info(raw_path)
        environ["QUERY_STRING"] = query.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = target.decode("latin-1")
        environ["SERVER_NAME"] = host
        environ["SERVER_PORT"] = str(port)
        environ["wsgi.url_scheme"] = url.scheme
        environ["wsgi.input"] = body
        environ["wsgi.errors"] = sys.stderr
        if url.scheme == "https":
            environ["HTTPS"] = "on"
        chunked = False
        for name, value in request.headers.raw:
            upper = name.decode("latin-1").upper()
            if upper in _DROPPED or "_" in upper:
                chunked = chunked or upper == "TRANSFER-ENCODING"
                continue
            key = _UNPREFIXED.get(upper) or "HTTP_" + upper.replace("-", "_")
            text = value.decode("latin-1")
            if key in environ:
                # RFC 9110 section 5.3; cookies are one header by nature (RFC 6265 section 5.4).
                text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
            environ[key] = text
        if chunked:  # RFC 9112 section 6.3: the coding overrides the length
            environ.pop("CONTENT_LENGTH", None)
        if self._extra is not None:
            environ.update(self._extra)
        return environ

    def _path_info(self, raw_path: bytes) -> str:
        path = unquote_path(raw_path)
        if self._root and is_below(path, self._root):
            path = path[len(self._root) :]
        return path.decode("latin-1")
