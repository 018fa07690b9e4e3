"""All scenarios by direction, in the order of the report, and what runs each. What they mean: prose.py."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks import endtoend, imports, memory
from benchmarks.asgi_under_wsgi import endtoend as asgi_endtoend
from benchmarks.asgi_under_wsgi import inprocess as asgi_inprocess
from benchmarks.asgi_under_wsgi import memory as asgi_memory
from benchmarks.asgi_under_wsgi import streams as asgi_streams
from benchmarks.measure import Result, Settings
from benchmarks.shim import facade, iterators, to_async, to_sync
from benchmarks.testing import clients
from benchmarks.wsgi_under_asgi import convoy, mixed
from benchmarks.wsgi_under_asgi import endtoend as wsgi_endtoend
from benchmarks.wsgi_under_asgi import inprocess as wsgi_inprocess
from benchmarks.wsgi_under_asgi import memory as wsgi_memory
from benchmarks.wsgi_under_asgi import streams as wsgi_streams

Measure = Callable[[Settings], Result]
"""Runs a scenario."""


def _each(measure: Callable[..., Result], scenarios: Iterable[Any]) -> dict[str, Measure]:
    """The scenarios of a module that has several."""
    return {scenario.name: functools.partial(measure, scenario) for scenario in scenarios}


DIRECTIONS: dict[str, dict[str, Measure]] = {
    "wsgi-under-asgi": {
        **_each(wsgi_inprocess.measure, wsgi_inprocess.SCENARIOS),
        **_each(wsgi_streams.measure, wsgi_streams.SCENARIOS),
        **_each(memory.measure, [wsgi_memory.SCENARIO]),
        "convoy": convoy.measure,
        "http-convoy": convoy.measure_http,
        "mixed": mixed.measure,
        **_each(endtoend.measure, wsgi_endtoend.SCENARIOS),
    },
    "asgi-under-wsgi": {
        **_each(asgi_inprocess.measure, asgi_inprocess.SCENARIOS),
        **_each(asgi_streams.measure, asgi_streams.SCENARIOS),
        **_each(memory.measure, [asgi_memory.SCENARIO]),
        **_each(endtoend.measure, asgi_endtoend.SCENARIOS),
    },
    "shim": {
        to_async.NAME: to_async.measure,
        to_sync.PLAIN: to_sync.measure_plain,
        to_sync.WORKER: to_sync.measure_worker,
        iterators.IN_THREAD: iterators.measure_in_thread,
        iterators.ON_LOOP: iterators.measure_on_loop,
        facade.NAME: facade.measure,
    },
    "testing": {
        clients.NAME: clients.measure,
    },
    "package": {
        "import": imports.measure,
    },
}

BY_NAME: dict[str, Measure] = {
    name: measure for scenarios in DIRECTIONS.values() for name, measure in scenarios.items()
}


def chosen(names: Sequence[str] | None) -> dict[str, Measure]:
    """The scenarios of these names, each that of a scenario or of a direction; all if there are none."""
    found: dict[str, Measure] = {}
    for name in names or DIRECTIONS:
        found.update(DIRECTIONS[name] if name in DIRECTIONS else {name: BY_NAME[name]})
    return found
