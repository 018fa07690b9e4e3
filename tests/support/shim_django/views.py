"""Views of both kinds. What runs where is their answer."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from asgiref.sync import async_to_sync as their_async_to_sync
from asgiref.sync import sync_to_async as their_sync_to_async
from django.db import connection, transaction
from django.dispatch import Signal, receiver
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import translation
from django.views import View

from bridge import async_to_sync, sync_to_async
from support.frameworks_probes import PATIENCE

from .middleware import loop_id
from .models import Note


class Planned(Exception):
    """Raised on purpose."""


def place(**more: Any) -> dict[str, Any]:
    """This thread, and the loop that its async calls run on, by our function and by asgiref's."""
    loops = [async_to_sync(loop_id)(), their_async_to_sync(loop_id)()]
    return {"thread": threading.get_ident(), "loops": loops, **more}


# -- which thread, which loop


def blocking(request: HttpRequest) -> HttpResponse:
    """Each function inside the other: loops and threads by level."""

    async def middle() -> list[Any]:
        return [await loop_id(), await sync_to_async(place)(), await their_sync_to_async(place)()]

    return JsonResponse(
        {"here": place(), "ours": async_to_sync(middle)(), "theirs": their_async_to_sync(middle)()}
    )


async def asynchronous(request: HttpRequest) -> HttpResponse:
    def middle() -> list[Any]:
        async def inner() -> list[Any]:
            return [await loop_id(), await sync_to_async(place)(), await their_sync_to_async(place)()]

        return [threading.get_ident(), async_to_sync(inner)(), their_async_to_sync(inner)()]

    return JsonResponse(
        {
            "loop": await loop_id(),
            "loop_thread": threading.get_ident(),
            "ours": await sync_to_async(middle)(),
            "theirs": await their_sync_to_async(middle)(),
            "pool": await sync_to_async(place, thread_sensitive=False)(),
        }
    )


async def meet(request: HttpRequest) -> HttpResponse:
    """Two requests are in their threads at a time, or the barrier breaks."""
    await sync_to_async(barrier.wait)(PATIENCE)
    return JsonResponse({"thread": await sync_to_async(threading.get_ident)()})


barrier = threading.Barrier(2)


class Both(View):
    """A class whose methods are async."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(await sync_to_async(Note.objects.filter(text="no such text").count)()))


# As views: ours say what kind they are, as Django has to know.
@sync_to_async
def blocking_made_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"blocking {Note.objects.filter(text='no such text').count()}")


@async_to_sync
async def async_made_blocking(request: HttpRequest) -> HttpResponse:
    count = await Note.objects.filter(text="no such text").acount()
    return HttpResponse(f"async {count}", headers={"X-Loops": await loop_id()})


# -- the database


def used_connection() -> int:
    """The calling thread's connection to the database."""
    return id(connection.connection)


async def orm(request: HttpRequest) -> HttpResponse:
    """The async ORM, which goes through asgiref, and ours: one connection."""
    text = request.GET["text"]
    made = await Note.objects.acreate(text=text)
    await sync_to_async(Note.objects.create)(text=text)
    found = await Note.objects.aget(pk=made.pk)
    connections = [
        await sync_to_async(lambda: id(connection.connection))(),
        await their_sync_to_async(lambda: id(connection.connection))(),
        await sync_to_async(
            lambda: async_to_sync(their_sync_to_async(lambda: id(connection.connection)))()
        )(),
    ]
    texts = [note.text async for note in Note.objects.filter(text=text)]
    return JsonResponse(
        {
            "found": found.text,
            "texts": texts,
            "list": [
                note.text for note in await sync_to_async(lambda: list(Note.objects.filter(text=text)))()
            ],
            "connections": len(set(connections)),
        }
    )


def orm_from_blocking_code(request: HttpRequest) -> HttpResponse:
    """The async ORM out of a blocking view, inside a transaction of it."""
    text = request.GET["text"]

    async def look() -> list[int]:
        await Note.objects.acreate(text=text)
        return [
            await Note.objects.filter(text=text).acount(),
            await sync_to_async(lambda: id(connection.connection))(),
        ]

    try:
        with transaction.atomic():
            Note.objects.create(text=text)
            count, used = async_to_sync(look)()
            raise Planned
    except Planned:
        pass
    return JsonResponse(
        {
            "inside": count,
            "same": used == id(connection.connection),
            "left": Note.objects.filter(text=text).count(),
        }
    )


async def transactions(request: HttpRequest) -> HttpResponse:
    """A transaction in a function that awaits the async ORM in its middle: all or nothing is kept."""
    text = request.GET["text"]

    async def create(text: str) -> None:
        # To asgiref the manager's method does not look async, of which it would warn.
        await Note.objects.acreate(text=text)

    @sync_to_async
    def change(fails: bool) -> int:
        with transaction.atomic():
            Note.objects.create(text=text)
            async_to_sync(Note.objects.acreate)(text=text)
            their_async_to_sync(create)(text)
            if fails:
                raise Planned
            return Note.objects.filter(text=text).count()

    counts = []
    for fails in (True, False):
        try:
            counts.append(await change(fails))
        except Planned:
            counts.append(await Note.objects.filter(text=text).acount())
    return JsonResponse({"counts": counts})


async def touch(request: HttpRequest) -> HttpResponse:
    """Use the database in three ways; only the request's own thread may open a connection for that."""
    await sync_to_async(Note.objects.filter(text="x").count)()
    await Note.objects.filter(text="x").acount()
    return JsonResponse({"thread": await sync_to_async(threading.get_ident)()})


def descriptors(request: HttpRequest) -> HttpResponse:
    """How many connections to the database this process has open (Linux)."""
    name = os.path.realpath(connection.settings_dict["NAME"])
    links = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{entry}"))
        except OSError:
            pass
    return JsonResponse({"open": links.count(name)})


# -- what Django keeps in asgiref's Local


async def language(request: HttpRequest) -> HttpResponse:
    """Set in a thread and read on the loop, and the reverse."""
    seen = []
    await sync_to_async(translation.activate)("de")
    seen.append(translation.get_language())
    translation.activate("fr")
    seen.append(await sync_to_async(translation.get_language)())
    seen.append(await their_sync_to_async(translation.get_language)())
    seen.append(await sync_to_async(translation.get_language, thread_sensitive=False)())
    return JsonResponse({"seen": seen})


def language_blocking(request: HttpRequest) -> HttpResponse:
    async def activate() -> Any:
        before = translation.get_language()
        translation.activate("fr")
        return before

    translation.activate("de")
    seen = [async_to_sync(activate)(), translation.get_language()]
    return JsonResponse({"seen": seen})


# -- signals

changed = Signal()
received: list[list[Any]] = []


@receiver(changed)
def receive(sender: object, **kwargs: Any) -> str:
    received.append(["blocking", place()])
    return "blocking"


def receive_in_a_thread(sender: object, **kwargs: Any) -> str:
    received.append(["made async", place()])
    return "made async"


made_async = sync_to_async(receive_in_a_thread)
changed.connect(made_async)


async def receive_async(sender: object, **kwargs: Any) -> str:
    received.append(["async", {"loops": [await loop_id()]}])
    return "async"


made_blocking = async_to_sync(receive_async)
changed.connect(made_blocking)


async def signals(request: HttpRequest) -> HttpResponse:
    """Receivers of ours beside ordinary ones, sent from async code and from blocking code."""
    answers = []
    for send in (changed.asend, sync_to_async(changed.send)):
        received.clear()
        answered: Any = await send(sender=None)
        loops = {loop for _, facts in received for loop in facts["loops"]}
        answers.append([sorted(answer for _, answer in answered), loops == {await loop_id()}])
    return JsonResponse({"answers": answers})


# -- after the response

later: dict[str, tuple[asyncio.Event, asyncio.Task[str]]] = {}


async def afterwards(request: HttpRequest) -> HttpResponse:
    """Leave a task behind that needs a thread, once the response is out; see `release`."""
    name = request.GET["name"]
    released = asyncio.Event()

    async def work() -> str:
        await released.wait()
        # asgiref's function, and so Django's async ORM, would ask for the thread that waited for the view.
        note = await sync_to_async(Note.objects.create)(text=name)
        found = await sync_to_async(Note.objects.get)(pk=note.pk)
        await sync_to_async(lambda: connection.close())()  # looked up there: it is the thread's own
        return found.text

    later[name] = (released, asyncio.create_task(work()))
    return HttpResponse("soon")


async def release(request: HttpRequest) -> HttpResponse:
    """Let that task go on, and wait for it."""
    released, task = later.pop(request.GET["name"])
    released.set()
    return JsonResponse({"found": await asyncio.wait_for(task, PATIENCE)})
