"""Django's own kind of tests with our functions in them: run by `python -m django test -p cases.py`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from asgiref.sync import async_to_sync as their_async_to_sync
from asgiref.sync import sync_to_async as their_sync_to_async
from django.db import connection, transaction
from django.test import AsyncClient, Client, SimpleTestCase, TestCase, TransactionTestCase
from django.utils import translation

from bridge import async_to_sync, sync_to_async
from bridge.shim.persistent import persistent_loop

from .middleware import loop_id
from .models import Note


class InATransaction(TestCase):
    """Each test is one transaction of the main thread's connection: all calls have to go there."""

    @classmethod
    def setUpTestData(cls) -> None:
        Note.objects.create(text="from the start")

    async def test_async_code_sees_what_blocking_code_has_written(self) -> None:
        await sync_to_async(Note.objects.create)(text="ours")
        await their_sync_to_async(Note.objects.create)(text="theirs")
        await Note.objects.acreate(text="the ORM's")
        assert await Note.objects.acount() == 4
        assert await sync_to_async(Note.objects.count)() == 4

    def test_blocking_code_sees_what_async_code_has_written(self) -> None:
        async def create(text: str) -> None:
            await Note.objects.acreate(text=text)

        async_to_sync(create)("ours")
        their_async_to_sync(create)("theirs")
        assert Note.objects.count() == 3

    async def test_it_is_one_connection_in_one_thread(self) -> None:
        def where() -> tuple[int, int]:
            return threading.get_ident(), id(connection.connection)

        def below() -> set[tuple[int, int]]:
            ours, theirs = sync_to_async(where), their_sync_to_async(where)
            return {where(), *(async_to_sync(each)() for each in (ours, theirs))}

        found = {
            await sync_to_async(where)(),
            *await sync_to_async(below)(),
            *await their_sync_to_async(below)(),
        }
        assert len(found) == 1
        assert next(iter(found))[0] == threading.main_thread().ident

    async def test_a_savepoint_is_rolled_back_with_what_async_code_did_in_it(self) -> None:
        @sync_to_async
        def fail() -> None:
            with transaction.atomic():
                async_to_sync(Note.objects.acreate)(text="never")
                raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):  # noqa: PT027 - pytest does not run this
            await fail()
        assert not await Note.objects.filter(text="never").aexists()

    async def test_the_async_client_sees_the_transaction(self) -> None:
        await sync_to_async(Note.objects.create)(text="mine")
        response: Any = await AsyncClient().get("/orm/", {"text": "mine"})
        assert response.json()["texts"] == ["mine"] * 3
        assert response.json()["connections"] == 1
        assert await sync_to_async(Note.objects.filter(text="mine").count)() == 3

    def test_the_client_sees_the_transaction(self) -> None:
        Note.objects.create(text="mine")
        for path in ("/orm/", "/orm-blocking/", "/transactions/"):
            assert Client().get(path, {"text": path}).status_code == 200
        response: Any = Client().get("/orm/", {"text": "mine"})
        assert response.json()["texts"] == ["mine"] * 3

    async def test_the_client_may_be_called_from_an_async_test_by_way_of_our_function(self) -> None:
        await Note.objects.acreate(text="mine")
        response: Any = await sync_to_async(self.client.get)("/orm-blocking/", {"text": "mine"})
        assert response.json() == {"inside": 3, "same": True, "left": 1}

    def test_a_view_that_is_decorated_runs_on_the_loop_that_is_kept(self) -> None:
        # Where Django calls an async view itself, there is a loop for each request.
        with self.settings(MIDDLEWARE=[]):
            loops: list[Any] = [Client().get("/made-blocking/")["X-Loops"] for _ in range(2)]
            assert loops == [str(id(persistent_loop().port.loop))] * 2
            loops = [Client().get("/async/").json()["loop"] for _ in range(2)]
            assert id(persistent_loop().port.loop) not in loops

    async def test_tasks_of_the_test_share_it(self) -> None:
        await asyncio.gather(*(sync_to_async(Note.objects.create)(text=str(number)) for number in range(5)))
        assert await Note.objects.acount() == 6


class Committed(TransactionTestCase):
    """Without a transaction around it: a pool's worker has a connection of its own."""

    async def test_a_worker_of_the_pool_sees_what_was_committed(self) -> None:
        await Note.objects.acreate(text="committed")

        def look() -> tuple[int, int]:
            try:
                return Note.objects.count(), id(connection.connection)
            finally:
                connection.close()

        count, used = await sync_to_async(look, thread_sensitive=False)()
        assert count == 1
        assert used != await sync_to_async(lambda: id(connection.connection))()


class WithoutADatabase(SimpleTestCase):
    """What does not need one."""

    def test_a_blocking_test_uses_the_loop_that_is_kept(self) -> None:
        loops = {async_to_sync(loop_id)() for _ in range(3)}
        assert loops == {id(persistent_loop().port.loop)}

    @async_to_sync
    async def test_our_function_decorates_a_test(self) -> None:
        assert await sync_to_async(threading.get_ident)() == threading.main_thread().ident

    async def test_the_language_goes_along(self) -> None:
        with translation.override("de"):
            assert await sync_to_async(translation.get_language)() == "de"
            await sync_to_async(translation.activate)("fr")
            assert translation.get_language() == "fr"
        assert translation.get_language() == "en"
