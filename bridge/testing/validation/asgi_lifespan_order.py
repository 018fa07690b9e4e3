"""The order of the messages of one lifespan, and what requests owe to it: a state machine.

Events go in, broken rules come out; no clock, loop or lock. An illegal step leaves the state as it was.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from .header_rules import Broken, shortened

SCOPE = "ASGI Lifespan 2.0, Scope"
STATE = "ASGI Lifespan 2.0, Lifespan State"
STARTUP = "ASGI Lifespan 2.0, Startup"
COMPLETE = "ASGI Lifespan 2.0, Startup Complete"
FAILED = "ASGI Lifespan 2.0, Startup Failed"
SHUTDOWN = "ASGI Lifespan 2.0, Shutdown"
SHUTDOWN_COMPLETE = "ASGI Lifespan 2.0, Shutdown Complete"
REJECT = "ASGI 3.0, Protocol Specifications"


class State(enum.Enum):
    """How far the lifespan is."""

    CALLED = enum.auto()  #: the app was called and was given no event yet
    STARTING = enum.auto()  #: startup was given and is not answered
    RUNNING = enum.auto()  #: startup is complete
    FAILED = enum.auto()  #: startup has failed
    STOPPING = enum.auto()  #: shutdown was given and is not answered
    STOPPED = enum.auto()  #: shutdown is answered


# What the app may send, from where, and where it leads.
_ANSWERS = {
    "lifespan.startup.complete": (State.STARTING, State.RUNNING),
    "lifespan.startup.failed": (State.STARTING, State.FAILED),
    "lifespan.shutdown.complete": (State.STOPPING, State.STOPPED),
    "lifespan.shutdown.failed": (State.STOPPING, State.STOPPED),
}


class LifespanOrder:
    """One lifespan.

    Attributes:
        state: how far it is.
    """

    gone = False  # no client that could leave

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.state = State.CALLED
        self._startup_given = False
        namespace = scope.get("state")
        self._namespace: dict[str, Any] | None = namespace if isinstance(namespace, dict) else None
        # What the namespace held when startup was complete: every request has to have these.
        self._started_with: dict[str, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether shutdown was answered."""
        return self.state is State.STOPPED

    def received(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        """What the server broke by giving this message."""
        kind = message["type"]
        if kind == "lifespan.startup":
            if self._startup_given:
                yield Broken("lifespan/order/second-startup", STARTUP, "one lifespan.startup", "a second")
            elif self.state is State.CALLED:
                self.state = State.STARTING
            self._startup_given = True
        elif self.state in (State.CALLED, State.STARTING):
            yield Broken(
                "lifespan/order/early-shutdown", SHUTDOWN, "lifespan.startup, and its answer, first", kind
            )
        elif self.state in (State.STOPPING, State.STOPPED):
            yield Broken("lifespan/order/second-shutdown", SHUTDOWN, "one lifespan.shutdown", "a second")
        elif self.state is State.RUNNING:
            self.state = State.STOPPING

    def sends(self, message: Mapping[str, Any]) -> Iterator[Broken]:
        """What the app broke by sending this message now."""
        kind = message["type"]
        before, after = _ANSWERS[kind]
        if self.state is before:
            self.state = after
        elif self.state is State.CALLED and before is State.STARTING:
            self.state = after
            yield Broken(
                "lifespan/order/before-startup",
                STARTUP,
                "lifespan.startup to be received first",
                kind,
                "SHOULD",
            )
        else:
            phase = "startup" if before is State.STARTING else "shutdown"
            yield Broken(
                f"lifespan/order/{phase}-answer",
                COMPLETE if before is State.STARTING else SHUTDOWN_COMPLETE,
                f"one answer to a lifespan.{phase} that was received",
                f"{kind}, {_STATES[self.state]}",
            )
        if self.state is State.RUNNING and self._namespace is not None:
            self._started_with = dict(self._namespace)

    def returned(self) -> Iterator[Broken]:
        """What the app broke by returning now. Raising instead is allowed at any time."""
        if self.state in (State.CALLED, State.STARTING):
            yield Broken(
                "lifespan/order/unanswered",
                REJECT,
                "an answer to lifespan.startup, or an exception if the app does not know the protocol",
                "the app returned without",
                "SHOULD",
            )
        elif self.state is State.RUNNING:
            yield Broken(
                "lifespan/order/early-return",
                SCOPE,
                "the app to stay until lifespan.shutdown",
                "the app returned before",
                "SHOULD",
            )
        elif self.state is State.STOPPING:
            yield Broken(
                "lifespan/order/shutdown-unanswered",
                SHUTDOWN_COMPLETE,
                "lifespan.shutdown.complete or lifespan.shutdown.failed before the app returns",
                "neither",
            )

    def request_rules(self, scope: Mapping[str, Any]) -> Iterator[Broken]:
        """What the server breaks by calling the app with this `http` or `websocket` scope now."""
        if self.state is State.STARTING:
            yield Broken(
                "lifespan/order/early-request", COMPLETE, "no connection before startup is complete", "one"
            )
        elif self.state is State.FAILED:
            yield Broken(
                "lifespan/order/request-after-failure", FAILED, "no connection after startup failed", "one"
            )
        elif self.state in (State.STOPPING, State.STOPPED):
            yield Broken(
                "lifespan/order/request-after-shutdown", SHUTDOWN, "no connection after shutdown", "one"
            )
        if self._namespace is not None and self.state is State.RUNNING:
            yield from self._copy_rules(self._namespace, scope)

    def _copy_rules(self, namespace: dict[str, Any], scope: Mapping[str, Any]) -> Iterator[Broken]:
        rule = f"{scope['type']}.scope/state"
        state = scope.get("state")
        if "state" not in scope:
            yield Broken(f"{rule}/missing", STATE, "a shallow copy of the lifespan's state", "no such key")
        elif state is namespace:
            yield Broken(f"{rule}/copy", STATE, "a copy of the lifespan's state", "that dict itself")
        elif isinstance(state, dict):
            lost = [
                key
                for key, value in self._started_with.items()
                # What the app itself has replaced since then is not the server's fault.
                if namespace.get(key) is value and state.get(key) is not value
            ]
            if lost:
                yield Broken(
                    f"{rule}/shallow", STATE, f"the object under {shortened(lost[0])}", "another, or none"
                )


_STATES = {
    State.CALLED: "before lifespan.startup",
    State.STARTING: "while startup is not answered",
    State.RUNNING: "after startup was complete",
    State.FAILED: "after startup had failed",
    State.STOPPING: "while shutdown is not answered",
    State.STOPPED: "after shutdown was answered",
}
