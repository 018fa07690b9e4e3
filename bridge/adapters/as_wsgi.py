"""as_wsgi: make sure of a WSGI app, whatever kind of app one has."""

from __future__ import annotations

from typing import Any, cast

from ..exceptions import UsageError
from ..types import ASGIApp, WSGIApp
from .asgi_to_wsgi import ASGIToWSGI


def as_wsgi(app: object, **options: Any) -> WSGIApp:
    """Return `app` as a WSGI application; wrap it only if that is needed.

    A WSGI app is returned as it is, so `as_wsgi(as_wsgi(app))` is `as_wsgi(app)`. An ASGI app, of
    version 3 or 2, is wrapped by `ASGIToWSGI`. The app is not called to find out;
    `bridge.translate.interface` says what counts as evidence.

    Args:
        app: a WSGI, ASGI 3 or ASGI 2 application.
        options: of `ASGIToWSGI`, for the case that it is needed.

    Raises:
        UsageError: `app` is a factory, no application, or cannot be told apart; or `options` has a
            value that `ASGIToWSGI` refuses.
    """
    # Loaded on use: it brings `inspect`, which an event loop needs anyway but an import need not wait for.
    from ..translate.interface import Interface, describe, interface_of

    verdict = interface_of(app)
    if verdict.interface is Interface.WSGI:
        return cast(WSGIApp, app)
    if verdict.interface in (Interface.ASGI3, Interface.ASGI2):
        return ASGIToWSGI(cast(ASGIApp, app), **options)
    if verdict.interface is Interface.FACTORY:
        raise UsageError(
            f"as_wsgi() expects an app; got {describe(app)}, which {verdict.reason}, as a factory is: "
            "call it, and pass what it returns"
        )
    raise UsageError(
        f"as_wsgi() expects a WSGI or ASGI app; got {describe(app)}, which {verdict.reason}. "
        "If it is an ASGI app, wrap it by ASGIToWSGI(app)"
    )
