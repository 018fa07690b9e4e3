"""What becomes of each member of an async object, and of what its methods return."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.shim_service import Ended, Service, variable

from bridge.shim import persistent
from bridge.shim.sync_facade import sync_facade
from bridge.shim.sync_members import SyncFacade

pytestmark = pytest.mark.usefixtures("single")


# -- methods


def test_methods_block_and_return(facade: Any) -> None:
    assert facade.get("a") == 1
    assert facade.get("b", default=9) == 9
    assert facade.helper(1) == 2
    assert facade.made(3) == "Service 3"


def test_plain_methods_run_on_the_loop_s_thread(facade: Any) -> None:
    kept = persistent.persistent_loop().port.loop
    found_loop, ident, number = facade.plain(number=4)
    assert (found_loop, number) == (kept, 4)
    assert ident != threading.get_ident()


def test_what_a_plain_method_returns_is_waited_for_if_it_is_an_awaitable(facade: Any) -> None:
    assert facade.later() == 7


def test_what_returns_the_object_itself_gives_a_facade_only_if_asked_for(service: Service) -> None:
    """A service that is iterable counts as an iterator; see `wrap` for others."""
    found = sync_facade(service).me()
    assert isinstance(found, SyncFacade)
    assert found.get("a") == 1


def test_methods_look_like_those_of_the_object(facade: Any, service: Service) -> None:
    assert facade.get.__name__ == "get"
    assert facade.get.__doc__ == "Get it."
    assert inspect.signature(facade.get) == inspect.signature(service.get)
    assert not inspect.iscoroutinefunction(facade.get)
    assert facade.rows.__doc__ == "The rows."
    assert not inspect.isasyncgenfunction(facade.rows)
    assert {"get", "rows", "retries", "version"} <= set(dir(facade))
    assert repr(facade) == "<sync_facade of Service>"
    assert type(facade).__doc__ == Service.__doc__


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction")
def test_a_marked_function_is_no_coroutine_function_behind_the_facade() -> None:
    class Marked:
        @staticmethod
        def get() -> Any:
            return Service().get("a")

    mark: Any = getattr(inspect, "markcoroutinefunction")  # noqa: B009 - not before Python 3.12
    mark(Marked.get)
    assert sync_facade(Marked()).get() == 1
    assert not inspect.iscoroutinefunction(sync_facade(Marked()).get)


@pytest.mark.parametrize("error", [ValueError("x"), Ended("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_exceptions_come_out_as_they_are(facade: Any, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        facade.fail(error)
    assert caught.value is error
    assert facade.get("a") == 1, "and the loop runs on"


def test_a_cancellation_from_inside_comes_out(facade: Any) -> None:
    with pytest.raises(asyncio.CancelledError):
        facade.cancel_itself()


def test_context_variables_go_in_and_come_back(facade: Any) -> None:
    def check() -> None:
        variable.set("mine")
        assert facade.set_variable("theirs") == "mine"
        assert variable.get() == "theirs"

    contextvars.copy_context().run(check)


def test_thread_sensitive_code_runs_in_the_thread_that_waits(facade: Any) -> None:
    assert facade.thread_of_sensitive_code() == threading.get_ident()


def test_wrong_arguments_are_errors_of_the_method(facade: Any) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        facade.get("a", nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        facade.rows(nonsense=1)


def test_a_generator_that_is_an_attribute_is_the_object_s_own() -> None:
    """It is neither read ahead nor closed for a facade that is dropped."""

    class Reader:
        def __init__(self) -> None:
            self.generator = self.numbers()

        async def numbers(self) -> AsyncIterator[int]:
            for number in range(100):
                yield number

    facade = sync_facade(Reader())
    assert [next(facade.generator) for _ in range(3)] == [0, 1, 2]


def test_arguments_may_have_any_name() -> None:
    class Service:
        async def method(this, self: int, function: int) -> Any:
            return self, function

        async def __call__(this, self: int) -> int:
            return self

    facade = sync_facade(Service())
    assert facade.method(self=1, function=2) == (1, 2)
    assert facade(self=3) == 3


def test_facades_that_are_given_are_what_they_stand_for(facade: Any, service: Service) -> None:
    given: list[Any] = []

    class Other:
        async def take(self, *args: Any, **kwargs: Any) -> None:
            given.extend([*args, *kwargs.values()])

        async def items(self, source: Any) -> AsyncIterator[Any]:
            yield source is service

    other = sync_facade(Other())
    other.take(facade, keyword=facade)
    assert given == [service, service]
    assert list(other.items(facade)) == [True]


# -- attributes


def test_plain_attributes_are_read_and_set_directly(facade: Any, service: Service) -> None:
    assert (facade.retries, facade.kind) == (3, "service")
    assert facade.log is service.log
    facade.retries = 5
    facade.fresh = 1
    assert (service.retries, service.fresh) == (5, 1)  # type: ignore[attr-defined]
    del facade.fresh
    assert not hasattr(service, "fresh")


def test_properties_are_read_and_set_on_the_loop_s_thread(facade: Any, service: Service) -> None:
    thread = facade.plain()[1]
    assert facade.level == (1, thread)
    facade.level = 2
    assert facade.level == (2, thread)
    assert service.log == [thread]


def test_an_async_property_is_waited_for(facade: Any) -> None:
    assert facade.version == "1.0"


def test_a_cached_property_is_computed_once(facade: Any, service: Service) -> None:
    assert (facade.expensive, facade.expensive, service.log) == (5, 5, ["computed"])


def test_what_is_not_there_is_an_attribute_error(facade: Any) -> None:
    with pytest.raises(AttributeError, match="'Service' object has no attribute 'nothing'"):
        _ = facade.nothing
    assert not hasattr(facade, "__fspath__")


def test_attributes_that_are_found_dynamically() -> None:
    class Dynamic:
        def __getattr__(self, name: str) -> Any:
            asyncio.get_running_loop()
            if name == "number":
                return 3
            if name == "method":
                return lambda value: asyncio.sleep(0, value)
            raise AttributeError(name)

    facade = sync_facade(Dynamic())
    assert facade.number == 3
    assert facade.method("x") == "x"
    assert not hasattr(facade, "other")


def test_an_attribute_that_can_be_called_has_its_own_attributes_too() -> None:
    class Command:
        name = "c"

        async def __call__(self, number: int) -> int:
            return number

    class Client:
        command = Command()

        def __init__(self) -> None:
            self.lock = asyncio.Lock()

    client = sync_facade(Client())
    assert (client.command(4), client.command.name) == (4, "c")
    with client.lock:
        assert client.lock.locked()
    assert not client.lock.locked()


def test_an_object_that_sets_attributes_its_own_way_does_so_on_the_loop() -> None:
    class Own:
        def __setattr__(self, name: str, value: object) -> None:
            asyncio.get_running_loop()
            object.__setattr__(self, name, value)

    own = Own()
    sync_facade(own).x = 1
    assert own.x == 1  # type: ignore[attr-defined]
