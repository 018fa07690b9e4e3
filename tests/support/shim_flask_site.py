"""A Flask site whose async functions all run by `bridge.async_to_sync`.

Served as `support.shim_flask_site:site` on WSGI servers and `support.shim_flask_site:app` on ASGI servers.
`UPSTREAM` names the server that the views call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import click
import httpx2
from asgiref.sync import sync_to_async as their_sync_to_async
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    copy_current_request_context,
    current_app,
    g,
    jsonify,
    render_template_string,
    request,
    request_finished,
    session,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask.views import MethodView

from bridge import WSGIToASGI, async_to_sync, sync_to_async
from support.frameworks_probes import PATIENCE, current_request, journal

T = TypeVar("T")

site = Flask(__name__)
site.secret_key = "tests"
# To mypy neither this nor asgiref's function, being overloaded, is what Flask declares.
site.async_to_sync = async_to_sync  # type: ignore[method-assign, assignment]


class Planned(Exception):
    """Raised on purpose."""


class Clients:
    """One client for all requests, made where the first one asks for it."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def get(self, path: str) -> str:
        """What the upstream server answers."""
        if self._client is None:
            self._client = httpx2.AsyncClient(trust_env=False, timeout=PATIENCE)
        response = await self._client.get(os.environ["UPSTREAM"] + path)
        return response.text

    async def close(self) -> None:
        """Close its connections, on the loop that they belong to."""
        if self._client is not None:
            await self._client.aclose()


clients = Clients()


async def here() -> dict[str, int]:
    """Which loop and thread run this, after a turn of the loop."""
    await asyncio.sleep(0)
    return {"loop": id(asyncio.get_running_loop()), "thread": threading.get_ident()}


def in_a_thread_of_its_own(function: Callable[[], T]) -> T:
    """What a function returns that runs in a thread which the site starts itself."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result(PATIENCE)


# -- every hook that may be async


@site.before_request
def name_it() -> None:
    g.worker = threading.get_ident()


@site.before_request
async def before() -> None:
    g.marks = [("before", await here())]


@site.after_request
async def after(response: Response) -> Response:
    g.marks.append(("after", await here()))
    if request.path == "/hooks":
        response = jsonify(g.marks)
    return response


@site.teardown_request
async def teardown(error: BaseException | None) -> None:
    # Also at the end of a copied context, in a thread where nothing is set but the request.
    if "X-Request-Id" in request.headers:
        current_request.set(request.headers["X-Request-Id"])
        where = await here()
        journal.note("teardown", path=request.path, error=type(error).__name__, loop=where["loop"])


@site.context_processor
async def variables() -> dict[str, Any]:
    return {"where": await here()}


@site.errorhandler(Planned)
async def handle(error: Planned) -> ResponseReturnValue:
    g.marks.append(("handler", await here()))
    return jsonify(planned=str(error), marks=g.marks, view=request.endpoint), 418


@request_finished.connect_via(site)
async def finished(sender: Flask, response: Response, **extra: Any) -> None:
    response.headers["X-Signal-Loop"] = str((await here())["loop"])


@site.get("/hooks")
async def hooks() -> ResponseReturnValue:
    """All of them; `after` answers with what they have noted."""
    g.marks.append(("view", await here()))
    # Templates are rendered by blocking code, which has to wait for `variables`.
    rendered = await sync_to_async(render_template_string)("{{ where.loop }}")
    g.marks.append(("template", {"loop": int(rendered)}))
    return ""


@site.get("/planned")
async def planned() -> ResponseReturnValue:
    await asyncio.sleep(0)
    raise Planned("by an async view")


@site.get("/missing")
async def missing() -> ResponseReturnValue:
    await asyncio.sleep(0)
    abort(404)


@site.get("/broken")
async def broken() -> ResponseReturnValue:
    await asyncio.sleep(0)
    raise ZeroDivisionError("a view that nobody handles")


def is_unplanned(record: logging.LogRecord) -> bool:
    """What may be logged: all but the error above."""
    return record.exc_info is None or record.exc_info[0] is not ZeroDivisionError


site.logger.addFilter(is_unplanned)


# -- blueprints and views that are classes

blueprint = Blueprint("shop", __name__, url_prefix="/shop")


@blueprint.before_request
async def open_shop() -> None:
    g.shop = await here()


@blueprint.get("/<name>")
async def item(name: str) -> ResponseReturnValue:
    return jsonify(name=name, loops=[g.shop["loop"], (await here())["loop"]])


class Item(MethodView):
    """Methods of either kind."""

    async def get(self, number: int) -> ResponseReturnValue:
        return jsonify(got=number, loop=(await here())["loop"])

    def delete(self, number: int) -> ResponseReturnValue:
        return jsonify(deleted=number, loop=async_to_sync(here)()["loop"])


site.register_blueprint(blueprint)
site.add_url_rule("/items/<int:number>", view_func=Item.as_view("items"))


# -- Flask's contexts


@site.post("/contexts")
async def contexts() -> ResponseReturnValue:
    """In the view itself, in tasks of it, and in a blocking function that it calls."""
    g.value = request.form["value"]
    session["count"] = session.get("count", 0) + 1

    async def look() -> list[Any]:
        await asyncio.sleep(0)
        return [request.form["value"], g.value, session["count"], current_app.name, url_for("contexts")]

    def look_blocking() -> list[Any]:
        return [*async_to_sync(look)()]

    seen = [await look(), *await asyncio.gather(look(), look())]
    seen.append(await sync_to_async(look_blocking)())
    seen.append(await sync_to_async(look_blocking, thread_sensitive=False)())
    return jsonify(seen)


@site.get("/copied")
async def copied() -> ResponseReturnValue:
    """`copy_current_request_context` of an async function, called in threads of three kinds."""

    @copy_current_request_context
    async def look() -> dict[str, Any]:
        return {"value": request.args["value"], **await here()}

    blocking: Any = look  # it has become one
    return jsonify(
        view=await here(),
        worker=await sync_to_async(blocking)(),
        pool=await sync_to_async(blocking, thread_sensitive=False)(),
        own=await asyncio.to_thread(in_a_thread_of_its_own, blocking),
    )


@site.get("/threads")
async def threads() -> ResponseReturnValue:
    """From the worker to the loop and back, twice."""

    async def inner() -> list[int]:
        return [threading.get_ident(), await sync_to_async(threading.get_ident)()]

    def back() -> list[int]:
        return [threading.get_ident(), *async_to_sync(inner)()]

    return jsonify(worker=g.worker, path=[threading.get_ident(), *await sync_to_async(back)()])


# -- streams


def piece(number: int) -> str:
    """A line that async code has made; in a blocking function, as generators are."""
    answer, where = async_to_sync(clients.get)(f"/{number}"), async_to_sync(here)()
    return f"{request.args['of']} {answer} {where['loop']}\n"


@site.get("/stream")
async def stream() -> ResponseReturnValue:
    """A generator that calls async code for each piece, in the request's context."""

    @stream_with_context
    def pieces() -> Iterator[str]:
        for number in range(3):
            yield piece(number)

    return Response(pieces(), mimetype="text/plain")  # type: ignore[call-arg]


@site.get("/stream-sync")
def stream_sync() -> ResponseReturnValue:
    """The same in a blocking view, as an iterator that was made by hand."""

    def pieces() -> Iterator[str]:
        for number in range(3):
            yield piece(number)

    return Response(stream_with_context(pieces()), mimetype="text/plain")


# -- one client


@site.get("/upstream")
async def upstream() -> ResponseReturnValue:
    return await clients.get("/async")


@site.get("/upstream-sync")
def upstream_sync() -> ResponseReturnValue:
    return async_to_sync(clients.get)("/sync")


kept = Clients()
# On the loop that the process keeps, also where there is one of a server.
get_kept = async_to_sync(kept.get, loop_factory=asyncio.new_event_loop)


@site.get("/kept")
def upstream_kept() -> ResponseReturnValue:
    return get_kept("/kept")


@site.get("/kept-thread")
def upstream_thread() -> ResponseReturnValue:
    """From a thread that the site starts."""
    return in_a_thread_of_its_own(lambda: get_kept("/thread"))


@site.get("/meet")
async def meet() -> ResponseReturnValue:
    """Return once two requests are here: they wait for each other on one loop."""
    if meeting:
        meeting.pop().set_result(None)
        return "second"
    mine = asyncio.get_running_loop().create_future()
    meeting.append(mine)
    await asyncio.wait_for(mine, PATIENCE)
    return "first"


meeting: list[asyncio.Future[None]] = []


# -- after the response

later: dict[str, tuple[asyncio.Event, asyncio.Task[list[int]]]] = {}


@site.get("/leave")
async def leave() -> ResponseReturnValue:
    """Leave a task behind; see `fetch_left`."""
    go_on = asyncio.Event()

    async def work() -> list[int]:
        await go_on.wait()
        ours, theirs = sync_to_async(threading.get_ident), their_sync_to_async(threading.get_ident)
        return [threading.get_ident(), await ours(), await theirs()]

    later[request.args["name"]] = (go_on, asyncio.create_task(work()))
    return ""


@site.get("/left")
async def fetch_left() -> ResponseReturnValue:
    """Let that task go on, and wait for it."""
    go_on, task = later.pop(request.args["name"])
    go_on.set()
    return jsonify(await asyncio.wait_for(task, PATIENCE))


# -- on the command line


@site.cli.command("fetch")
@click.argument("path")
@async_to_sync
async def fetch(path: str) -> None:
    """A command: Flask does not convert these, so the decorator stands there."""
    click.echo(f"{await clients.get(path)} for {current_app.name}")


# -- for the tests


@site.get("/probe")
def probe() -> ResponseReturnValue:
    facts = journal.ask(request.args["of"], request.args["await"], int(request.args["count"]))
    return jsonify(facts)


app = WSGIToASGI(site, threads=8)
