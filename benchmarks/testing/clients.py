"""Requests per second through the clients that tests use, from one thread, as a test makes them.

All have started before (a context manager where they are one), so that a lifespan, a loop and a thread
are not counted again and again. httpx2 without an app answers itself: what the library costs that most of
them stand on.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.answers import HELLO, HELLO_RAW, WrongAnswer
from benchmarks.asgi_under_wsgi import apps as asgi_apps
from benchmarks.clients import Call, settle, threaded_loop
from benchmarks.contenders import BRIDGE
from benchmarks.measure import Case, Progress, Result, Series, Settings, shuffled
from benchmarks.wsgi_under_asgi import apps as wsgi_apps

NAME = "client"
ROUNDS = 15
SLICE = 0.25
SMOKE_SLICE = 0.02
UPLOAD = b"x" * 65536

ASGI_GET = "GET, ASGI app"
ASGI_POST = "POST of 64 KiB, ASGI app"
WSGI_GET = "GET, WSGI app"

TESTCLIENT = "testclient"
LIBRARY = "httpx2"
WERKZEUG = "werkzeug"
LABELS = {
    BRIDGE: "bridge.testing.Client",
    TESTCLIENT: "Starlette's TestClient",
    LIBRARY: "httpx2 without an app",
    "httpx2-wsgi": "httpx2.WSGITransport",
    WERKZEUG: "Werkzeug's test client",
}


async def taker(scope: Any, receive: Any, send: Any) -> None:
    """Takes the whole body, then says hello."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if size != len(UPLOAD):
        raise WrongAnswer(f"the app received {size} bytes")
    await asgi_apps.hello(scope, receive, send)


def wsgi_hello(environ: Any, start_response: Any) -> Any:
    """Says hello."""
    start_response("200 OK", wsgi_apps.HELLO_HEADERS)
    return [HELLO]


def _checked(send: Callable[[], Any], body: Callable[[Any], bytes] = lambda answer: answer.content) -> Call:
    """One request, which has to be answered with hello."""

    def call() -> None:
        answer = send()
        if answer.status_code != 200 or body(answer) != HELLO:
            raise WrongAnswer(f"{answer.status_code}, {body(answer)!r}")

    return call


def _calls(stack: contextlib.ExitStack) -> Mapping[str, Mapping[str, Call]]:
    """By case and contender."""
    import httpx2
    from starlette.testclient import TestClient
    from werkzeug.test import Client as WerkzeugClient

    from bridge.testing import Client

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=HELLO_RAW, content=HELLO)

    own = stack.enter_context(Client(asgi_apps.hello))
    own_taker = stack.enter_context(Client(taker))
    own_wsgi = stack.enter_context(Client(wsgi_hello))
    theirs = stack.enter_context(TestClient(_tolerant(asgi_apps.hello)))
    their_taker = stack.enter_context(TestClient(_tolerant(taker)))
    alone = stack.enter_context(
        httpx2.Client(transport=httpx2.MockTransport(answer), base_url="http://testserver")
    )
    on_wsgi = stack.enter_context(
        httpx2.Client(transport=httpx2.WSGITransport(wsgi_hello), base_url="http://testserver")
    )
    werkzeug = WerkzeugClient(wsgi_hello)
    get: Call = _checked(lambda: alone.get("/"))
    return {
        ASGI_GET: {
            BRIDGE: _checked(lambda: own.get("/")),
            TESTCLIENT: _checked(lambda: theirs.get("/")),
            LIBRARY: get,
        },
        ASGI_POST: {
            BRIDGE: _checked(lambda: own_taker.post("/", content=UPLOAD)),
            TESTCLIENT: _checked(lambda: their_taker.post("/", content=UPLOAD)),
            LIBRARY: _checked(lambda: alone.post("/", content=UPLOAD)),
        },
        WSGI_GET: {
            BRIDGE: _checked(lambda: own_wsgi.get("/")),
            "httpx2-wsgi": _checked(lambda: on_wsgi.get("/")),
            WERKZEUG: _checked(lambda: werkzeug.get("/"), lambda answer: answer.data),
            LIBRARY: get,
        },
    }


def _tolerant(app: Any) -> Any:
    """The app with a lifespan that does nothing, without which TestClient does not start."""

    async def tolerant(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return tolerant


def measure(settings: Settings) -> Result:
    """Run the scenario."""
    result = Result(
        NAME, "Requests from a test, one after the other", "requests/s", reference=LIBRARY, labels=LABELS
    )
    seconds = SMOKE_SLICE if settings.smoke else SLICE
    rounds = settings.rounds_or(ROUNDS)
    progress = Progress(NAME, rounds)
    with contextlib.ExitStack() as stack:
        calls = _calls(stack)
        result.cases = [Case(name, {each: Series() for each in calls[name]}) for name in calls]
        gc.freeze()
        stack.callback(gc.unfreeze)
        for number in range(rounds):
            for case in result.cases:
                for name in shuffled(list(case.series), number):
                    settle()
                    case.series[name].add(threaded_loop(calls[case.name][name], 1, seconds))
            progress.round_done(number)
    return result
