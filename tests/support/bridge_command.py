"""The `bridge` command in a process of its own: run to its end, or serving until it is told to stop."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import bridge

from .served import die_with_parent

# Seconds that anything here may take before the test fails. A loaded machine is no bug.
PATIENCE = 30.0

# The line that `bridge serve` prints, up to the address.
_SERVING = re.compile(
    r"^bridge: (?P<summary>.*) on (?P<server>\w+) at (?P<address>[^\s,]+)(?P<rest>.*)$", re.MULTILINE
)


# Prefixes of variables that configure a server.
_SERVERS = ("UVICORN_", "GUNICORN_", "GRANIAN_", "UWSGI_")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's variables, with this `bridge` and without what configures a server behind our back."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BRIDGE_", "FLASK_", "DJANGO_", "PYTEST_", "COV_", *_SERVERS))
        and name not in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SCRIPT_NAME", "PORT")
    }
    # Relative entries mean the folder of the tests, not that of the command.
    inherited = [os.path.abspath(entry) for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = os.pathsep.join([str(Path(str(bridge.__file__)).resolve().parent.parent), *inherited])
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "100", **(extra or {})}


def command(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m bridge` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Serving:
    """A `bridge serve` process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._text = ""
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="bridge output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self._text += line
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """All that has been printed so far, on either stream."""
        with self._changed:
            return self._text

    def wait_for(self, pattern: str | re.Pattern[str], *, count: int = 1) -> re.Match[str]:
        """The `count`-th match of `pattern` in the output.

        Raises:
            AssertionError: the process ends, or PATIENCE does, without one.
        """
        match = self.look_for(pattern, count=count, within=PATIENCE)
        assert match is not None, f"{pattern!r} was never printed; this was:\n{self.output}"
        return match

    def look_for(
        self, pattern: str | re.Pattern[str], *, count: int = 1, within: float
    ) -> re.Match[str] | None:
        """The same, or `None` if it is not printed within so many seconds."""
        compiled = re.compile(pattern)
        deadline = time.monotonic() + within
        with self._changed:
            while True:
                matches = list(compiled.finditer(self._text))
                if len(matches) >= count:
                    return matches[count - 1]
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def announcement(self, *, count: int = 1) -> re.Match[str]:
        """The `count`-th line that says what is served, with the groups summary, server, address, rest."""
        return self.wait_for(_SERVING, count=count)

    @property
    def url(self) -> str:
        return self.announcement()["address"]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str = "/") -> str:
        """The body of the answer to a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == 200, f"{response.status}: {body}\n{self.output}"
            return body
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGTERM, *, within: float = PATIENCE) -> int:
        """Send a signal and return the exit code.

        Raises:
            AssertionError: the process is still there after so many seconds.
        """
        self.process.send_signal(number)
        return self.wait(within)

    def wait(self, within: float = PATIENCE) -> int:
        """The exit code, once the process has ended and all its output is read."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"it still runs after {within} s; this was printed:\n{self.output}"
            ) from None
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        """End whatever is left, workers included."""
        for pid in _family(self.process.pid):  # some may have a session of their own
            _kill(os.kill, pid)
        _kill(os.killpg, self.process.pid)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)


def _family(pid: int) -> list[int]:
    """A process and its descendants, as far as they are alive."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [each for child in path.read_text().split() for each in _family(int(child))]
        except OSError:
            pass  # it has just ended
    return found


def _kill(how: Callable[[int, int], None], pid: int) -> None:
    try:
        how(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@contextmanager
def serving(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    port: str | None = "0",
    pass_fds: Sequence[int] = (),
) -> Iterator[Serving]:
    """Run `python -m bridge serve ARGUMENTS --port PORT` while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "serve", *arguments, *(() if port is None else ("--port", port))],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        pass_fds=pass_fds,
        preexec_fn=die_with_parent,
    )
    server = Serving(process)
    try:
        yield server
    finally:
        server.kill()
