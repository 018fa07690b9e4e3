"""One long computation beside handlers that wait: does the pool's governor take them for a convoy?

The governor holds threads back while those that are awake burn CPU. A single computation keeps the
interpreter busy as well, yet handlers that wait need their threads all the same. So bridge is measured with
its governor and without it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from typing import Any

from benchmarks.answers import HELLO_ANSWER
from benchmarks.clients import Request, reason, settle
from benchmarks.contenders import BRIDGE
from benchmarks.eventloop import run
from benchmarks.measure import Case, Progress, Result, Series, Settings, Slice, shuffled
from benchmarks.wsgi_under_asgi import adapters, apps
from benchmarks.wsgi_under_asgi.inprocess import asgi_request

CLIENTS = 10
COMPUTATION = 1.0
SMOKE_COMPUTATION = 0.3
LEAD = 0.02
"""Seconds that the computation runs alone."""
ROUNDS = 5

UNGOVERNED = "ungoverned"

WAITING = "waiting requests"
LATENCY = "their median latency"
COMPUTED = "the computation"


def _ungoverned(app: Any) -> Any:
    """Bridge's adapter with a pool whose governor never sees a convoy. There is no such option."""
    adapter = adapters.BY_NAME[BRIDGE].build(app, None)
    core = adapter.pool._core
    if not hasattr(core, "_burning"):
        raise AttributeError("the governor's question has another name now")
    core._burning = lambda now, *, submitting=False: False
    return adapter


def measure(settings: Settings) -> Result:
    """Requests that wait for 10 ms, and a computation meanwhile."""
    return run(_measure(settings), settings.loop)


async def _measure(settings: Settings) -> Result:
    seconds = SMOKE_COMPUTATION if settings.smoke else COMPUTATION
    result = Result(
        "mixed",
        f"{CLIENTS} clients of a handler that waits 10 ms beside one that computes for "
        f"{COMPUTATION:g} s, in process ({settings.loop})",
        "requests/s",
        reference=UNGOVERNED,
        labels={UNGOVERNED: "bridge without its governor"},
    )
    apps.calibrate()
    app = apps.computer(seconds)
    built = {
        name: adapters.BY_NAME[name].build(app, None)
        for name in (BRIDGE, "a2wsgi")
        if name not in adapters.missing()
    }
    built[UNGOVERNED] = _ungoverned(app)
    result.cases = [
        Case(WAITING),
        Case(LATENCY, unit="ms", higher_is_better=False),
        Case(COMPUTED, unit="s", higher_is_better=False),
    ]
    for case in result.cases:
        case.series = {name: Series() for name in built}
    rounds = settings.rounds_or(ROUNDS)
    said = Progress(result.name, rounds)
    gc.freeze()
    try:
        for number in range(rounds):
            for name in shuffled(list(built), number):
                settle()
                slices = await _slice(built[name])
                for case in result.cases:
                    case.series[name].add(slices[case.name])
            said.round_done(number)
    finally:
        gc.unfreeze()
        for adapter in built.values():
            adapters.close(adapter)
    return result


async def _slice(app: Any) -> dict[str, Slice]:
    """One computation, and what the clients see while it runs."""
    scope = apps.hello_scope()
    waiting = asgi_request(app, scope, HELLO_ANSWER)
    compute = asgi_request(app, {**scope, "path": "/compute", "raw_path": b"/compute"}, HELLO_ANSWER)
    clock = time.perf_counter
    latencies: list[float] = []
    failures: list[str] = []
    computed = Slice(None)
    over = False

    async def computation() -> None:
        nonlocal over
        begun = clock()
        try:
            await compute()
            computed.value = clock() - begun
            computed.answers = 1
        except Exception as exc:
            computed.failures, computed.failure = 1, reason(exc)
        over = True

    async def client(request: Request) -> None:
        while not over:
            asked = clock()
            try:
                await request()
                latencies.append(clock() - asked)
            except Exception as exc:
                failures.append(reason(exc))
                await asyncio.sleep(0)

    task = asyncio.create_task(computation())
    await asyncio.sleep(LEAD)
    begun = clock()
    clients = [asyncio.create_task(client(waiting)) for _ in range(CLIENTS)]
    await task
    seconds = clock() - begun
    # Those on their way are still answered, but after the computation.
    answers = len(latencies)
    median = statistics.median(latencies) * 1000 if latencies else None
    await asyncio.gather(*clients)
    failure = failures[0] if failures else ""
    return {
        WAITING: Slice(answers / seconds, answers, len(failures), failure),
        LATENCY: Slice(median, answers, len(failures), failure),
        COMPUTED: computed,
    }
