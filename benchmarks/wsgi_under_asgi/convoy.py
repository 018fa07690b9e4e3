"""A native async endpoint beside CPU-heavy WSGI handlers in the same process: who waits for the interpreter?

A thread that computes gives the interpreter up only every few milliseconds, and only to one other
thread. If ten workers compute, the event loop queues behind all of them each time it wakes. Ten clients
keep a WSGI handler busy that burns about 10 ms of pure Python; meanwhile a native endpoint is asked at
random moments and timed.

In process, the time runs from the moment at which the request is due on the loop to its answer: what any
timer or socket waits. Over HTTP, a client in another process asks Uvicorn, which turns its loop twice for
a request and so waits about twice.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable

from benchmarks import servers
from benchmarks.answers import HELLO_ANSWER
from benchmarks.clients import Request, reason, settle
from benchmarks.contenders import BRIDGE, label
from benchmarks.eventloop import run
from benchmarks.load import FAILURES, Connection
from benchmarks.measure import Case, Progress, Result, Series, Settings, Slice, shuffled
from benchmarks.wsgi_under_asgi import adapters, apps
from benchmarks.wsgi_under_asgi.inprocess import asgi_request

HEAVY_CLIENTS = 10
LEAD = 0.2
"""Seconds of load before timing begins."""
SLICE = 1.0
SMOKE_SLICE = 0.06
ROUNDS = 6
IDLE = "idle"

MEDIAN = "median latency"
P99 = "99th percentile"
THROUGHPUT = "CPU-heavy requests"

Probe = Callable[[], Awaitable[float]]
"""Asks the native endpoint once at a random moment; gives the seconds it took to answer."""


def _result(name: str, title: str) -> Result:
    result = Result(
        name, title, "ms", reference="a2wsgi", higher_is_better=False, labels={IDLE: "no other load"}
    )
    result.cases = [
        Case(MEDIAN),
        Case(P99),
        Case(THROUGHPUT, unit="requests/s", higher_is_better=True),
    ]
    return result


def _begin(result: Result, names: list[str]) -> None:
    for case in result.cases:
        case.series = {name: Series() for name in names if name != IDLE or case.name != THROUGHPUT}


def _add(result: Result, name: str, slices: dict[str, Slice]) -> None:
    for case in result.cases:
        if name in case.series:
            case.series[name].add(slices[case.name])


def _names(settings: Settings) -> list[str]:
    names = [contender.name for contender in adapters.available()]
    if settings.smoke:
        names = [name for name in names if name in (BRIDGE, "a2wsgi")]
    return names


def measure(settings: Settings) -> Result:
    """The native endpoint's latency in process."""
    return run(_measure(settings), settings.loop)


async def _measure(settings: Settings) -> Result:
    result = _result(
        "convoy",
        f"A native endpoint beside {HEAVY_CLIENTS} clients of a WSGI handler that burns 10 ms, "
        f"in process ({settings.loop})",
    )
    apps.calibrate()
    built = {name: adapters.BY_NAME[name].build(apps.burn, None) for name in _names(settings)}
    scope = apps.hello_scope()
    requests: dict[str, Request | None] = {
        name: asgi_request(app, scope, HELLO_ANSWER) for name, app in built.items()
    }
    requests[IDLE] = None
    _begin(result, list(requests))
    native = asgi_request(apps.native_hello, scope, HELLO_ANSWER)
    jitter = random.Random(1)

    async def probe() -> float:
        # Whole milliseconds, since that is what uvloop's timers know.
        delay = jitter.randint(1, 9) / 1000
        due = time.perf_counter() + delay
        await asyncio.sleep(delay)
        await native()
        return max(0.0, time.perf_counter() - due)

    seconds = SMOKE_SLICE if settings.smoke else SLICE
    rounds = settings.rounds_or(ROUNDS)
    said = Progress(result.name, rounds)
    gc.freeze()
    try:
        for number in range(rounds):
            for name in shuffled(list(requests), number):
                settle()
                request = requests[name]
                heavy = [] if request is None else [request] * HEAVY_CLIENTS
                _add(result, name, await _slice(heavy, probe, seconds))
            said.round_done(number)
    finally:
        gc.unfreeze()
        for app in built.values():
            adapters.close(app)
    return result


def measure_http(settings: Settings) -> Result:
    """The native endpoint's latency over HTTP, on Uvicorn."""
    result = _result(
        "http-convoy",
        f"A native endpoint beside {HEAVY_CLIENTS} clients of a WSGI handler that burns 10 ms, "
        f"over HTTP on Uvicorn ({settings.loop})",
    )
    seconds = SMOKE_SLICE if settings.smoke else SLICE
    rounds = settings.rounds_or(ROUNDS)
    with servers.running(_names(settings), "convoy", settings.loop) as (up, failed):
        for name, why in failed.items():
            result.notes.append(f"{label(name)} did not start: {why}")
        names = [*up, IDLE] if up else []
        _begin(result, names)
        said = Progress(result.name, rounds)
        for number in range(rounds):
            for name in shuffled(names, number):
                port = next(iter(up.values())).port if name == IDLE else up[name].port
                clients = 0 if name == IDLE else HEAVY_CLIENTS
                # Not the loop under test: the client should be the same for all.
                _add(result, name, run(_http_slice(port, clients, seconds, number), "asyncio"))
            said.round_done(number)
    return result


async def _http_slice(port: int, clients: int, seconds: float, seed: int) -> dict[str, Slice]:
    connections = [Connection(port, "/burn") for _ in range(clients)]
    native = Connection(port, "/native")
    jitter = random.Random(seed)

    async def probe() -> float:
        # Moments that do not beat in time with the switch interval.
        await asyncio.sleep(jitter.uniform(0.001, 0.009))
        asked = time.perf_counter()
        await native.ask()
        return time.perf_counter() - asked

    try:
        await native.ask()
        return await _slice([connection.ask for connection in connections], probe, seconds)
    finally:
        for connection in [*connections, native]:
            connection.close()


async def _slice(heavy: list[Request], probe: Probe, seconds: float) -> dict[str, Slice]:
    """Load from one client for each of `heavy`, and the latencies that `probe` sees meanwhile."""
    load = Slice(None)
    stopped = False

    async def client(request: Request) -> None:
        while not stopped:
            try:
                await request()
                load.answers += 1
            except FAILURES as exc:
                load.failures += 1
                load.failure = load.failure or reason(exc)

    tasks = [asyncio.create_task(client(request)) for request in heavy]
    native = Slice(None)
    latencies = []
    await asyncio.sleep(min(LEAD, seconds))
    before, begun = load.answers, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        try:
            latencies.append(await probe() * 1000)
            native.answers += 1
        except FAILURES as exc:
            native.failures += 1
            native.failure = native.failure or reason(exc)
    load.value = (load.answers - before) / (time.perf_counter() - begun)
    stopped = True
    await asyncio.gather(*tasks)
    ranked = sorted(latencies)
    median = statistics.median(ranked) if ranked else None
    p99 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))] if ranked else None
    return {
        MEDIAN: Slice(median, native.answers, native.failures, native.failure),
        P99: Slice(p99, native.answers, native.failures, native.failure),
        THROUGHPUT: load,
    }
