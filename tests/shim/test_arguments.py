"""Options that several functions of the shim have: of a wrong value, it is said what was expected."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bridge import ThreadPool, sync_to_async
from bridge.exceptions import UsageError
from bridge.shim import async_facade, iterate_in_thread, iterate_on_loop, open_facade, sync_facade
from bridge.shim.arguments import require_executor, require_pool, require_read_ahead


async def numbers() -> Any:
    yield 1


class Service:
    async def answer(self) -> int:
        return 42


TAKE_A_POOL: list[Callable[[Any], object]] = [
    lambda pool: sync_to_async(len, thread_sensitive=False, pool=pool),
    lambda pool: async_facade([], affinity="call", pool=pool),
    lambda pool: open_facade(list, affinity="call", pool=pool),
    lambda pool: iterate_in_thread([], pool=pool),
]
TAKE_READ_AHEAD: list[Callable[[Any], object]] = [
    lambda number: async_facade([], read_ahead=number),
    lambda number: iterate_in_thread([], read_ahead=number),
    lambda number: sync_facade(Service(), read_ahead=number),
    lambda number: iterate_on_loop(numbers(), read_ahead=number),
]


@pytest.mark.parametrize("make", TAKE_A_POOL)
def test_a_pool_is_a_pool(make: Callable[[Any], object]) -> None:
    for wrong in (4, "40", [], object()):
        with pytest.raises(UsageError, match=r"^pool must be a bridge\.ThreadPool; got .+"):
            make(wrong)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(UsageError, match=r"got <concurrent.*; sync_to_async takes an Executor as executor="),
    ):
        make(executor)


def test_an_executor_is_an_executor() -> None:
    with pytest.raises(UsageError, match=r"^executor must be a concurrent\.futures\.Executor; got 4$"):
        sync_to_async(len, thread_sensitive=False, executor=4)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=r"give <ThreadPool .*> as pool=$"), ThreadPool(1) as pool:
        sync_to_async(len, thread_sensitive=False, executor=pool)  # type: ignore[call-overload]


@pytest.mark.parametrize("make", TAKE_READ_AHEAD)
def test_to_read_ahead_is_a_number_of_items(make: Callable[[Any], object]) -> None:
    for wrong in (-1, 1.5, True, "1"):
        with pytest.raises(UsageError, match=r"^read_ahead must be a number of items, 0 or more; got .+"):
            make(wrong)


def test_what_is_right_passes() -> None:
    with ThreadPool(1) as pool, ThreadPoolExecutor(1) as executor:
        require_pool(pool)
        require_executor(executor)
    require_pool(None)
    require_executor(None)
    for number in (0, 1, 1000):
        require_read_ahead(number)
