"""The adapters, with any app and any request: nothing differs, nothing hangs, nothing is passed off as whole.

The apps and requests are those that `bridge.testing.strategies` makes. A longer search is
`fuzz_same_behaviour(..., max_examples=10_000, seed=...)`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from bridge.testing import Client, Request, compare, fuzz_same_behaviour
from bridge.testing.strategies import (
    ASGI_FAULTS,
    WSGI_FAULTS,
    Behaviour,
    FaultyASGI,
    FaultyWSGI,
    GeneratedASGI,
    GeneratedWSGI,
    Twins,
    asgi_apps,
    behaviours,
    requests,
    wsgi_apps,
)
from bridge.testing.strategies.behaviour import PARTS

# A second or two each; none is shrunk, since none is expected.
MANY = settings(max_examples=50, phases=[Phase.generate])
# Seconds that an answer may take; examples take milliseconds.
PATIENCE = 20.0


class AnyWSGI:
    """A WSGI app that is another one for each example, so that a client can stay."""

    app: Any

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        result: Iterable[bytes] = self.app(environ, start_response)
        return result


class AnyASGI:
    """The same for ASGI; the lifespan is its own."""

    app: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await self.app(scope, receive, send)


class Sides:
    """One app in several ways.

    Attributes:
        clients: by the way.
    """

    def __init__(self, stack: contextlib.ExitStack, holder: Any, ways: Iterable[str]) -> None:
        self._holder = holder
        self.clients = {
            way: stack.enter_context(Client(holder, via=way, timeout=PATIENCE))  # type: ignore[arg-type]
            for way in ways
        }

    def serve(self, app: Any) -> None:
        """Put an app in the place of the last one."""
        self._holder.app = app

    def __getitem__(self, way: str) -> Client:
        """The client of one way, without cookies of earlier requests."""
        client = self.clients[way]
        client.cookies.clear()
        return client


def assert_alike(old: Client, new: Client, request: Request) -> None:
    compare(old, new, [request], names=(str(old.via), str(new.via))).assert_same()


@pytest.fixture(scope="module")
def wsgi() -> Iterator[Sides]:
    with contextlib.ExitStack() as stack:
        yield Sides(stack, AnyWSGI(), ["native", "asgi", "roundtrip"])


@pytest.fixture(scope="module")
def asgi() -> Iterator[Sides]:
    with contextlib.ExitStack() as stack:
        yield Sides(stack, AnyASGI(), ["native", "wsgi", "roundtrip"])


def is_prompt(app: GeneratedASGI) -> bool:
    """Whether an app ends with its response.

    One that has sent all that its Content-Length promised, and asks for the request body only then, is
    answered after the adapter's `disconnect_grace` of seconds: correct, but too slow for these tests.
    """
    return app.order != "chunks" or not app.does.length


@MANY
@given(app=wsgi_apps(), request=requests())
def test_a_wsgi_app_behaves_alike_in_every_way(wsgi: Sides, app: GeneratedWSGI, request: Request) -> None:
    wsgi.serve(app)
    for way in ("asgi", "roundtrip"):
        assert_alike(wsgi["native"], wsgi[way], request)


@MANY
@given(app=asgi_apps(trailers=False).filter(is_prompt), request=requests())
def test_an_asgi_app_behaves_alike_in_every_way(asgi: Sides, app: GeneratedASGI, request: Request) -> None:
    """Trailers are left out: no WSGI server takes them."""
    asgi.serve(app)
    for way in ("wsgi", "roundtrip"):
        assert_alike(asgi["native"], asgi[way], request)


@MANY
@given(pair=behaviours().filter(lambda pair: is_prompt(pair.asgi)), request=requests())
def test_twins_behave_alike_in_every_way(wsgi: Sides, asgi: Sides, pair: Twins, request: Request) -> None:
    """Each way of the one against each way of the other, in turn."""
    wsgi.serve(pair.wsgi)
    asgi.serve(pair.asgi)
    for old, new in (
        ("native", "native"),
        ("asgi", "wsgi"),
        ("roundtrip", "native"),
        ("native", "roundtrip"),
    ):
        assert_alike(wsgi[old], asgi[new], request)


REFLECTS = Behaviour(reads=None, reflects=PARTS)


@pytest.mark.parametrize("way", ["asgi", "wsgi", "roundtrip"])
@pytest.mark.parametrize("app", [GeneratedWSGI(REFLECTS), GeneratedASGI(REFLECTS)], ids=["wsgi", "asgi"])
def test_every_request_arrives_unchanged(app: Any, way: Any) -> None:
    """The app tells all that it sees of a request."""
    fuzz_same_behaviour(app, app, via=("native", way), max_examples=15)


def passed_off_as_whole(client: Client) -> bool:
    """Whether the response to a request looks as if the app had answered well."""
    response = client.exchange("/")
    return response.complete and response.status < 500


@pytest.mark.parametrize("fault", WSGI_FAULTS)
def test_no_fault_of_a_wsgi_app_is_passed_off(
    wsgi: Sides, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.CRITICAL)
    for chunks in ((b"x",), (b"abc", b"", b"x" * 5000)):
        wsgi.serve(FaultyWSGI(fault, chunks))
        whole = {way: passed_off_as_whole(wsgi[way]) for way in ("asgi", "roundtrip")}
        assert not any(whole.values()) or WSGI_FAULTS[fault].mendable, whole
        serves_on(wsgi, GeneratedWSGI(REFLECTS))


@pytest.mark.parametrize("fault", ASGI_FAULTS)
def test_no_fault_of_an_asgi_app_is_passed_off(
    asgi: Sides, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.CRITICAL)
    for chunks in ((b"x",), (b"abc", b"", b"x" * 5000)):
        asgi.serve(FaultyASGI(fault, chunks))
        whole = {way: passed_off_as_whole(asgi[way]) for way in ("wsgi", "roundtrip")}
        assert not any(whole.values()) or ASGI_FAULTS[fault].mendable, whole
        serves_on(asgi, GeneratedASGI(REFLECTS))


def serves_on(sides: Sides, app: Any) -> None:
    """The next request, to a good app, is answered: the adapter has survived."""
    sides.serve(app)
    assert all(client.exchange("/").complete for client in sides.clients.values())
