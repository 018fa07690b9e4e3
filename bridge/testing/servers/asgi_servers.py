"""Uvicorn and Hypercorn in a thread of this process, around an ASGI app.

The server is a task on a loop of its own. `_Observed` stands between it and the app and keeps what
the servers do not tell: why the lifespan did not start up, and which calls are in progress, so that
those which outlast the grace can be cancelled before the lifespan is shut down.

Signals are not touched: Uvicorn installs handlers in the main thread only, Hypercorn if it is given
no trigger of its own. Nor is logging: both are told to leave their loggers as they are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...engines.loop_thread import LoopFactory, LoopThread
from ...exceptions import LoopGone, MissingDependency, StartupFailed, UsageError
from ...types import ASGIApp, Message, Receive, Scope, Send
from .running import ENDING, Running, listen, refuse_own, url_of

# How long the tasks and executors of a loop that ends are waited for, beyond what the loop allows them.
_JOIN = 10.0


class Runner(Protocol):
    """A server of one kind, all of whose methods run on its loop."""

    secure: bool

    async def run(self, listener: socket.socket, serves: Callable[[], object]) -> None:
        """Serve until `stop`; call `serves` once when the lifespan has started up."""

    def stop(self) -> None:
        """Let `run` come to a graceful end. It may not have begun."""


class OnLoop(Running):
    """A server on an event loop in a thread of its own.

    Args:
        server: its name.
        app: an ASGI 3 app.
        make: makes the runner of the (observed) app. Called on the loop.
        loop_factory: makes the loop.
        host, port: where to listen; port 0 stands for any that is free.
        grace: seconds for requests in progress at the end.
    """

    def __init__(
        self,
        server: str,
        app: ASGIApp,
        make: Callable[[ASGIApp], Runner],
        *,
        loop_factory: LoopFactory,
        host: str,
        port: int,
        grace: float,
    ) -> None:
        super().__init__(server, grace)
        self._observed = _Observed(app)
        self._make = make
        self._listener = listen(host, port)
        self._thread = LoopThread(loop_factory)
        self._runner: Runner | None = None
        self._task: asyncio.Task[None] | None = None

    def _launch(self) -> None:
        self._thread.start()
        self._thread.submit(self._begin_task)

    def _begin_task(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._main(), name=f"bridge-{self.server}")

    async def _main(self) -> None:
        error: BaseException | None = None
        try:
            self._runner = runner = self._make(self._observed)
            address = self._listener.getsockname()
            await runner.run(self._listener, lambda: self._serving(url_of(address, runner.secure)))
        except BaseException as raised:  # Uvicorn ends by SystemExit if the lifespan fails
            error = raised
        finally:
            self._listener.close()
            self._is_over(self._observed.failure or error)
            del error  # its traceback refers to this frame

    def _serving(self, url: str) -> None:
        # Hypercorn may go on after a lifespan that has failed.
        if self._observed.failure is None:
            self._serves(url)
        else:
            self._is_over(self._observed.failure)

    def _stop(self) -> None:
        try:
            self._thread.submit(self._stop_here)
        except (LoopGone, AttributeError):  # the loop never came to be
            self._listener.close()
            self._is_over(None)

    def _stop_here(self) -> None:
        task = self._task
        if task is None:
            return
        if self._runner is None or not self.url:
            task.cancel()  # in its startup
            return
        self._runner.stop()
        loop = asyncio.get_running_loop()
        loop.call_later(self._grace, self._observed.cancel)
        loop.call_later(self._grace + ENDING, task.cancel)

    def _finish(self) -> None:
        self._thread.release()
        self._thread.join(_JOIN)
        super()._finish()


class _Observed:
    """An ASGI app under observation.

    Attributes:
        failure: why the lifespan did not start up; `None` if it did, or if the app has none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: set[asyncio.Task[Any]] = set()
        self.failure: StartupFailed | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            await self._app(scope, receive, send)
        finally:
            self._calls.discard(task)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                # Starlette's message is a traceback: its last line says what happened.
                reason = str(message.get("message") or "").strip().rpartition("\n")[2]
                self.failure = StartupFailed(
                    f"the app's lifespan startup failed: {reason or 'it gave no reason'}"
                )
            await send(message)

        try:
            await self._app(scope, receive, note)
        except BaseException as error:
            if self.failure is not None:
                self.failure.__cause__ = error
            raise

    def cancel(self) -> None:
        """Cancel the calls in progress."""
        for task in list(self._calls):
            task.cancel()


# --- Uvicorn

_UVICORNS_OWN = frozenset(
    {
        "app",
        "host",
        "port",
        "uds",
        "fd",
        "interface",
        "factory",
        "reload",
        "workers",
        "timeout_graceful_shutdown",
    }
)


def uvicorn(app: ASGIApp, *, host: str, port: int, grace: float, options: Mapping[str, Any]) -> OnLoop:
    """Uvicorn, not started. `options` are arguments of `uvicorn.Config`."""
    try:
        import uvicorn as library
    except ModuleNotFoundError as error:
        raise missing("uvicorn", "serve") from error

    class Server(library.Server):
        serves: Callable[[], object]

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                self.serves()

    class OfUvicorn:
        def __init__(self, observed: ASGIApp) -> None:
            config.app = observed
            self.secure = config.is_ssl
            self._server = Server(config)

        async def run(self, listener: socket.socket, serves: Callable[[], object]) -> None:
            self._server.serves = serves
            await self._server.serve(sockets=[listener])

        def stop(self) -> None:
            self._server.should_exit = True

    refuse_own("uvicorn", dict(options), _UVICORNS_OWN)
    # Without a configuration of its own, Uvicorn leaves the loggers alone. Its time-out for requests is a
    # second net: they are cancelled at the end of the grace, whichever server it is.
    config = _configured(
        "uvicorn",
        library.Config,
        {
            "app": app,
            "interface": "asgi3",
            "log_config": None,
            "timeout_graceful_shutdown": grace + ENDING / 2,
            **options,
        },
    )
    # Older versions have no such method, and would set the policy of the whole process instead.
    factory = getattr(config, "get_loop_factory", lambda: None)() or asyncio.new_event_loop
    return OnLoop("uvicorn", app, OfUvicorn, loop_factory=factory, host=host, port=port, grace=grace)


# --- Hypercorn

_HYPERCORNS_OWN = frozenset(
    {
        *(
            "application_path",
            "bind",
            "insecure_bind",
            "quic_bind",
            "workers",
            "worker_class",
            "use_reloader",
        ),
        *("graceful_timeout", "pid_path", "daemon", "user", "group", "umask", "debug"),
    }
)


def hypercorn(app: ASGIApp, *, host: str, port: int, grace: float, options: Mapping[str, Any]) -> OnLoop:
    """Hypercorn, not started. `options` are attributes of `hypercorn.config.Config`."""
    try:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config, Sockets
    except ModuleNotFoundError as error:
        raise missing("hypercorn", "hypercorn") from error

    class Configuration(Config):
        listener: socket.socket

        def create_sockets(self) -> Sockets:
            self.listener.setblocking(False)
            ours = [self.listener]
            return Sockets(ours, [], []) if self.ssl_enabled else Sockets([], ours, [])

    class OfHypercorn:
        def __init__(self, observed: ASGIApp) -> None:
            self.secure = config.ssl_enabled
            self._app = observed
            self._stop = asyncio.Event()

        async def run(self, listener: socket.socket, serves: Callable[[], object]) -> None:
            async def trigger() -> None:
                # Hypercorn awaits it when it has begun to accept, and ends when it returns.
                serves()
                await self._stop.wait()

            config.listener = listener
            app: Any = self._app
            await serve(app, config, shutdown_trigger=trigger, mode="asgi")

        def stop(self) -> None:
            self._stop.set()

    refuse_own("hypercorn", dict(options), _HYPERCORNS_OWN)
    config = Configuration()
    for name, value in options.items():
        if not hasattr(config, name):
            raise UsageError(f"hypercorn has no setting {name!r}; see hypercorn.config.Config")
        setattr(config, name, value)
    config.graceful_timeout = grace + ENDING / 2
    if "errorlog" not in options:
        # The name of a file, or "-", would replace the handlers of this logger.
        config.errorlog = logging.getLogger("hypercorn.error")
    return OnLoop(
        "hypercorn", app, OfHypercorn, loop_factory=asyncio.new_event_loop, host=host, port=port, grace=grace
    )


def missing(library: str, extra: str) -> MissingDependency:
    """The error for a server that is not installed."""
    return MissingDependency(f"{library} is not installed: pip install 'wsgi-asgi-bridge[{extra}]'")


def _configured(server: str, make: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """What `make` makes of the arguments, some of which are the user's."""
    try:
        return make(**arguments)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise UsageError(f"{server} refuses these options: {error}") from error
