"""What the sites of `tests/frameworks` note about themselves while they are served, and how a test asks.

A site runs in a server process. It notes facts in `journal`, each under the id of the request that the
client chose (`X-Request-Id`), and waits at `gates` that the client opens with another request. So a
test orders what happens over HTTP, with no sleeps, and every wait is bounded.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from contextvars import ContextVar
from typing import Any, TypeAlias

PATIENCE = 15.0
"""The longest that a site waits for anything, in seconds; a test that comes to it fails."""

Facts: TypeAlias = dict[str, Any]

current_request: ContextVar[str] = ContextVar("current_request")
"""The id of the request whose code runs: readable wherever the request's own Context is kept."""


class Journal:
    """Facts by request, in order. Any thread may note and ask."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._facts: defaultdict[str, list[Facts]] = defaultdict(list)

    def note(self, what: str, **facts: Any) -> None:
        """Note that `what` happened in this thread, for the request of this Context.

        Raises:
            LookupError: the code runs outside its request's Context.
        """
        request = current_request.get()
        with self._changed:
            self._facts[request].append({"what": what, "thread": threading.get_ident(), **facts})
            self._changed.notify_all()

    def ask(self, request: str, await_: str = "", count: int = 1) -> list[Facts]:
        """The facts of a request; first wait until there are `count` of the kind `await_`, if given."""

        def found() -> bool:
            return not await_ or sum(fact["what"] == await_ for fact in self._facts[request]) >= count

        with self._changed:
            self._changed.wait_for(found, PATIENCE)
            return list(self._facts[request])


class Gates:
    """Named events. A client opens one with a request; a site waits at it in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def _event(self, name: str) -> threading.Event:
        with self._lock:
            return self._events[name]

    def open(self, name: str) -> None:
        """Let those go who wait at the gate, now and later."""
        self._event(name).set()

    def wait(self, name: str) -> bool:
        """Wait at the gate; return whether it was opened in time."""
        return self._event(name).wait(PATIENCE)


journal = Journal()
gates = Gates()
