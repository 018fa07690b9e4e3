"""An async object with members of all sorts, and what tests of its facades do to it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bridge import sync_to_async
from bridge.engines.running import running_port
from bridge.shim.sync_facade import sync_facade


class Ended(BaseException):
    """No `Exception`."""


def turns(count: int = 20) -> None:
    """Let the loop that the process keeps turn so often that what is due has happened."""
    sync_facade(Turner()).turn(count)


class Turner:
    async def turn(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)


def strike(error: BaseException) -> None:
    """Raise it."""
    raise error


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Service:
    """What a client, a repository, a queue may have.

    Attributes:
        log: what has happened.
    """

    kind = "service"

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.retries = 3
        self._level = 1
        self.items = {"a": 1}

    async def get(self, key: str, *, default: int = 0) -> int:
        """Get it."""
        await asyncio.sleep(0)
        return self.items.get(key, default)

    async def fail(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    def plain(self, number: int = 1) -> object:
        """A plain method."""
        return running_port().loop, threading.get_ident(), number

    def later(self) -> asyncio.Future[int]:
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, 7)
        return future

    async def me(self) -> Service:
        return self

    async def rows(self, count: int = 3) -> AsyncIterator[int]:
        """The rows."""
        task = asyncio.current_task()
        try:
            for number in range(count):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            self.log.append("rows closed" if asyncio.current_task() is task else "elsewhere")

    async def set_variable(self, value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    async def cancel_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def thread_of_sensitive_code(self) -> int:
        return await sync_to_async(threading.get_ident)()

    @property
    def level(self) -> object:
        return self._level, threading.get_ident()

    @level.setter
    def level(self, value: int) -> None:
        self.log.append(threading.get_ident())
        self._level = value

    @property
    async def version(self) -> str:
        """An async property."""
        await asyncio.sleep(0)
        return "1.0"

    @functools.cached_property
    def expensive(self) -> int:
        self.log.append("computed")
        return 5

    @staticmethod
    async def helper(number: int) -> int:
        return number + 1

    @classmethod
    async def made(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @asynccontextmanager
    async def transaction(self, name: str = "t") -> AsyncIterator[Session]:
        task, token = asyncio.current_task(), variable.set(name)
        self.log.append("begin")
        try:
            yield Session(name)
        except ValueError:
            self.log.append("rollback")
        else:
            self.log.append("commit")
        finally:
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            variable.reset(token)

    def __len__(self) -> int:
        asyncio.get_running_loop()
        return len(self.items)

    def __contains__(self, key: str) -> bool:
        asyncio.get_running_loop()
        return key in self.items

    def __getitem__(self, key: str) -> int:
        asyncio.get_running_loop()
        return self.items[key]

    def __setitem__(self, key: str, value: int) -> None:
        asyncio.get_running_loop()
        self.items[key] = value

    def __delitem__(self, key: str) -> None:
        asyncio.get_running_loop()
        del self.items[key]

    async def __call__(self, number: int) -> int:
        return number * 2

    def __aiter__(self) -> AsyncIterator[int]:
        return self.rows()


class Session:
    """What a context manager gives."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def execute(self, text: str) -> str:
        return f"{self.name}: {text}"
