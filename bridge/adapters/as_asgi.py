"""as_asgi: make sure of an ASGI 3 app, whatever kind of app one has."""

from __future__ import annotations

from typing import Any, cast

from ..exceptions import UsageError
from ..types import ASGIApp, WSGIApp
from .wsgi_to_asgi import WSGIToASGI


def as_asgi(app: object, **options: Any) -> ASGIApp:
    """Return `app` as an ASGI 3 application; wrap it only if that is needed.

    An ASGI 3 app is returned as it is, so `as_asgi(as_asgi(app))` is `as_asgi(app)`. A WSGI app is
    wrapped by `WSGIToASGI`, an ASGI 2 app by asgiref's `guarantee_single_callable`. The app is not
    called to find out; `bridge.translate.interface` says what counts as evidence.

    Args:
        app: a WSGI, ASGI 3 or ASGI 2 application.
        options: of `WSGIToASGI`, for the case that it is needed.

    Raises:
        UsageError: `app` is a factory, no application, or cannot be told apart; or `options` has a
            value that `WSGIToASGI` refuses.
    """
    # Loaded on use: it brings `inspect`, which an event loop needs anyway but an import need not wait for.
    from ..translate.interface import Interface, describe, interface_of

    verdict = interface_of(app)
    if verdict.interface is Interface.ASGI3:
        return cast(ASGIApp, app)
    if verdict.interface is Interface.WSGI:
        return WSGIToASGI(cast(WSGIApp, app), **options)
    if verdict.interface is Interface.ASGI2:
        return single_callable(app)
    if verdict.interface is Interface.FACTORY:
        raise UsageError(
            f"as_asgi() expects an app; got {describe(app)}, which {verdict.reason}, as a factory is: "
            "call it, and pass what it returns"
        )
    raise UsageError(
        f"as_asgi() expects a WSGI or ASGI app; got {describe(app)}, which {verdict.reason}. "
        "If it is a WSGI app, wrap it by WSGIToASGI(app)"
    )


def single_callable(app: object) -> ASGIApp:
    """An ASGI 2 app, called as `app(scope)(receive, send)`, in the ASGI 3 form."""
    # Loaded on use: it brings all of asgiref.sync, and ASGI 2 is rare.
    from asgiref import compatibility

    adapt: Any = compatibility.guarantee_single_callable  # it has no annotations
    return cast(ASGIApp, adapt(app))
