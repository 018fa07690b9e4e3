"""Real servers under an HTTP load generator: one process each, on loopback, all up at once, taking turns.

The servers share the machine with the load generator, as the figures of all of them do. What is served by
which of them is a matter of the direction: see `endtoend.py` in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from benchmarks import load, servers
from benchmarks.measure import Case, Progress, Result, Series, Settings, shuffled

CONNECTIONS = 32
SLICE = 1.0
SMOKE_SLICE = 0.1
WARM_UP = 0.3


@dataclass(frozen=True)
class Scenario:
    """One application on some servers."""

    name: str
    title: str
    app: str
    """What serve.py calls it."""
    servers: tuple[str, ...]
    smoke_servers: tuple[str, ...]
    rounds: int
    reference: str
    labels: Mapping[str, str]
    absent: Callable[[Settings], Container[str]]
    """The servers that cannot be measured in such a run."""


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    result = Result(
        scenario.name,
        f"{scenario.title}, {CONNECTIONS} connections, one process each ({settings.loop} where it applies)",
        "requests/s",
        reference=scenario.reference,
        labels=dict(scenario.labels),
    )
    case = Case(f"{CONNECTIONS} connections")
    result.cases.append(case)
    absent = scenario.absent(settings)
    wanted = scenario.smoke_servers if settings.smoke else scenario.servers
    names = [name for name in wanted if name not in absent]
    seconds = SMOKE_SLICE if settings.smoke else SLICE
    rounds = settings.rounds_or(scenario.rounds)
    result.notes.append(f"Load: {load.generator(seconds)}.")
    with servers.running(names, scenario.app, settings.loop) as (up, failed):
        for name, why in failed.items():
            result.notes.append(f"{result.label(name)} did not start: {why}")
        case.series = {name: Series() for name in up}
        said = Progress(scenario.name, rounds)
        # Threads start and caches fill before anything counts.
        for server in up.values():
            load.put_load(server.port, CONNECTIONS, SMOKE_SLICE if settings.smoke else WARM_UP)
        for number in range(rounds):
            for name in shuffled(list(up), number):
                case.series[name].add(load.put_load(up[name].port, CONNECTIONS, seconds))
            said.round_done(number)
    return result
