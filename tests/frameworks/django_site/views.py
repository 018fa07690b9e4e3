"""The views of the tests' Django project."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from collections.abc import Iterator

from django.contrib.auth import authenticate, login
from django.core.files.uploadedfile import UploadedFile
from django.db import connection
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
    UnreadablePostError,
)
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from support.frameworks_probes import current_request, gates, journal

from . import signals
from .models import Note


class Planned(Exception):
    """Raised on purpose; the settings keep it out of the log."""


BLOB = bytes(range(256)) * 1024
"""What `/file/` sends: 256 KiB that tell their position."""


def index(request: HttpRequest) -> HttpResponse:
    journal.note("called")
    return HttpResponse("index")


# -- for the tests


def probe(request: HttpRequest) -> HttpResponse:
    facts = journal.ask(request.GET["of"], request.GET["await"], int(request.GET["count"]))
    return JsonResponse(facts, safe=False)


def open_gate(request: HttpRequest) -> HttpResponse:
    gates.open(request.GET["gate"])
    return HttpResponse("open")


# -- sessions, forms, database


def log_in(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        user = authenticate(request, username=request.POST["name"], password=request.POST["password"])
        if user is None:
            return HttpResponse("no such user or password", status=401)
        login(request, user)
        return redirect("whoami")
    token = f"<input name=csrfmiddlewaretoken value='{get_token(request)}'>"
    return HttpResponse(f"<form method=post>{token}</form>")


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username() or "nobody")


def notes(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        note = Note.objects.create(text=request.POST["text"], thread=threading.get_ident())
        return redirect(f"{reverse('notes')}?after={note.pk}")
    token = get_token(request)
    return JsonResponse({"csrf": token, "notes": list(Note.objects.values_list("text", flat=True))})


def touch(request: HttpRequest) -> HttpResponse:
    """Write and read a row by raw SQL; say which thread and connection did."""
    thread = threading.get_ident()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_site_note (text, thread) VALUES (%s, %s)", [request.GET["text"], thread]
        )
        cursor.execute("SELECT COUNT(*) FROM django_site_note WHERE text = %s", [request.GET["text"]])
        (count,) = cursor.fetchone()
    return JsonResponse({"thread": thread, "connection": id(connection.connection), "count": count})


def connections(request: HttpRequest) -> HttpResponse:
    return JsonResponse(signals.connections_opened, safe=False)


# -- bodies


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    journal.note("called")
    try:
        uploads = list(request.FILES.items())
    except UnreadablePostError:
        journal.note("broken off")
        return HttpResponse("nobody reads this", status=400)
    journal.note("parsed")
    files = {}
    for field, uploaded in uploads:
        assert isinstance(uploaded, UploadedFile)
        digest = hashlib.sha256()
        for chunk in uploaded.chunks():
            digest.update(chunk)
        files[field] = {
            "name": uploaded.name,
            "size": uploaded.size,
            "sha256": digest.hexdigest(),
            "kind": type(uploaded).__name__,
        }
    return JsonResponse({"fields": request.POST.dict(), "files": files})


@csrf_exempt
def body(request: HttpRequest) -> HttpResponse:
    digest, size = hashlib.sha256(), 0
    while piece := request.read(1000):
        digest.update(piece)
        size += len(piece)
    length = request.META.get("CONTENT_LENGTH")
    return JsonResponse({"size": size, "sha256": digest.hexdigest(), "content_length": length})


# -- streams and files


def stream(request: HttpRequest) -> HttpResponseBase:
    """Two chunks; the second is made once the gate with the request's id is open."""

    def chunks() -> Iterator[bytes]:
        journal.note("first made")
        yield b"first"
        opened = gates.wait(current_request.get())
        journal.note("last made", notes=Note.objects.count())
        yield b"last" if opened else b"nobody opened the gate"

    journal.note("called")
    return StreamingHttpResponse(chunks())


def endless(request: HttpRequest) -> HttpResponseBase:
    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(16384)
        finally:
            journal.note("generator closed")

    journal.note("called")
    return StreamingHttpResponse(chunks())


def events(request: HttpRequest) -> HttpResponseBase:
    """One event, then silence until the gate opens, then more for ever."""

    def chunks() -> Iterator[bytes]:
        try:
            yield b"data: hello\n\n"
            gates.wait(current_request.get())
            while True:
                yield b"data: more\n\n"
        finally:
            journal.note("generator closed")

    journal.note("called")
    return StreamingHttpResponse(chunks(), content_type="text/event-stream")


def file(request: HttpRequest) -> HttpResponseBase:
    journal.note("called", wrapper=type(request.META["wsgi.file_wrapper"]).__name__)
    return FileResponse(io.BytesIO(BLOB), filename="blob.bin")


def broken(request: HttpRequest) -> HttpResponse:
    journal.note("called")
    raise Planned("in a view")


# -- async views


async def async_view(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return JsonResponse(
        {
            "loop": id(asyncio.get_running_loop()),
            "server_loop": request.META["asgi.scope"]["tests.loop"],
            "main_thread": threading.current_thread() is threading.main_thread(),
        }
    )


async def async_database(request: HttpRequest) -> HttpResponse:
    """The asynchronous ORM: its queries go back to the worker that called, and to its connection."""
    note = await Note.objects.acreate(text="async", thread=threading.get_ident())
    return JsonResponse({"found": await Note.objects.filter(pk=note.pk).acount()})


# -- links


def where(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "root": request.META["SCRIPT_NAME"],
            "path": request.path_info,
            "full_path": request.path,
            "link": reverse("item", args=[3]),
            "external": request.build_absolute_uri(reverse("item", args=[3])),
        }
    )


def item(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(f"item {number}")


def go(request: HttpRequest) -> HttpResponse:
    return redirect("item", number=3)
