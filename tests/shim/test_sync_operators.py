"""The special methods of sync facades: operators, and iteration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.shim_service import Service, Session, turns

from bridge.shim.iterate_on_loop import LoopIterator
from bridge.shim.sync_facade import sync_facade

pytestmark = pytest.mark.usefixtures("single")


# -- special methods


def test_special_methods_run_on_the_loop_s_thread(facade: Any, service: Service) -> None:
    assert len(facade) == 1
    assert "a" in facade
    assert "b" not in facade
    assert facade["a"] == 1
    facade["b"] = 2
    assert service.items == {"a": 1, "b": 2}
    del facade["a"], facade["b"]
    assert not facade, "it is empty"
    assert facade(21) == 42
    with pytest.raises(KeyError):
        facade["a"]


def test_a_facade_can_do_no_more_than_its_object() -> None:
    facade = sync_facade(Session("s"))
    for use in (len, iter, lambda each: each["a"], lambda each: each(), lambda each: 1 in each):
        with pytest.raises(TypeError):
            use(facade)
    with pytest.raises((TypeError, AttributeError)), facade:
        pass
    assert facade


def test_async_special_methods_may_be_awaited() -> None:
    class Remote:
        async def __getitem__(self, key: str) -> str:
            return key * 2

    assert sync_facade(Remote())["a"] == "aa"


def test_facades_are_not_copied() -> None:
    import copy

    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.copy(sync_facade(Session("s")))


# -- iteration


def test_async_generators_are_iterators_with_close(facade: Any, service: Service) -> None:
    rows = facade.rows(4)
    assert isinstance(rows, LoopIterator)
    assert list(rows) == [0, 1, 2, 3]
    assert service.log == ["rows closed"]
    with facade.rows(100) as rows:
        assert next(rows) == 0
    assert service.log == ["rows closed", "rows closed"]


def test_an_async_iterable_is_iterable(facade: Any) -> None:
    assert [list(facade), list(facade)] == [[0, 1, 2], [0, 1, 2]]


def test_an_object_that_is_its_own_iterator_loses_nothing() -> None:
    """Whoever stops halfway reads on by another method, and the object is not closed."""

    class Reader:
        def __init__(self) -> None:
            self.lines = [b"1", b"2", b"3"]

        def __aiter__(self) -> Reader:
            return self

        async def __anext__(self) -> bytes:
            if not self.lines:
                raise StopAsyncIteration
            return self.lines.pop(0)

        async def read(self) -> bytes:
            return self.lines.pop(0)

        async def aclose(self) -> None:
            raise AssertionError("not by us")

    reader = sync_facade(Reader())
    for line in reader:
        assert line == b"1"
        break
    assert reader.read() == b"2"
    assert list(reader) == [b"3"]
    assert next(reader, "end") == "end"


def test_plain_iteration_works_on_the_loop_s_thread() -> None:
    class Bag:
        def __iter__(self) -> Iterator[int]:
            asyncio.get_running_loop()
            return iter([1, 2])

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def __iter__(self) -> Counter:
            return self

        def __next__(self) -> int:
            asyncio.get_running_loop()
            self.count += 1
            if self.count > 2:
                raise StopIteration
            return self.count

    assert list(sync_facade(Bag())) == [1, 2]
    assert list(sync_facade(Counter())) == [1, 2]


def test_items_come_back_as_results_do() -> None:
    class Source:
        async def sessions(self) -> AsyncIterator[Session]:
            yield Session("one")

    (plain,) = sync_facade(Source()).sessions()
    (wrapped,) = sync_facade(Source(), wrap=Session).sessions()
    assert isinstance(plain, Session)
    assert wrapped.execute("x") == "one: x"


def test_read_ahead_is_that_of_all_its_iterators(service: Service) -> None:
    made = []

    class Source:
        async def numbers(self) -> AsyncIterator[int]:
            for number in range(10):
                made.append(number)
                yield number

    with sync_facade(Source(), read_ahead=0).numbers() as numbers:
        next(numbers)
        turns()
        assert made == [0]
