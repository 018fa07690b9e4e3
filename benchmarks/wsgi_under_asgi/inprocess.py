"""Requests per second inside one process: no sockets, no parser, only the adapter and its threads.

A closed loop: N clients, each asking again as soon as it is answered. All contenders live in one
process and on one loop, and take turns in slices of a tenth of a second.
"""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import HELLO, HELLO_ANSWER, Expected, WrongAnswer
from benchmarks.clients import Request, closed_loop, settle
from benchmarks.contenders import BRIDGE, ENGINE, FLOOR, NATIVE
from benchmarks.eventloop import run
from benchmarks.measure import Case, Progress, Result, Series, Settings, shuffled
from benchmarks.wsgi_under_asgi import adapters, apps
from benchmarks.wsgi_under_asgi.adapters import FLOOR_THREADS
from benchmarks.wsgi_under_asgi.engine import engine_request
from benchmarks.wsgi_under_asgi.exchange import Exchange

SLICE = 0.1
SMOKE_SLICE = 0.005


@dataclass(frozen=True)
class Scenario:
    """One WSGI app at some concurrencies."""

    name: str
    title: str
    app: Callable[[], Any]
    """Makes the WSGI app."""
    scope: Callable[[], dict[str, Any]]
    expected: Expected
    concurrencies: tuple[int, ...]
    rounds: int
    reference: str
    extra: Callable[[ThreadPoolExecutor], dict[str, Request]]
    """The contenders that are no adapters, given an executor of `executor_threads`."""
    threads: int | None = None
    """Threads of each adapter that lets one choose."""
    executor_threads: int = FLOOR_THREADS
    slice: float = SLICE


def asgi_request(app: Any, scope: dict[str, Any], expected: Expected) -> Request:
    """A function that makes one request to an ASGI app and checks the answer."""

    async def request() -> None:
        exchange = Exchange()
        await app(scope.copy(), exchange.receive, exchange.send)
        exchange.check(expected)

    return request


def _floor(executor: ThreadPoolExecutor) -> Request:
    async def request() -> None:
        if await asyncio.get_running_loop().run_in_executor(executor, apps.trivial) != HELLO:
            raise WrongAnswer("not what the function returns")

    return request


def _direct(executor: ThreadPoolExecutor, app: Any, scope: dict[str, Any], expected: Expected) -> Request:
    """The WSGI app called in an executor with a ready environ: what is left to pay is one hop each way."""
    environ = _environ(scope)

    def call() -> bytes:
        status = ""

        def start_response(line: str, headers: Any, exc_info: Any = None) -> Any:
            nonlocal status
            status = line

        iterable = app(environ.copy(), start_response)
        try:
            body = b"".join(iterable)
        finally:
            if hasattr(iterable, "close"):
                iterable.close()
        if not status.startswith(f"{expected.status} "):
            raise WrongAnswer(f"status {status}")
        return body

    async def request() -> None:
        if await asyncio.get_running_loop().run_in_executor(executor, call) != expected.body:
            raise WrongAnswer("not the expected body")

    return request


def _environ(scope: dict[str, Any]) -> dict[str, Any]:
    """The environ that an adapter hands to its app for this scope."""
    seen: dict[str, Any] = {}

    def capture(environ: Any, start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", apps.HELLO_HEADERS)
        return [HELLO]

    async def ask() -> None:
        adapter = next(c for c in adapters.available() if c.name != BRIDGE)
        app = adapter.build(capture, None)
        exchange = Exchange()
        await app(scope.copy(), exchange.receive, exchange.send)
        adapters.close(app)

    # In a thread of its own, since a loop is running in this one.
    thread = threading.Thread(target=run, args=(ask(), "asyncio"))
    thread.start()
    thread.join()
    return {**seen, "wsgi.input": io.BytesIO()}


def _hello_extra(executor: ThreadPoolExecutor) -> dict[str, Request]:
    return {
        FLOOR: _floor(executor),
        ENGINE: engine_request(),
        NATIVE: asgi_request(apps.native_hello, apps.hello_scope(), HELLO_ANSWER),
    }


def _browser_extra(executor: ThreadPoolExecutor) -> dict[str, Request]:
    return {
        FLOOR: _floor(executor),
        "executor": _direct(executor, apps.look, apps.browser_scope(), HELLO_ANSWER),
    }


def _flask_extra(executor: ThreadPoolExecutor) -> dict[str, Request]:
    app, scope = apps.flask_hello(), apps.hello_scope()
    return {"executor": _direct(executor, app, scope, apps.FLASK_ANSWER)}


def _django_extra(executor: ThreadPoolExecutor) -> dict[str, Request]:
    scope = apps.hello_scope()
    return {
        "executor": _direct(executor, apps.django_wsgi(), scope, apps.DJANGO_ANSWER),
        "django-asgi": asgi_request(apps.django_asgi(), scope, apps.DJANGO_ANSWER),
    }


def _sleep_extra(executor: ThreadPoolExecutor) -> dict[str, Request]:
    return {"pool40": _direct(executor, apps.sleeper, apps.hello_scope(), HELLO_ANSWER)}


SCENARIOS = (
    Scenario(
        name="hello",
        title="Hello-world in process",
        app=lambda: apps.hello,
        scope=apps.hello_scope,
        expected=HELLO_ANSWER,
        concurrencies=(1, 10, 50, 200),
        rounds=15,
        reference=FLOOR,
        extra=_hello_extra,
    ),
    Scenario(
        name="environ",
        title="A browser's request in process: 25 headers, cookies, a query",
        app=lambda: apps.look,
        scope=apps.browser_scope,
        expected=HELLO_ANSWER,
        concurrencies=(1, 10, 50),
        rounds=11,
        reference=FLOOR,
        extra=_browser_extra,
    ),
    Scenario(
        name="flask",
        title="Flask hello in process",
        app=apps.flask_hello,
        scope=apps.hello_scope,
        expected=apps.FLASK_ANSWER,
        concurrencies=(1, 10, 50),
        rounds=11,
        reference="executor",
        extra=_flask_extra,
    ),
    Scenario(
        name="django",
        title="Django sync view in process",
        app=apps.django_wsgi,
        scope=apps.hello_scope,
        expected=apps.DJANGO_ANSWER,
        concurrencies=(1, 10, 50),
        rounds=11,
        reference="executor",
        extra=_django_extra,
    ),
    Scenario(
        name="sleep",
        title="Handlers that sleep 10 ms, 40 clients, 40 threads where the adapter lets one choose",
        app=lambda: apps.sleeper,
        scope=apps.hello_scope,
        expected=HELLO_ANSWER,
        concurrencies=(40,),
        rounds=15,
        reference="pool40",
        extra=_sleep_extra,
        threads=40,
        executor_threads=40,
        slice=0.3,
    ),
)


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    return run(_measure(scenario, settings), settings.loop)


async def _measure(scenario: Scenario, settings: Settings) -> Result:
    result = Result(
        scenario.name, f"{scenario.title} ({settings.loop})", "requests/s", reference=scenario.reference
    )
    if scenario.threads is not None:
        # What Hypercorn's adapter takes its threads from.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(scenario.threads))
    executor = ThreadPoolExecutor(scenario.executor_threads, thread_name_prefix="floor")
    built = {
        contender.name: contender.build(scenario.app(), scenario.threads)
        for contender in adapters.available()
    }
    try:
        scope = scenario.scope()
        requests = {
            name: asgi_request(app, scope, scenario.expected) for name, app in built.items()
        } | scenario.extra(executor)
        concurrencies = scenario.concurrencies[:2] if settings.smoke else scenario.concurrencies
        await _rounds(result, requests, concurrencies, scenario, settings)
    finally:
        executor.shutdown(wait=False)
        for app in built.values():
            adapters.close(app)
    return result


async def _rounds(
    result: Result,
    requests: dict[str, Request],
    concurrencies: tuple[int, ...],
    scenario: Scenario,
    settings: Settings,
) -> None:
    seconds = SMOKE_SLICE if settings.smoke else scenario.slice
    for concurrency in concurrencies:
        result.cases.append(Case(f"concurrency {concurrency}", {name: Series() for name in requests}))
    # Threads start and caches fill before anything counts.
    for request in requests.values():
        await closed_loop(request, max(concurrencies), seconds)
    gc.freeze()
    rounds = settings.rounds_or(scenario.rounds)
    progress = Progress(scenario.name, rounds)
    for number in range(rounds):
        for concurrency, case in zip(concurrencies, result.cases, strict=True):
            for name in shuffled(list(requests), number):
                settle()
                case.series[name].add(await closed_loop(requests[name], concurrency, seconds))
        progress.round_done(number)
    gc.unfreeze()
