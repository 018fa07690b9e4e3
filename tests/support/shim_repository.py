"""A blocking object with members of all sorts, and what tests of its facades do to it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import pytest
import trio

from bridge import async_to_sync
from support.drive import Signal, together


class Item:
    """Has no special abilities."""

    def __init__(self, repository: Repository, number: int) -> None:
        self.repository = repository
        self.number = number

    def ident(self) -> int:
        return get_ident()


class Repository:
    """A blocking object with one of each."""

    VERSION = 3
    Error = KeyError

    def __init__(self, count: int = 5) -> None:
        self.name = "plain"
        self.count = count
        self.log: list[Any] = []
        self.idents: set[int] = set()
        self.left: list[Any] = []
        self.go = Signal()
        self.began = Signal()

    def get(self, number: int, *, twice: bool = False) -> int:
        """Get a number."""
        self.idents.add(get_ident())
        if number < 0:
            raise self.Error(number)
        return 2 * number if twice else number

    @property
    def size(self) -> int:
        self.idents.add(get_ident())
        return self.count

    @size.setter
    def size(self, value: int) -> None:
        self.idents.add(get_ident())
        self.count = value

    @functools.cached_property
    def once(self) -> int:
        self.log.append("once")
        return get_ident()

    def rows(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                self.idents.add(get_ident())
                yield number
        finally:
            self.log.append(("closed", get_ident()))

    def listed(self) -> list[int]:
        return list(range(self.count))

    def item(self, number: int) -> Item:
        return Item(self, number)

    @contextmanager
    def transaction(self) -> Iterator[Repository]:
        self.idents.add(get_ident())
        self.log.append("begin")
        try:
            yield self
        except ValueError as error:
            self.left.append(error)
            self.log.append("suppressed")
        except BaseException as error:
            self.left.append(error)
            self.log.append("rollback")
            raise
        else:
            self.log.append("commit")
        finally:
            self.idents.add(get_ident())

    def slow_entry(self) -> SlowEntry:
        return SlowEntry(self)

    @contextmanager
    def slow_exit(self) -> Iterator[None]:
        yield
        self.began.set()
        self.go.wait()
        self.log.append("left")

    def hold(self) -> str:
        self.began.set()
        self.go.wait()
        return "held"

    def fluent(self) -> Repository:
        return self

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @staticmethod
    def static(value: int) -> int:
        return value + 1

    async def migrated(self, number: int) -> int:
        return number + (get_ident() << 1)

    def call_back(self, function: Callable[[], Awaitable[Any]]) -> Any:
        return async_to_sync(function)()

    def same(self, other: object) -> bool:
        return other is self

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int) -> int:
        return key * 10

    def __contains__(self, item: object) -> bool:
        return item == 1

    def __iter__(self) -> Iterator[int]:
        return self.rows()

    def __call__(self, value: str) -> str:
        return value.upper()

    def __setitem__(self, key: int, value: int) -> None:
        self.log.append((key, value))


class SlowEntry:
    """Is not left by the garbage collector."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def __enter__(self) -> None:
        self.repository.began.set()
        self.repository.go.wait()
        self.repository.log.append("entered")

    def __exit__(self, *exc_info: object) -> None:
        self.repository.log.append("left")


async def cancelled_when(
    signal: Signal,
    function: Callable[[], Awaitable[Any]],
    loop: str,
    then: Callable[[], object] = lambda: None,
) -> None:
    """Run a coroutine function, cancel it once the signal has come, and call `then`."""
    if loop == "trio":
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await signal.come()
                scope.cancel()
                then()

            await together(function, cancel)
        assert scope.cancelled_caught
        return
    task = asyncio.ensure_future(function())
    await signal.come()
    task.cancel()
    then()
    with pytest.raises(asyncio.CancelledError):
        await task


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "bridge-facade"}
