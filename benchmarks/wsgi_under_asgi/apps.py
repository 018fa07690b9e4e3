"""What is served: small WSGI applications, and the same in ASGI where that makes sense."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.answers import HELLO, HELLO_RAW, Expected

HELLO_HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "13")]

_BASE_SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 50000),
    "scheme": "http",
    "root_path": "",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
}


def hello_scope() -> dict[str, Any]:
    """A GET as a command-line client sends it: three headers."""
    headers = [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"bench/1.0"), (b"accept", b"*/*")]
    return {**_BASE_SCOPE, "headers": headers}


def browser_scope() -> dict[str, Any]:
    """A GET as it arrives from a browser through a proxy: 25 headers, cookies, a query, a longer path."""
    headers = [
        (b"host", b"shop.example.com"),
        (b"connection", b"keep-alive"),
        (b"cache-control", b"max-age=0"),
        (b"sec-ch-ua", b'"Chromium";v="130", "Not?A_Brand";v="99"'),
        (b"sec-ch-ua-mobile", b"?0"),
        (b"sec-ch-ua-platform", b'"Linux"'),
        (b"upgrade-insecure-requests", b"1"),
        (
            b"user-agent",
            b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            b"Chrome/130.0.0.0 Safari/537.36",
        ),
        (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"),
        (b"sec-fetch-site", b"same-origin"),
        (b"sec-fetch-mode", b"navigate"),
        (b"sec-fetch-user", b"?1"),
        (b"sec-fetch-dest", b"document"),
        (b"referer", b"https://shop.example.com/catalogue/lamps?page=3"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"accept-language", b"en-GB,en;q=0.9,de;q=0.8"),
        (b"cookie", b"sessionid=" + b"k3" * 16 + b"; csrftoken=" + b"Qz" * 16 + b"; theme=dark; seen=1"),
        (b"if-none-match", b'W/"5f-18c2a5e3d40"'),
        (b"if-modified-since", b"Tue, 05 Nov 2024 10:12:30 GMT"),
        (b"x-forwarded-for", b"203.0.113.7, 10.0.0.3"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop.example.com"),
        (b"x-request-id", b"0f8fad5b-d9cb-469f-a165-70867728950e"),
        (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (b"dnt", b"1"),
    ]
    return {
        **_BASE_SCOPE,
        "path": "/catalogue/lamps/caf\u00e9",
        "raw_path": b"/catalogue/lamps/caf%C3%A9",
        "query_string": b"page=4&sort=price&colour=red&colour=blue&q=desk%20lamp",
        "headers": headers,
    }


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO]


def look(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Answers only if the environ of `browser_scope` arrived whole; what it reads is what frameworks read."""
    right = (
        environ["PATH_INFO"] == "/catalogue/lamps/caf\xc3\xa9"
        and environ["QUERY_STRING"].startswith("page=4")
        and environ["HTTP_HOST"] == "shop.example.com"
        and environ["HTTP_COOKIE"].endswith("seen=1")
        and environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.7, 10.0.0.3"
        and environ["HTTP_DNT"] == "1"
    )
    start_response("200 OK" if right else "500 Wrong environ", HELLO_HEADERS)
    return [HELLO]


def sleeper(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Waits 10 ms, as on a database."""
    time.sleep(0.01)
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO]


BURN = 0.01
"""Seconds that `burn` takes."""
_burn_steps = 1


def burn(environ: Any, start_response: Any) -> Iterable[bytes]:
    """About 10 ms of pure Python, once `calibrate` was called; longer when others compute as well."""
    return _computed(_burn_steps, start_response)


def computer(seconds: float) -> Any:
    """A WSGI app that computes for about so long at /compute, and waits as `sleeper` at every other path.

    Call it after `calibrate`.
    """
    steps = int(_burn_steps * seconds / BURN)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/compute":
            return _computed(steps, start_response)
        return sleeper(environ, start_response)

    return app


def _computed(steps: int, start_response: Any) -> Iterable[bytes]:
    total = 0
    for number in range(steps):
        total += number & 3
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO if total >= 0 else b""]


def calibrate(seconds: float = BURN) -> None:
    """Find how many steps make `burn` take this much CPU time here: the quickest of a few tries decides."""
    global _burn_steps
    _burn_steps = steps = 50_000
    best = float("inf")
    for _ in range(9):
        begun = time.thread_time()
        burn({}, lambda *_: None)
        best = min(best, time.thread_time() - begun)
    _burn_steps = max(1, int(steps * seconds / best))


def trivial() -> bytes:
    """What the floor runs in its threads."""
    return HELLO


async def native_hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_RAW})
    await send({"type": "http.response.body", "body": HELLO})


FLASK_ANSWER = Expected(
    200, [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"13")], HELLO
)


@functools.cache
def flask_hello() -> Any:
    """A Flask application with one view."""
    from flask import Flask

    app = Flask("benchmarks")

    @app.get("/")
    def index() -> str:
        return HELLO.decode()

    return app


DJANGO_ANSWER = Expected(
    200, [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"13")], HELLO
)


def django_view(request: Any) -> Any:
    """A sync view."""
    from django.http import HttpResponse

    return HttpResponse(HELLO, headers={"Content-Length": "13"})


@functools.cache
def _configure_django() -> None:
    import django
    from django.conf import settings
    from django.urls import path

    settings.configure(
        SECRET_KEY="only for benchmarks",  # signs nothing here
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=(path("", django_view),),
        MIDDLEWARE=[],
        LOGGING_CONFIG=None,
    )
    django.setup()


@functools.cache
def django_wsgi() -> Any:
    """Django's WSGI handler, one sync view, no middleware."""
    from django.core.handlers.wsgi import WSGIHandler

    _configure_django()
    return WSGIHandler()


@functools.cache
def django_asgi() -> Any:
    """Django's own ASGI handler over the same sync view."""
    from django.core.handlers.asgi import ASGIHandler

    _configure_django()
    return ASGIHandler()
