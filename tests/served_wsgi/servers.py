"""The servers under test: how each is started, and what each cannot do, with the reason.

A limitation never skips a test. The test asserts what the server does instead, so that the day on
which the server learns it the test fails and the entry goes.
"""

from __future__ import annotations

import enum
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from support.served import HOST

# Seconds that servers which know such an option give to requests in flight when they are stopped, and to
# what the app does besides: more than any test needs, however busy the machine is.
GRACE = 20
# Seconds that a connection may idle, more than any test leaves it.
KEEP_ALIVE = "60"
# Requests at a time, where the server has threads.
THREADS = "16"

# Processes, in the tests on several.
WORKERS = 3

_SCRIPTS = Path(sysconfig.get_path("scripts"))


class Limit(enum.Enum):
    """Something that a server does not do, or does, whatever its application is."""

    ONE_AT_A_TIME = enum.auto()  #: a request waits until the one before it is over
    NO_KEEP_ALIVE = enum.auto()  #: the connection is closed after each response
    BUFFERS_OUTPUT = enum.auto()  #: many MiB of a response are taken from the app ahead of the client
    # What is in the environ.
    OWN_NAME = enum.auto()  #: SERVER_NAME is not the address that it is bound to
    NO_REMOTE_PORT = enum.auto()  #: the client's port is not told
    NO_RAW_TARGET = enum.auto()  #: neither RAW_URI nor REQUEST_URI
    SLASH_KEPT = enum.auto()  #: `%2F` is not decoded in PATH_INFO
    SLASH_REFUSED = enum.auto()  #: `%2F` in a path is answered by 404
    PATH_BYTES_LOST = enum.auto()  #: bytes that are not UTF-8 come as U+FFFD
    QUERY_RECODED = enum.auto()  #: raw bytes of the query come as the UTF-8 of what they are in latin-1
    INVENTED_TYPE = enum.auto()  #: CONTENT_TYPE is there though the client has sent none
    REPEATS_LOST = enum.auto()  #: of repeated request headers only the last is told
    LATIN_1_LOST = enum.auto()  #: a request header in latin-1 comes empty
    UNDERSCORES = enum.auto()  #: a header `Content_Length` counts as `Content-Length`
    # Bodies.
    NO_CONTINUE = enum.auto()  #: a client that expects `100 Continue` waits in vain
    CONTINUE_UNASKED = enum.auto()  #: `100 Continue` goes out before the app has asked for the body
    WHOLE_UPLOADS = enum.auto()  #: the app is called when the whole request body has come
    NO_CHUNKED_UPLOADS = enum.auto()  #: the body of a chunked request is not there
    CUT_CHUNKS_END_CLEANLY = enum.auto()  #: a chunked request that breaks off looks complete to the app
    NO_FILE_WRAPPER = enum.auto()  #: the environ has no `wsgi.file_wrapper`
    LATIN_1_AS_UTF_8 = enum.auto()  #: response headers are encoded as UTF-8
    LENGTH_OF_HEAD = enum.auto()  #: a response to HEAD without a length gets the length 0
    CHUNK_AFTER_HEAD = enum.auto()  #: a response to HEAD without a length is followed by an empty chunk
    # Ends.
    ERRORS_END_CLEANLY = enum.auto()  #: a response of unknown length that fails looks complete
    OPEN_AFTER_ERROR = enum.auto()  #: a response of known length that fails is left open, incomplete
    NO_GRACE = enum.auto()  #: requests in flight are not waited for after SIGTERM
    HELD_BY_REQUESTS = enum.auto()  #: a request that never ends keeps the server from exiting


@dataclass(frozen=True)
class Server:
    """One way to serve a WSGI application.

    Attributes:
        name: of the test ids and of the xdist group.
        argv: the command from target (`module:attribute`), port and seconds of grace at shutdown.
        limits: what it does not do, and why we know.
        workers: options of the command by which it runs that many processes, if there are any.
        eager: options by which each of them starts the adapter without waiting for a request.
        gevent: whether requests are greenlets.
        native: the command that has to be there, if it is not a Python package's.
    """

    name: str
    argv: Callable[[str, int, int], Sequence[str]]
    limits: Mapping[Limit, str] = field(default_factory=lambda: MappingProxyType({}))
    workers: Sequence[str] = ()
    eager: Sequence[str] = ()
    gevent: bool = False
    native: str | None = None

    def lacks(self, limit: Limit) -> bool:
        return limit in self.limits

    @property
    def missing(self) -> str | None:
        """Why it cannot be tested here, in one line; `None` if it can."""
        if self.native is None:
            return None
        if not (_SCRIPTS / self.native).exists():
            return f"{self.name}: not tested, {self.native} is not installed (a C compiler is needed for it)"
        if self.native == "mod_wsgi-express" and not _may_be_somebody_else():
            return (
                f"{self.name}: not tested, Apache refuses to serve as root, and there are no user namespaces"
            )
        return None


def missing() -> list[str]:
    """A line for each server that is not tested here."""
    return [reason for server in SERVERS if (reason := server.missing) is not None]


# Apache refuses to serve as root. In a user namespace it is somebody else, to whom root's files belong.
_AS_SOMEBODY_ELSE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


@cache
def _may_be_somebody_else() -> bool:
    """Whether this process is not root's, or can start one in a user namespace."""
    if os.getuid() != 0:
        return True
    try:
        return subprocess.run([*_AS_SOMEBODY_ELSE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def _gunicorn(worker: str, *options: str) -> Callable[[str, int, int], Sequence[str]]:
    def argv(target: str, port: int, grace: int) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "gunicorn", "--worker-class", worker, "--bind", f"{HOST}:{port}"),
            *("--graceful-timeout", str(grace), "--keep-alive", KEEP_ALIVE),
            *("--no-control-socket", "--log-level", "warning", *options, target),
        ]

    return argv


def _script(name: str) -> Callable[[str, int, int], Sequence[str]]:
    def argv(target: str, port: int, grace: int) -> Sequence[str]:
        return [sys.executable, "-m", "served_wsgi.serve", name, target, str(port), str(grace)]

    return argv


def _granian(target: str, port: int, grace: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", HOST, "--port", str(port)),
        *("--blocking-threads", THREADS, "--workers-kill-timeout", str(grace), "--log-level", "warning"),
        target,
    ]


def _uwsgi(target: str, port: int, grace: int) -> Sequence[str]:
    return [
        *(str(_SCRIPTS / "pyuwsgi"), "--http-socket", f"{HOST}:{port}", "--module", target),
        *("--master", "--threads", THREADS, "--need-app", "--disable-logging", "--buffer-size", "32768"),
        # Otherwise SIGTERM reloads it. This way requests in flight may end.
        *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
    ]


def _mod_wsgi(target: str, port: int, grace: int) -> Sequence[str]:
    module, _, attribute = target.partition(":")
    return [
        *(_AS_SOMEBODY_ELSE if os.getuid() == 0 else ()),
        *(str(_SCRIPTS / "mod_wsgi-express"), "start-server"),
        *("--application-type", "module", module, "--callable-object", attribute),
        *("--host", HOST, "--port", str(port), "--server-root", "apache", "--log-to-terminal"),
        *("--processes", "1", "--threads", THREADS, "--shutdown-timeout", str(grace)),
        *("--keep-alive-timeout", KEEP_ALIVE, "--chunked-request", "--limit-request-body", "0"),
        # So long, at most, Apache waits for a request in its daemon process before it tells that to end.
        *("--socket-timeout", str(max(grace, 5))),
    ]


_GUNICORN = {Limit.CONTINUE_UNASKED: "it answers 100 while it makes the environ"}
_GUNICORN_SYNC = {
    **_GUNICORN,
    Limit.ONE_AT_A_TIME: "a sync worker serves one connection, then the next",
    Limit.NO_KEEP_ALIVE: "a sync worker closes each connection after one response",
}
_WAITRESS = {
    Limit.WHOLE_UPLOADS: "it reads the whole body, beyond 512 KiB into a file, before it calls the app",
    Limit.BUFFERS_OUTPUT: "its outbuf_high_watermark is 16 MiB",
    Limit.OWN_NAME: "it says waitress.invalid",
    Limit.CHUNK_AFTER_HEAD: "it ends a chunked response by an empty chunk, also one to HEAD; then it closes",
}
_CHEROOT = {
    Limit.CONTINUE_UNASKED: "it answers 100 before it calls the app",
    Limit.OWN_NAME: "it says its name and version",
    Limit.SLASH_KEPT: "it splits the path at %2F, decodes the parts and puts %2F between them again",
    Limit.REPEATS_LOST: "it joins only headers that it knows as lists",
    Limit.UNDERSCORES: "underscore and dash are one in its environ, from which length and type are taken",
    Limit.NO_FILE_WRAPPER: "it has none",
}
_WERKZEUG = {
    Limit.CONTINUE_UNASKED: "http.server answers 100, and so does Werkzeug",
    Limit.NO_KEEP_ALIVE: "it sends `Connection: close` always",
    Limit.PATH_BYTES_LOST: "it decodes the path as UTF-8 with replacement",
    Limit.QUERY_RECODED: "it takes the request line for latin-1 and encodes the query as UTF-8",
    Limit.NO_FILE_WRAPPER: "it has none",
    Limit.NO_GRACE: "its request threads are daemons, for which nobody waits",
}
_WSGIREF = {
    Limit.ONE_AT_A_TIME: "its server has no threads",
    Limit.NO_KEEP_ALIVE: "it speaks HTTP/1.0",
    Limit.OWN_NAME: "it says the name of the host",
    Limit.NO_REMOTE_PORT: "its environ has REMOTE_ADDR only",
    Limit.NO_RAW_TARGET: "its environ has neither",
    Limit.INVENTED_TYPE: "the default of email.message, text/plain, is taken for the client's",
    Limit.NO_CONTINUE: "it speaks HTTP/1.0",
    Limit.NO_CHUNKED_UPLOADS: "it speaks HTTP/1.0",
    Limit.LENGTH_OF_HEAD: "it takes the absence of a body for one of length 0",
    Limit.ERRORS_END_CLEANLY: "its responses of unknown length end with the connection",
    Limit.NO_GRACE: "SIGTERM interrupts the only thread in the middle of the request",
}
_PYWSGI = {
    Limit.OWN_NAME: "it says the name of the host",
    Limit.NO_RAW_TARGET: "its environ has neither",
    Limit.NO_FILE_WRAPPER: "it has none",
    Limit.CHUNK_AFTER_HEAD: "it ends a chunked response by an empty chunk, also one to HEAD",
    Limit.NO_GRACE: "SystemExit in the main greenlet ends the hub, and with it all others",
}
_GRANIAN = {
    Limit.NO_REMOTE_PORT: "its environ has REMOTE_ADDR only",
    Limit.NO_RAW_TARGET: "its environ has neither",
    Limit.LATIN_1_LOST: "its environ has the header, without its value",
    Limit.LATIN_1_AS_UTF_8: "it encodes Python strings as they are",
    Limit.CUT_CHUNKS_END_CLEANLY: "its wsgi.input ends with whatever has come",
    Limit.NO_FILE_WRAPPER: "it has none",
    Limit.ERRORS_END_CLEANLY: "it writes the last chunk whatever the iterator raises",
}
_UWSGI = {
    Limit.NO_KEEP_ALIVE: "its own HTTP parser closes after each response",
    Limit.OWN_NAME: "it says the name of the host",
    Limit.NO_REMOTE_PORT: "its own HTTP parser sets REMOTE_ADDR only",
    Limit.NO_CONTINUE: "its own HTTP parser does not know it",
    Limit.NO_CHUNKED_UPLOADS: "they can be read by uwsgi.chunked_read() only",
    Limit.UNDERSCORES: "underscore and dash are one in its environ, from which length and type are taken",
    Limit.ERRORS_END_CLEANLY: "its responses of unknown length end with the connection",
    Limit.HELD_BY_REQUESTS: "the graceful kill waits without a bound, and ignores all further signals",
}
_MOD_WSGI = {
    Limit.SLASH_REFUSED: "Apache does so unless AllowEncodedSlashes is set",
    Limit.CONTINUE_UNASKED: "Apache reads the body before it has an answer",
    Limit.ERRORS_END_CLEANLY: "what the daemon process has said by its end is the response, for Apache",
    Limit.OPEN_AFTER_ERROR: "as above, and the connection is kept for the next request",
    Limit.NO_GRACE: "Apache drops its connections on SIGTERM; the daemon process ends its requests",
}

_WORKERS = ("--workers", str(WORKERS))
# A thread each, as Apache gives a connection to the process that has one to spare and was busy last.
_PROCESSES = ("--processes", str(WORKERS), "--threads", "1")
_GTHREAD = ("gthread", "--threads", THREADS)
_GUNICORN_EAGER = ("--config", "python:served_wsgi.start_in_gunicorn")
_UWSGI_EAGER = ("--shared-import", "served_wsgi.start_in_uwsgi")

SERVERS = (
    Server("gunicorn-sync", _gunicorn("sync"), _GUNICORN_SYNC, _WORKERS),
    Server(
        "gunicorn-sync-preload", _gunicorn("sync", "--preload"), _GUNICORN_SYNC, _WORKERS, _GUNICORN_EAGER
    ),
    Server("gunicorn-gthread", _gunicorn(*_GTHREAD), _GUNICORN, _WORKERS, _GUNICORN_EAGER),
    Server(
        "gunicorn-gthread-preload", _gunicorn(*_GTHREAD, "--preload"), _GUNICORN, _WORKERS, _GUNICORN_EAGER
    ),
    Server("gunicorn-gevent", _gunicorn("gevent"), _GUNICORN, _WORKERS, gevent=True),
    Server(
        "gunicorn-gevent-preload",
        _gunicorn("gevent", "--preload"),
        _GUNICORN,
        _WORKERS,
        _GUNICORN_EAGER,
        gevent=True,
    ),
    Server("waitress", _script("waitress"), _WAITRESS),
    Server("cheroot", _script("cheroot"), _CHEROOT),
    Server("werkzeug", _script("werkzeug"), _WERKZEUG),
    Server("wsgiref", _script("wsgiref"), _WSGIREF),
    Server("pywsgi", _script("pywsgi"), _PYWSGI, gevent=True),
    Server("pywsgi-patched", _script("pywsgi-patched"), _PYWSGI, gevent=True),
    Server("granian", _granian, _GRANIAN, _WORKERS),
    Server("uwsgi", _uwsgi, _UWSGI, _PROCESSES, _UWSGI_EAGER, native="pyuwsgi"),
    Server("mod_wsgi", _mod_wsgi, _MOD_WSGI, _PROCESSES, native="mod_wsgi-express"),
)


if __name__ == "__main__":
    print("\n".join(missing()) or "every server is tested here")
