"""What a thread knows of its loops: one's own, and left for asgiref as well."""

from __future__ import annotations

from typing import Any

import pytest
from support.engines import FakePort, Thread

from bridge.engines import asgiref_notes
from bridge.engines.home import enter, home
from bridge.engines.waiting_thread import WaitingThread


@pytest.fixture(autouse=True)
def prepared() -> None:
    asgiref_notes.prepare()


class Port(FakePort):
    def __init__(self, loop: Any) -> None:
        super().__init__()
        self.loop = loop


def test_a_thread_that_nobody_has_told_anything_knows_nothing() -> None:
    def look() -> Any:
        return home.port, home.wait

    assert Thread(look).outcome() == (None, None)


def test_each_thread_knows_its_own() -> None:
    port: Any = Port("loop")
    wait = WaitingThread(None)

    def note() -> Any:
        home.wait = wait
        enter(port)
        return home.port, home.wait, Thread(lambda: (home.port, home.wait)).outcome()

    assert Thread(note).outcome() == (port, wait, (None, None))


def test_asgiref_is_told_as_well_and_the_last_one_counts() -> None:
    first: Any
    first, second, on_trio = Port("first"), Port("second"), Port(None)

    def note() -> Any:
        seen = []
        for port in (first, second, second, on_trio, first):
            enter(port)
            seen.append((home.port, asgiref_notes.noted_loop()))
        return seen

    assert Thread(note).outcome() == [
        (first, "first"),
        (second, "second"),
        (second, "second"),
        (on_trio, None),
        (first, "first"),
    ]


def test_a_note_that_asgiref_has_left_meanwhile_is_put_right() -> None:
    """Its functions leave theirs in any thread in which they run."""
    port: Any = Port("ours")

    def note() -> Any:
        enter(port)
        asgiref_notes.restore_note(("left by asgiref", 1, None))
        enter(port)
        return asgiref_notes.noted_loop()

    assert Thread(note).outcome() == "ours"
