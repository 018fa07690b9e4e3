"""A server in a process of its own: `python -m bridge serve TARGET --port 0`.

The process says where it serves on its output, which a thread reads until the end. It is a session
of its own, so that Ctrl-C in a terminal reaches the test run alone, which then ends the server.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from ...exceptions import StartupFailed, UsageError
from .running import ENDING, Running, refuse_own, url_of

# What `bridge serve` prints, up to the address.
_ANNOUNCEMENT = re.compile(r"^bridge: .* at (?P<scheme>https?)://(?P<host>\[[^\]]*\]|[^\s:,]+):(?P<port>\d+)")

# How many characters of output are kept: enough for any traceback, little beside a test run.
_KEPT = 256 * 1024

# `bridge` ends with this if the command line asks for what cannot be.
_MISUSE = 2

_OWN = frozenset({"server", "uds", "timeout_graceful_shutdown"})

_POSIX = os.name == "posix"


class InProcess(Running):
    """A `bridge serve` process.

    Args:
        target: what to serve, `module:attr` or another target of `bridge serve`.
        server: the server's name there.
        host, port: where to listen; port 0 stands for any that is free.
        grace: seconds for requests in progress at the end.
        options: further options of `bridge serve`, such as `workers=2`, `factory=True`,
            `app_dir="src"`; a list gives an option several times.
    """

    def __init__(
        self, target: str, server: str, *, host: str, port: int, grace: float, options: Mapping[str, Any]
    ) -> None:
        super().__init__(server, grace)
        refuse_own(f"a target on {server}", dict(options), _OWN)
        self._target = target
        self._command = [
            *(sys.executable, "-m", "bridge", "serve", target, "--server", server),
            *("--host", host, "--port", str(port)),
            # Daphne has none.
            *(() if server == "daphne" else ("--timeout-graceful-shutdown", str(max(1, round(grace))))),
            *_arguments(options),
        ]
        self._lines: deque[str] = deque()
        self._length = 0
        self._reading = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    @property
    def output(self) -> str:
        """What it has printed so far, on either stream; the end of it if it is much."""
        with self._reading:
            return "".join(self._lines)

    def _launch(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=_POSIX,
        )
        threading.Thread(target=self._read, name=f"bridge-{self.server}-output", daemon=True).start()

    def _read(self) -> None:
        """In the thread that reads the output: until all who could write to it have ended."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._keep(line)
                found = None if self.url else _ANNOUNCEMENT.match(line)
                if found is not None:
                    address = found["host"].strip("[]"), int(found["port"])
                    self._serves(url_of(address, found["scheme"] == "https"))
        code = process.wait()  # it closes its output when it ends; if before, `_stop` ends it
        self._is_over(self._failure(code))

    def _keep(self, line: str) -> None:
        with self._reading:
            self._lines.append(line)
            self._length += len(line)
            while self._length > _KEPT and len(self._lines) > 1:
                self._length -= len(self._lines.popleft())

    def _failure(self, code: int) -> Exception | None:
        if self.url and code in (0, -signal.SIGTERM, -signal.SIGKILL):
            return None
        kind = UsageError if code == _MISUSE else StartupFailed
        return kind(
            f"`bridge serve {self._target} --server {self.server}` ended with exit code {code}{self._words()}"
        )

    def _words(self) -> str:
        output = self.output.strip()
        return f". It printed:\n{output}" if output else ". It printed nothing"

    def _stop(self) -> None:
        process = self._process
        if process is None:
            self._is_over(None)
        elif process.poll() is None:
            process.terminate()

    def _finish(self) -> None:
        if self._process is not None:
            self._kill(self._process)
        super()._finish()

    def _abandon(self) -> None:
        process = self._process
        assert process is not None
        super()._abandon()
        self._kill(process)
        self._ended.wait(ENDING)

    def _kill(self, process: subprocess.Popen[str]) -> None:
        """End the process and what belongs to its session: workers that its end has left behind."""
        if _POSIX:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # there is none any more
        elif process.poll() is None:
            process.kill()


def _arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as `bridge serve` takes them."""
    arguments: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is True:
                arguments.append(flag)
            elif each is False:
                arguments.append(f"--no-{flag[2:]}")
            elif each is not None:
                arguments += [flag, str(each)]
    return arguments
