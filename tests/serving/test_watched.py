"""An app whose lifespan is watched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.serving.watched import Watched
from bridge.types import Message


def lifespan(app: Any) -> tuple[list[str], BaseException | None, list[dict[str, Any]]]:
    """What is told of a lifespan, how it ends, and what is sent."""
    told: list[str] = []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"} if not sent else {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        sent.append({**message, "told": list(told)})

    async def main() -> BaseException | None:
        watched = Watched(
            app, lambda: told.append("started"), lambda reason: told.append(f"failed: {reason}")
        )
        try:
            await watched({"type": "lifespan"}, receive, send)
        except Exception as error:
            return error
        return None

    return told, asyncio.run(main()), sent


async def complete(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def fail(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def fail_without_a_word(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "lifespan.startup.failed"})


async def know_nothing_of_it(scope: Any, receive: Any, send: Any) -> None:
    raise KeyError("http")


async def ignore(scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (complete, ["started"]),
        (fail, ["failed: no database"]),
        (fail_without_a_word, ["failed: "]),
        (know_nothing_of_it, ["started"]),
        (ignore, ["started"]),
    ],
)
def test_what_is_told(app: Any, expected: list[str]) -> None:
    assert lifespan(app)[0] == expected


def test_messages_go_on_once_it_was_told() -> None:
    _, _, sent = lifespan(complete)
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert sent[0]["told"] == ["started"]


def test_what_the_app_raises_reaches_the_server() -> None:
    """Which takes it to mean that the app has no lifespan."""
    assert isinstance(lifespan(know_nothing_of_it)[1], KeyError)


def test_requests_are_handed_on() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    scope = {"type": "http"}
    watched = Watched(app, lambda: seen.append("started"), lambda reason: seen.append("failed"))

    async def call() -> None:
        await watched(scope, "receive", "send")  # type: ignore[arg-type]

    asyncio.run(call())
    assert seen == [(scope, "receive", "send")]
