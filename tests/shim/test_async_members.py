"""What becomes of each member of a blocking object, and of what its methods return."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import operator
import warnings
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from support.drive import LOOPS, run
from support.shim_repository import Item, Repository

from bridge import ThreadPool
from bridge.exceptions import UsageError
from bridge.shim import async_facade
from bridge.shim.async_facade import facade_call, facade_close
from bridge.shim.own_thread import OwnThread

on_all_loops = pytest.mark.parametrize("loop", LOOPS)


@on_all_loops
@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_each_kind_of_member_is_used_as_documented(loop: str, affinity: Any) -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(
            repository, affinity=affinity, pool=ThreadPool(2) if affinity == "call" else None
        )
        assert await facade.get(3) == 3
        assert await facade.get(3, twice=True) == 6
        with pytest.raises(KeyError):
            await facade.get(-1)
        assert (facade.name, facade.VERSION, facade.Error) == ("plain", 3, KeyError)
        facade.name = "changed"
        facade.added = 1
        assert (repository.name, repository.added) == ("changed", 1)  # type: ignore[attr-defined]
        del facade.added
        assert not hasattr(repository, "added")
        assert await facade.size == 5
        assert await facade.once == await facade.once != get_ident()
        assert await facade.of_class() == "Repository"
        assert await facade.static(1) == 2
        assert await facade.migrated(0) == get_ident() << 1, "async already: on the loop"
        assert [n async for n in facade.rows()] == [0, 1, 2, 3, 4]
        assert [n async for n in facade.listed()] == await facade.listed()
        assert [n async for n in facade] == [0, 1, 2, 3, 4]
        async with facade.transaction() as transaction:
            assert transaction is facade
        assert await facade.fluent() is facade
        assert await facade[4] == 40
        assert await facade("up") == "UP"
        assert await facade_call(facade, len) == 5
        assert await facade_call(facade, operator.contains, 1) is True
        await facade_call(facade, setattr, "size", 7)
        assert repository.count == 7
        await facade_close(facade)

    run(main, loop)
    assert repository.log[0] == "once"
    assert repository.log.count("once") == 1
    assert get_ident() not in repository.idents
    if affinity == "facade":
        assert len(repository.idents) == 1


def test_a_method_keeps_its_name_its_docstring_and_its_signature() -> None:
    facade = async_facade(Repository())
    method = facade.get
    assert (method.__name__, method.__doc__, method.__module__) == (
        "get",
        "Get a number.",
        Repository.__module__,
    )
    assert inspect.signature(method) == inspect.signature(Repository().get)
    is_coroutine_function: Any = getattr(asyncio, "iscoroutinefunction", inspect.iscoroutinefunction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert is_coroutine_function(method)
    assert {"get", "rows", "name", "VERSION"} <= set(dir(facade))


def test_what_the_object_does_not_have_the_facade_does_not_have() -> None:
    facade: Any = async_facade(object())
    with pytest.raises(AttributeError, match="'object' object has no attribute 'nothing'"):
        facade.nothing  # noqa: B018
    for use in (len, iter, operator.methodcaller("__call__"), operator.itemgetter(0)):
        with pytest.raises((TypeError, AttributeError)):
            use(facade)
    assert bool(facade) is True


def test_dynamic_attributes_are_methods_and_values() -> None:
    class Client:
        def __getattr__(self, name: str) -> Any:
            if name == "wrong":
                raise AttributeError(name)
            return (lambda *args: (name, args, get_ident())) if name.startswith("call") else name

    async def main() -> None:
        facade = async_facade(Client())
        name, args, ident = await facade.call_it(1, 2)
        assert (name, args) == ("call_it", (1, 2))
        assert ident != get_ident()
        assert await facade.value == "value"
        with pytest.raises(AttributeError):
            await facade.wrong
        assert not hasattr(facade, "__html__")

    run(main)


def test_a_module_can_be_behind_a_facade(tmp_path: Path) -> None:
    import shutil

    (tmp_path / "a").write_text("text")

    async def main() -> None:
        facade = async_facade(shutil)
        await facade.copyfile(tmp_path / "a", tmp_path / "b")
        assert facade.Error is shutil.Error

    run(main)
    assert (tmp_path / "b").read_text() == "text"


@pytest.mark.parametrize("affinity", ["facade", "call"])
def test_an_iterator_that_is_an_attribute_is_the_object_s_own(affinity: Any) -> None:
    """It is neither read ahead nor closed for a facade that is dropped."""

    class Reader:
        def __init__(self) -> None:
            self.generator = (number for number in range(100))
            self.iterator = iter(range(100))

    reader = Reader()

    async def main() -> None:
        facade = async_facade(reader, affinity=affinity)
        assert [await anext(facade.generator) for _ in range(3)] == [0, 1, 2]
        assert [await anext(facade.iterator) for _ in range(3)] == [0, 1, 2]
        await facade_close(facade)

    run(main)
    assert (next(reader.generator), next(reader.iterator)) == (3, 3)


def test_a_result_that_is_no_more_than_a_proxy_is_not_asked_what_it_is() -> None:
    class Proxy:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise RuntimeError("out of context")

    class Thing:
        def proxy(self) -> Any:
            return Proxy()

        def type_of(self, proxy: Any) -> type:
            return type(proxy)

    async def main() -> None:
        facade = async_facade(Thing())
        assert await facade.type_of(await facade.proxy()) is Proxy

    run(main)


def test_arguments_may_have_any_name() -> None:
    class Thing:
        def method(this, self: int, obj: int, name: int, args: int, kwargs: int, function: int) -> Any:
            return self, obj, name, args, kwargs, function

        def __call__(this, self: int, obj: int) -> Any:
            return self, obj

    async def main() -> None:
        facade = async_facade(Thing())
        found = await facade.method(self=1, obj=2, name=3, args=4, kwargs=5, function=6)
        assert found == (1, 2, 3, 4, 5, 6)
        assert await facade(self=1, obj=2) == (1, 2)

    run(main)


def test_results_that_would_block_come_back_as_facades_on_the_same_thread() -> None:
    repository = Repository()

    async def main() -> None:
        facade = async_facade(repository, wrap=[Item])
        item = await facade.item(3)
        assert item.number == 3
        assert await item.ident() == await facade_call(facade, lambda obj: get_ident())
        rows = await facade.rows()
        assert [await anext(rows), await anext(rows)] == [0, 1]
        assert [n async for n in rows] == [2, 3, 4]
        plain = await async_facade(repository).item(3)
        assert type(plain) is Item
        async for one in facade_call(facade, lambda obj: [obj.item(1)]):
            assert await one.ident() != get_ident()
        async with facade_call(facade, lambda obj: contextlib.nullcontext(obj.item(2))) as entered:
            assert await entered.ident() != get_ident()

    run(main)


def test_a_facade_as_an_argument_is_its_object_if_it_belongs_to_the_same_thread() -> None:
    async def main() -> None:
        thread = OwnThread()
        one, two = async_facade(Repository(), thread=thread), async_facade(Repository(), thread=thread)
        assert await one.same(one) is True
        assert await one.same(two) is False
        with pytest.raises(UsageError, match=r"async_facade\(..., thread=OwnThread\(\)\)"):
            await one.same(async_facade(Repository()))
        assert await one.same(async_facade(Repository(), affinity="call")) is False
        await facade_close(one)
        assert await two.get(1) == 1, "the thread was given, so it is its giver's"
        thread.close()

    run(main)
