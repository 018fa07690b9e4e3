"""Starts the servers that are measured and ends them, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from benchmarks.measure import ROOT
from benchmarks.serve import HOST

START_TIMEOUT = 30.0
STOP_TIMEOUT = 3.0
ATTEMPTS = 3
"""A port found free may be taken by another before the server binds it; then another is tried."""


class ServerFailed(Exception):
    """A server that did not start; the message holds the last line it wrote."""


@dataclass
class Server:
    """A running server."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def ask_to_end(self) -> None:
        """Begin a graceful end."""
        with contextlib.suppress(OSError):
            self.process.terminate()

    def stop(self) -> None:
        """End the server and all its processes; returns when they are gone."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT)
        # Whatever is left of it sees its standard input end (see serve.py), or is killed here.
        if self.process.stdin is not None:
            self.process.stdin.close()
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait(10)
        self.log.close()

    def last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _launch(name: str, app: str, loop: str) -> Server:
    port = _free_port()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Server.stop
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serve", name, app, str(port), loop],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd=ROOT,
        # A group of its own, so that workers which a server forks can be ended with it.
        start_new_session=True,
    )
    return Server(name, port, process, log)


def _answers(server: Server) -> bool:
    """Whether it accepts connections and answers one request."""
    try:
        with socket.create_connection((HOST, server.port), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            connection.settimeout(5)
            return connection.recv(12).startswith(b"HTTP/1.")
    except OSError:
        return False


def _wait(server: Server, deadline: float) -> None:
    while True:
        if server.process.poll() is not None:
            raise ServerFailed(server.last_words())
        if _answers(server):
            return
        if time.monotonic() >= deadline:
            raise ServerFailed(f"no answer within {START_TIMEOUT:.0f} s")
        time.sleep(0.02)


@contextlib.contextmanager
def running(names: Sequence[str], app: str, loop: str) -> Iterator[tuple[dict[str, Server], dict[str, str]]]:
    """Start the named servers at once; gives those that answer, and why the others do not.

    All are ended on the way out.
    """
    started: dict[str, Server] = {}
    failed: dict[str, str] = {}
    try:
        started.update({name: _launch(name, app, loop) for name in names})
        for name in names:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    _wait(started[name], time.monotonic() + START_TIMEOUT)
                    break
                except ServerFailed as exc:
                    started.pop(name).stop()
                    # "Address already in use", in the words of each server.
                    if attempt == ATTEMPTS or "in use" not in str(exc):
                        failed[name] = str(exc)
                        break
                    started[name] = _launch(name, app, loop)
        yield started, failed
    finally:
        for server in started.values():
            server.ask_to_end()
        for server in started.values():
            server.stop()
