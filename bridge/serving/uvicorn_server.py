"""Run an app on Uvicorn: in this process, in several, or in one that is started anew when files change.

In this process, the app is loaded before the event loop runs. A spawned process does the same: its
copy of `_Config` loads the app when Uvicorn asks it for the event loop, which is the last thing it
does before that runs, and happens when the supervisor's health checks are answered already. Left to
itself, Uvicorn would import the app on the running loop, where `asyncio.run` fails and Django
refuses to touch the database.
"""

from __future__ import annotations

import copy
import inspect
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
import uvicorn
import uvicorn.config
from uvicorn.main import main as uvicorn_command
from uvicorn.supervisors import ChangeReload, Multiprocess

from ..types import ASGIApp, Receive, Scope, Send
from .report import FAILURE, OK, CannotServe, Report, count, say, shared_folder, summary
from .settings import GRACE, url
from .target import folders
from .worker import Loaded, Order, load

GRACE_WITH_RELOAD = 1
"""The same with --reload, where somebody who has an event stream open waits to see a change."""

# What Uvicorn's supervisor takes as "do not start this worker again"; it is not exported everywhere.
_STARTUP_FAILURE = 3

# What `bridge serve` has in a form of its own, or has no use for.
_REPLACED = frozenset({"app", "interface", "factory", "version"})


def options() -> list[click.Parameter]:
    """Uvicorn's options as its own command defines them: names, defaults, checks, messages and variables.

    So those of versions to come are known as well.
    """
    found = []
    for parameter in uvicorn_command.params:
        if parameter.name not in _REPLACED:
            option = copy.copy(parameter)
            if option.name == "timeout_graceful_shutdown" and isinstance(option, click.Option):
                option.help = f"{option.help}  [default: {GRACE}; with --reload {GRACE_WITH_RELOAD}]"
            found.append(option)
    return found


def arguments_of_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the options above mean to `uvicorn.Config`, from what click made of them."""
    values = dict(values)
    for name in ("reload_dirs", "reload_includes", "reload_excludes"):
        values[name] = list(values.get(name) or ()) or None
    values["headers"] = [tuple(header.split(":", 1)) for header in values.get("headers") or ()]
    if values.get("log_config") is None:
        values["log_config"] = uvicorn.config.LOGGING_CONFIG
    return values


def serve(order: Order, options: Mapping[str, Any]) -> int:
    """Serve until a signal ends it, and return the exit code. To be called in the main thread.

    Args:
        order: what to serve.
        options: for `uvicorn.Config`, by the names of its arguments.

    Raises:
        TargetError: there is no such app. (With several processes, and with reload, it is the new
            processes that find out: they print the message, and the exit code tells.)
    """
    options = dict(options)
    if options.get("timeout_graceful_shutdown") is None:
        options["timeout_graceful_shutdown"] = GRACE_WITH_RELOAD if options.get("reload") else GRACE
    if options.get("reload") and not options.get("reload_dirs"):
        # Uvicorn watches the current directory; a target elsewhere would change unnoticed.
        options["reload_dirs"] = [str(folder) for folder in (Path.cwd(), *folders(order.target))]
    try:
        config = _Config("bridge.serving.worker:create_app", factory=True, **options)
        if config.should_reload:
            return _serve_with_reload(order, config)
        if config.workers > 1:
            return _serve_with_workers(replace(order, multiprocess=True), config)
        return _serve_here(order, config)
    except KeyboardInterrupt:
        return OK
    except SystemExit as exit:  # what Uvicorn ends with when it cannot start, and what _stop raises
        return OK if exit.code in (None, OK) else FAILURE


def _serve_here(order: Order, config: _Config) -> int:
    loaded = load(order)
    config.use(loaded)
    report = Report("Uvicorn")
    server = _Server(config, lambda address: say(summary(loaded, order, report.at(address))))
    signal.signal(signal.SIGTERM, _stop)
    try:
        server.run()
    finally:
        if server.started:
            _remove_socket(config)
    return OK if server.started else FAILURE


def _serve_with_reload(order: Order, config: _Config) -> int:
    order.to_environment()
    listener = _listen(config)
    config.report = Report("Uvicorn", _address(config, listener), " with reload")
    signal.signal(signal.SIGTERM, _stop)
    try:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
        return OK
    finally:
        _remove_socket(config)


def _serve_with_workers(order: Order, config: _Config) -> int:
    order.to_environment()
    listener = _listen(config)
    with shared_folder() as folder:
        circumstances = f" with {count(config.workers, 'worker')}"
        config.report = Report("Uvicorn", _address(config, listener), circumstances, folder)
        signal.signal(signal.SIGTERM, _stop)
        try:
            supervisor = _multiprocess(config, listener)
            supervisor.run()
            failed = any(
                getattr(worker, "process", worker).exitcode == _STARTUP_FAILURE
                for worker in supervisor.processes
            )
            return config.report.exit_code() or (FAILURE if failed else OK)
        finally:
            _remove_socket(config)


def _remove_socket(config: _Config) -> None:
    """Remove the file of a Unix socket, which outlives its listener."""
    if config.uds and os.path.exists(config.uds):
        os.remove(config.uds)


def _multiprocess(config: _Config, listener: socket.socket) -> Multiprocess:
    arguments: dict[str, Any] = {"sockets": [listener]}
    if "target" in inspect.signature(Multiprocess).parameters:  # older versions of Uvicorn
        arguments["target"] = uvicorn.Server(config).run
    return Multiprocess(config, **arguments)


def _listen(config: _Config) -> socket.socket:
    """The socket for child processes.

    It listens before any of them is there, and while all of them are started anew: clients wait
    for a moment instead of being refused.
    """
    listener = config.bind_socket()
    listener.listen(config.backlog)
    return listener


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """After a graceful end, Uvicorn raises the signal once more; to have obeyed it is a success."""
    raise SystemExit(OK)


class _Config(uvicorn.Config):
    """Uvicorn's configuration; in a spawned process it brings the app with it."""

    report: Report | None = None
    _spawned = False
    _failed = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spawned": True}

    def get_loop_factory(self) -> Any:
        """Called before the loop runs, in the thread that it will run in."""
        self._load_in_child()
        return super().get_loop_factory()

    def setup_event_loop(self) -> None:
        """What older versions of Uvicorn call instead."""
        self._load_in_child()
        super().setup_event_loop()

    def load(self) -> None:
        """Called on the loop; the app is there already, or will never be."""
        if self._failed:
            # Not earlier: the caller of `get_loop_factory` has made a coroutine, and would not await it.
            sys.exit(_STARTUP_FAILURE)
        super().load()

    def _load_in_child(self) -> None:
        if self._spawned and self.report is not None:
            loaded = _load_and_report(self.report)
            if loaded is None:
                self._failed = True
            else:
                self.use(loaded)

    def use(self, loaded: Loaded) -> None:
        """Serve this app."""
        self.app = _with_three_arguments(loaded.app)
        self.interface = "asgi3"
        self.factory = False


def _load_and_report(report: Report) -> Loaded | None:
    """Load the app in a spawned process, and say what came of it; `None` if nothing did."""
    order = Order.from_environment()
    try:
        loaded = report.load(order)
    except CannotServe as failure:
        if failure.first:
            if report.folder is None:
                say("waiting for a file to change")
            elif not hasattr(uvicorn.config, "STARTUP_FAILURE"):
                # Supervisors of older versions start a worker again, whatever it ended with.
                os.kill(os.getppid(), signal.SIGTERM)
        return None
    except KeyboardInterrupt:
        sys.exit(OK)  # Ctrl-C in a terminal reaches all processes; the parent says what there is to say
    report.served(loaded, order)
    return loaded


class _Server(uvicorn.Server):
    """A server that says where it listens, once it does."""

    def __init__(self, config: _Config, on_listening: Callable[[str], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_listening(_address(self.config, self.servers[0].sockets[0]))


class _ThreeArguments:
    """An ASGI app that cannot be mistaken for a factory: Uvicorn tries a call without arguments."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _with_three_arguments(app: ASGIApp) -> ASGIApp:
    try:
        inspect.signature(app).bind()
    except TypeError:
        return app
    except ValueError:
        pass  # it does not tell
    return _ThreeArguments(app)


def _address(config: uvicorn.Config, listener: Any) -> str:
    """Where clients find the server, as a URL if it has one."""
    if config.uds:
        return url(config.uds, config.is_ssl)
    if config.fd is not None:
        return f"file descriptor {config.fd}"
    return url((config.host or "0.0.0.0", listener.getsockname()[1]), config.is_ssl)
