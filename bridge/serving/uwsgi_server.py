"""Run an app on uWSGI: as a process of its own, since it is a program and not a library.

Its workers load the app after they are forked, and start it before they accept a request. Signals
are passed on. As uWSGI comes, SIGTERM reloads it; here it ends as other servers do, requests in
progress first.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import replace
from typing import Any

from ..exceptions import UsageError
from .report import FAILURE, OK, CannotServe, Report, count, shared_folder
from .settings import THREADS, Settings, url
from .stopping import Stop
from .worker import SHUTDOWN_TIMEOUT, Order

# What a worker ends with if it has no app; the master ends then, because of --need-app.
_NO_APP = 22

# Seconds for uWSGI to kill its workers, before it is killed along with them.
_LAST = 3.0

# uWSGI calls what follows the colon.
_TARGET = f"{__name__}:load_here()"

# What uWSGI calls our options.
_SOCKETS = frozenset(
    {"--http-socket", "--http11-socket", "--https-socket", "--http", "--https", "--socket", "-s"}
)
_PROCESSES = frozenset({"--processes", "--workers", "-p"})
_THREADS = frozenset({"--threads"})
_MERCY = frozenset({"--worker-reload-mercy"})
_MOUNTS = frozenset({"--mount"})


def _executable() -> str:
    beside = sysconfig.get_path("scripts")
    found = shutil.which("uwsgi", path=beside) or shutil.which("uwsgi")
    if found is None:
        raise ModuleNotFoundError("there is no program uwsgi", name="uwsgi")
    return found


_EXECUTABLE = _executable()


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    arguments = _arguments(settings)
    replace(order, speaks="wsgi").to_environment()
    with shared_folder() as folder:
        report = Report("uWSGI", folder=folder)
        report.to_environment()
        # In a session of its own, so that Ctrl-C in a terminal reaches it through here only.
        process = subprocess.Popen([_EXECUTABLE, *arguments, *settings.further], start_new_session=True)
        code = _end_of(process, settings.grace)
        if settings.uds is not None and os.path.exists(settings.uds):
            os.remove(settings.uds)
        return report.exit_code() or (OK if code == OK else FAILURE)


def _end_of(process: subprocess.Popen[bytes], grace: float) -> int:
    """Wait until it has ended, or a signal asks for that; then end it. Returns its exit code."""
    with Stop() as stop:
        stop.wakes(lambda: None)
        signal.signal(signal.SIGHUP, lambda number, frame: process.send_signal(number))
        _Waiter(process, stop)
        stop.wait()
        if not stop.asked:
            return process.wait()
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace + 2 * SHUTDOWN_TIMEOUT
        while process.poll() is None and not stop.hurried and time.monotonic() < deadline:
            stop.wait(max(0, deadline - time.monotonic()))
        # A worker that is still loading the app does not hear that it should end, nor does one that
        # is stuck: hence what follows.
        process.send_signal(signal.SIGQUIT)
        try:
            return process.wait(_LAST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return OK  # it was asked to end


class _Waiter(threading.Thread):
    """Tells when a process has ended."""

    def __init__(self, process: subprocess.Popen[bytes], stop: Stop) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._stop = stop
        self.start()

    def run(self) -> None:
        """In the new thread."""
        self._process.wait()
        self._stop.notify()


def load_here() -> Any:
    """The app, in a worker of uWSGI's. It ends the worker, and says why, if there is none."""
    uwsgi: Any = importlib.import_module("uwsgi")  # it is there inside uWSGI alone
    # If another worker has found that there is no app, the master interrupts this one, which may still
    # be importing it: then no traceback. uWSGI's own handler takes over once the app is there.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(_NO_APP))
    order, report = Order.from_environment(), Report.from_environment()
    try:
        loaded = report.load(order)
        report.start(loaded)
    except CannotServe:
        sys.exit(_NO_APP)
    uwsgi.atexit = loaded.close
    # What has become of the options, ours and those behind `--`, is known here.
    circumstances = f" with {count(uwsgi.numproc, 'worker')} of {count(uwsgi.cores, 'thread')}"
    with socket.socket(fileno=os.dup(uwsgi.sockets[0])) as listener:
        address = url(listener.getsockname(), False)
    replace(report, address=address, circumstances=circumstances).served(loaded, order)
    return loaded.app


def _arguments(settings: Settings) -> list[str]:
    """Our options as uWSGI's, without those that stand behind `--`.

    Raises:
        UsageError: an option stands before and behind it. What uWSGI does not know, it will say itself.
    """
    further = {argument.partition("=")[0] for argument in settings.further}
    arguments = [
        *("--master", "--lazy-apps", "--need-app", "--strict", "--vacuum", "--enable-threads"),
        *("--die-on-term", "--single-interpreter"),
        "--hook-master-start=unix_signal:15 gracefully_kill_them_all",
        *(f"--pythonpath={folder}" for folder in sys.path if folder),
    ]

    def add(given: bool, theirs: frozenset[str], *ours: str) -> None:
        if not theirs & further:
            arguments.extend(ours)
        elif given:
            both = f"{ours[0].partition('=')[0]} or {', '.join(sorted(theirs & further))}"
            raise UsageError(f"before `--` and behind it uWSGI is told the same: leave one out ({both})")

    where = settings.bind if settings.uds is None else settings.uds
    add(settings.says_where, _SOCKETS, f"--http-socket={where}")
    add(settings.workers is not None, _PROCESSES, f"--processes={settings.workers or 1}")
    add(settings.threads is not None, _THREADS, f"--threads={settings.threads or THREADS}")
    add(settings.timeout_graceful_shutdown is not None, _MERCY, f"--worker-reload-mercy={settings.grace}")
    if settings.root_path is None:
        arguments.append(f"--module={_TARGET}")
    else:
        add(True, _MOUNTS, f"--mount={settings.root_path}={_TARGET}", "--manage-script-name")
    if settings.access_log is False:
        arguments.append("--disable-logging")
    return arguments
