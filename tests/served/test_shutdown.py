"""SIGTERM: what is in flight completes, what cannot end does not keep the server alive."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest
from served.conftest import Starter
from served.servers import Limit
from served.wire import TIMEOUT, Truncated
from support.served import HOST, wait_until
from support.watching import PATIENCE

# Seconds for requests in flight, more than any of these tests needs.
LONG_GRACE = 20
# A server has to be gone this long (seconds) after SIGTERM, whatever its threads do: its grace, its own
# rounds of polling, one second of the adapter's shutdown_timeout, the interpreter's end on a busy machine.
GONE_WITHIN = 20.0


class Home:
    """Where the app's `/call-home` reports: it says when a request runs, and decides when it goes on."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(TIMEOUT)
        self.port: int = self._listener.getsockname()[1]
        self._calls: list[socket.socket] = []

    def await_call(self) -> None:
        call, _ = self._listener.accept()
        self._calls.append(call)
        call.settimeout(TIMEOUT)
        assert call.recv(7) == b"running"

    def release(self) -> None:
        for call in self._calls:
            call.sendall(b"!")

    def close(self) -> None:
        for call in self._calls:
            call.close()
        self._listener.close()


@pytest.fixture
def home() -> Iterator[Home]:
    """A place that a blocked request calls."""
    home = Home()
    yield home
    home.close()


@pytest.mark.req("L-01", "L-02", "W-27")
def test_a_request_in_flight_completes(start: Starter, home: Home) -> None:
    """After SIGTERM: no new connection, the running request is answered, the hook runs, it exits."""
    with start(grace=LONG_GRACE) as server:
        idle = server.connect()
        assert idle.get("/hello").status == 200
        client = server.connect()
        client.start("GET", f"/call-home?port={home.port}")
        home.await_call()
        server.terminate()
        if server.spec.lacks(Limit.NO_GRACE):
            with pytest.raises(Truncated):
                client.response()
            home.release()
        else:
            if server.spec.lacks(Limit.LISTENS_ON):
                while idle.sock.recv(65536):  # it says goodbye to a connection without a request
                    pass
            else:
                wait_until(lambda: not server.running.accepts(), PATIENCE, "the server refuses connections")
            home.release()
            try:
                response = client.response()
            except Truncated:
                assert server.spec.lacks(Limit.MAY_CUT_LAST)
            else:
                assert (response.status, response.body) == (200, b"released")
        client.close()
        idle.close()
        assert server.running.wait(GONE_WITHIN) in (0, -15)
        ran = server.running.output().count("the shutdown hook ran")
        assert ran == (0 if server.spec.lacks(Limit.NO_LIFESPAN) else 1)


@pytest.mark.req("L-01", "W-27")
def test_streams_and_stuck_threads_do_not_keep_it_alive(start: Starter, home: Home, key: str) -> None:
    """A stream that is read, one that is not, and a request that never returns: the server still exits.

    Rivals' bug 2 (all but Hypercorn's): the server is still alive 8 s after SIGTERM.
    """
    with start("impatient") as server:
        reading = server.connect()
        reading.start("GET", f"/stream?key={key}&size=100&pause=10")
        reading.head()
        stalled = server.connect(receive_buffer=4096)
        stalled.start("GET", f"/stream?key={key}")
        stuck = server.connect()
        stuck.start("GET", f"/call-home?port={home.port}")
        home.await_call()
        server.until(key, "both streams run", lambda entry: entry.get("started") == 2)
        server.terminate()
        with pytest.raises((Truncated, OSError)):
            reading.rest()
        if server.spec.lacks(Limit.HELD_BY_STALLED):
            with pytest.raises(subprocess.TimeoutExpired):
                server.running.wait(2.0)
            stalled.close()
        try:
            server.running.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the server is still alive {GONE_WITHIN} s after SIGTERM")
