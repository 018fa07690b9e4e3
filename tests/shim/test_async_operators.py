"""The special methods of async facades: which there are, and what is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import pytest
from support.drive import LOOPS, Signal, run
from support.shim_repository import Repository, cancelled_when

from bridge.exceptions import PoolClosed, UsageError
from bridge.shim import async_facade
from bridge.shim.async_facade import facade_close

on_all_loops = pytest.mark.parametrize("loop", LOOPS)


@pytest.mark.parametrize(
    ("use", "instead"),
    [
        (len, r"facade_call\(facade, len\)"),
        (bool, r"facade_call\(facade, bool\)"),
        (list, "async for item in facade"),
        (lambda facade: 1 in facade, "operator.contains"),
        (lambda facade: operator.setitem(facade, 1, 2), "operator.setitem"),
        (lambda facade: setattr(facade, "size", 2), "facade_call\\(facade, setattr, 'size', value\\)"),
        (lambda facade: setattr(facade, "get", 2), "facade_call\\(facade, setattr, 'get', value\\)"),
        (lambda facade: delattr(facade, "size"), "facade_call\\(facade, delattr, 'size'\\)"),
        (lambda facade: bool(facade.size), "write `await` before it"),
    ],
    ids=[
        "len",
        "bool",
        "iter",
        "in",
        "setitem",
        "set property",
        "set method",
        "del property",
        "forgotten await",
    ],
)
def test_what_cannot_be_awaited_is_refused_with_what_to_write(
    use: Callable[[Any], Any], instead: str
) -> None:
    with pytest.raises(UsageError, match=instead):
        use(async_facade(Repository()))


def test_a_facade_of_what_is_no_context_manager_is_closed_by_async_with() -> None:
    async def main() -> None:
        async with async_facade(Repository()) as facade:
            assert await facade.get(1) == 1
        with pytest.raises(PoolClosed, match="make a new one"):
            facade.get(1)
        with pytest.raises(PoolClosed):
            facade.name  # noqa: B018

    run(main)


def test_a_protocol_cannot_ask_for_what_python_wants_at_once() -> None:
    class Sized(Protocol):
        def __len__(self) -> int: ...

    with pytest.raises(UsageError, match="__len__: a facade cannot have it"):
        async_facade(Repository(), Sized)


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_an_iterator_behind_a_facade_goes_on_after_a_task_that_waited_was_cancelled(
    loop: str, affinity: Any
) -> None:
    waits, go = Signal(), Signal()

    def numbers() -> Iterator[int]:
        yield 0
        waits.set()
        go.wait()
        yield 1
        yield 2

    async def main() -> None:
        facade = async_facade(numbers(), affinity=affinity, read_ahead=0)
        assert await anext(facade) == 0
        await cancelled_when(waits, lambda: facade.__anext__(), loop)
        go.set()
        assert [n async for n in facade] == [1, 2], "nothing is lost"
        await facade_close(facade)

    run(main, loop)


@pytest.mark.parametrize("end", ["aclose", "facade_close"])
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_a_generator_is_closed_in_the_context_that_it_has_run_in(affinity: Any, end: str) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    noted: list[str] = []

    def numbers() -> Iterator[int]:
        token = variable.set("set")
        try:
            yield from range(1000)
        finally:
            variable.reset(token)
            noted.append("reset")

    async def main() -> None:
        facade = async_facade([numbers()], affinity=affinity)
        rows = await facade.pop()
        assert await anext(rows) == 0
        await (rows.aclose() if end == "aclose" else facade_close(facade))

    run(main)
    assert noted == ["reset"]


def test_a_generator_can_be_sent_to_unless_it_has_gone_on() -> None:
    def echo() -> Iterator[Any]:
        got: Any = "begin"
        while True:
            got = yield got

    async def main() -> None:
        exact, ahead = async_facade(echo(), read_ahead=0), async_facade(echo())
        assert await ahead.send(None) == "begin"
        assert await ahead.send(1) == 1
        for facade in (exact, ahead):
            await anext(facade)
        assert await exact.send(2) == 2
        with pytest.raises(UsageError, match="read_ahead=0"):
            await ahead.send(2)
        for facade in (exact, ahead):
            await facade_close(facade)

    run(main)
