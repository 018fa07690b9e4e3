"""Generated ASGI apps keep the specification, do what they say, and each field does what its name says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support.scopes import http_scope

from bridge.testing.strategies import Behaviour, GeneratedASGI, asgi_apps, bodies, chunkings
from bridge.testing.strategies.behaviour import Seen
from bridge.translate.interface import Interface, interface_of

QUICK = settings(max_examples=500, phases=[Phase.generate, Phase.shrink])


class Server:
    """Runs one app once and notes what it does, in order.

    Args:
        pieces: the request body, a message each.
        extra: keys of the scope.
    """

    def __init__(self, pieces: tuple[bytes, ...] = (b"",), **extra: Any) -> None:
        self.scope: dict[str, Any] = http_scope(**extra)
        self.log: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self._pieces = list(pieces)
        self._complete = asyncio.Event()
        self._trailers = False

    async def receive(self) -> dict[str, Any]:
        if self._pieces:
            self.log.append("receive")
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        self.log.append("wait")
        await self._complete.wait()
        self.log.append("gone")
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.log.append(message["type"].rpartition(".")[2])
        self.sent.append(message)
        self._trailers = self._trailers or message.get("trailers", False)
        last = "trailers" if self._trailers else "body"
        if message["type"] == f"http.response.{last}" and not message.get("more_body", False):
            self._complete.set()

    def serve(self, app: GeneratedASGI) -> Server:
        async def main() -> None:
            await asyncio.wait_for(app(self.scope, self.receive, self.send), 10)
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == 1, "a task was left behind"

        asyncio.run(main())
        return self

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


@settings(max_examples=40)
@given(app=asgi_apps(), data=st.data(), method=st.sampled_from(["GET", "POST", "HEAD"]), body=bodies())
def test_they_keep_the_order_and_do_what_they_say(
    app: GeneratedASGI, data: st.DataObject, method: str, body: bytes
) -> None:
    pieces = data.draw(chunkings(body))
    server = Server(pieces, method=method, extensions={"http.response.trailers": {}}).serve(app)
    seen = Seen.in_scope(server.scope, body if app.does.reads is None else body[: app.does.reads])
    start, *rest = server.sent
    assert start["type"] == "http.response.start"
    assert start["status"] == app.does.status
    assert start.get("headers", []) == [
        (name.lower().encode(), value.encode("latin-1")) for name, value in app.does.head(seen)
    ]
    assert server.body == b"".join(app.does.body(seen))
    parts = [message for message in rest if message["type"] == "http.response.body"]
    assert [message.get("more_body", False) for message in parts] == [True] * (len(parts) - 1) + [False]
    assert rest[len(parts) :] == (
        [
            {
                "type": "http.response.trailers",
                "headers": [(name.lower().encode(), value.encode()) for name, value in app.trailers],
                "more_trailers": False,
            }
        ]
        if app.trailers
        else []
    )


def test_the_simplest_is_plain() -> None:
    assert find(asgi_apps(), lambda _: True, settings=QUICK) == GeneratedASGI()


def test_they_shrink_to_what_matters() -> None:
    found = find(asgi_apps(), lambda app: app.watches and len(app.does.chunks) > 1, settings=QUICK)
    assert found == GeneratedASGI(does=Behaviour(chunks=(b"", b"")), watches=True)


def test_they_are_known_as_asgi() -> None:
    assert interface_of(GeneratedASGI()).interface is Interface.ASGI3


TWO = Behaviour(chunks=(b"a", b"b"))
READS = Behaviour(chunks=(b"a",), reads=None)


@pytest.mark.parametrize(
    ("app", "log"),
    [
        (GeneratedASGI(TWO), ["start", "body", "body"]),
        (GeneratedASGI(TWO, merged=False), ["start", "body", "body", "body"]),
        (GeneratedASGI(Behaviour(chunks=())), ["start", "body"]),
        (GeneratedASGI(READS), ["receive", "receive", "start", "body"]),
        (GeneratedASGI(READS, order="start"), ["start", "receive", "receive", "body"]),
        (GeneratedASGI(READS, order="chunks"), ["start", "body", "receive", "receive", "body"]),
        (GeneratedASGI(Behaviour(reads=1)), ["receive", "start", "body"]),
        (
            GeneratedASGI(READS, lingers=True),
            ["receive", "receive", "start", "body", "wait", "gone"],
        ),
        (
            GeneratedASGI(READS, watches=True, pauses=1),
            ["receive", "receive", "start", "wait", "body"],
        ),
        (
            GeneratedASGI(Behaviour(chunks=(b"a",), reads=None, reflects=("body",), length=True), "chunks"),
            ["receive", "receive", "start", "body", "body"],
        ),
    ],
    ids=[
        "merged",
        "not-merged",
        "empty",
        "reads-first",
        "starts-first",
        "chunks-first",
        "reads-a-part",
        "lingers",
        "watches",
        "length-needs-the-reading",
    ],
)
def test_the_order_of_things(app: GeneratedASGI, log: list[str]) -> None:
    server = Server((b"i", b"n")).serve(app)
    assert server.log == log
    seen = Seen.in_scope(server.scope, b"in"[: app.does.reads])
    assert server.body == b"".join(app.does.body(seen))


@pytest.mark.parametrize(
    ("sparse", "messages"),
    [
        (
            False,
            [
                {"type": "http.response.start", "status": 200, "headers": []},
                {"type": "http.response.body", "body": b"", "more_body": False},
            ],
        ),
        (True, [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}]),
    ],
)
def test_sparse_messages_lack_what_is_default(sparse: bool, messages: list[dict[str, Any]]) -> None:
    assert Server().serve(GeneratedASGI(Behaviour(chunks=()), sparse=sparse)).sent == messages


def test_it_gives_way_as_often_as_it_is_told_to() -> None:
    """The other task has a turn before each message."""

    def turns(pauses: int) -> int:
        count = 0

        async def main() -> None:
            nonlocal count

            async def other() -> None:
                nonlocal count
                while True:
                    count += 1
                    await asyncio.sleep(0)

            task = asyncio.ensure_future(other())
            server = Server()
            await GeneratedASGI(pauses=pauses)(server.scope, server.receive, server.send)
            task.cancel()

        asyncio.run(main())
        return count

    assert [turns(0), turns(1), turns(2)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("extensions", "log"),
    [({"http.response.trailers": {}}, ["start", "body", "trailers"]), ({}, ["start", "body"])],
    ids=["offered", "not-offered"],
)
def test_trailers_are_sent_where_they_are_offered(extensions: dict[str, Any], log: list[str]) -> None:
    server = Server(extensions=extensions).serve(GeneratedASGI(trailers=(("X-Sum", "1"),)))
    assert server.log == log
    assert server.sent[0].get("trailers", False) is bool(extensions)


def run_lifespan(app: GeneratedASGI) -> list[str]:
    answers: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup" if not answers else "lifespan.shutdown"}

    async def send(message: Any) -> None:
        answers.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return answers


def test_a_lifespan_is_served_ignored_or_refused() -> None:
    assert run_lifespan(GeneratedASGI(lifespan="served")) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert run_lifespan(GeneratedASGI(lifespan="ignored")) == []
    with pytest.raises(NotImplementedError):
        run_lifespan(GeneratedASGI())


def test_no_trailers_if_they_are_not_wanted() -> None:
    @settings(max_examples=40)
    @given(app=asgi_apps(trailers=False))
    def check(app: GeneratedASGI) -> None:
        assert app.trailers == ()

    check()


def test_fields_without_effect_are_not_told_of() -> None:
    @settings(max_examples=40)
    @given(app=asgi_apps())
    def check(app: GeneratedASGI) -> None:
        assert app.order == "read" or app.does.reads != 0
        assert not (app.watches and app.order == "chunks")

    check()
