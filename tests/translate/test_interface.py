"""What an object is taken for, by the way it may be called; nothing here is ever called."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asgiref.wsgi
import pytest
from fastapi import FastAPI
from flask import Flask, request
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from support.bridge_command import environment

from bridge import WSGIToASGI
from bridge.translate.interface import Interface, describe, interface_of


def never(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("detection must not call anything")


def wsgi(environ: Any, start_response: Any) -> Any:
    never()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    never()


def asgi2(scope: Any) -> Any:
    never()


def create_app(config: Any = None) -> Any:
    never()


def wsgi_generator(environ: Any, start_response: Any) -> Iterator[bytes]:
    yield never()


def wsgi_by_count(a: Any, b: Any) -> Any:
    never()


def wsgi_by_name(environ: Any, start_response: Any, extra: Any = None, *rest: Any) -> Any:
    never()


def wsgi_with_defaults(env: Any = None, start_response: Any = None) -> Any:
    never()


def wsgi_plus_keywords(environ: Any, start_response: Any, **options: Any) -> Any:
    never()


def plain_asgi(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """It returns what is awaited, but is no coroutine function; Uvicorn takes it for ASGI 2."""
    return asgi(scope, receive, send)


def plain_asgi_by_count(a: Any, b: Any, c: Any) -> Awaitable[None]:
    return asgi(None, None, None)


def plain_asgi_with_defaults(scope: Any, receive: Any = None, send: Any = None) -> Awaitable[None]:
    return asgi(None, None, None)


async def asgi_by_count(a: Any, b: Any, c: Any) -> None:
    never()


async def asgi_with_anything(*args: Any) -> None:
    never()


async def async_factory() -> Any:
    never()


async def async_pair(receive: Any, send: Any) -> None:
    never()


async def async_generator(scope: Any, receive: Any, send: Any) -> AsyncIterator[None]:
    yield never()


def one_argument(value: Any) -> Any:
    never()


def four_arguments(a: Any, b: Any, c: Any, d: Any) -> Any:
    never()


def anything(*args: Any, **kwargs: Any) -> Any:
    never()


def keywords_demanded(environ: Any, start_response: Any, *, config: Any) -> Any:
    never()


class WSGIInstance:
    def __call__(self, environ: Any, start_response: Any) -> Any:
        never()

    def method(self, environ: Any, start_response: Any) -> Any:
        never()

    @staticmethod
    def static(environ: Any, start_response: Any) -> Any:
        never()


class ASGIInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        never()

    async def method(self, scope: Any, receive: Any, send: Any) -> None:
        never()


class NeedsConfig(ASGIInstance):
    def __init__(self, config: Any) -> None:
        never()


class WSGIClass:
    """The class form of PEP 3333: an instance is the response."""

    def __init__(self, environ: Any, start_response: Any) -> None:
        never()

    def __iter__(self) -> Iterator[bytes]:
        never()
        return iter(())


class ASGI2Class:
    def __init__(self, scope: Any) -> None:
        never()

    async def __call__(self, receive: Any, send: Any) -> None:
        never()


class ASGI3Class:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        never()

    def __await__(self) -> Any:
        never()


class NotAnApp:
    def __init__(self, name: Any) -> None:
        never()


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def logged_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def nameless(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def to_asgi(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adapts, and carries the name of what it adapts."""

    @functools.wraps(function)
    async def wrapper(scope: Any, receive: Any, send: Any) -> None:
        never()

    return wrapper


def to_wsgi(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(environ: Any, start_response: Any) -> Any:
        never()

    return wrapper


class LoggedInstance:
    @logged
    def __call__(self, environ: Any, start_response: Any) -> Any:
        never()


class LoggedAsyncInstance:
    @logged
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        never()


def with_config(config: Any, environ: Any, start_response: Any) -> Any:
    never()


async def with_config_async(config: Any, scope: Any, receive: Any, send: Any) -> None:
    never()


def marked(name: str, value: object, function: Callable[..., Any]) -> Callable[..., Any]:
    setattr(function, name, value)
    return function


def endless_wrapper() -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        never()

    function.__wrapped__ = function  # type: ignore[attr-defined]
    return function


ASGIREF: Any = asgiref.wsgi.WsgiToAsgi  # it has no annotations

W, A3, A2, F, U = Interface.WSGI, Interface.ASGI3, Interface.ASGI2, Interface.FACTORY, Interface.UNKNOWN

CASES: list[tuple[str, object, Interface]] = [
    ("function", wsgi, W),
    ("generator function", wsgi_generator, W),
    ("function of two", wsgi_by_count, W),
    ("more by default", wsgi_by_name, W),
    ("all by default", wsgi_with_defaults, W),
    ("and keywords", wsgi_plus_keywords, W),
    ("lambda", lambda environ, start_response: never(), W),
    ("instance", WSGIInstance(), W),
    ("bound method", WSGIInstance().method, W),
    ("static method", WSGIInstance.static, W),
    ("class whose instances are the response", WSGIClass, W),
    ("partial", functools.partial(with_config, {}), W),
    ("partial by keyword", functools.partial(wsgi_plus_keywords, debug=True), W),
    ("partial of an instance", functools.partial(WSGIInstance()), W),
    ("decorated function", logged(wsgi), W),
    ("twice decorated function", logged(logged(wsgi)), W),
    ("partial of a decorated function", functools.partial(logged(with_config), {}), W),
    ("decorated __call__", LoggedInstance(), W),
    ("adapted from ASGI", to_wsgi(asgi), W),
    ("Flask", Flask(__name__), W),
    ("Flask's wsgi_app", Flask(__name__).wsgi_app, W),
    ("coroutine function", asgi, A3),
    ("coroutine function of three", asgi_by_count, A3),
    ("coroutine function of anything", asgi_with_anything, A3),
    ("plain function of scope, receive, send", plain_asgi, A3),
    ("plain function of three", plain_asgi_by_count, A3),
    ("plain function with defaults", plain_asgi_with_defaults, A3),
    ("async instance", ASGIInstance(), A3),
    ("bound coroutine method", ASGIInstance().method, A3),
    ("class whose instances are awaited", ASGI3Class, A3),
    ("partial of a coroutine function", functools.partial(with_config_async, {}), A3),
    ("partial of an async instance", functools.partial(ASGIInstance()), A3),
    ("decorated coroutine function", logged(asgi), A3),
    ("async decorated coroutine function", logged_async(asgi), A3),
    ("decorated async __call__", LoggedAsyncInstance(), A3),
    ("adapted from WSGI", to_asgi(wsgi), A3),
    ("asyncio's mark", marked("_is_coroutine", object(), logged(plain_asgi)), A3),
    ("asgiref's mark", marked("_asgi_single_callable", True, nameless(asgi)), A3),
    ("Starlette", Starlette(), A3),
    ("FastAPI", FastAPI(), A3),
    ("Starlette endpoint class", HTTPEndpoint, A3),
    ("WSGIToASGI", WSGIToASGI(wsgi), A3),
    ("asgiref's adapter", ASGIREF(wsgi), A3),
    ("function of scope", asgi2, A2),
    ("class made with scope", ASGI2Class, A2),
    ("marked as double", marked("_asgi_double_callable", True, nameless(asgi2)), A2),
    ("function without arguments", lambda: never(), F),
    ("function with a default", create_app, F),
    ("partial that fills all", functools.partial(one_argument, "prod"), F),
    ("class of WSGI apps", WSGIInstance, F),
    ("class of ASGI apps", ASGIInstance, F),
    ("class of Starlette apps", Starlette, F),
    ("async factory", async_factory, U),
    ("coroutine function of two", async_pair, U),
    ("async generator", async_generator, U),
    ("one argument", one_argument, U),
    ("four arguments", four_arguments, U),
    ("anything", anything, U),
    ("wrapper without a trace", nameless(wsgi), U),
    ("wrapped by itself", endless_wrapper(), U),
    ("demands a keyword", keywords_demanded, U),
    ("unbound method", WSGIInstance.__call__, U),
    ("class that needs an argument", NeedsConfig, U),
    ("Flask, the class", Flask, U),
    ("some class", NotAnApp, U),
    ("class without a signature", dict, U),
    ("builtin without a signature", max, U),
    ("proxy for what is not there", request, U),
    ("None", None, U),
    ("str", "module:app", U),
    ("module", inspect, U),
]


@pytest.mark.parametrize(("value", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_way_a_value_may_be_called_tells_its_interface(value: object, expected: Interface) -> None:
    verdict = interface_of(value)
    assert verdict.interface is expected, verdict.reason
    assert verdict.is_app is (expected in (W, A3, A2))
    assert verdict.reason


@pytest.mark.parametrize("marked_value", [1, "yes", object()])
def test_only_true_counts_as_a_mark(marked_value: object) -> None:
    """Objects that answer any attribute, such as mocks, must not pass for apps."""
    assert interface_of(marked("_asgi_single_callable", marked_value, nameless(asgi))).interface is U


def test_the_reason_names_the_arguments() -> None:
    assert interface_of(four_arguments).reason == "is called with (a, b, c, d), which fits no interface"
    assert interface_of(asgi).reason == "is awaited with (scope, receive, send)"
    assert "plain function" in interface_of(async_factory).reason
    assert "instance" in interface_of(WSGIInstance.__call__).reason
    assert "RuntimeError" in interface_of(request).reason


DESCRIPTIONS: list[tuple[object, str]] = [
    (Flask("x"), "flask.Flask"),
    (FastAPI(), "fastapi.FastAPI"),
    (WSGIToASGI(wsgi), "bridge.WSGIToASGI"),
    (Flask, "class flask.Flask"),
    (wsgi, "function"),
    (asgi, "coroutine function"),
    (WSGIInstance().method, "method"),
    (lambda: None, "function"),
    (functools.partial(wsgi), "functools.partial"),
    (3, "int"),
    (None, "None"),
    (inspect, "module inspect"),
    (request, "werkzeug.local.LocalProxy"),
]


@pytest.mark.parametrize(("value", "expected"), DESCRIPTIONS, ids=[case[1] for case in DESCRIPTIONS])
def test_a_value_is_described_by_its_public_name(value: object, expected: str) -> None:
    assert describe(value) == expected


def test_a_class_is_named_by_its_own_module_where_no_other_offers_it() -> None:
    assert describe(WSGIInstance()) == f"{__name__}.WSGIInstance"


def test_django_is_told_apart_without_its_settings() -> None:
    """In a process of its own, since importing Django's handlers leaves much behind."""
    code = """
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from bridge.translate.interface import interface_of
for app in WSGIHandler.__new__(WSGIHandler), ASGIHandler.__new__(ASGIHandler), WSGIHandler:
    print(interface_of(app).interface.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split() == ["WSGI", "ASGI3", "FACTORY"]
