"""What a serving process does first: read its order, find the app, adapt it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.drive import serve
from support.serve_apps import ASGI, WSGI, write

from bridge import ASGIToWSGI, WSGIToASGI
from bridge.exceptions import StartupFailed, TargetError, UsageError
from bridge.serving.worker import ENVIRONMENT, Order, create_app, load

MULTIPROCESS = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [str(environ["wsgi.multiprocess"]).encode()]
"""


def answer_of(app: Any) -> bytes:
    return serve(app).unwrap().body


def test_an_order_survives_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    order = Order('shop:make("é")', "wsgi", True, 7, "src", True, "both")
    order.to_environment()
    assert Order.from_environment() == order


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"taget": "x"}', "{}", '{"target": "x", "more": 1}'])
def test_an_order_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(ENVIRONMENT, text)
    with pytest.raises(UsageError, match=ENVIRONMENT):
        Order.from_environment()


def test_no_order_is_an_error_that_shows_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(UsageError, match="module:app"):
        create_app()


def test_a_wsgi_app_is_wrapped(folder: Path) -> None:
    write(folder / "work_a.py")
    loaded = load(Order("work_a:app"))
    assert isinstance(loaded.app, WSGIToASGI)
    assert loaded.wrapped is loaded.app
    assert str(loaded) == ("work_a:app is a WSGI app (function); serving it through WSGIToASGI (40 threads)")
    assert answer_of(loaded.app) == b"app"
    assert loaded.app.pool.drain(30.0)


def test_the_threads_are_counted(folder: Path) -> None:
    write(folder / "work_b.py")
    loaded = load(Order("work_b:app", threads=3))
    assert "(3 threads)" in str(loaded)
    assert isinstance(loaded.wrapped, WSGIToASGI)
    assert loaded.wrapped.pool.threads == 3
    with pytest.raises(UsageError):
        load(Order("work_b:app", threads=0))


@pytest.mark.parametrize("multiprocess", [True, False])
def test_the_app_is_told_whether_it_is_alone(folder: Path, multiprocess: bool) -> None:
    write(folder / "work_c.py", MULTIPROCESS)
    loaded = load(Order("work_c:app", multiprocess=multiprocess))
    assert answer_of(loaded.app) == str(multiprocess).encode()
    assert isinstance(loaded.wrapped, WSGIToASGI)
    assert loaded.wrapped.pool.drain(30.0)


def test_an_asgi_app_is_served_as_it_is(folder: Path) -> None:
    write(folder / "work_d.py", ASGI.format(name="app"))
    loaded = load(Order("work_d", threads=3))
    assert loaded.app is loaded.found.app
    assert loaded.wrapped is None
    assert str(loaded) == "work_d:app (picked by its name) is an ASGI app (coroutine function); serving it"


def test_an_app_that_is_wrapped_already_stays_so(folder: Path) -> None:
    write(
        folder / "work_e.py",
        WSGI.format(name="inner") + "from bridge import WSGIToASGI\napp = WSGIToASGI(inner)\n",
    )
    loaded = load(Order("work_e:app"))
    assert loaded.app is loaded.found.app
    assert str(loaded) == "work_e:app is an ASGI app (bridge.WSGIToASGI); serving it"


def test_an_asgi_2_app_becomes_asgi_3(folder: Path) -> None:
    write(
        folder / "work_f.py",
        """
        def app(scope):
            async def inner(receive, send):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": False})
            return inner
        """,
    )
    loaded = load(Order("work_f:app"))
    assert "is an ASGI 2 app" in str(loaded)
    assert answer_of(loaded.app) == b"/"


def test_the_interface_may_be_forced(folder: Path) -> None:
    write(folder / "work_g.py", "def app(*args):\n    args[1]('200 OK', [])\n    return [b'forced']\n")
    with pytest.raises(TargetError):
        load(Order("work_g:app"))
    loaded = load(Order("work_g:app", interface="wsgi"))
    assert answer_of(loaded.app) == b"forced"
    assert isinstance(loaded.wrapped, WSGIToASGI)
    assert loaded.wrapped.pool.drain(30.0)
    assert load(Order("work_g:app", interface="asgi")).wrapped is None


def test_an_unknown_interface_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="auto, wsgi, asgi"):
        load(Order("work_h:app", interface="cgi"))


def test_the_factory_for_other_servers_reads_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "web/work_i.py")
    monkeypatch.setenv(ENVIRONMENT, json.dumps({"target": "work_i:app", "directory": "web"}))
    app = create_app()
    assert isinstance(app, WSGIToASGI)
    assert answer_of(app) == b"app"
    assert app.pool.drain(30.0)


LIVES = """
happened = []

async def app(scope, receive, send):
    happened.append((await receive())["type"])
    await send({"type": "lifespan.startup.complete"})
    happened.append((await receive())["type"])
    await send({"type": "lifespan.shutdown.complete"})

async def broken(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


def test_an_asgi_app_is_wrapped_for_a_wsgi_server(folder: Path) -> None:
    write(folder / "work_j.py", ASGI.format(name="app"))
    loaded = load(Order("work_j:app", threads=3, speaks="wsgi"))
    assert isinstance(loaded.app, ASGIToWSGI)
    assert loaded.wrapped is loaded.app
    assert str(loaded).endswith("is an ASGI app (coroutine function); serving it through ASGIToWSGI")


@pytest.mark.parametrize("speaks", ["wsgi", "both"])
def test_a_wsgi_app_is_served_as_it_is_where_that_is_possible(folder: Path, speaks: str) -> None:
    write(folder / "work_k.py")
    loaded = load(Order("work_k:app", threads=3, speaks=speaks))
    assert loaded.app is loaded.found.app
    assert loaded.wrapped is None
    loaded.start()  # there is nothing to start
    loaded.close()


def test_an_asgi_app_is_served_as_it_is_where_both_can_be(folder: Path) -> None:
    write(folder / "work_l.py", ASGI.format(name="app"))
    loaded = load(Order("work_l:app", speaks="both"))
    assert loaded.app is loaded.found.app
    assert loaded.wrapped is None


def test_a_server_speaks_what_is_known(folder: Path) -> None:
    with pytest.raises(UsageError, match="asgi, wsgi, both; got 'fcgi'"):
        load(Order("work_l:app", speaks="fcgi"))


def test_an_app_is_started_and_ended(folder: Path) -> None:
    write(folder / "work_m.py", LIVES)
    loaded = load(Order("work_m:app", speaks="wsgi"))
    happened = sys.modules["work_m"].happened
    assert happened == []
    loaded.start()
    assert happened == ["lifespan.startup"]
    loaded.close()
    assert happened == ["lifespan.startup", "lifespan.shutdown"]


def test_an_adapter_of_the_users_is_started_as_well(folder: Path) -> None:
    write(folder / "work_n.py", LIVES + "from bridge import ASGIToWSGI\nsite = ASGIToWSGI(app)\n")
    loaded = load(Order("work_n:site", speaks="wsgi"))
    assert loaded.wrapped is None
    loaded.start()
    assert sys.modules["work_n"].happened == ["lifespan.startup"]
    loaded.close()


@pytest.mark.req("L-07")
def test_an_app_that_does_not_start_is_not_served(folder: Path) -> None:
    write(folder / "work_o.py", LIVES)
    loaded = load(Order("work_o:broken", speaks="wsgi"))
    with pytest.raises(StartupFailed, match="no database"):
        loaded.start()
    loaded.close()
