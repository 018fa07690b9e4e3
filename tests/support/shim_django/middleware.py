"""Middleware of all kinds; each notes in the response which thread or loop it ran on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware

from bridge import async_to_sync, sync_to_async


async def loop_id() -> int:
    """The loop that runs this."""
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())


def add(response: Any, name: str, value: object) -> None:
    """Add to a header that lists what each layer has seen."""
    response[name] = f"{response.get(name, '')} {value}".strip()


@sync_only_middleware
def blocking(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    def middleware(request: HttpRequest) -> Any:
        before = async_to_sync(loop_id)()
        response = get_response(request)
        add(response, "X-Threads", threading.get_ident())
        add(response, "X-Loops", before)
        add(response, "X-Loops", async_to_sync(loop_id)())
        return response

    return middleware


@async_only_middleware
def asynchronous(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    async def middleware(request: HttpRequest) -> Any:
        response = await get_response(request)
        add(response, "X-Loops", await loop_id())
        add(response, "X-Threads", await sync_to_async(threading.get_ident)())
        return response

    return middleware


@sync_and_async_middleware
def of_both_kinds(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> Any:
            response = await get_response(request)
            add(response, "X-Kinds", "async")
            add(response, "X-Threads", await sync_to_async(threading.get_ident)())
            return response

        return middleware

    def blocking_middleware(request: HttpRequest) -> Any:
        response = get_response(request)
        add(response, "X-Kinds", "sync")
        add(response, "X-Loops", async_to_sync(loop_id)())
        return response

    return blocking_middleware
