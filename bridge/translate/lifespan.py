"""Machines: the order of lifespan messages, seen from the application that answers them, and from the server.

The phases, and the steps between them:

    WAITING --lifespan.startup--> STARTING --ok--> RUNNING --lifespan.shutdown--> STOPPING --ok--> ENDED
                                     `--failed--> ENDED                              `--failed--> ENDED

For the server, an application that ends by itself is a further way from each phase to ENDED.
"""

from __future__ import annotations

import enum

from ..exceptions import InvalidMessage, ServerError
from ..types import Message


class Phase(enum.Enum):
    """Where in its life the application is."""

    WAITING = enum.auto()  #: no message has come
    STARTING = enum.auto()  #: startup was asked for, not answered
    RUNNING = enum.auto()  #: startup is complete
    STOPPING = enum.auto()  #: shutdown was asked for, not answered
    ENDED = enum.auto()  #: the last answer has been given


_EXPECTED = {
    Phase.WAITING: ("lifespan.startup", Phase.STARTING),
    Phase.RUNNING: ("lifespan.shutdown", Phase.STOPPING),
}
_ANSWERS = {
    Phase.STARTING: ("lifespan.startup", Phase.RUNNING),
    Phase.STOPPING: ("lifespan.shutdown", Phase.ENDED),
}


class LifespanAnswers:
    """Answers of one application to one lifespan (ASGI Lifespan 2.0)."""

    __slots__ = ("phase",)

    def __init__(self) -> None:
        self.phase = Phase.WAITING

    def receive(self, message: Message) -> Phase:
        """Take a message of the server and return what it asks for: STARTING or STOPPING.

        Raises:
            ServerError: the message does not come next; the phase is unchanged.
        """
        kind, following = _EXPECTED.get(self.phase, (None, self.phase))
        if kind is None or message["type"] != kind:
            raise ServerError(
                f"expected {kind or 'nothing'} while {self.phase.name}, got {message['type']!r}"
            )
        self.phase = following
        return following

    def complete(self) -> Message:
        """The message that says that what was asked for is done."""
        kind, self.phase = _ANSWERS[self.phase]
        return {"type": f"{kind}.complete"}

    def failed(self, reason: str) -> Message:
        """The message that says why it could not be done; the lifespan is over."""
        kind, _ = _ANSWERS[self.phase]
        self.phase = Phase.ENDED
        return {"type": f"{kind}.failed", "message": reason}


class LifespanQuestions:
    """What a server asks one application in one lifespan, and what it is told (ASGI Lifespan 2.0).

    Attributes:
        phase: where the lifespan is.
        failure: the application's message, if it said that a phase has failed.
    """

    __slots__ = ("failure", "phase")

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self.failure: str | None = None

    def startup(self) -> Message:
        """The first message for the application."""
        self.phase = Phase.STARTING
        return {"type": "lifespan.startup"}

    def shutdown(self) -> Message:
        """The second, once the application runs."""
        self.phase = Phase.STOPPING
        return {"type": "lifespan.shutdown"}

    def answer(self, message: Message) -> Phase:
        """Take an answer of the application; return the phase that it leads to: RUNNING or ENDED.

        Raises:
            InvalidMessage: it is no answer to what was asked last (L-11); the phase is unchanged.
        """
        kind = message.get("type")
        if self.phase not in _ANSWERS:
            raise InvalidMessage(f"the app sent {kind!r} while no lifespan event waited for an answer")
        asked, following = _ANSWERS[self.phase]
        if kind == f"{asked}.complete":
            self.phase = following
        elif kind == f"{asked}.failed":
            self.phase = Phase.ENDED
            self.failure = str(message.get("message", ""))
        else:
            raise InvalidMessage(f"expected {asked}.complete or {asked}.failed; the app sent {kind!r}")
        return self.phase
