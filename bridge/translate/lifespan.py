"""Machine: the order of lifespan messages, seen from the application that answers them.

Its phases, and the steps between them:

    WAITING --lifespan.startup--> STARTING --ok--> RUNNING --lifespan.shutdown--> STOPPING --ok--> ENDED
                                     `--failed--> ENDED                              `--failed--> ENDED
"""

from __future__ import annotations

import enum

from ..exceptions import ServerError
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
        kind, following = _EXPECTED.get(self.phase, ("nothing", self.phase))
        if message["type"] != kind:
            raise ServerError(f"expected {kind} while {self.phase.name}, got {message['type']!r}")
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
