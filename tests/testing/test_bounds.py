"""Responses that go on without an end, with a clock of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx2
import pytest

from bridge.testing.bounds import ends_within
from bridge.testing.client import Client

closed = threading.Event()


def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        for number in count() if environ["PATH_INFO"] == "/endless" else range(3):
            yield b"%d " % number
    finally:
        closed.set()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in count() if scope["path"] == "/endless" else range(3):
            await send({"type": "http.response.body", "body": b"%d " % number, "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        closed.set()


@pytest.fixture(params=[wsgi, asgi], ids=["wsgi", "asgi"])
def app(request: pytest.FixtureRequest) -> Any:
    closed.clear()
    return request.param


def client(app: Any, seconds: float, largest: int = 1000) -> Client:
    ticks = count()
    hook = ends_within(seconds, largest, lambda: float(next(ticks)))
    return Client(app, lifespan="off", event_hooks={"response": [hook]})


def test_a_response_that_does_not_end_is_broken_off_and_the_app_is_told(app: Any) -> None:
    """The clock ticks once at the beginning and once for each piece."""
    with client(app, 2) as asking:
        response = asking.exchange("/endless")
        assert isinstance(response.error, httpx2.ReadTimeout)
        assert str(response.error) == "the response had not ended after 2 seconds"
        assert (response.status, response.body) == (200, b"0 1 2 ")
        assert closed.wait(30)


def test_a_response_that_is_too_long(app: Any) -> None:
    with client(app, 1000, 9) as asking:
        response = asking.exchange("/endless")
        assert isinstance(response.error, httpx2.ReadTimeout)
        assert response.body.startswith(b"0 1 2 3 4 ")
        assert closed.wait(30)


def test_another_response_is_whole(app: Any) -> None:
    with client(app, 3, 6) as asking:
        response = asking.exchange("/")
        assert (response.complete, response.body) == (True, b"0 1 2 ")
        assert asking.get("/").text == "0 1 2 "


def test_redirects_are_followed(app: Any) -> None:
    def elsewhere(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            start_response("302 Found", [("Location", "/there")])
            return []
        return wsgi(environ, start_response)

    with client(elsewhere, 9) as asking:
        response = asking.exchange("/", follow_redirects=True)
        assert (response.body, len(response.history)) == (b"0 1 2 ", 1)
