"""Run an app on Hypercorn: in processes that are spawned. Each loads the app before its loop runs."""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

import hypercorn.__main__ as program_of_hypercorn
import hypercorn.run as supervisor
from hypercorn.config import Config, Sockets

from ..types import ASGIApp
from .parsing import program, replaced
from .report import FAILURE, OK, CannotServe, Report, count, say, shared_folder
from .settings import Settings, refuse_twice, url
from .stopping import end_on_sigterm
from .worker import Order, load

# Hypercorn evaluates what follows the colon, in each process that it spawns.
_TARGET = f"asgi:{__name__}:load_here()"

_SAME = {
    "host": "_bind",
    "port": "_bind",
    "uds": "_bind",
    "workers": "workers",
    "reload": "use_reloader",
    "root_path": "_root_path",
    "log_level": "loglevel",
    "access_log": "accesslog",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "timeout_graceful_shutdown": "graceful_timeout",
}
"""Where Hypercorn's configuration keeps our options."""


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    config = _configuration(settings)
    replace(order, multiprocess=config.workers > 1).to_environment()
    end_on_sigterm()  # Hypercorn's processes are daemons, so they end with this one
    with shared_folder() as folder:
        report = Report(
            "Hypercorn", "", f" with {count(config.workers, 'worker')}", folder, config.workers == 1
        )
        config.report = report
        processes: list[BaseProcess] = []
        try:
            patience = config.graceful_timeout + config.shutdown_timeout
            with replaced(supervisor, "get_context", partial(_Context, processes, patience)):
                code = supervisor.run(config)
        except OSError as error:
            say(f"Hypercorn does not start: {error}")
            return FAILURE
        except (KeyboardInterrupt, SystemExit):
            return OK
        finally:
            if settings.uds is not None and os.path.exists(settings.uds):
                os.remove(settings.uds)
        # Hypercorn may return 0 though a process has failed.
        failed = code != OK or any(process.exitcode for process in processes)
        return report.exit_code() or (FAILURE if failed else OK)


class _Process(multiprocessing.get_context("spawn").Process):  # type: ignore[misc]
    """A process of Hypercorn's that is given the time to end.

    When one of several processes has ended, Hypercorn terminates the others, which it has told to end
    as well: their requests in progress would break off, and their lifespan would not be shut down.
    """

    patience = 0.0

    def terminate(self) -> None:
        """Called by Hypercorn; the bounds of what it waits for are Hypercorn's own."""
        self.join(self.patience)
        super().terminate()


class _Context:
    """What Hypercorn needs of a `multiprocessing` context; it keeps the processes that it makes."""

    def __init__(self, processes: list[BaseProcess], patience: float, method: str) -> None:
        self._processes = processes
        self._patience = patience
        self.Event = multiprocessing.get_context("spawn").Event

    def Process(self, **arguments: Any) -> BaseProcess:
        """A process that is not started yet."""
        process = _Process(**arguments)
        process.patience = self._patience
        self._processes.append(process)
        return process


def load_here() -> ASGIApp:
    """The app, in a process of Hypercorn's. It ends the process, and says why, if there is none."""
    order = Order.from_environment()
    if multiprocessing.parent_process() is None:
        # With --reload the first process loads the app as well, to see which files it has to watch.
        app: ASGIApp = load(order).app
        return app
    report = Report.from_environment()
    try:
        loaded = report.load(order)
    except CannotServe as failure:
        sys.exit(failure.code)
    return report.watched(loaded, partial(report.served, loaded, order))


class _Config(Config):
    """A configuration that tells the processes where Hypercorn listens, once it does."""

    report: Report

    def create_sockets(self) -> Sockets:
        """Called before processes are spawned."""
        sockets = super().create_sockets()
        listeners = [*sockets.secure_sockets, *sockets.insecure_sockets]
        for listener in listeners:
            # Now, and not when a process is ready: clients wait for a moment instead of being refused.
            listener.listen(self.backlog)
        self.report.at(url(listeners[0].getsockname(), self.ssl_enabled)).to_environment()
        return sockets


def _configuration(settings: Settings) -> _Config:
    """Defaults of ours, then what Hypercorn's parser makes of what stands behind `--`, then our options."""
    with replaced(program_of_hypercorn, "_load_config", lambda path: Config()):
        refuse_twice(settings, "Hypercorn", _SAME, vars(_parse(settings.further)))
    config = _Config()
    parsed = vars(_parse(settings.further))
    vars(config).update({"_bind": [settings.bind], "graceful_timeout": settings.grace, **parsed})
    if settings.says_where:
        config.bind = [settings.bind]
    for name in ("workers", "log_level", "timeout_graceful_shutdown"):
        if name in settings.given:
            setattr(config, _SAME[name], settings.given[name])
    if settings.reload is not None:
        config.use_reloader = settings.reload
    if settings.root_path is not None:
        config.root_path = settings.root_path
    if settings.access_log is not None:
        config.accesslog = "-" if settings.access_log else None
    if settings.ssl_certfile is not None:
        config.certfile, config.keyfile = settings.ssl_certfile, settings.keyfile
    config.application_path = _TARGET
    return config


def _parse(arguments: tuple[str, ...]) -> Config:
    """What Hypercorn's command makes of a command line; it ends the program if that is wrong."""
    found: list[Config] = []

    def note(config: Config) -> int:
        found.append(config)
        return OK

    with program("hypercorn"), replaced(program_of_hypercorn, "run", note):
        program_of_hypercorn.main(["TARGET", *arguments])
    return found[0]
