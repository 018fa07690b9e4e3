"""What a validator says of a broken rule, and what it does with it.

Used by both validators. A violation is a value; whether it is raised, collected or handed to a
function is the user's choice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...exceptions import ProtocolViolation, UsageError

logger = logging.getLogger("bridge.testing")

Side: TypeAlias = Literal["app", "server"]
"""Who broke the rule: the application (with its framework and middleware), or what called it."""

OnViolation: TypeAlias = "Literal['raise', 'collect', 'log'] | Callable[[Violation], object]"
"""What becomes of a violation; see `Violations`."""

_ACTIONS = ("raise", "collect", "log")


@dataclass(frozen=True)
class Violation:
    """One broken rule.

    Attributes:
        rule: a short stable name, such as "http.response.start/headers/lower-case".
        side: who broke it.
        clause: where the rule stands, such as "ASGI HTTP 2.5, Response Start".
        expected: what should have been, in words.
        came: what came, shortened if it is long.
        where: the request and the moment, such as "GET /notes, message 2 of send()".
        level: "MUST" of the specification, or "SHOULD".
    """

    rule: str
    side: Side
    clause: str
    expected: str
    came: str
    where: str
    level: Literal["MUST", "SHOULD"] = "MUST"

    def __str__(self) -> str:
        return (
            f"{self.where}: the {self.side} broke {self.rule} ({self.clause})\n"
            f"  expected: {self.expected}\n"
            f"  came:     {self.came}"
        )


class Violations:
    """The violations that a validator has seen, safe under threads.

    Args:
        action: "raise" raises `ProtocolViolation` where it happens; "collect" keeps them only; "log"
            also writes each new one to the logger `bridge.testing` as a warning; a function is called
            with each. All of them are kept in `seen` in any case.
        ignore: rules not to report, by `Violation.rule`; a name with a trailing "/" stands for all
            rules that begin with it.
        limit: how many are kept; the number of all is `count`.
    """

    def __init__(
        self, action: OnViolation = "raise", ignore: tuple[str, ...] = (), limit: int = 1000
    ) -> None:
        if not callable(action) and action not in _ACTIONS:
            raise UsageError(f"on_violation is one of {', '.join(_ACTIONS)} or a function; got {action!r}")
        self.action = action
        self.count = 0
        self._ignored = ignore
        self._limit = limit
        self._seen: list[Violation] = []
        self._lock = threading.Lock()

    @property
    def seen(self) -> list[Violation]:
        """A copy of those that were kept, in order."""
        with self._lock:
            return list(self._seen)

    def add(self, violation: Violation) -> None:
        """Report one.

        Raises:
            ProtocolViolation: the action is "raise".
        """
        if any(
            violation.rule == each or (each.endswith("/") and violation.rule.startswith(each))
            for each in self._ignored
        ):
            return
        with self._lock:
            self.count += 1
            if len(self._seen) < self._limit:
                self._seen.append(violation)
        if callable(self.action):
            self.action(violation)
        elif self.action == "raise":
            raise ProtocolViolation(violation)
        elif self.action == "log":
            logger.warning("%s", violation)
