"""Many requests at a time, and under gevent the greenlets that must not stop each other."""

from __future__ import annotations

import threading

import pytest
from served.wire import TIMEOUT, Response
from served_wsgi.conftest import Served, rows
from served_wsgi.servers import Limit

FEW = 12
MANY = 50


@pytest.mark.req("A-01", "A-11")
@pytest.mark.parametrize("spec", rows(lambda spec: not spec.lacks(Limit.ONE_AT_A_TIME)), indirect=True)
def test_requests_wait_for_each_other(server: Served, key: str) -> None:
    """Twelve requests that wait for each other in the app are all answered."""
    responses = server.at_once(f"/together?key={key}&parties={FEW}", FEW)
    assert [response.body for response in responses] == [b"together"] * FEW


@pytest.mark.req("A-03")
@pytest.mark.parametrize("spec", rows(lambda spec: spec.gevent), indirect=True)
@pytest.mark.parametrize("way", ["loop", "thread"])
def test_many_slow_requests_under_gevent(server: Served, way: str, key: str) -> None:
    """Fifty slow requests are asleep at the same time, and the hub serves others meanwhile."""
    responses: list[Response] = []

    def ask_all() -> None:
        responses.extend(server.at_once(f"/slow/{way}?key={key}", MANY))

    asking = threading.Thread(target=ask_all, daemon=True)
    asking.start()
    try:
        for _ in range(3):
            assert server.get("/hello").body == b"hello"
        server.until(key, "all are asleep", lambda entry: entry.get("asleep") == MANY)
        for _ in range(10):
            assert server.get("/hello").body == b"hello"
        assert not responses
    finally:
        server.release(key)
        asking.join(TIMEOUT)
    assert [response.body for response in responses] == [b"slow"] * MANY
