"""An app under `ASGIValidator` for real servers: what was broken is asked for at `/violations`.

The app keeps every rule, so that all that is found is the server's. If the variable VALIDATED_APP names
another (`module:attribute`), that one is validated instead. Run by a server process.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from typing import Any

from bridge.testing.validation.asgi import ASGIValidator
from bridge.testing.validation.violations import Violation

_found: list[Violation] = []
_active = 0
_calls = 0


async def _respond(send: Any, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def _pause() -> None:
    """Long enough for a server to notice that a client is gone; on asyncio or trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import trio

        await trio.sleep(0.01)
    else:
        await asyncio.sleep(0.01)


async def _http(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if path.endswith("/unread"):
        await _respond(send, b"ok")
    elif path.endswith("/stream"):
        # Until the client is gone; then what send() does.
        await receive()
        await _respond(send, b"first", more=True)
        while (await receive())["type"] != "http.disconnect":
            pass
        for _ in range(3):
            try:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            except OSError:
                return
            await _pause()
    else:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        await _respond(send, b"" if scope["method"] == "HEAD" else b"%d" % size)
        if path.endswith("/after"):
            await receive()


async def _websocket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close", "code": 1008})
        await receive()
        return
    offered = list(scope.get("subprotocols") or ())
    await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4000})
            return
        if message.get("bytes") is not None:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        else:
            await send({"type": "websocket.send", "text": message["text"]})
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except OSError:
        pass


async def _lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if "state" in scope:
        scope["state"]["pool"] = object()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await {"http": _http, "websocket": _websocket, "lifespan": _lifespan}[scope["type"]](scope, receive, send)


def _validated() -> Any:
    target = os.environ.get("VALIDATED_APP")
    if target is None:
        return _app
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


_validator = ASGIValidator(_validated(), on_violation=_found.append, level="SHOULD")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The validated app; beside it, unvalidated, what was found since the last time, and the calls so far."""
    global _active, _calls
    if scope["type"] == "http" and scope["path"] == "/calls":
        await _respond(send, b"%d" % _calls)
        return
    if scope["type"] == "http" and scope["path"] == "/violations":
        found = [[each.rule, each.side, each.level, each.came, each.where] for each in _found]
        if not _active:
            _found.clear()
        await _respond(send, json.dumps({"active": _active, "violations": found}).encode())
        return
    counted = scope["type"] != "lifespan"
    _active += counted
    _calls += counted
    try:
        await _validator(scope, receive, send)
    finally:
        _active -= counted
