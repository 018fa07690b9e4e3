"""What is common to all who are measured: their names, and what the tables call them.

Each direction has its own adapters (`adapters.py` in its folder) and floor. A name may have a loop
behind it, as in `bridge/uvloop`: that contender on another event loop than the plain name's. It is
related to the others on the same loop. `bridge-waiting` is bridge as well, in another of its ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

BRIDGE = "bridge"
FLOOR = "floor"
"""A hop from a loop to a thread and back, by the standard library."""
ENGINE = "engine"
"""The same hop by bridge's own pool and hand-over, without HTTP."""
NATIVE = "native"
CROSSING = "crossing"
"""A hop from a thread to a loop and back, by the standard library."""
LIMIT = "limit"


@dataclass(frozen=True)
class Contender:
    """One adapter."""

    name: str
    """The short key used in results, budgets and on the command line of the servers."""
    label: str
    """What the tables call it."""
    distribution: str
    """The package whose version the report names."""
    build: Callable[..., Any]
    """Makes the adapter; what it takes and gives is a matter of the direction."""


LABELS = {
    FLOOR: "floor (run_in_executor)",
    ENGINE: "bridge's engine alone",
    NATIVE: "native ASGI",
    CROSSING: "floor (run_coroutine_threadsafe)",
    LIMIT: "limit (stepped in the calling thread)",
    "executor": "direct call in an executor",
    "pool40": "plain pool of 40",
    "django-asgi": "Django's ASGI handler",
    "gunicorn": "Gunicorn gthread",
    BRIDGE: "bridge",
    "bridge-function": "sync_to_async (bridge)",
    "a2wsgi": "a2wsgi",
    "asgiref": "asgiref",
    "starlette": "Starlette",
    "hypercorn": "Hypercorn's adapter",
    "uvicorn": "Uvicorn's adapter",
    "testclient": "Starlette's TestClient",
}


def on_loop(name: str, loop: str) -> str:
    """The name of a contender on this loop; no loop, no mark."""
    return f"{name}/{loop}" if loop else name


def split(name: str) -> tuple[str, str]:
    """A contender's plain name and its loop's, empty for the usual one."""
    plain, _, loop = name.partition("/")
    return plain, loop


def same_loop(name: str, other: str, among: Iterable[str]) -> str:
    """`other` on the loop of `name`, if that was measured; else `other` itself."""
    wanted = on_loop(other, split(name)[1])
    return wanted if wanted in among else other


def is_own(name: str) -> bool:
    """Whether this contender is bridge, on whatever loop, in whatever of its ways (`bridge-waiting`)."""
    return split(name)[0].partition("-")[0] == BRIDGE


def label(name: str) -> str:
    """What the tables call a contender unless a result says otherwise."""
    plain, loop = split(name)
    known = LABELS.get(plain, plain)
    return f"{known}, {loop}" if loop else known


def brief(name: str) -> str:
    """A contender's label without what stands in brackets, where there is no room for it."""
    return LABELS.get(name, name).partition(" (")[0]
