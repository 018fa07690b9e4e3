"""Fixtures: one server per row of the table, and clients that are closed after the test.

All tests of a server belong to one xdist group, so that each server is started once. Its output is
shown with every test that fails.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from served.wire import HTTP1, TIMEOUT, Response, Truncated
from served_wsgi.servers import GRACE, SERVERS, Limit, Server
from support import watching
from support.served import HOST, RunningServer, run_server, settled

_SHOWN_LINES = 120

# The tests read memory from /proc and end process groups.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]


@dataclass
class Served:
    """A running server with the app of `served_wsgi.app`, and what was opened to it in one test."""

    spec: Server
    running: RunningServer
    directory: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def connect(
        self, timeout: float = TIMEOUT, receive_buffer: int | None = None, send_buffer: int | None = None
    ) -> HTTP1:
        """A new connection, closed at the end of the test; see `HTTP1` for the arguments."""
        client = HTTP1(self.running.address, timeout, receive_buffer, send_buffer)
        self.stack.callback(client.close)
        return client

    def request(self, method: str, target: str, body: bytes | None = None) -> Response:
        """One exchange over a connection of its own."""
        with HTTP1(self.running.address) as client:
            response: Response = client.request(method, target, body=body)
        return response

    def get(self, target: str) -> Response:
        """One GET over a connection of its own; it has to be answered by 200."""
        response = self.request("GET", target)
        assert response.status == 200, response
        return response

    def at_once(self, target: str, count: int) -> list[Response]:
        """The responses to as many requests sent together, each over a connection of its own."""
        responses: list[Response] = []

        def ask() -> None:
            with HTTP1(self.running.address, 30.0) as client:
                responses.append(client.get(target))

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40.0)
        return responses

    def serves_on(self, client: HTTP1, response: Response) -> None:
        """The connection carries a further exchange: nothing was left over on it.

        If the server closes it after the response, the end has to come without a byte more.
        """
        if self.spec.lacks(Limit.NO_KEEP_ALIVE) or response.head.get("connection") == "close":
            client.expect_response("GET")
            with pytest.raises(Truncated, match="ended in a line: b''"):
                client.next_head()
            # A server that closes first may wait for the client to do so too, and serve nobody meanwhile.
            client.close()
            client = self.connect()
        assert client.get("/hello").body == b"hello"

    # -- what the app notes

    def processes(self) -> list[int]:
        """The processes in which the app's lifespan runs."""
        names = os.listdir(self.directory)
        return sorted(int(name.removeprefix("process-")) for name in names if name.startswith("process-"))

    def ask(self, pid: int, command: str, key: str) -> dict[str, Any]:
        """What the ledger of process `pid` holds under `key`, after carrying out the command."""
        port = int((self.directory / f"process-{pid}").read_text())
        with socket.create_connection((HOST, port), TIMEOUT) as control:
            control.sendall(json.dumps([command, key]).encode() + b"\n")
            with control.makefile("rb") as answer:
                found: dict[str, Any] = json.loads(answer.read())
        return found

    def probe(self, key: str) -> dict[str, Any]:
        """What the app's ledger holds under `key`, in a server that has one process."""
        (pid,) = self.processes()
        return self.ask(pid, "read", key)

    def release(self, key: str) -> None:
        """Open the app's gate `key` in all processes that are still there."""
        for pid in self.processes():
            try:
                self.ask(pid, "release", key)
            except (OSError, ValueError):
                pass  # it has just ended

    def until(self, key: str, what: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the ledger's entry `key` meets a condition; return it."""
        return watching.until(lambda: self.probe(key), condition, what)

    def until_recorded(self, event: str) -> None:
        """Wait until the app has recorded an event."""
        watching.until(self.recorded, lambda recorded: event in recorded, f"{event!r} is recorded")

    def settled(self, key: str, name: str) -> int:
        """A count of the ledger's entry `key`, once it has stopped growing for a while."""
        count = watching.at_leisure(lambda: int(self.probe(key).get(name, 0)))
        return settled(count, f"{name} of {key} no longer grows")

    def terminate(self) -> None:
        """Send SIGTERM, as soon as the server and the processes of the app handle it."""
        watching.terminate(self.running, self.processes())

    def recorded(self) -> list[str]:
        """What the app has recorded, in all processes, without their numbers."""
        return [event for _, event in self.recorded_by_process()]

    def recorded_by_process(self) -> list[tuple[int, str]]:
        path = self.directory / "record"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), event) for pid, _, event in (line.partition(" ") for line in lines)]


def rows(condition: Callable[[Server], object] = lambda _: True) -> list[ParameterSet]:
    """The rows of the table that can be tested here and meet a condition, as parameters of `spec`."""
    return [
        pytest.param(spec, id=spec.name, marks=pytest.mark.xdist_group(f"wsgi-{spec.name}"))
        for spec in SERVERS
        if spec.missing is None and condition(spec)
    ]


@pytest.fixture(scope="session", params=rows())
def spec(request: pytest.FixtureRequest) -> Server:
    """A row of the table of servers."""
    found: Server = request.param
    return found


Starter = Callable[..., AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def start(spec: Server, tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """Starts a server of its own with one of the targets of `served_wsgi.app`."""

    @contextmanager
    def started(
        target: str = "application", grace: int = GRACE, options: Sequence[str] = ()
    ) -> Iterator[Served]:
        directory = tmp_path_factory.mktemp(spec.name)
        environment = {"PROBE_DIRECTORY": str(directory)}
        with run_server(
            lambda port: [*spec.argv(f"served_wsgi.app:{target}", port, grace), *options],
            directory,
            environment,
        ) as running:
            served = Served(spec, running, directory)
            _RUNNING.append(served)
            try:
                with served.stack:
                    yield served
            finally:
                _RUNNING.remove(served)

    return started


_RUNNING: list[Served] = []


@pytest.fixture(scope="session")
def shared_server(start: Starter) -> Iterator[Served]:
    """The server that most tests share."""
    with start() as served:
        served.get("/hello")
        yield served


@pytest.fixture
def server(shared_server: Served) -> Iterator[Served]:
    """The shared server, for one test."""
    served = Served(shared_server.spec, shared_server.running, shared_server.directory)
    with served.stack:
        yield served


@pytest.fixture
def client(server: Served) -> HTTP1:
    """A connection to the shared server."""
    return server.connect()


@pytest.fixture
def key() -> str:
    """A name of its own for what a test does."""
    return uuid.uuid4().hex


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the running servers have printed with a failure."""
    report = yield
    if report.failed:
        for served in _RUNNING:
            lines = served.running.output().splitlines()[-_SHOWN_LINES:]
            report.sections.append((f"output of {served.spec.name}", "\n".join(lines)))
    return report
