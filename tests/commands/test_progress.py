"""The bar of long commands: on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest

from bridge.commands.progress import progress


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Compared:
    same: bool


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The standard error from now on. No fixture: pytest puts its own there when a test begins."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "CI", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return found


pytest.importorskip("rich")


def test_a_terminal_shows_how_far_it_is_and_how_many_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress("comparing", 3) as step:
        assert step is not None
        step(1, 3, Compared(True))
        step(2, 3, Compared(False))
    text = terminal.getvalue()
    assert "comparing" in text
    assert "2/3" in text
    assert "1 different" in text
    # It goes away: the last thing that is sent erases its line.
    assert text.endswith("\x1b[2K")


def test_a_step_without_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress("crawling", 200) as step:
        assert step is not None
        step(7, 200, object())
    assert "7/200" in terminal.getvalue()
    assert "different" not in terminal.getvalue()


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("comparing", 3) as step:
        assert step is None
    assert stream.getvalue() == ""


def test_without_rich_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with progress("comparing", 3) as step:
        assert step is None
    assert terminal.getvalue() == ""


def test_what_fails_inside_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if it looks like a library that is missing."""
    a_terminal(monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="of the app"), progress("comparing"):
        raise ModuleNotFoundError("of the app")
