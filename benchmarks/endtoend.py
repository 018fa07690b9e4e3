"""Real servers under an HTTP load generator: one process each, on loopback, all up at once, taking turns.

The servers share the machine with the load generator, as the figures of all of them do.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import contenders, load, servers
from benchmarks.contenders import BRIDGE
from benchmarks.measure import Case, Progress, Result, Series, Settings, shuffled
from benchmarks.serve import GTHREAD_THREADS, WAITRESS_THREADS

CONNECTIONS = 32
SLICE = 1.0
SMOKE_SLICE = 0.1

LABELS = {
    BRIDGE: "bridge on Uvicorn",
    "a2wsgi": "a2wsgi on Uvicorn",
    "asgiref": "asgiref on Uvicorn",
    "starlette": "Starlette's adapter on Uvicorn",
    "hypercorn": "Hypercorn's adapter on Uvicorn",
    "uvicorn": "Uvicorn's own adapter",
    "django-asgi": "Django's ASGI handler on Uvicorn",
    "gunicorn": f"Gunicorn gthread, {GTHREAD_THREADS} threads",
    "waitress": f"Waitress, {WAITRESS_THREADS} threads",
    "hypercorn-server": "Hypercorn, WSGI",
    "granian": "Granian, WSGI",
}


@dataclass(frozen=True)
class Scenario:
    """One application on some servers."""

    name: str
    title: str
    app: str
    servers: tuple[str, ...]
    smoke_servers: tuple[str, ...]
    rounds: int


SCENARIOS = (
    Scenario(
        "http-flask",
        "Flask hello over HTTP",
        "flask",
        (
            *contenders.BY_NAME,
            "gunicorn",
            "waitress",
            "hypercorn-server",
            "granian",
        ),
        (BRIDGE, "gunicorn", "waitress", "hypercorn-server", "granian"),
        rounds=7,
    ),
    Scenario(
        "http-django",
        "Django sync view over HTTP",
        "django",
        (BRIDGE, "a2wsgi", "django-asgi", "gunicorn"),
        (BRIDGE, "django-asgi"),
        rounds=9,
    ),
)


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    result = Result(
        scenario.name,
        f"{scenario.title}, {CONNECTIONS} connections, one process each ({settings.loop} where it applies)",
        "requests/s",
        reference="gunicorn",
        labels=LABELS,
    )
    case = Case(f"{CONNECTIONS} connections")
    result.cases.append(case)
    absent = contenders.missing()
    wanted = scenario.smoke_servers if settings.smoke else scenario.servers
    names = [name for name in wanted if name not in absent]
    seconds = SMOKE_SLICE if settings.smoke else SLICE
    rounds = settings.rounds_or(scenario.rounds)
    result.notes.append(f"Load: {load.generator(seconds)}.")
    with servers.running(names, scenario.app, settings.loop) as (up, failed):
        for name, reason in failed.items():
            result.notes.append(f"{LABELS[name]} did not start: {reason}")
        case.series = {name: Series() for name in up}
        said = Progress(scenario.name, rounds)
        # Threads start and caches fill before anything counts.
        for server in up.values():
            load.put_load(server.port, CONNECTIONS, SMOKE_SLICE if settings.smoke else 0.3)
        for number in range(rounds):
            for name in shuffled(list(up), number):
                case.series[name].add(load.put_load(up[name].port, CONNECTIONS, seconds))
            said.round_done(number)
    return result
