"""as_asgi: whatever app goes in, an ASGI 3 app comes out, and nothing is wrapped twice."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from support.drive import serve
from support.wsgi_apps import answer, echo

from bridge import WSGIToASGI, as_asgi
from bridge.adapters.as_asgi import single_callable
from bridge.exceptions import UsageError


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def plain_asgi(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    return asgi(scope, receive, send)


def double(scope: Any) -> Callable[[Any, Any], Awaitable[None]]:
    return functools.partial(asgi, scope)


class Double:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        await asgi(self.scope, receive, send)


@pytest.mark.parametrize("app", [asgi, plain_asgi, FastAPI()], ids=["coroutine", "plain", "FastAPI"])
def test_an_asgi_3_app_is_returned_as_it_is(app: Any) -> None:
    assert as_asgi(app) is app


@pytest.mark.parametrize("app", [answer(b"x"), Flask(__name__), double, Double, asgi])
def test_wrapping_again_changes_nothing(app: Any) -> None:
    once = as_asgi(app)
    assert as_asgi(once) is once


def test_a_wsgi_app_is_wrapped() -> None:
    app = as_asgi(answer(b"hello", headers=[("X-A", "b")]))
    assert isinstance(app, WSGIToASGI)
    exchange = serve(app)
    assert (exchange.status, exchange.body, exchange.header(b"x-a")) == (200, b"hello", b"b")
    assert app.pool.drain(5.0)


def test_the_options_are_the_adapters() -> None:
    app = as_asgi(echo, threads=3, max_body=5)
    assert isinstance(app, WSGIToASGI)
    assert app.pool.threads == 3
    with pytest.raises(TypeError):
        as_asgi(echo, treads=3)
    with pytest.raises(UsageError):
        as_asgi(echo, prebuffer=0)


@pytest.mark.parametrize("app", [double, Double], ids=["function", "class"])
def test_an_asgi_2_app_is_called_twice(app: Any) -> None:
    for adapted in (as_asgi(app), single_callable(app)):
        single: Any = adapted
        assert serve(single).status == 204


def create_app() -> Any:
    raise AssertionError("as_asgi must not call a factory")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (create_app, "call it, and pass what it returns"),
        (Flask, "class flask.Flask"),
        ("module:app", "got str, which cannot be called"),
        (None, "got None"),
        (lambda one: one, "is called with (one)"),
        (lambda *args: args, "WSGIToASGI(app)"),
    ],
)
def test_what_is_no_app_is_refused_with_the_reason(value: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_asgi(value)
    assert said in str(caught.value)
