"""The project's views: async ones, and some that are not."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import io
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import aauthenticate, alogin
from django.core.files.uploadedfile import UploadedFile
from django.db import connection
from django.db import transaction as transactions
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from frameworks.asgi_common import BLOB, Planned
from support.asgi_probes import gates, journal, noting, pass_gate

from .models import Note

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("index")


def synchronous(request: HttpRequest) -> HttpResponse:
    """Without async: Django calls it in a thread."""
    return JsonResponse({"main_thread": threading.current_thread() is threading.main_thread()})


# -- for the tests


async def probe(request: HttpRequest) -> HttpResponse:
    query = request.GET
    facts = await asyncio.to_thread(journal.ask, query["of"], query["await"], int(query["count"]))
    return JsonResponse(facts, safe=False)


async def open_gate(request: HttpRequest) -> HttpResponse:
    gates.open(request.GET["gate"])
    return HttpResponse("open")


# -- database


@csrf_exempt
async def notes(request: HttpRequest) -> HttpResponse:
    """The asynchronous ORM."""
    if request.method == "POST":
        note = await Note.objects.acreate(text=request.POST["text"])
        return JsonResponse({"found": await Note.objects.filter(pk=note.pk).acount()}, status=201)
    matching = Note.objects.filter(text=request.GET["text"]).order_by("pk")
    return JsonResponse({"notes": [note.text async for note in matching]})


def notes_in_a_thread(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"notes": list(Note.objects.filter(text=request.GET["text"]).values_list("text"))})


async def transaction(request: HttpRequest) -> HttpResponse:
    """Rolled back: nothing may be left of it, whatever thread it ran in."""

    @sync_to_async
    def fail() -> None:
        with transactions.atomic():
            Note.objects.create(text=request.GET["text"])
            raise Planned("in a transaction")

    try:
        await fail()
    except Planned:
        pass
    return JsonResponse({"left": await Note.objects.filter(text=request.GET["text"]).acount()})


async def touch(request: HttpRequest) -> HttpResponse:
    """Read and write from several places of one request, which have one connection."""
    text = request.GET["text"]
    await Note.objects.acreate(text=text)
    used = [await sync_to_async(lambda: id(connection.connection))() for _ in range(3)]
    return JsonResponse(
        {"connections": len(set(used)), "count": await Note.objects.filter(text=text).acount()}
    )


async def descriptors(request: HttpRequest) -> HttpResponse:
    """How many connections to the database this process has open (Linux)."""
    name = connection.settings_dict["NAME"]
    links = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{entry}"))
        except OSError:
            pass
    return JsonResponse({"open": links.count(os.path.realpath(name))})


# -- sessions and forms


async def log_in(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        user = await aauthenticate(request, username=request.POST["name"], password=request.POST["password"])
        if user is None:
            return HttpResponse("no such user or password", status=401)
        await alogin(request, user)
        return redirect("whoami")
    token = f"<input name=csrfmiddlewaretoken value='{get_token(request)}'>"
    return HttpResponse(f"<form method=post>{token}</form>")


async def whoami(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse(user.get_username() or "nobody")


# -- bodies


@csrf_exempt
async def upload(request: HttpRequest) -> HttpResponse:
    files = {}
    for field, uploaded in request.FILES.items():
        assert isinstance(uploaded, UploadedFile)
        content = await sync_to_async(uploaded.read)()
        files[field] = {
            "name": uploaded.name,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "kind": type(uploaded).__name__,
        }
    return JsonResponse({"fields": request.POST.dict(), "files": files})


@csrf_exempt
async def body(request: HttpRequest) -> HttpResponse:
    data = request.body
    journal.note("read", size=len(data))
    return JsonResponse({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


# -- streams and files


async def stream(request: HttpRequest) -> HttpResponseBase:
    """A row of the database in every line."""

    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number} of {await Note.objects.filter(text='no such text').acount()}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def events(request: HttpRequest) -> HttpResponseBase:
    async def feed() -> AsyncIterator[str]:
        yield "data: first\n\n"
        opened = await pass_gate()
        yield f"data: {opened}\n\n"

    return StreamingHttpResponse(feed(), content_type="text/event-stream")


async def endless(request: HttpRequest) -> HttpResponseBase:
    note = noting("generator closed")

    async def feed() -> AsyncIterator[bytes]:
        try:
            # Opens a connection to the database, which the end of the request closes.
            await Note.objects.acount()
            while True:
                yield bytes(16384)
                await asyncio.sleep(0)
        finally:
            note()

    return StreamingHttpResponse(feed())


async def slow(request: HttpRequest) -> HttpResponse:
    """Waits for a gate. Django cancels it if its client leaves meanwhile."""
    journal.note("waiting")
    try:
        opened = await pass_gate()
    except asyncio.CancelledError:
        journal.note("cancelled")
        raise
    return JsonResponse({"opened": opened})


async def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(io.BytesIO(BLOB), filename="blob.bin")


# -- the rest


async def broken(request: HttpRequest) -> HttpResponse:
    raise Planned("in a view")


async def context(request: HttpRequest) -> HttpResponse:
    _variable.set(request.GET["value"])

    async def of_a_task() -> str:
        return _variable.get()

    values: list[Any] = await asyncio.gather(of_a_task(), sync_to_async(_variable.get)())
    return JsonResponse({"values": values})


async def where(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "root": request.META["SCRIPT_NAME"],
            "path": request.path_info,
            "full_path": request.path,
            "link": reverse("item", args=[3]),
            "external": request.build_absolute_uri(reverse("item", args=[3])),
            "method": request.method,
            "secure": request.is_secure(),
        }
    )


async def item(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(f"item {number}")


async def go(request: HttpRequest) -> HttpResponse:
    return redirect("item", number=3)
