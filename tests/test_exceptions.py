"""The tree of exceptions: as drawn, and catchable by those who know only the built-in ones."""

from __future__ import annotations

import inspect
import re

import pytest

from bridge import exceptions
from bridge.exceptions import (
    ApplicationError,
    ApplicationExit,
    BadRequest,
    BodyTooLarge,
    BridgeError,
    ClientDisconnected,
    LoopGone,
    MissingDependency,
    RequestError,
    UnsupportedScope,
)

CLASSES = {name: value for name, value in vars(exceptions).items() if isinstance(value, type)}


def drawn_tree() -> dict[str, str]:
    """Name -> name of the parent, read from the drawing at the top of the module."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in inspect.cleandoc(exceptions.__doc__ or "").splitlines():
        match = re.match(r"^((?:│   |    )*)(?:[├└]── )?([A-Z][A-Za-z]+)(?:\s|$)", line)
        if match is None or match.group(2) not in CLASSES:
            continue
        name = match.group(2)
        depth = 0 if name == "BridgeError" else len(match.group(1)) // 4 + 1
        above[depth] = name
        if depth:
            parents[name] = above[depth - 1]
    return parents


def test_the_drawing_shows_every_exception_under_its_parent() -> None:
    assert drawn_tree() == {
        name: value.__bases__[0].__name__ for name, value in CLASSES.items() if value is not BridgeError
    }


@pytest.mark.parametrize("name", CLASSES)
def test_all_are_ordinary_exceptions_of_bridge(name: str) -> None:
    """None is a bare `BaseException`, which would end a loop or a thread."""
    assert issubclass(CLASSES[name], BridgeError)
    assert issubclass(CLASSES[name], Exception)
    assert str(CLASSES[name]("why")) == "why"


@pytest.mark.req("E-40")
@pytest.mark.parametrize("error", [ClientDisconnected, LoopGone])
def test_a_lost_client_is_an_os_error(error: type[BridgeError]) -> None:
    """So code that guards reads and writes of sockets handles it as it stands."""
    with pytest.raises(OSError, match="gone") as caught:
        raise error("gone")
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.req("E-34")
def test_request_errors_know_their_status() -> None:
    assert (RequestError.status, BadRequest.status, BodyTooLarge.status) == (400, 400, 413)


@pytest.mark.req("W-28")
def test_an_application_exit_is_an_ordinary_error_that_keeps_its_cause() -> None:
    exits = (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration)
    with pytest.raises(ApplicationExit) as caught:
        raise ApplicationExit("left") from SystemExit(3)
    assert issubclass(ApplicationExit, ApplicationError)
    assert not issubclass(ApplicationExit, exits)
    assert isinstance(caught.value.__cause__, SystemExit)


def test_the_builtin_kinds() -> None:
    assert issubclass(UnsupportedScope, ValueError)
    assert issubclass(MissingDependency, ImportError)
    # The client's, the server's and the app's faults are told apart.
    assert not issubclass(BadRequest, OSError)
    assert not issubclass(ApplicationError, OSError)
