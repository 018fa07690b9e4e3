"""Run an app on Gunicorn: in workers that are forked, gthread by default, or what `-- --worker-class` says.

Each worker loads the app after the fork, and starts it before it accepts a request, so that a lifespan
that fails ends Gunicorn instead of answering 500 for ever. With `-- --preload` the app is loaded
before, and started after the fork all the same.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gunicorn.app.base import Application  # type: ignore[import-untyped]
from gunicorn.config import Config, get_default_config_file  # type: ignore[import-untyped]
from gunicorn.errors import HaltServer  # type: ignore[import-untyped]
from gunicorn.util import load_class  # type: ignore[import-untyped]

from ..exceptions import UsageError
from .report import FAILURE, OK, CannotServe, Report, count, say, shared_folder
from .settings import THREADS, Settings, refuse_twice, url
from .stopping import end_on_sigterm
from .worker import SHUTDOWN_TIMEOUT, Loaded, Order

_PROGRAM = "gunicorn"
_USAGE = "bridge serve TARGET --server gunicorn -- [OPTIONS]"

# Gunicorn ends when a worker ends with this, instead of starting it again.
_BOOT_FAILURE = 3

# Whole seconds in which a worker can cancel what is still in progress and end the lifespan.
_TIME_TO_CLOSE = int(2 * SHUTDOWN_TIMEOUT)

# The worker class that `--threads` is about. `sync` becomes it when there are several threads.
_GTHREAD = ("gthread", "sync", "gunicorn.workers.gthread.ThreadWorker", "gunicorn.workers.sync.SyncWorker")

# Where worker classes that call ASGI apps are defined.
_ASGI_MODULES = ("gunicorn.workers.gasgi", "uvicorn", "uvicorn_worker")

_SAME = {
    "host": "bind",
    "port": "bind",
    "uds": "bind",
    "workers": "workers",
    "threads": "threads",
    "reload": "reload",
    "root_path": "root_path",
    "log_level": "loglevel",
    "access_log": "accesslog",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "timeout_graceful_shutdown": "graceful_timeout",
}
"""What Gunicorn calls our options."""


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    further = Config(_USAGE, _PROGRAM).parser().parse_args(settings.further)
    if further.args:
        raise UsageError(
            f"behind `--` there may be options of Gunicorn and nothing else; got {further.args[0]!r}"
        )
    refuse_twice(settings, "Gunicorn", _SAME, _given(further))
    end_on_sigterm()
    worker: list[int] = []  # forked processes come by here as well
    with shared_folder(lambda: not worker) as folder:
        report = Report("Gunicorn", folder=folder)
        try:
            _Application(order, settings, report, worker).run()
        except SystemExit as exit:
            if worker:
                raise  # with the code that Gunicorn gave it
            if exit.code not in (None, OK):
                return report.exit_code() or FAILURE
        except HaltServer:  # several workers have failed; Gunicorn itself expects that of one
            return report.exit_code() or FAILURE
    return OK


class _Application(Application):  # type: ignore[misc]
    """What Gunicorn asks for its configuration, in the process that was started, and for the app.

    In a worker it puts the worker's process id into `worker`.
    """

    def __init__(self, order: Order, settings: Settings, report: Report, worker: list[int]) -> None:
        self._worker = worker
        self._order = order
        self._settings = settings
        self._report = report
        self._loaded: Loaded | None = None
        super().__init__(_USAGE, _PROGRAM)

    def do_load_config(self) -> None:
        """Called at the start, and at SIGHUP."""
        super().do_load_config()
        self._adapt()

    def load_config(self) -> None:
        """Defaults of ours, then as Gunicorn itself: file, environment, command line; then our options."""
        cfg, settings = self.cfg, self._settings
        parser = cfg.parser()
        further = _given(parser.parse_args(settings.further))
        environment = _given(parser.parse_args(cfg.get_cmd_args_from_env()))
        cfg.set("bind", settings.bind)
        cfg.set("worker_class", "gthread")
        cfg.set("graceful_timeout", settings.grace)
        file = further.get("config") or environment.get("config") or get_default_config_file()
        in_file = self.load_config_from_file(file) if file else {}
        for name, value in {**environment, **further, **_explicit(settings)}.items():
            cfg.set(name, value)
        if settings.root_path is not None:
            if "root_path" in cfg.settings:  # for the asgi worker, in versions that have it
                cfg.set("root_path", settings.root_path)
            cfg.set("raw_env", [*cfg.raw_env, f"SCRIPT_NAME={settings.root_path}"])
        self._says_threads = "threads" in {**in_file, **environment, **further}
        self.chdir()

    def _adapt(self) -> None:
        """What follows from the worker class, and the places where a worker loads, starts and ends."""
        cfg = self.cfg
        kind = cfg.settings["worker_class"].get()
        speaks = "asgi" if _speaks_asgi(kind) else "wsgi"
        self._order = replace(self._order, speaks=speaks, multiprocess=cfg.workers > 1)
        if kind in _GTHREAD and self._settings.threads is not None:
            cfg.set("threads", self._settings.threads)
        elif kind == "gthread" and not self._says_threads:
            cfg.set("threads", THREADS)
        elif self._settings.threads is not None and speaks == "wsgi":
            raise UsageError(
                f"--threads is about the worker class gthread, not about {cfg.worker_class_str}. Leave it "
                "out; what bounds other worker classes is --worker-connections, behind `--`"
            )
        self._report = replace(self._report, circumstances=self._circumstances(), always=cfg.workers == 1)
        # The arbiter kills a worker at its limit. Requests get no more than was said, so that there is
        # time left for what comes after them.
        self._grace = cfg.graceful_timeout
        cfg.set("graceful_timeout", self._grace + _TIME_TO_CLOSE)
        cfg.set("post_fork", _both(self._begin, cfg.post_fork))
        cfg.set("post_worker_init", _after(self._start, cfg.post_worker_init))
        cfg.set("worker_exit", _both(cfg.worker_exit, self._end))

    def _circumstances(self) -> str:
        cfg = self.cfg
        kind = cfg.worker_class_str.rpartition(".")[2]
        text = f" with {count(cfg.workers, f'{kind} worker')}"
        return f"{text} of {count(cfg.threads, 'thread')}" if kind == "gthread" else text

    def load(self) -> Any:
        """Called in each worker, or before the first one is forked."""
        try:
            self._loaded = self._report.load(self._order)
        except CannotServe:
            sys.exit(_BOOT_FAILURE)
        return self._loaded.app

    def _begin(self, arbiter: Any, worker: Any) -> None:
        """Called in each worker first of all."""
        self._worker.append(worker.pid)

    def _start(self, worker: Any) -> None:
        """Called in each worker, before it accepts connections."""
        assert self._loaded is not None  # load() has been called
        worker.cfg.set("graceful_timeout", self._grace)
        try:
            self._report.start(self._loaded)
        except CannotServe:
            sys.exit(_BOOT_FAILURE)
        report = self._report.at(url(worker.sockets[0].getsockname(), worker.cfg.is_ssl))
        report.served(self._loaded, self._order)

    def _end(self, arbiter: Any, worker: Any) -> None:
        """Called in each worker when it ends, whatever the reason; in the arbiter, for one that is gone."""
        if self._loaded is not None and self._worker:
            self._loaded.close()


def _given(arguments: Namespace) -> dict[str, Any]:
    """What was really on a command line that Gunicorn's parser has read."""
    return {name: value for name, value in vars(arguments).items() if value is not None and name != "args"}


def _explicit(settings: Settings) -> dict[str, Any]:
    """Our options as Gunicorn's settings, as far as they do not depend on the worker class."""
    found: dict[str, Any] = {"bind": settings.bind} if settings.says_where else {}
    for name, value in settings.given.items():
        if name in ("workers", "reload", "log_level", "timeout_graceful_shutdown"):
            found[_SAME[name]] = value
    if settings.access_log is not None:
        found["accesslog"] = "-" if settings.access_log else None
    if settings.ssl_certfile is not None:
        found["certfile"], found["keyfile"] = settings.ssl_certfile, settings.keyfile
    return found


def _speaks_asgi(kind: str | type) -> bool:
    """Whether workers of a class call ASGI apps."""
    try:
        bases = load_class(kind).__mro__
    except (AttributeError, ImportError, RuntimeError) as error:
        # The message may hold a traceback; what is missing stands at the end of the chain.
        say(f"Gunicorn cannot use the worker class {kind!r}: {error.__context__ or error}")
        sys.exit(FAILURE)
    return any(f"{base.__module__}.".startswith(f"{name}.") for base in bases for name in _ASGI_MODULES)


# Gunicorn looks at how many arguments a hook takes.


def _after(first: Callable[[Any], object], second: Callable[[Any], object]) -> Callable[[Any], None]:
    def hook(worker: Any) -> None:
        first(worker)
        second(worker)

    return hook


def _both(
    first: Callable[[Any, Any], object], second: Callable[[Any, Any], object]
) -> Callable[[Any, Any], None]:
    def hook(arbiter: Any, worker: Any) -> None:
        try:
            first(arbiter, worker)
        finally:
            second(arbiter, worker)

    return hook
