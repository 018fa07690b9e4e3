"""Waitress, Cheroot, Werkzeug and wsgiref in threads of this process, around a WSGI app.

Each runs in a daemon thread, and so do all threads that it starts: one that an app blocks for ever
does not keep the interpreter. None of them installs signal handlers; where one would configure
logging or print, its methods for that are replaced by ones that log.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
import time
import wsgiref.simple_server
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...engines.thread_pool import start_thread
from ...exceptions import UsageError
from ...types import WSGIApp
from .asgi_servers import missing
from .running import Running, listen, refuse_own, url_of

# How long closing connections may take that are closed by force, in seconds.
_FORCED = 2.0
# How often connections are looked at during the end, in seconds.
_TURN = 0.02
# How often a server looks whether it is to end, in seconds.
_POLL = 0.05


class Runner(Protocol):
    """A server of one kind."""

    def run(self, serves: Callable[[str], object]) -> None:
        """Listen, call `serves` with the URL, serve until `stop`, and end gracefully.

        Raises:
            OSError: it cannot listen.
        """

    def stop(self) -> None:
        """Let `run` come to its end. From another thread, at any time, also before `run`."""


class InThread(Running):
    """A WSGI server in a daemon thread.

    Args:
        server: its name.
        make: makes the runner. Called in the server's thread.
        grace: seconds for requests in progress at the end.
    """

    def __init__(self, server: str, make: Callable[[], Runner], *, grace: float) -> None:
        super().__init__(server, grace)
        self._make = make
        self._runner: Runner | None = None
        self._asked = False

    def _launch(self) -> None:
        start_thread(InThread._main, self, f"bridge-{self.server}")

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            self._runner = runner = self._make()
            # Looked at after the runner is known: `_stop` sets the one and looks at the other.
            if self._asked:
                runner.stop()
            runner.run(self._serves)
        except BaseException as raised:
            error = raised
        self._is_over(error)
        del error  # its traceback refers to this frame

    def _stop(self) -> None:
        self._asked = True
        if self._runner is not None:
            self._runner.stop()


# --- Waitress

_WAITRESSES_OWN = frozenset({"host", "port", "listen", "sockets", "unix_socket", "unix_socket_perms"})


def waitress(app: WSGIApp, *, host: str, port: int, grace: float, options: Mapping[str, Any]) -> InThread:
    """Waitress, not started. `options` are arguments of `waitress.serve`."""
    try:
        from waitress import create_server, wasyncore  # type: ignore[import-untyped]
        from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
        from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise missing("waitress", "waitress") from error

    class OfWaitress:
        """Its loop, run turn by turn: left to itself it drops what is in progress when it ends."""

        def __init__(self) -> None:
            self._sockets: dict[int, Any] = {}
            self._stopped = False
            self._url = ""
            listener = listen(host, port)
            try:
                self._url = url_of(listener.getsockname())
                self._server = create_server(app, map=self._sockets, sockets=[listener], **options)
            except BaseException:
                listener.close()
                raise

        def run(self, serves: Callable[[str], object]) -> None:
            serves(self._url)
            try:
                while not self._stopped:
                    self._turn(1.0)
                self._drain()
            finally:
                for channel in self._channels():
                    channel.handle_close()
                self._server.task_dispatcher.shutdown(timeout=_FORCED)
                wasyncore.close_all(self._sockets, ignore_all=True)

        def stop(self) -> None:
            self._stopped = True
            try:
                self._server.pull_trigger()
            except OSError:
                pass  # it has ended

        def _drain(self) -> None:
            self._server.del_channel(self._sockets)
            self._server.socket.close()
            deadline = time.monotonic() + grace
            while self._channels() and time.monotonic() < deadline:
                for channel in self._channels():
                    if not (channel.requests or channel.request or channel.total_outbufs_len):
                        channel.will_close = True
                self._turn(_TURN)

        def _turn(self, timeout: float) -> None:
            use_poll = self._server.adj.asyncore_use_poll
            wasyncore.loop(timeout=timeout, use_poll=use_poll, map=self._sockets, count=1)

        def _channels(self) -> list[Any]:
            return [each for each in self._sockets.values() if isinstance(each, HTTPChannel)]

    refuse_own("waitress", dict(options), _WAITRESSES_OWN)
    try:
        Adjustments(**options)
    except ValueError as error:
        raise UsageError(f"waitress refuses these options: {error}") from error
    return InThread("waitress", OfWaitress, grace=grace)


# --- Cheroot

_CHEROOTS_OWN = frozenset({"bind_addr", "wsgi_app", "shutdown_timeout"})


def cheroot(app: WSGIApp, *, host: str, port: int, grace: float, options: Mapping[str, Any]) -> InThread:
    """Cheroot, not started. `options` are arguments of `cheroot.wsgi.Server`."""
    try:
        from cheroot.server import HTTPConnection
        from cheroot.wsgi import Server
    except ModuleNotFoundError as error:
        raise missing("cheroot", "cheroot") from error

    class Connection(HTTPConnection):
        # Left to the garbage collector, what its client did not take would be written to the closed socket,
        # and from Python 3.13 on the error of that be reported.
        def close(self) -> None:
            super().close()
            if not self.linger:
                try:
                    self.wfile.close()
                except OSError:
                    pass

    class Quiet(Server):
        ConnectionClass = Connection
        expiration_interval = _POLL
        listener: socket.socket

        # With a socket of ours: Cheroot does not close one that it could not bind.
        def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:
            self.socket = self.listener
            self.bind_addr = self.listener.getsockname()[:2]
            return self.listener

        def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
            logging.getLogger("cheroot").log(level, "%s", msg, exc_info=traceback)

    class OfCheroot:
        """The thread that runs it is a daemon, and so are the threads that are started from there."""

        def __init__(self) -> None:
            arguments: dict[str, Any] = {"shutdown_timeout": grace, **options}
            try:
                self._server = Quiet((host, port), app, **arguments)
            except TypeError as error:
                raise UsageError(f"cheroot refuses these options: {error}") from error
            self._stopped = threading.Event()

        def run(self, serves: Callable[[str], object]) -> None:
            self._server.listener = listen(host, port)
            self._server.prepare()
            serving = threading.Thread(target=self._server.serve, name="bridge-cheroot-serve", daemon=True)
            serving.start()
            serves(url_of(self._server.bind_addr))
            self._stopped.wait()  # until `stop`, which `close` and the interpreter's exit call
            # It waits for its threads: at first for the grace, then for ever; `close` does not.
            self._server.stop()
            serving.join(_FORCED)

        def stop(self) -> None:
            self._stopped.set()

    refuse_own("cheroot", dict(options), _CHEROOTS_OWN)
    return InThread("cheroot", OfCheroot, grace=grace)


# --- Werkzeug and wsgiref: socketserver, a thread for each connection


class _Threads(socketserver.ThreadingMixIn):
    """A thread for each connection; keeps account of the connections."""

    daemon_threads = True

    def process_request(self, request: Any, client_address: Any) -> None:
        """In the server's thread: a new connection."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """In the connection's thread, at its end."""
        super().shutdown_request(request)  # type: ignore[misc]
        self._connections.discard(request)

    @property
    def _connections(self) -> set[socket.socket]:
        """Made when it is first asked for: the servers' own constructors do not call each other."""
        connections: set[socket.socket] = self.__dict__.setdefault("connections", set())
        return connections

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handler raised; on a broken connection it may."""
        logging.getLogger("bridge.testing").warning("a connection's handler raised", exc_info=True)

    def drain(self, grace: float) -> None:
        """End the connections: idle ones at once, what is in progress within so many seconds."""
        # A thread that waits for its client's next request sees the end of the stream; one that is at a
        # response can send it.
        self._shut(socket.SHUT_RD, grace)
        self._shut(socket.SHUT_RDWR, _FORCED)

    def _shut(self, how: int, timeout: float) -> None:
        for connection in list(self._connections):
            try:
                connection.shutdown(how)
            except OSError:
                pass  # its client has gone
        deadline = time.monotonic() + timeout
        while self._connections and time.monotonic() < deadline:
            time.sleep(_TURN)


class _OfSocketserver:
    """A server of the `socketserver` family."""

    def __init__(self, server: Any, grace: float) -> None:
        self._server = server
        self._grace = grace
        self._stopped = False

    def run(self, serves: Callable[[str], object]) -> None:
        server = self._server
        server.timeout = _POLL
        serves(url_of(server.server_address, getattr(server, "ssl_context", None) is not None))
        # Not `serve_forever`: its end could not be asked for before it has begun.
        while not self._stopped:
            server.handle_request()
        server.server_close()
        server.drain(self._grace)

    def stop(self) -> None:
        self._stopped = True


_WERKZEUGS_OPTIONS = frozenset({"passthrough_errors", "ssl_context"})


def werkzeug(app: WSGIApp, *, host: str, port: int, grace: float, options: Mapping[str, Any]) -> InThread:
    """Werkzeug's development server, not started. `options`: `passthrough_errors`, `ssl_context`."""
    try:
        from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
    except ModuleNotFoundError as error:
        raise missing("werkzeug", "examples") from error

    log = logging.getLogger("werkzeug")

    # Werkzeug's own way of logging sets a level and a handler.
    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:
            getattr(log, type)(message, *args)

    class Server(_Threads, ThreadedWSGIServer):
        def log(self, type: str, message: str, *args: Any) -> None:
            getattr(log, type)(message.rstrip(), *args)

    def make() -> Runner:
        # With a socket of ours: Werkzeug prints and exits if it cannot listen.
        with listen(host, port) as listener:
            return _OfSocketserver(Server(host, port, app, Handler, fd=listener.fileno(), **options), grace)

    for name in options:
        if name not in _WERKZEUGS_OPTIONS:
            raise UsageError(
                f"werkzeug takes the options {', '.join(sorted(_WERKZEUGS_OPTIONS))}; got {name}"
            )
    return InThread("werkzeug", make, grace=grace)


def of_wsgiref(app: WSGIApp, *, host: str, port: int, grace: float, options: Mapping[str, Any]) -> InThread:
    """The server of the standard library, not started; it takes no options."""
    log = logging.getLogger("wsgiref")

    class Handler(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            log.info(format, *args)

    class Server(_Threads, wsgiref.simple_server.WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def server_bind(self) -> None:
            # Not http.server's: that looks the host's name up.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = host, self.server_address[1]
            self.setup_environ()

    def make() -> Runner:
        server = Server((host, port), Handler)
        server.set_app(app)
        return _OfSocketserver(server, grace)

    if options:
        raise UsageError(f"wsgiref takes no options; got {', '.join(options)}")
    return InThread("wsgiref", make, grace=grace)
