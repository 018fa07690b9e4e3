"""Which adapters each way takes, what it refuses, and that it ends what it has started."""

from __future__ import annotations

from typing import Any

import pytest
from support.asgi_apps import Lifespan, http, no_loop_left, respond
from support.engines import eventually, threads_named
from support.wsgi_apps import answer
from support.wsgi_drive import drive

from bridge import ASGIToWSGI, WSGIToASGI
from bridge.exceptions import StartupFailed, UsageError
from bridge.testing import Client
from bridge.testing.ways import Via, way

wsgi_app = answer(b"wsgi")
asgi_app = respond(b"asgi")


def layers(app: Any) -> list[type]:
    """The adapters around an app, the outermost first."""
    found = []
    while isinstance(app, (WSGIToASGI, ASGIToWSGI)):
        found.append(type(app))
        app = app.app
    return found


@pytest.mark.parametrize(
    ("app", "via", "interface", "expected"),
    [
        (wsgi_app, "native", "wsgi", []),
        (wsgi_app, "wsgi", "wsgi", []),
        (wsgi_app, "asgi", "asgi", [WSGIToASGI]),
        (wsgi_app, "roundtrip", "wsgi", [ASGIToWSGI, WSGIToASGI]),
        (asgi_app, "native", "asgi", []),
        (asgi_app, "asgi", "asgi", []),
        (asgi_app, "wsgi", "wsgi", [ASGIToWSGI]),
        (asgi_app, "roundtrip", "asgi", [WSGIToASGI, ASGIToWSGI]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_way_takes_its_adapters(app: Any, via: Via, interface: str, expected: list[type]) -> None:
    with way(app, via) as found:
        assert (found.interface, layers(found.app)) == (interface, expected)
        assert [type(each) for each in found.adapters] == expected
        assert found.via == via


def test_a_function_wraps_the_app_as_it_likes() -> None:
    with way(asgi_app, lambda app: ASGIToWSGI(app, lifespan="off")) as found:
        assert (found.interface, layers(found.app)) == ("wsgi", [ASGIToWSGI])
        assert drive(found.app).body == b"asgi"
    with pytest.raises(UsageError):
        found.app({}, None)  # closed with its way, as the function has made it for that


def test_an_adapter_that_was_there_before_is_not_closed() -> None:
    adapter = ASGIToWSGI(asgi_app)
    for via in ("native", lambda app: app):
        with way(adapter, via) as found:
            drive(found.app)
    with way(wsgi_app, lambda app: adapter):  # around another app
        pass
    assert drive(adapter).body == b"asgi"
    adapter.close()


def test_asgi_2_is_called_as_asgi_3() -> None:
    def old_style(scope: Any) -> Any:
        async def instance(receive: Any, send: Any) -> None:
            await respond(b"two")(scope, receive, send)

        return instance

    with Client(old_style) as client:
        assert (client.interface, client.get("/").text) == ("asgi", "two")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (lambda: wsgi_app, "call it, and pass what it returns"),
        (object(), "pass the application object"),
        (lambda *args: None, "pass the application object"),
    ],
    ids=["a factory", "no callable", "anything"],
)
def test_what_is_no_app_is_refused(app: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        way(app)


def test_what_a_function_makes_has_to_be_an_app() -> None:
    with pytest.raises(UsageError, match="the function given as via to return an app; got None"):
        way(wsgi_app, lambda app: None)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="via is one of native, asgi, wsgi, roundtrip"):
        way(wsgi_app, "both")  # type: ignore[arg-type]


@pytest.mark.parametrize("via", ["wsgi", "roundtrip"])
def test_start_runs_the_lifespan_and_close_ends_it(via: Via) -> None:
    app = Lifespan()
    with no_loop_left(), way(app, via) as found:
        assert app.log == []
        found.start()
        assert app.log == ["startup"]
    assert app.log == ["startup", "shutdown", "left"]
    found.close()  # once more does nothing


def test_the_lifespan_can_be_required() -> None:
    with way(http(asgi_app), "wsgi", lifespan="on") as found, pytest.raises(StartupFailed):
        found.start()


@pytest.mark.parametrize("lifespan", ["auto", "off"])
def test_close_ends_the_threads_of_a_pool(lifespan: Any) -> None:
    """With and without the lifespan that would do it as well."""
    before = set(threads_named("bridge"))
    with Client(wsgi_app, via="asgi", lifespan=lifespan) as client:
        assert client.get("/").text == "wsgi"
    eventually(lambda: set(threads_named("bridge")) <= before, "the end of the pool's threads")


def test_what_is_inside_is_put_where_it_was_asked_for() -> None:
    wrapped: list[Any] = []

    def inside(app: Any) -> Any:
        wrapped.append(app)
        return app

    with way(asgi_app, "wsgi", inside=inside), way(wsgi_app, "roundtrip", inside=inside):
        assert wrapped[0] is asgi_app
        assert isinstance(wrapped[1], WSGIToASGI)
    assert len(wrapped) == 2
