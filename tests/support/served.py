"""Real servers for tests: started on a port of the system's choice, watched, measured and ended.

A server is a process group of its own. It never outlives the test run, its output goes to a file
that is shown when a test fails, and it is ended by process id with bounded waits.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
TESTS = Path(__file__).resolve().parent.parent

# A server that is not there after this long (seconds) never will be: importing Flask and a server
# takes about one second of an idle core, and several tests may compete for it.
START_TIMEOUT = 30.0
# A server that was asked to stop and has not after this long (seconds) is killed.
STOP_TIMEOUT = 15.0
_POLL = 0.01
# A count that has not grown for this long (seconds) has stopped; what is counted takes microseconds a step.
_SETTLED = 0.25

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that no server outlives its test run.

    Linux only; elsewhere nothing happens. To be called in the child.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Ask `condition` again and again until it holds.

    Raises:
        AssertionError: it did not within `timeout` seconds; the message says `what` was awaited.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what}")
        time.sleep(_POLL)


def settled(count: Callable[[], int], what: str) -> int:
    """A count, once it has stopped growing for a while.

    Raises:
        AssertionError: it still grows after many times that while; the message says `what` was awaited.
    """
    last, since = count(), time.monotonic()

    def holds() -> bool:
        nonlocal last, since
        now = count()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > _SETTLED

    wait_until(holds, 40 * _SETTLED, what)
    return last


def reserve_port() -> socket.socket:
    """A socket bound to a free port, which nobody else is given while the socket is open.

    It does not listen, so a server that sets SO_REUSEADDR, as all do, can bind and listen there.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((HOST, 0))
    return reservation


@dataclass(frozen=True)
class Memory:
    """Memory of a group of processes in bytes: resident now, and at most since the last reset."""

    now: int
    peak: int


@dataclass
class RunningServer:
    """A server process that accepts connections.

    Attributes:
        address: where it listens.
        process: the process that was started; others may belong to its group.
        log: the file with everything that it has printed.
    """

    address: tuple[str, int]
    process: subprocess.Popen[bytes]
    log: Path
    _reservation: socket.socket = field(repr=False)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def pids(self) -> list[int]:
        """The live processes of the group, the started one first."""
        leader = self.process.pid
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    # The command may hold spaces and brackets, what follows it does not.
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it has just ended
                if int(fields[2]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
        return sorted(found, key=lambda pid: pid != leader)

    def reset_peak(self) -> None:
        """Start a new measurement of `memory().peak`."""
        for pid in self.pids():
            # 5 sets the peak resident size to the present one (proc(5), /proc/pid/clear_refs).
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def memory(self) -> Memory:
        """Resident memory of all processes of the group, from /proc."""
        now = peak = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    now += int(line.split()[1]) * 1024
                elif line.startswith("VmHWM:"):
                    peak += int(line.split()[1]) * 1024
        return Memory(now, peak)

    def terminate(self) -> None:
        """Ask the server to stop (SIGTERM to the started process, as a process manager does)."""
        self.process.terminate()

    def wait(self, timeout: float) -> int:
        """The exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        return self.process.wait(timeout)

    def accepts(self) -> bool:
        """Whether a new connection is accepted just now."""
        try:
            socket.create_connection(self.address, 1.0).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the server, and whatever is left of its group; does nothing if it has ended."""
        try:
            if self.process.poll() is None:
                self.terminate()
                try:
                    self.process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait(STOP_TIMEOUT)
            self._reservation.close()


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without those by which a server could be configured behind our back."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GRANIAN_", "GUNICORN_", "UVICORN_", "COV_", "PYTEST_"))
        and name not in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SCRIPT_NAME")
    }
    # The server runs in another directory, where relative entries would mean something else.
    inherited = [os.path.abspath(entry) for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = os.pathsep.join([str(TESTS), *inherited])
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


@contextmanager
def run_server(
    argv: Callable[[int], Sequence[str]], directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Start a server, wait until it accepts connections, and end it.

    Args:
        argv: makes the command from the port.
        directory: an empty one; it becomes the current directory and holds the log.
        environment: variables to set besides.

    Raises:
        AssertionError: it ended, or does not accept within START_TIMEOUT; the message holds its output.
    """
    log = directory / "server.log"
    reservation = reserve_port()
    address = reservation.getsockname()
    output: IO[bytes]
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(argv(address[1])),
            cwd=directory,
            env=_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    server = RunningServer(address, process, log, reservation)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not server.accepts():
            if process.poll() is not None:
                raise AssertionError(f"the server ended with {process.returncode}:\n{server.output()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the server does not accept connections:\n{server.output()}")
            time.sleep(_POLL)
        yield server
    finally:
        server.stop()
