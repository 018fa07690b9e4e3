"""as_wsgi: a WSGI app, whatever kind of app one has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support.asgi_apps import no_loop_left, respond
from support.wsgi_drive import drive

from bridge import ASGIToWSGI, WSGIToASGI, as_asgi, as_wsgi
from bridge.exceptions import UsageError


def wsgi_app(environ: Any, start_response: Any) -> Iterator[bytes]:
    """A WSGI app that must not be called."""
    raise AssertionError("was called")


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that must not be called."""
    raise AssertionError("was called")


def asgi2_app(scope: Any) -> Any:
    """An ASGI 2 app that must not be called."""
    raise AssertionError("was called")


class ASGI2:
    """An ASGI 2 app as a class."""

    def __init__(self, scope: Any) -> None:
        raise AssertionError("was called")

    async def __call__(self, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    "app", [wsgi_app, flask.Flask("app"), WSGIToASGI], ids=["function", "Flask", "no app"]
)
def test_a_wsgi_app_is_returned_as_it_is(app: Any) -> None:
    if app is WSGIToASGI:
        app = ASGIToWSGI(asgi_app)
    assert as_wsgi(app) is app


@pytest.mark.req("A-04")
@pytest.mark.parametrize(
    "app", [asgi_app, asgi2_app, ASGI2, Starlette()], ids=["function", "2", "class", "Starlette"]
)
def test_an_asgi_app_is_wrapped_once(app: Any) -> None:
    """It is not called to find out."""
    wrapped = as_wsgi(app)
    assert type(wrapped) is ASGIToWSGI
    assert wrapped.app is app
    assert as_wsgi(wrapped) is wrapped


def test_options_are_those_of_the_adapter() -> None:
    wrapped = as_wsgi(respond(b"x"), max_body=3, lifespan="off")
    with no_loop_left():
        assert drive(wrapped, method="POST", body=b"abcd").status == 413
        assert drive(wrapped, method="POST", body=b"abc").body == b"x"
        wrapped.close()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="write_ahead"):
        as_wsgi(asgi_app, write_ahead=0)
    with pytest.raises(TypeError):
        as_wsgi(asgi_app, threads=4)


def test_what_was_wrapped_for_the_other_side_is_wrapped_again() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"there and back"]

    wrapped = as_wsgi(as_asgi(app))
    with no_loop_left():
        assert drive(wrapped).body == b"there and back"
        wrapped.close()  # type: ignore[attr-defined]


def test_a_framework_is_served() -> None:
    app = Starlette(
        routes=[Route("/hello/{name}", lambda request: PlainTextResponse(request.path_params["name"]))]
    )
    with no_loop_left():
        wrapped = as_wsgi(app)
        answer = drive(wrapped, path="/hello/caf%C3%A9")
        assert answer.body == "caf\u00e9".encode()
        assert answer.header("content-type") == "text/plain; charset=utf-8"
        assert drive(wrapped, path="/nowhere").status == 404
        wrapped.close()  # type: ignore[attr-defined]


def factory() -> Any:
    """Makes an app."""
    raise AssertionError("was called")


@pytest.mark.parametrize(
    ("app", "message"),
    [(factory, "factory"), (None, "as_wsgi"), (7, "as_wsgi"), (lambda *args: None, "as_wsgi")],
)
def test_what_is_no_app_is_refused_with_the_reason(app: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_wsgi(app)
