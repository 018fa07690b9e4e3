"""The servers under test: how each is started, and what each cannot do, with the reason.

A limitation never skips a test. The test asserts what the server does instead, so that the day on
which the server learns it the test fails and the entry goes.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from served.wire import HTTP1, HTTP2, Client
from support.served import HOST

# Seconds that servers which know such an option give to requests in flight when they are stopped.
GRACE = 1
# Seconds that a connection may idle, more than any test leaves it.
KEEP_ALIVE = "60"


class Limit(enum.Enum):
    """Something that a server does not do, whatever its application is."""

    NO_LIFESPAN = enum.auto()  #: no lifespan scope is ever made
    CONTINUE_UNASKED = enum.auto()  #: `100 Continue` goes out before the app has asked for the body
    WHOLE_UPLOADS = enum.auto()  #: the app is called when the whole request body has come, and is in memory
    NO_BACK_PRESSURE = enum.auto()  #: `send()` does not wait for a client that reads slowly
    OPEN_AFTER_ERROR = enum.auto()  #: a response that fails after its start is left open, incomplete
    NO_GRACE = enum.auto()  #: requests in flight are cancelled by SIGTERM
    HELD_BY_STALLED = enum.auto()  #: a client that does not read keeps the server from exiting
    MAY_CUT_LAST = enum.auto()  #: after SIGTERM the connection may close before a response's last frame
    LISTENS_ON = enum.auto()  #: after SIGTERM connections are still queued, until it has exited


@dataclass(frozen=True)
class Server:
    """One way to serve an ASGI application.

    Attributes:
        name: of the test ids and of the xdist group.
        argv: the command from target (`module:attribute`), port and seconds of grace at shutdown.
        client: the client to probe it with.
        limits: what it does not do, and why we know.
    """

    name: str
    argv: Callable[[str, int, int], Sequence[str]]
    client: Callable[..., Client] = HTTP1
    limits: Mapping[Limit, str] = field(default_factory=lambda: MappingProxyType({}))

    def lacks(self, limit: Limit) -> bool:
        return limit in self.limits

    @property
    def http2(self) -> bool:
        return self.client is HTTP2


def _uvicorn(http: str, loop: str) -> Callable[[str, int, int], Sequence[str]]:
    def argv(target: str, port: int, grace: int) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "uvicorn", target, "--host", HOST, "--port", str(port)),
            *("--http", http, "--loop", loop, "--lifespan", "on"),
            *("--log-level", "warning", "--no-access-log"),
            *("--timeout-graceful-shutdown", str(grace), "--timeout-keep-alive", KEEP_ALIVE),
        ]

    return argv


def _hypercorn(worker: str) -> Callable[[str, int, int], Sequence[str]]:
    def argv(target: str, port: int, grace: int) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "hypercorn", target, "--bind", f"{HOST}:{port}"),
            *("--worker-class", worker, "--graceful-timeout", str(grace), "--keep-alive", KEEP_ALIVE),
        ]

    return argv


def _daphne(target: str, port: int, grace: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "daphne", "--bind", HOST, "--port", str(port)),
        *("--verbosity", "0", target),
    ]


def _granian(target: str, port: int, grace: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", HOST, "--port", str(port)),
        *("--workers-kill-timeout", str(grace), "--log-level", "warning", target),
    ]


def _gunicorn(target: str, port: int, grace: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "--worker-class", "asgi", "--bind", f"{HOST}:{port}"),
        *("--graceful-timeout", str(grace), "--keep-alive", KEEP_ALIVE),
        *("--no-control-socket", "--log-level", "warning", target),
    ]


_HYPERCORN_H1 = {
    Limit.LISTENS_ON: "its main process keeps the socket while the worker waits for requests in flight",
    Limit.CONTINUE_UNASKED: "its HTTP/1.1 protocol answers 100 as soon as it has the head of a request",
}
_HYPERCORN_TRIO = {
    **_HYPERCORN_H1,
    Limit.HELD_BY_STALLED: "it shields writing to the socket from cancellation, without a time-out",
}
# Besides, a `send` that waits for a flow-control window never returns once the client's connection is
# gone; the task stays until the server stops. Thread and iterable of the request are free all the same.
_HYPERCORN_H2 = {
    Limit.LISTENS_ON: _HYPERCORN_H1[Limit.LISTENS_ON],
    Limit.MAY_CUT_LAST: "it calls a connection idle once the buffer is empty; END_STREAM comes after",
    Limit.NO_BACK_PRESSURE: "the buffer of a stream lets the app go on whenever less than 16 KiB leave it "
    "at a time, as is so whenever a flow-control window is nearly used up",
    Limit.OPEN_AFTER_ERROR: "it neither resets nor ends the stream; only the connection's idle time-out does",
}
_DAPHNE = {
    Limit.NO_LIFESPAN: "it knows http and websocket scopes only",
    Limit.CONTINUE_UNASKED: "Twisted answers 100 as soon as it has the head of a request",
    Limit.WHOLE_UPLOADS: "Twisted spools the body to a file, then Daphne puts all of it into a queue",
    Limit.NO_BACK_PRESSURE: "send() writes to Twisted's transport, whose buffer has no bound, and returns",
    Limit.OPEN_AFTER_ERROR: "it logs the error and tries to send a second head, which fails",
    Limit.NO_GRACE: "it cancels all applications when its reactor stops",
}

SERVERS = (
    Server("uvicorn-h11", _uvicorn("h11", "asyncio")),
    Server("uvicorn-httptools", _uvicorn("httptools", "uvloop")),
    Server("hypercorn", _hypercorn("asyncio"), limits=_HYPERCORN_H1),
    Server("hypercorn-trio", _hypercorn("trio"), limits=_HYPERCORN_TRIO),
    Server("hypercorn-h2", _hypercorn("asyncio"), HTTP2, limits=_HYPERCORN_H2),
    Server("daphne", _daphne, limits=_DAPHNE),
    Server("granian", _granian),
    Server("granian-h2", _granian, HTTP2),
    Server("gunicorn", _gunicorn),
)
