"""What the page of the documentation says of each direction and each scenario."""

from __future__ import annotations

from dataclasses import dataclass

RATIOS = "ratios"
"""A figure of all cases: the ratios to the reference."""
BARS = "bars"
"""A figure of the first case: a bar for each contender."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    heading: str
    """No two are alike, since other pages link to them."""
    about: str
    """What a reader has to know beyond the title of the result."""
    figure: str = ""
    """`RATIOS`, `BARS` or none."""


DIRECTIONS = {
    "wsgi-under-asgi": Section(
        "WSGI apps under ASGI servers",
        """\
In process, clients call the adapter with `scope`, `receive` and `send`. Each adapter runs with its own
default number of threads, unless a table says otherwise. Hypercorn's adapter refuses request bodies above
64 KiB by default; that limit is lifted here.

The floor is `loop.run_in_executor` of a function that does nothing, on ten threads: what one hop to a thread
and back costs with the standard library.""",
    ),
    "asgi-under-wsgi": Section(
        "ASGI apps under WSGI servers",
        """\
In process, some threads call the adapter with `environ` and `start_response`, as those of a server do, and
iterate. The adapters run on asyncio's own loop, which is their default, and on uvloop where the row says so;
ratios are between rows of the same loop.

The floor is `asyncio.run_coroutine_threadsafe` of a coroutine that does nothing, and the wait for its result:
what one hop to a loop's thread and back costs with the standard library. The limit is the application stepped
in the calling thread: no loop, no hop, nothing translated. That works only for an app that never waits.""",
    ),
    "shim": Section(
        "Blocking and async code that call each other",
        """\
All call the same function, which does nothing: what is left is the way there and back. Each loop has threads
and executors of its own; ratios are between rows of the same loop. The floors are those of the two sections
above: `loop.run_in_executor`, on ten threads, and `asyncio.run_coroutine_threadsafe`.""",
    ),
    "testing": Section("Testing", ""),
    "package": Section("The package", ""),
}

SECTIONS = {
    "hello": Section(
        "Hello-world",
        """\
The least that an application can do; what is left is the adapter. bridge's engine alone is its thread pool
and hand-over without HTTP: beside the floor it shows the price of the hop, beside bridge that of the
translation.""",
        RATIOS,
    ),
    "environ": Section(
        "A browser's request",
        "What a browser sends through a proxy; building the environ costs more here.",
    ),
    "flask": Section(
        "Flask",
        """\
The direct call is the Flask application called in an executor with a ready environ: what it costs with no
adapter at all.""",
    ),
    "django": Section(
        "Django",
        "A sync view without middleware. Django's own ASGI handler serves the same view.",
    ),
    "sleep": Section(
        "Handlers that wait",
        """\
Handlers that wait, as on a database. The plain pool calls the application directly in an executor of 40
threads. asgiref has one thread for all.""",
    ),
    "chunks": Section(
        "Small chunks",
        """\
10 000 chunks, each yielded by the application. Uvicorn's adapter puts them into a queue without a bound.""",
    ),
    "down": Section(
        "Downloads",
        """\
A response of unknown length. Some adapters queue it without a bound: see [peak memory](#peak-memory).""",
    ),
    "up": Section(
        "Uploads",
        """\
asgiref writes the whole body to a temporary file first; Starlette's, Hypercorn's and Uvicorn's adapters
collect it in memory.""",
    ),
    "readline": Section("Uploads, line by line", "The application reads the body with `readline()`."),
    "memory": Section("Peak memory", "What a transfer of 200 MiB takes beyond the process at rest."),
    "convoy": Section(
        "A native endpoint beside CPU-heavy handlers",
        """\
A thread that computes lets others run only every few milliseconds. The time runs from the moment at which a
request is due on the loop to its answer.""",
    ),
    "http-convoy": Section(
        "A native endpoint beside CPU-heavy handlers, over HTTP",
        "The same over HTTP, where Uvicorn turns its loop twice for a request.",
        BARS,
    ),
    "mixed": Section(
        "Handlers that wait beside one that computes",
        """\
bridge's pool holds threads back while most handlers burn CPU. One long computation among handlers that wait
keeps the interpreter busy as well, but they need their threads.""",
    ),
    "http-flask": Section("Flask over HTTP", "The same Flask application everywhere.", BARS),
    "http-django": Section(
        "Django over HTTP",
        "The same Django project everywhere: one sync view, no middleware.",
        BARS,
    ),
    "asgi-hello": Section(
        "A bare ASGI app",
        "The least that an application can do; what is left is the adapter.",
        RATIOS,
    ),
    "asgi-starlette": Section("Starlette", "One endpoint.", RATIOS),
    "asgi-chunks": Section("Small chunks from an ASGI app", "10 000 chunks, each sent by the application."),
    "asgi-down": Section("Downloads from an ASGI app", "A response of unknown length."),
    "asgi-up": Section(
        "Uploads to an ASGI app", "The application receives the whole body and says how much it was."
    ),
    "asgi-memory": Section(
        "Peak memory of ASGI apps",
        "What a transfer of 200 MiB takes beyond the process at rest.",
    ),
    "http-starlette": Section(
        "Starlette over HTTP",
        """\
The same Starlette application through the adapters on Gunicorn, and on Uvicorn, which needs none. The bare
WSGI hello-world shows what Gunicorn itself costs.""",
        BARS,
    ),
    "http-fastapi": Section("FastAPI over HTTP", "The same FastAPI application everywhere."),
    "to-async": Section(
        "Blocking code from async code",
        """\
`sync_to_async` of bridge and asgiref, thread-sensitive and not. Thread-sensitive calls share one thread: that
of the process or, to a waiting thread, the one that waits in `async_to_sync` for the coroutine that makes the
calls. Others go to a pool: bridge's and anyio's have 40 threads, those of asgiref and `asyncio.to_thread`
are the loop's default executor.""",
    ),
    "to-sync": Section(
        "Async code from plain threads",
        """\
Threads that no loop has started. bridge runs all calls on one loop that it keeps; asgiref starts a thread and
a loop for each call. The floor and the portal have a loop in a thread of their own.""",
    ),
    "to-sync-worker": Section(
        "Async code from worker threads",
        """\
Threads that a task waits for, each started by the contender that is measured: `sync_to_async` of bridge and
asgiref, not thread-sensitive, `anyio.to_thread.run_sync`, and an executor for the floor. The calls come back
to the loop of that task.""",
    ),
    "iterate-in-thread": Section(
        "Blocking iterators in async code",
        """\
bridge runs a whole iteration in one thread, which is some items ahead (16, unless told otherwise); with
`read_ahead=0` it makes each item when it is asked for. The others call a thread for each item.""",
    ),
    "iterate-on-loop": Section(
        "Async iterators in blocking code",
        """\
bridge runs a whole iteration in one task, which is some items ahead (16, unless told otherwise); with
`read_ahead=0` it makes each item when it is asked for. The others run a coroutine for each item.""",
    ),
    "facade": Section(
        "Facades",
        "The same method, which does nothing. A facade with a thread of its own makes one call at a time.",
    ),
    "client": Section(
        "Clients in process",
        """\
A test's client calls a bare app that says hello. httpx2 without an app shows what the library costs that
bridge's and Starlette's clients stand on.""",
    ),
    "import": Section("Import", "Only the import counts, not the start of the interpreter."),
}
