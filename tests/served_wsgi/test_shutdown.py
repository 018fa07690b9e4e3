"""SIGTERM in each state: the server ends in time, and the app's lifespan is shut down by interpreter exit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from served.content import PIECE
from served.wire import HTTP1, TIMEOUT, Truncated
from served_wsgi.conftest import Served, Starter
from served_wsgi.servers import Limit
from support.served import wait_until

# Requests that come together to a server that has just started.
FIRST = 12
# A server has to be gone this long (seconds) after SIGTERM, whatever the app does: its grace, its own
# rounds of polling, the adapter's shutdown_timeout, the interpreter's end on a busy machine.
GONE_WITHIN = 25.0
# Seconds for requests that never end.
SHORT_GRACE = 1
# How long (seconds) to see that a server does not end.
HELD = 1.5


def wait_for_end(server: Served) -> None:
    """Wait until the server's process has ended, and with it all others of its group."""
    try:
        server.running.wait(GONE_WITHIN)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the server is still alive {GONE_WITHIN} s after SIGTERM")
    # Granian's and Apache's processes are reaped by others than their parent, so a little later.
    wait_until(lambda: not server.running.pids(), TIMEOUT, "no process of the server is left")


@pytest.mark.req("L-04", "L-05", "L-09", "L-10", "A-14", "A-16", "A-28", "X-06")
def test_idle(start: Starter, tmp_path: Path) -> None:
    """First requests that come together wait for one startup; SIGTERM shuts the lifespan down, once.

    Between them: requests of each kind, inside `wsgiref.validate`.
    """
    path = tmp_path / "file.bin"
    path.write_bytes(PIECE * 2)
    with start("observed") as server:
        assert [response.body for response in server.at_once("/hello", FIRST)] == [b"hello"] * FIRST
        assert server.recorded()[:2] == ["startup", "first request"]
        for target, status, body in (
            ("/stream?key=k&count=3", 200, PIECE * 3),
            ("/status/204", 204, b""),
            ("/fail/before", 500, None),
            (f"/bare/file?path={path}", 200, PIECE * 2),
        ):
            response = server.request("GET", target)
            assert response.status == status
            assert body is None or response.body == body
        assert server.request("POST", "/upload?key=u", PIECE).json()["size"] == len(PIECE)
        assert server.request("HEAD", "/hello").body == b""
        scope = server.get("/bare/scope/x").json()
        assert (scope["root_path"], scope["path"]) == ("/bare", "/bare/scope/x")
        server.terminate()
        wait_for_end(server)
        recorded = server.recorded()
        wrapped = not server.spec.lacks(Limit.NO_FILE_WRAPPER)
        assert next(event for event in recorded if "file wrapper" in event).endswith(str(wrapped))
        assert (recorded.count("startup"), recorded.count("shutdown")) == (1, 1)
        assert recorded[-1] == "shutdown"
        assert server.processes() == []


@pytest.mark.req("L-09", "L-10", "A-30")
def test_what_is_in_flight(start: Starter, key: str) -> None:
    """The running request is answered, if the server waits; then background work ends, then the lifespan.

    Work that never ends is waited for, a while, then cancelled.
    """
    with start("impatient") as server:
        graceless = server.spec.lacks(Limit.NO_GRACE)
        assert server.get(f"/background?key={key}").body == b"answered"
        assert server.get(f"/background?key={key}-endless").body == b"answered"
        server.until(f"{key}-endless", "it works", lambda entry: "working" in entry)
        client = server.connect()
        client.start("GET", f"/hold?key={key}")
        server.until_recorded(f"holds {key}")
        server.terminate()
        if graceless:
            with pytest.raises((Truncated, AssertionError)):
                assert client.response().status == 200
            server.release(key)
        else:
            time.sleep(0.3)  # enough for the signal to be noticed; the answer is the same if not
            server.release(key)
            response = client.response()
            assert (response.status, response.body) == (200, b"released")
            client.close()
        wait_for_end(server)
        *_, first, second, last = server.recorded()
        ends = [f"background ends {key}", f"background is cancelled {key}-endless"]
        # Without grace, the gate may be opened too late.
        too_late = [f"background is cancelled {key}", ends[1]]
        assert sorted([first, second]) in ([ends, sorted(too_late)] if graceless else [ends])
        assert last == "shutdown"


@pytest.mark.req("L-09", "L-10", "A-30")
def test_what_never_ends(start: Starter, key: str) -> None:
    """A request that waits, a stream that is read and one that is not: the server ends within its grace."""
    with start("impatient", grace=SHORT_GRACE) as server:
        waiting = server.connect()
        waiting.start("GET", f"/hold?key={key}")
        server.until_recorded(f"holds {key}")
        streams: list[HTTP1] = []
        if not server.spec.lacks(Limit.ONE_AT_A_TIME):
            for number, pause in enumerate((10, 0)):
                client = server.connect(receive_buffer=4096)
                client.start("GET", f"/stream?key={key}{number}&size=1000&pause={pause}")
                client.head()
                streams.append(client)
        server.terminate()
        if server.spec.lacks(Limit.HELD_BY_REQUESTS):
            with pytest.raises(subprocess.TimeoutExpired):
                server.running.wait(HELD)
            os.killpg(server.running.process.pid, signal.SIGKILL)
        wait_for_end(server)
        for client in (waiting, *streams[:1]):
            with pytest.raises((Truncated, OSError, AssertionError)):
                assert client.response().status == 200
