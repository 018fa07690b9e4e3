"""The shim as users write it: functions, decorators, iterators and facades keep their types.

Nothing here runs; `test_typing_shim.py` has it checked by mypy and pyright. `assert_type` fails where
a type has been lost: `Any` is not equal to anything.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import copy_context
from typing import Any, Protocol

from typing_extensions import assert_type

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.shim import async_facade, iterate_in_thread, iterate_on_loop, open_facade, sync_facade

# -- functions


def blocking(number: int, *, text: str = "") -> bytes:
    return text.encode() * number


async def coroutine_function(number: int, *, text: str = "") -> bytes:
    return text.encode() * number


def returns_an_awaitable(number: int) -> Awaitable[str]:
    return asyncio.sleep(number, "")


async def functions() -> None:
    assert_type(await sync_to_async(blocking)(3, text="x"), bytes)
    assert_type(await sync_to_async(blocking, thread_sensitive=False, pool=ThreadPool(2))(3), bytes)
    with ThreadPoolExecutor() as executor:
        await sync_to_async(
            blocking,
            thread_sensitive=False,
            executor=executor,
            context=copy_context(),
            abandon_on_cancel=False,
        )(number=3)
    assert_type(async_to_sync(coroutine_function)(3, text="x"), bytes)
    assert_type(async_to_sync(returns_an_awaitable)(3), str)
    assert_type(async_to_sync(coroutine_function, force_new_loop=True)(3), bytes)
    assert_type(async_to_sync(sync_to_async(blocking))(3), bytes)
    assert_type(await sync_to_async(async_to_sync(coroutine_function))(3, text=""), bytes)


def takes_a_coroutine_function(function: Callable[[int], Coroutine[Any, Any, bytes]]) -> None: ...


takes_a_coroutine_function(sync_to_async(blocking))

# -- decorators


@sync_to_async
def decorated(number: int) -> str:
    return str(number)


@sync_to_async(thread_sensitive=False)
def decorated_with_options(number: int) -> str:
    return str(number)


@async_to_sync
async def decorated_async(number: int) -> str:
    return str(number)


@async_to_sync(force_new_loop=True)
async def decorated_async_with_options(number: int) -> str:
    return str(number)


class Repository:
    @sync_to_async
    def get(self, number: int, *, full: bool = False) -> str:
        return str(number)

    @sync_to_async(thread_sensitive=False)
    def put(self, number: int) -> None: ...

    @classmethod
    @sync_to_async
    def made(cls, number: int) -> str:
        return str(number)

    @staticmethod
    @sync_to_async
    def helper(number: int) -> str:
        return str(number)

    @async_to_sync
    async def fetch(self, number: int) -> bytes:
        return b""

    @async_to_sync(force_new_loop=True)
    async def push(self, number: int, *, text: str = "") -> bytes:
        return b""


class Special(Repository):
    pass


async def decorators(repository: Special) -> None:
    assert_type(await decorated(3), str)
    assert_type(await decorated_with_options(number=3), str)
    assert_type(decorated_async(3), str)
    assert_type(decorated_async_with_options(3), str)
    assert_type(await repository.get(3, full=True), str)
    assert_type(await Repository.get(repository, 3), str)
    assert_type(await Repository.helper(3), str)
    await repository.put(3)
    task = asyncio.create_task(repository.get(3))
    assert_type(await task, str)
    assert_type(repository.fetch(3), bytes)
    assert_type(repository.push(3, text="x"), bytes)
    assert_type(Repository.fetch(repository, 3), bytes)
    bound: Callable[[int], bytes] = repository.fetch
    bound(3)


# -- iterators


async def numbers() -> AsyncIterator[int]:
    yield 1


def words() -> Iterator[str]:
    yield ""


def in_blocking_code() -> None:
    for number in iterate_on_loop(numbers()):
        assert_type(number, int)
    with iterate_on_loop(numbers(), read_ahead=0, loop_factory=asyncio.new_event_loop) as items:
        assert_type(next(items), int)
    iterate_on_loop(numbers()).close()
    iterator: Iterator[int] = iterate_on_loop(numbers())
    list(iterator)


async def in_async_code() -> None:
    async for word in iterate_in_thread(words(), read_ahead=3):
        assert_type(word, str)
    iterator: AsyncIterator[str] = iterate_in_thread(words())
    assert_type(await anext(iterator), str)
    await iterate_in_thread(words()).aclose()


# -- facades: a protocol says what they are, and is checked when they are made


class User:
    name = ""


class Users:
    """Blocking code."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, number: int) -> User:
        return User()

    def all(self) -> Iterator[User]:
        yield User()

    def transaction(self) -> AbstractContextManager[User]:
        raise NotImplementedError


class AsyncUsers(Protocol):
    """The same for async code."""

    async def get(self, number: int) -> User: ...

    def all(self) -> AsyncIterator[User]: ...

    def transaction(self) -> AbstractAsyncContextManager[User]: ...


class BlockingUsers(Protocol):
    """And back again."""

    def get(self, number: int) -> User: ...

    def all(self) -> Iterator[User]: ...

    def transaction(self) -> AbstractContextManager[User]: ...


class AbstractUsers(ABC):
    """An abstract class will do as well."""

    @abstractmethod
    def get(self, number: int) -> User: ...


async def async_facades() -> None:
    users = async_facade(Users(""), AsyncUsers)
    assert_type(users, AsyncUsers)
    assert_type(await users.get(3), User)
    async for user in users.all():
        assert_type(user, User)
    async with users.transaction() as user:
        assert_type(user, User)
    same: AsyncUsers = async_facade(Users(""), protocol=AsyncUsers, affinity="call", pool=ThreadPool(2))
    untyped = async_facade(Users(""))
    await untyped.whatever(same)


async def opened_facades() -> None:
    async with open_facade(Users, "path", protocol=AsyncUsers) as users:
        assert_type(users, AsyncUsers)
        assert_type((await users.get(3)).name, str)
    assert_type(await open_facade(Users, "path", protocol=AsyncUsers), AsyncUsers)
    async with open_facade(sqlite3.connect, ":memory:", check_same_thread=True) as connection:
        await connection.execute("select 1")


def sync_facades(client: AsyncUsers) -> None:
    users = sync_facade(client, BlockingUsers)
    assert_type(users, BlockingUsers)
    assert_type(users.get(3), User)
    for user in users.all():
        assert_type(user, User)
    with users.transaction() as user:
        assert_type(user, User)
    assert_type(sync_facade(client, AbstractUsers, read_ahead=0, wrap=User), AbstractUsers)
    same: BlockingUsers = sync_facade(
        client, protocol=BlockingUsers, wrap=[User], loop_factory=asyncio.new_event_loop
    )
    untyped = sync_facade(client)
    untyped.whatever(same)
