"""What each server does not do, as a table: a row for each server and each thing that an app may rely on.

Every row is a fact of the pages on servers in the documentation, where the tests that assert it are
named. Only differences stand here; what is not mentioned works.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..exceptions import UsageError

Speaks = Literal["asgi", "wsgi"]


class Use(enum.Enum):
    """What an app, or a request to it, relies on; the value is how it is said."""

    LIFESPAN = "start-up (lifespan)"  #: it answers otherwise if its lifespan has not been run
    WEBSOCKET = "WebSockets"  #: it accepts a handshake
    EVENT_STREAM = "event streams"  #: a response of the type text/event-stream
    STREAM = "streamed responses"  #: a response that comes in several pieces
    UPLOAD = "request bodies"  #: a request with a body
    CHUNKED_UPLOAD = "request bodies without a length"  #: one that is sent in chunks
    BREAK_OFF = "responses that break off"  #: the app raised after a response had begun
    TRAILERS = "trailers"  #: it sends header fields after the body
    AFTERWARDS = "work after the response"  #: the app goes on after the end of its response
    ENCODED_SLASH = "%2F in paths"  #: a request whose path has one
    REPEATED_HEADERS = "repeated request headers"  #: a request with a header that stands there twice
    LATE_START = "a late start_response"  #: a WSGI app that calls it when it is iterated over


Verdict = Literal["breaks", "limits"]
"""It does not work; it works, with a limit that has to be known."""


@dataclass(frozen=True)
class Host:
    """A server, or one of its worker classes.

    Attributes:
        name: what `bridge check --server` takes.
        title: what it is called.
        speaks: what it calls; an app of the other interface is called through an adapter.
    """

    name: str
    title: str
    speaks: Speaks


HOSTS: Mapping[str, Host] = MappingProxyType(
    {
        host.name: host
        for host in (
            Host("uvicorn", "Uvicorn", "asgi"),
            Host("hypercorn", "Hypercorn", "asgi"),
            Host("granian", "Granian (ASGI)", "asgi"),
            Host("gunicorn-asgi", "Gunicorn (asgi worker)", "asgi"),
            Host("daphne", "Daphne", "asgi"),
            Host("gunicorn", "Gunicorn (gthread)", "wsgi"),
            Host("gunicorn-sync", "Gunicorn (sync)", "wsgi"),
            Host("uwsgi", "uWSGI", "wsgi"),
            Host("mod_wsgi", "mod_wsgi", "wsgi"),
            Host("waitress", "Waitress", "wsgi"),
            Host("granian-wsgi", "Granian (WSGI)", "wsgi"),
            Host("cheroot", "Cheroot", "wsgi"),
            Host("werkzeug", "Werkzeug", "wsgi"),
            Host("wsgiref", "wsgiref", "wsgi"),
            Host("pywsgi", "gevent's pywsgi", "wsgi"),
        )
    }
)
"""The servers that the tests of bridge start, by name."""

_NO_WEBSOCKETS = "WSGI has no WebSockets: a handshake arrives as an ordinary GET"
_NO_TRAILERS = "WSGI has no trailers: they are dropped"
_TAKES_A_THREAD = "each open stream holds a thread (or greenlet) for as long as it lasts"
_ONE_AT_A_TIME = "it serves one request at a time: while a stream is open, nothing else is answered"
_NO_HANDLER = (
    "it has no handler for SIGTERM, so the shutdown of the lifespan is not run, unless `bridge serve` or a "
    "script of your own sees to it"
)
_HTTP2_TRAILERS = "it sends trailers over HTTP/2 only"
_UNKNOWN_LENGTH = "a response of unknown length that breaks off looks complete to the client"
_GOES_ON = "what goes on after the response lives in this process, and ends with it"
_DECODED = "it does not tell the raw path: %2F arrives as a slash"

_WSGI_HOSTS = tuple(host.name for host in HOSTS.values() if host.speaks == "wsgi")
_TRAILERS_ON_HTTP2 = ("uvicorn", "hypercorn", "gunicorn-asgi", "gunicorn")
_SINGLE = ("gunicorn-sync", "wsgiref")

_TABLE: dict[tuple[Use, str], tuple[Verdict, str]] = {
    (Use.LIFESPAN, "daphne"): ("breaks", "it runs no lifespan"),
    **{
        (Use.LIFESPAN, name): ("limits", _NO_HANDLER)
        for name in ("waitress", "cheroot", "werkzeug", "wsgiref", "pywsgi")
    },
    **{(Use.WEBSOCKET, name): ("breaks", _NO_WEBSOCKETS) for name in _WSGI_HOSTS},
    **{
        (Use.EVENT_STREAM, name): ("breaks", _ONE_AT_A_TIME)
        if name in _SINGLE
        else ("limits", _TAKES_A_THREAD)
        for name in _WSGI_HOSTS
    },
    (Use.EVENT_STREAM, "uvicorn"): (
        "limits",
        "shutdown waits for open streams for ever: set --timeout-graceful-shutdown (`bridge serve` does)",
    ),
    (Use.EVENT_STREAM, "granian"): (
        "limits",
        "shutdown waits for open streams for ever: set --workers-kill-timeout (`bridge serve` does)",
    ),
    (Use.STREAM, "daphne"): (
        "limits",
        "it does not wait for a client that reads slowly: what the app produces piles up in memory",
    ),
    (Use.STREAM, "hypercorn"): (
        "limits",
        "over HTTP/2 it does not wait for a client that reads slowly: a large response is held in memory",
    ),
    (Use.STREAM, "waitress"): ("limits", "it takes up to 16 MiB from the app ahead of the client"),
    (Use.UPLOAD, "daphne"): (
        "limits",
        "it receives a body whole before the app is called; in memory",
    ),
    (Use.UPLOAD, "waitress"): (
        "limits",
        "it receives a body whole before the app is called; beyond 512 KiB into a file",
    ),
    (Use.CHUNKED_UPLOAD, "uwsgi"): ("breaks", "the app gets an empty body"),
    (Use.CHUNKED_UPLOAD, "wsgiref"): ("breaks", "it does not read chunked bodies"),
    (Use.CHUNKED_UPLOAD, "mod_wsgi"): ("limits", "it answers 411, unless WSGIChunkedRequest is On"),
    (Use.BREAK_OFF, "daphne"): ("breaks", "the client waits until it gives up: the response is left open"),
    (Use.BREAK_OFF, "hypercorn"): (
        "limits",
        "over HTTP/2 the response is left open until the connection idles",
    ),
    (Use.BREAK_OFF, "mod_wsgi"): ("breaks", "the response looks complete, or is left open"),
    **{(Use.BREAK_OFF, name): ("limits", _UNKNOWN_LENGTH) for name in ("uwsgi", "granian-wsgi", "wsgiref")},
    **{
        (Use.TRAILERS, name): ("limits", _HTTP2_TRAILERS)
        for name in ("uvicorn", "hypercorn", "gunicorn-asgi")
    },
    **{(Use.TRAILERS, name): ("breaks", "it sends no trailers") for name in ("granian", "daphne")},
    **{(Use.TRAILERS, name): ("breaks", _NO_TRAILERS) for name in _WSGI_HOSTS if name != "gunicorn"},
    (Use.AFTERWARDS, "daphne"): ("limits", "SIGTERM cancels it"),
    **{(Use.AFTERWARDS, name): ("limits", _GOES_ON) for name in _WSGI_HOSTS},
    (Use.ENCODED_SLASH, "mod_wsgi"): (
        "breaks",
        "Apache answers 404, unless AllowEncodedSlashes is on",
    ),
    (Use.ENCODED_SLASH, "cheroot"): ("limits", "%2F stays in the path as it is"),
    **{(Use.ENCODED_SLASH, name): ("limits", _DECODED) for name in ("granian-wsgi", "wsgiref", "pywsgi")},
    (Use.REPEATED_HEADERS, "cheroot"): ("limits", "of a repeated header the last one is told only"),
    (Use.LATE_START, "granian-wsgi"): (
        "breaks",
        "it reads status and headers before it iterates: the response becomes 200 without headers",
    ),
}


@dataclass(frozen=True)
class Limit:
    """What one server does not do of what was seen.

    Attributes:
        use: what it is about.
        verdict: whether it breaks or has a limit.
        reason: why, as a sentence.
    """

    use: Use
    verdict: Verdict
    reason: str


def limits_of(host: Host, uses: Collection[Use]) -> list[Limit]:
    """What does not work, or not quite, on a server, for an app that relies on `uses`; in their order."""
    found = []
    for use in Use:
        entry = _TABLE.get((use, host.name))
        if use in uses and entry is not None:
            found.append(Limit(use, *entry))
    return found


def host_named(name: str) -> Host:
    """The server that a name stands for.

    Raises:
        UsageError: there is none.
    """
    if name not in HOSTS:
        raise UsageError(f"--server is one of {', '.join(HOSTS)}; got {name!r}")
    return HOSTS[name]
