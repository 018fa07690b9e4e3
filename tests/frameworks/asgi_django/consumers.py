"""Channels: a consumer of plain HTTP, and one of WebSockets that no test connects to."""

from __future__ import annotations

from typing import Any

from channels.generic.http import AsyncHttpConsumer  # type: ignore[import-untyped]
from channels.generic.websocket import AsyncWebsocketConsumer  # type: ignore[import-untyped]
from support.asgi_probes import pass_gate


class Echo(AsyncHttpConsumer):  # type: ignore[misc]
    """Sends the body back, and who asked."""

    async def handle(self, body: bytes) -> None:
        name = self.scope["url_route"]["kwargs"]["name"].encode()
        headers = [(b"Content-Type", b"text/plain"), (b"X-Name", name)]
        await self.send_response(200, name + b": " + body, headers=headers)


class Feed(AsyncHttpConsumer):  # type: ignore[misc]
    """Two events; the second comes when the gate is open."""

    async def handle(self, body: bytes) -> None:
        await self.send_headers(headers=[(b"Content-Type", b"text/event-stream")])
        await self.send_body(b"data: first\n\n", more_body=True)
        opened = await pass_gate()
        await self.send_body(f"data: {opened}\n\n".encode())


class Socket(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data=text_data)
