"""What a process that serves an app has to say of it, and how several of them agree on who says it.

However many workers load the app, its users read one line: what is served and where, or why it cannot
be. The exit code of the process that was started tells the same.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from ..exceptions import BridgeError, TargetError, UsageError
from .target import explain
from .watched import Watched
from .worker import Loaded, Order, load

ENVIRONMENT = "BRIDGE_SERVE_REPORT"
"""The variable that holds a `Report` as JSON, for processes that can be given nothing else."""

# Seconds that a line takes to be printed, at most.
_PAUSE = 0.2

OK, FAILURE, MISUSE = 0, 1, 2
"""Exit codes: it served and was asked to stop; something failed; what was asked for cannot be."""


def say(line: str) -> None:
    """Print a line of bridge's own, at once."""
    # One write, as other processes and threads may be printing.
    sys.stderr.write(f"bridge: {line}\n")
    sys.stderr.flush()


class CannotServe(Exception):
    """The app of an order is not there, or did not start; that has been reported.

    Attributes:
        code: the exit code that it comes to.
        first: whether it was the calling process that reported it.
    """

    def __init__(self, code: int, first: bool) -> None:
        super().__init__(code, first)
        self.code = code
        self.first = first


@dataclass(frozen=True)
class Report:
    """How processes report on the app that all of them load: one of them does, for each outcome.

    It can be pickled, for processes that are spawned.

    Attributes:
        server: what the server is called.
        address: where it is.
        circumstances: to be said after the summary.
        folder: where the processes leave word for each other; `None` if there is only one at a time,
            which reports whenever it starts.
        always: there is only one at a time, and the folder is there for the exit code alone.
    """

    server: str
    address: str = ""
    circumstances: str = ""
    folder: str | None = None
    always: bool = False

    def to_environment(self) -> None:
        """Leave it to processes that are started from now on."""
        os.environ[ENVIRONMENT] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> Report:
        """What was left to this process."""
        return cls(**json.loads(os.environ[ENVIRONMENT]))

    def at(self, address: str) -> Report:
        """The same, when it is known where the server listens."""
        return replace(self, address=address)

    def load(self, order: Order) -> Loaded:
        """Load the app.

        Raises:
            CannotServe: there is none.
        """
        try:
            return load(order)
        except UsageError as error:
            raise self._failed(error) from None

    def start(self, loaded: Loaded) -> None:
        """Start the app, if it has to be started before the server calls it.

        Raises:
            CannotServe: it did not start.
        """
        try:
            loaded.start()
        except BridgeError as error:
            raise self._failed(error) from None

    def served(self, loaded: Loaded, order: Order) -> None:
        """Say that the app is served, unless another process has."""
        if self.claim(OK):
            say(summary(loaded, order, self))

    def watched(self, loaded: Loaded, served: Callable[[], object]) -> Watched:
        """The app, for a server that does not tell when lifespan has started up: then call `served`."""
        return Watched(loaded.app, served, partial(self._not_started, loaded))

    def _not_started(self, loaded: Loaded, reason: str) -> None:
        """Say that the app's lifespan has failed, unless another process has; the server will end."""
        if self.claim(FAILURE):
            say(f"the lifespan startup of {loaded.found.name} failed{': ' if reason else ''}{reason}")

    def _failed(self, error: BridgeError) -> CannotServe:
        """Say what failed, unless another process has."""
        code = MISUSE if isinstance(error, UsageError) and error.__cause__ is None else FAILURE
        first = self.claim(code)
        if first:
            say(explain(error) if isinstance(error, TargetError) else str(error))
        else:
            # When this process ends, the server may kill the one that is about to say why.
            time.sleep(_PAUSE)
        return CannotServe(code, first)

    def claim(self, code: int) -> bool:
        """Whether it is for the calling process to report this outcome."""
        if self.folder is None:
            return True
        failure = Path(self.folder, "failure")
        if code == OK:
            failure.unlink(missing_ok=True)  # what failed before works now
        # Whole or not at all: the server may kill a process as soon as another one has failed.
        mine = Path(self.folder, str(os.getpid()))
        mine.write_text(str(code))
        try:
            os.link(mine, Path(self.folder, "success") if code == OK else failure)
        except FileExistsError:
            return self.always
        finally:
            mine.unlink()
        return True

    def exit_code(self) -> int:
        """What the failure that was reported comes to; OK if there is none."""
        try:
            return int(Path(self.folder or "", "failure").read_text())
        except (OSError, ValueError):
            return OK


@contextmanager
def shared_folder(belongs_here: Callable[[], bool] = lambda: True) -> Iterator[str]:
    """A folder for a `Report` of several processes, while the block lasts.

    Args:
        belongs_here: whether it is for the calling process to remove the folder; one that was forked
            inside the block may leave the block too.
    """
    folder = tempfile.mkdtemp(prefix="bridge-")
    try:
        yield folder
    finally:
        if belongs_here():
            shutil.rmtree(folder, ignore_errors=True)


def summary(loaded: Loaded, order: Order, report: Report) -> str:
    """What is served, through what, on what and where."""
    text = f"{loaded} on {report.server} at {report.address}"
    if order.threads is not None and loaded.app_is_asgi:
        text += " (--threads has no effect on an ASGI app)"
    return text + report.circumstances


def count(number: int, what: str) -> str:
    """As in: `1 worker`, `2 workers`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
