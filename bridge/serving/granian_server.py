"""Run an app on Granian: in worker processes, by Granian's own ASGI or WSGI side, whichever the app needs.

Granian must know which before it starts a process, and what an app is can only be told once it is
loaded. So unless `--interface` says it, a process is spent on finding out: loading the app in the
first one would leave the workers, which are forked, with threads that do not run.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import click
import granian.cli
import granian.server
from click.core import ParameterSource
from granian.constants import Interfaces

from ..exceptions import TargetError, UsageError
from ..translate.interface import Interface
from .parsing import replaced
from .report import FAILURE, MISUSE, OK, CannotServe, Report, count, say, shared_folder
from .settings import THREADS, Settings, refuse_twice, url
from .stopping import end_on_sigterm
from .target import explain
from .worker import Order, load

_OPTIONS = {
    "host": "--host",
    "port": "--port",
    "uds": "--uds",
    "workers": "--workers",
    "threads": "--blocking-threads",
    "root_path": "--url-path-prefix",
    "log_level": "--log-level",
    "ssl_certfile": "--ssl-certificate",
    "ssl_keyfile": "--ssl-keyfile",
    "timeout_graceful_shutdown": "--workers-kill-timeout",
}
"""How Granian's command writes our options."""

_SAME = {
    "host": "host",
    "port": "port",
    "uds": "uds",
    "workers": "workers",
    "threads": "blocking_threads",
    "reload": "reload",
    "root_path": "url_path_prefix",
    "log_level": "log_level",
    "access_log": "log_access_enabled",
    "ssl_certfile": "ssl_certificate",
    "ssl_keyfile": "ssl_keyfile",
    "timeout_graceful_shutdown": "workers_kill_timeout",
}
"""The parameters of Granian's command that they are."""

# Where it listens: host and port, or the path of a Unix socket.
_Where = tuple[str, int] | str

# How often a worker looks whether Granian accepts connections, and for how long, in seconds.
_PAUSE = 0.02
_PATIENCE = 30.0

# Options of Granian's that bridge has as well, and needs itself, since it loads the app.
_OF_BRIDGE = ("interface", "factory")

_COMMAND: click.Command = granian.cli.cli
_VARIABLES = "GRANIAN"
_SAID = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    order = replace(order, speaks="both")
    # Asked first, so that a wrong option is found before anything is loaded, and `--help` loads nothing.
    context = _COMMAND.make_context(
        "granian", [*settings.further, "--", order.target], auto_envvar_prefix=_VARIABLES
    )
    said = {name for name in context.params if context.get_parameter_source(name) in _SAID}
    further = {name for name in said if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    refuse_twice(settings, "Granian", _SAME, further)
    for name in _OF_BRIDGE:
        if name in said:
            raise UsageError(f"--{name} is for bridge to know, not for Granian: write it before `--`")
    end_on_sigterm()
    interface = _interface(order)
    if isinstance(interface, int):
        return interface
    with shared_folder() as folder:
        report = Report("Granian", folder=folder)

        def server(target: str, **options: Any) -> _Server:
            return _Server(target, order=order, report=report, **options)

        try:
            with _reserved(_where(settings, context.params)) as port, replaced(granian.cli, "Server", server):
                _COMMAND.main(
                    [*settings.further, *_arguments(settings, said, interface, port), "--", order.target],
                    prog_name="granian",
                    standalone_mode=False,
                    auto_envvar_prefix=_VARIABLES,
                )
        except SystemExit as exit:
            return OK if exit.code in (None, OK) else report.exit_code() or FAILURE
        except OSError as error:
            say(f"Granian does not start: {error}")
            return FAILURE
    return OK


class _Server(granian.server.Server):  # type: ignore[misc, valid-type]
    """Granian with an app that bridge loads in each worker process."""

    def __init__(self, target: str, *, order: Order, report: Report, **options: Any) -> None:
        super().__init__(target, **options)
        self._order = replace(order, multiprocess=self.workers > 1)
        self._where = where = str(self.bind_uds) if self.bind_uds else (self.bind_addr, self.bind_port)
        circumstances = f" with {count(self.workers, 'worker')}"
        if self.interface == Interfaces.WSGI:
            circumstances += f" of {count(self.blocking_threads, 'thread')}"
        self._report = replace(
            report,
            address=url(where, bool(self.ssl_ctx[0])),
            circumstances=circumstances,
            always=self.workers == 1,
        )

    def serve(self, *args: Any, **options: Any) -> None:
        """Called by Granian's command."""
        loader = partial(_load_here, self._order, self._report, self._where)
        super().serve(target_loader=loader, wrap_loader=False)


def _load_here(order: Order, report: Report, where: _Where) -> Any:
    """The app, in a worker process. It ends the process, and says why, if there is none."""

    def tell() -> None:
        _wait_until_it_accepts(where)
        report.served(loaded, order)

    def served() -> None:
        # Granian listens a moment later, and has no hook for that.
        threading.Thread(target=tell, daemon=True).start()

    try:
        loaded = report.load(order)
        if loaded.found.interface is not Interface.WSGI:
            return report.watched(loaded, served)
        report.start(loaded)
    except CannotServe as failure:
        sys.exit(failure.code)
    served()
    return loaded.app


def _wait_until_it_accepts(where: _Where) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            if isinstance(where, str):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(where)
            else:
                socket.create_connection(where, _PATIENCE).close()
            return
        except OSError:
            time.sleep(_PAUSE)


def _where(settings: Settings, params: Mapping[str, Any]) -> _Where:
    """Where Granian will listen: what we were told, else what it was told, else where it does by itself."""
    uds = settings.uds or (None if settings.says_where else params["uds"])
    if uds is not None:
        return str(uds)
    host = params["host"] if settings.host is None else settings.host
    port = params["port"] if settings.port is None else settings.port
    return host, port


@contextmanager
def _reserved(where: _Where) -> Iterator[int | None]:
    """Keep the address for the workers, each of which takes it for itself. Gives the port, if it was 0.

    Raises:
        OSError: somebody else has it. A worker's message would be a page of Granian's innards.
    """
    if isinstance(where, str):
        yield None
        return
    host, port = where
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as reservation:
        # It does not listen. With these, which Granian sets as well, others can bind and listen there.
        for name in ("SO_REUSEADDR", "SO_REUSEPORT"):
            if hasattr(socket, name):
                reservation.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)
        reservation.bind((host, port))
        yield reservation.getsockname()[1] if port == 0 else None


def _arguments(settings: Settings, said: set[str], interface: Interfaces, port: int | None) -> list[str]:
    """Our options, and defaults of ours for what nobody has said, as Granian's command takes them."""
    pairs = {name: value for name, value in settings.given.items() if name not in ("reload", "access_log")}
    if port is not None:
        pairs["port"] = port
    if interface != Interfaces.WSGI:
        pairs.pop("threads", None)  # the adapter's, not Granian's
    elif "blocking_threads" not in said:
        pairs.setdefault("threads", THREADS)
    if "workers_kill_timeout" not in said:
        pairs.setdefault("timeout_graceful_shutdown", settings.grace)
    if settings.ssl_certfile is not None:
        pairs["ssl_keyfile"] = settings.keyfile
    options = [f"{_OPTIONS[name]}={value}" for name, value in pairs.items()]
    arguments = [f"--interface={interface.value}", *options]
    if settings.reload:
        arguments.append("--reload")
    if settings.access_log is not None:
        arguments.append("--access-log" if settings.access_log else "--no-access-log")
    return arguments


def _interface(order: Order) -> Interfaces | int:
    """Which side of Granian the app needs, or the exit code if there is no app."""
    if order.interface != "auto":
        return Interfaces.WSGI if order.interface == "wsgi" else Interfaces.ASGI
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_look, args=(order, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        code, text = ours.recv()
    except EOFError:
        process.join()
        code, text = FAILURE, f"importing {order.target} ended the process (exit code {process.exitcode})"
    finally:
        ours.close()
    process.join()
    if code == OK:
        return Interfaces(text)
    say(text)
    assert isinstance(code, int)
    return code


def _look(order: Order, answer: Connection) -> None:
    """In a process of its own: tell what the app is."""
    try:
        found = load(order).found
        answer.send((OK, "wsgi" if found.interface is Interface.WSGI else "asgi"))
    except UsageError as error:
        code = FAILURE if error.__cause__ is not None else MISUSE
        answer.send((code, explain(error) if isinstance(error, TargetError) else str(error)))
    # Threads that the app has started must not keep this process, nor its exit hooks run twice.
    sys.stdout.flush()
    os._exit(OK)
