"""The way to an app in process, and which transport is put at its end."""

from __future__ import annotations

from typing import Any

import pytest
from support.asgi_apps import respond
from support.wsgi_apps import answer

from bridge.exceptions import UsageError
from bridge.testing.local_app import LocalApp
from bridge.testing.ways import Via

ASGI, WSGI = respond(b"ok"), answer()


class Made:
    """A transport of one of the kinds, which keeps what it was made of."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        self.options = options


class MadeForASGI(Made):
    """Calls ASGI apps."""


class MadeForWSGI(Made):
    """Calls WSGI apps."""


class Around:
    """Raises what came of the tap inside."""

    def __init__(self, inner: Any, raises: bool) -> None:
        self.inner = inner
        self.raises = raises


def local(app: Any, via: Via = "native", **options: Any) -> LocalApp[MadeForASGI, MadeForWSGI]:
    return LocalApp(
        app,
        via,
        asgi=MadeForASGI,
        wsgi=MadeForWSGI,
        tapped=Around,
        **{"lifespan": "auto", "loop_factory": None, "raise_app_exceptions": True, **options},
    )


@pytest.mark.parametrize(
    ("app", "via", "kind"),
    [
        (ASGI, "native", MadeForASGI),
        (ASGI, "asgi", MadeForASGI),
        (ASGI, "wsgi", MadeForWSGI),
        (ASGI, "roundtrip", MadeForASGI),
        (WSGI, "native", MadeForWSGI),
        (WSGI, "asgi", MadeForASGI),
        (WSGI, "wsgi", MadeForWSGI),
        (WSGI, "roundtrip", MadeForWSGI),
    ],
)
def test_the_transport_is_that_of_the_interface_at_the_end(app: Any, via: Via, kind: type[Made]) -> None:
    made = local(app, via)
    assert type(made.called) is kind
    assert made.called.app is made.way.app
    assert made.asgi is (made.called if kind is MadeForASGI else None)
    made.way.close()


@pytest.mark.parametrize("app", [ASGI, WSGI], ids=["asgi", "wsgi"])
def test_options_reach_the_transport(app: Any) -> None:
    made = local(app, raise_app_exceptions=False, root_path="/x", extra=None)
    assert made.called.options == {"raise_app_exceptions": False, "root_path": "/x", "extra": None}


@pytest.mark.parametrize("raises", [True, False])
def test_an_asgi_app_inside_an_adapter_is_tapped(raises: bool) -> None:
    made = local(ASGI, "wsgi", raise_app_exceptions=raises)
    assert made.tap is not None
    assert made.tap.app is ASGI
    assert isinstance(made.transport, Around)
    assert (made.transport.inner, made.transport.raises) == (made.called, raises)
    made.way.close()


@pytest.mark.parametrize(("app", "via"), [(ASGI, "native"), (WSGI, "native"), (WSGI, "asgi")])
def test_without_one_requests_go_straight_to_the_transport(app: Any, via: Via) -> None:
    made = local(app, via)
    assert made.tap is None
    assert made.transport is made.called
    made.way.close()


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(UsageError, match="expected an app"):
        local(5)
