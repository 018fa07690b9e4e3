"""Where the calls of a facade run, and how that ends, without the facade."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import get_ident
from typing import Any

import pytest
from support.drive import Signal, run

from bridge import ThreadPool
from bridge.exceptions import PoolClosed
from bridge.shim.facade_places import GONE, Held, OwnPlace, Place, PoolPlace
from bridge.shim.own_thread import OwnThread, outcome_of


class Closable:
    """Tells that it was closed, and where."""

    def __init__(self) -> None:
        self.closed = Signal()
        self.ident = 0

    def close(self) -> None:
        self.ident = get_ident()
        self.closed.set()


def make_place(kind: str) -> Place:
    return OwnPlace(OwnThread(), owned=True) if kind == "own" else PoolPlace(ThreadPool(1))


everywhere = pytest.mark.parametrize("kind", ["own", "pool"])


def generator(log: list[Any]) -> Iterator[int]:
    try:
        yield 1
    finally:
        log.append(get_ident())


def test_the_end_of_what_is_held() -> None:
    log: list[Any] = []
    items = generator(log)
    next(items)
    opened, given = Closable(), Closable()
    for held in (Held(items), Held(opened, opened=True), Held(given)):
        held.end()
        assert held.obj is GONE
    assert log == [get_ident()]
    assert (opened.closed.is_set, given.closed.is_set) == (True, False)


@everywhere
def test_what_is_let_go_of_ends_in_another_thread_than_the_loops(kind: str) -> None:
    thing = Closable()

    async def main() -> None:
        place = make_place(kind)
        await outcome_of(place.submit(int, ()))
        place.let_go(Held(thing, opened=True))
        await thing.closed.come()
        await place.close()

    run(main)
    assert thing.ident not in (0, get_ident())


@everywhere
def test_closing_lets_go_of_all_and_raises_the_first_exception(kind: str) -> None:
    log: list[Any] = []

    def failing() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    async def main() -> None:
        place = make_place(kind)
        bad, good = failing(), generator(log)
        await outcome_of(place.submit(lambda: (next(bad), next(good)), ()))
        kept = [Held(bad), Held(good)]
        for held in kept:
            place.hold(held)
        with pytest.raises(ValueError, match="at the end"):
            await place.close()
        assert [held.obj for held in kept] == [GONE, GONE]
        assert len(log) == 1
        await place.close()
        with pytest.raises(PoolClosed):
            place.submit(int, ())

    run(main)


def test_a_thread_that_was_given_is_not_closed() -> None:
    thread = OwnThread()

    async def main() -> None:
        place = OwnPlace(thread, owned=False)
        await outcome_of(place.submit(int, ()))
        await place.close()
        assert await thread.call(int) == 0

    run(main)
    thread.close()


def test_a_facade_that_was_never_used_is_closed_without_a_thread() -> None:
    async def main() -> None:
        place = OwnPlace(OwnThread("own-never-used"), owned=True)
        held = Held(object())
        place.hold(held)
        await place.close()
        assert held.obj is GONE

    run(main)
    assert "own-never-used" not in {thread.name for thread in threading.enumerate()}
