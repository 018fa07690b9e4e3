"""Fixtures: one server per row of the table, and clients that are closed after the test.

All tests of a server belong to one xdist group, so that each server is started once. Its output is
shown with every test that fails.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from served.servers import GRACE, SERVERS, Server
from served.wire import TIMEOUT, Client
from support import watching
from support.served import RunningServer, run_server, settled

_SHOWN_LINES = 120

# The tests read memory from /proc and end process groups.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]


@dataclass
class Served:
    """A running server with the app of `served.app`, and what was opened to it in one test."""

    spec: Server
    running: RunningServer
    stack: ExitStack = field(default_factory=ExitStack)

    def connect(
        self, timeout: float = TIMEOUT, receive_buffer: int | None = None, send_buffer: int | None = None
    ) -> Client:
        """A new connection, closed at the end of the test; see `HTTP1` for the arguments."""
        client = self.spec.client(self.running.address, timeout, receive_buffer, send_buffer)
        self.stack.callback(client.close)
        return client

    def get(self, target: str) -> Any:
        """One GET over a connection of its own; it has to be answered by 200."""
        with self.spec.client(self.running.address) as client:
            response = client.get(target)
        assert response.status == 200, response
        return response

    def probe(self, key: str) -> dict[str, Any]:
        """What the app's ledger holds under `key`."""
        found: dict[str, Any] = self.get(f"/probe?key={key}").json()
        return found

    def until(self, key: str, what: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the ledger's entry `key` meets a condition; return it."""
        return watching.until(lambda: self.probe(key), condition, what)

    def until_quiet(self, pool: str) -> None:
        """Wait until a pool has no other job than the one that answers the question.

        An app's `close()` is noted before its worker is through with the job.
        """
        watching.until(
            lambda: self.get("/pools").json()[pool],
            lambda stats: (stats["busy"], stats["streaming"], stats["queued"]) == (1, 0, 0),
            f"the pool {pool!r} is quiet",
        )

    def settled(self, key: str, name: str) -> int:
        """A count of the ledger's entry `key`, once it has stopped growing for a while."""
        count = watching.at_leisure(lambda: int(self.probe(key).get(name, 0)))
        return settled(count, f"{name} of {key} no longer grows")

    def release(self, key: str) -> None:
        """Open the app's gate `key`."""
        self.get(f"/release?key={key}")

    def terminate(self) -> None:
        """Send SIGTERM, as soon as the server handles it."""
        watching.terminate(self.running)


@pytest.fixture(
    scope="session",
    params=[pytest.param(spec, id=spec.name, marks=pytest.mark.xdist_group(spec.name)) for spec in SERVERS],
)
def spec(request: pytest.FixtureRequest) -> Server:
    """A row of the table of servers."""
    found: Server = request.param
    return found


Starter = Callable[..., AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def start(spec: Server, tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """Starts a server of its own with one of the targets of `served.app`."""

    @contextmanager
    def started(target: str = "application", grace: int = GRACE) -> Iterator[Served]:
        directory = tmp_path_factory.mktemp(spec.name)
        with run_server(lambda port: spec.argv(f"served.app:{target}", port, grace), directory) as running:
            served = Served(spec, running)
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
    served = Served(shared_server.spec, shared_server.running)
    with served.stack:
        yield served


@pytest.fixture
def client(server: Served) -> Client:
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
