"""A validator between an ASGI server and an ASGI app: it says who breaks which rule of the specification.

    app = ASGIValidator(app)                            # raises where a rule is broken
    app = ASGIValidator(app, on_violation="collect")    # ... and at the end: app.assert_clean()

It changes nothing: the app has the server's own scope, messages and exceptions, and no await is added.
What is checked stands in the modules `asgi_scope`, `asgi_messages` and `asgi_*_order`, as pure functions
and state machines; this one stands between the two sides and reports.

**MUST** is what ASGI itself asks for, and what HTTP or WebSocket ask for and no server can mend (two
lengths for one body). **SHOULD** is what ASGI recommends, and what servers commonly mend or forgive.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ...engines.ports import in_trio_task
from ...exceptions import ProtocolViolation, UsageError
from ...translate.interface import Interface, describe, interface_of
from ...types import ASGIApp, Message, Receive, Scope, Send
from .asgi_http_order import HTTPOrder
from .asgi_lifespan_order import LifespanOrder
from .asgi_messages import RECEIVED, SENT, Shape, envelope_rules, extension_of, readable, shape_rules
from .asgi_scope import offered, scope_rules, spec_version
from .asgi_websocket_order import WebSocketOrder
from .header_rules import Broken, Level, shortened
from .violations import OnViolation, Side, Violation, Violations

_LEVELS = ("MUST", "SHOULD")

CORE = "ASGI 3.0, Applications"
CORE_ERRORS = "ASGI 3.0, Error Handling"
CORE_EXTENSIONS = "ASGI 3.0, Extensions"
CORE_PROTOCOLS = "ASGI 3.0, Protocol Specifications"
MIDDLEWARE = "ASGI 3.0, Middleware"
OVERVIEW = "ASGI 3.0, Overview"
DISCONNECTED = "ASGI HTTP 2.5, Disconnected Client"
# Where the specification is silent, and servers do not agree on what happens.
SILENT = "ASGI is silent; servers differ"

# Whether tasks know how often they were cancelled.
_COUNTED = sys.version_info >= (3, 11)

# From this version on, send() to a client that is gone should raise.
_RAISING = (2, 4)

_NO_APPS = {
    Interface.WSGI: "it is a WSGI app; use WSGIValidator, or wrap it in WSGIToASGI first",
    Interface.ASGI2: "it is an app of ASGI 2, called twice; wrap it with "
    "asgiref.compatibility.guarantee_single_callable first",
    Interface.FACTORY: "it takes no arguments; call it and pass the app that it makes",
}


class _Order(Protocol):
    """A state machine of one protocol."""

    @property
    def gone(self) -> bool: ...

    @property
    def complete(self) -> bool: ...

    def received(self, message: Mapping[str, Any]) -> Iterable[Broken]: ...

    def sends(self, message: Mapping[str, Any]) -> Iterable[Broken]: ...

    def returned(self) -> Iterable[Broken]: ...


class ASGIValidator:
    """An ASGI 3 app that checks what the app inside it and its server owe each other.

    May be used by several event loops and threads at once. Scopes of types that ASGI does not define are
    passed on unchecked, apart from what all scopes share.

    Args:
        app: an ASGI 3 app.
        on_violation: "raise" raises `ProtocolViolation` where the rule is broken: what the app does
            wrong in its own call of `send()` or `receive()`, what the server does wrong in its call of
            the app, or in the app's `receive()` on the way to the server. If the app swallows the
            exception, it is raised again when the app returns. A message that broke a rule is not passed
            on. Servers take an exception in the lifespan for a protocol that the app does not know; what
            was broken there is in `violations`. "collect" keeps the violations and passes everything on;
            "log" also writes each to the logger `bridge.testing`; a function is called with each
            `Violation`.
        ignore: rules not to report, by `Violation.rule`; a trailing "/" stands for all that begin with it.
        level: "MUST" reports broken MUST rules only, "SHOULD" both kinds.
        limit: how many violations are kept.

    Raises:
        UsageError: `app` is no ASGI 3 app, or an option is not understood.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        on_violation: OnViolation = "raise",
        ignore: Iterable[str] = (),
        level: Level = "MUST",
        limit: int = 1000,
    ) -> None:
        interface = interface_of(app).interface
        if interface in _NO_APPS or not callable(app):
            reason = _NO_APPS.get(interface, "it cannot be called")
            raise UsageError(f"ASGIValidator expects an ASGI 3 app; got {describe(app)}: {reason}")
        if level not in _LEVELS:
            raise UsageError(f"level is one of {', '.join(_LEVELS)}; got {level!r}")
        if isinstance(ignore, str):
            raise UsageError(f"ignore is a tuple of rules, such as ({ignore!r},); got a str")
        self.app = app
        self.recommendations = level == "SHOULD"
        self._violations = Violations(on_violation, tuple(ignore), limit)
        # The lifespan that runs in a thread. Each belongs to one event loop, and so to one thread.
        self._lifespans: dict[int, LifespanOrder] = {}

    @property
    def violations(self) -> list[Violation]:
        """What was broken so far, in order; at most `limit`."""
        return self._violations.seen

    @property
    def count(self) -> int:
        """How many violations there were, kept or not."""
        return self._violations.count

    def assert_clean(self) -> None:
        """Raise `ProtocolViolation`, an `AssertionError`, that tells all violations, if there are any."""
        seen = self.violations
        if seen:
            error = ProtocolViolation(seen[0])
            if self.count > 1:
                error.args = ("\n".join([f"{self.count} violations", *map(str, seen)]),)
            raise error

    def report(self, side: Side, broken: Broken, where: str) -> None:
        """Keep a violation and do with it what `on_violation` says; for the parts of this validator.

        Raises:
            ProtocolViolation: `on_violation` is "raise".
        """
        if broken.level == "SHOULD" and not self.recommendations:
            return
        rule, clause, expected, came, level = broken
        self._violations.add(Violation(rule, side, clause, expected, came, where, level))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app for one scope. Raises what the app raises, and `ProtocolViolation` if asked to."""
        await _Call(self, scope, receive, send).run()

    def lifespan_here(self) -> LifespanOrder | None:
        """The lifespan that runs in the calling thread."""
        return self._lifespans.get(threading.get_ident())

    def set_lifespan(self, lifespan: LifespanOrder | None) -> None:
        """Note the lifespan that runs in the calling thread from now on."""
        if lifespan is None:
            self._lifespans.pop(threading.get_ident(), None)
        else:
            self._lifespans[threading.get_ident()] = lifespan

    def __repr__(self) -> str:
        return f"<ASGIValidator of {describe(self.app)}: {self.count} violations>"


class _Call:
    """One call of the app. All of it runs on the loop that called it, unless the app breaks that rule."""

    def __init__(self, validator: ASGIValidator, scope: Scope, receive: Receive, send: Send) -> None:
        self._validator = validator
        self._scope = scope
        self._server_receive = receive
        self._server_send = send
        self._name = _name_of(scope)
        self._kind = scope.get("type") if isinstance(scope, dict) else None
        self._order: _Order | None = self._new_order()
        self._thread = threading.get_ident()
        self._receiving = 0
        self._sending = 0
        self._receives = 0
        self._sends = 0
        self._ended = False
        # The server's own exception came out of one of its callables: nothing can be owed after it.
        self._interrupted = False
        # What "raise" has raised inside the app, which may swallow it.
        self._raised: Exception | None = None

    def _new_order(self) -> _Order | None:
        if self._kind == "http":
            return HTTPOrder(self._scope)
        if self._kind == "websocket":
            return WebSocketOrder(self._scope)
        return LifespanOrder(self._scope) if self._kind == "lifespan" else None

    # -- the call

    async def run(self) -> None:
        self._tell_all("server", scope_rules(self._scope), "scope")
        self._check_loop()
        lifespan = self._validator.lifespan_here()
        if self._kind in ("http", "websocket") and lifespan is not None:
            self._tell_all("server", lifespan.request_rules(self._scope), "scope")
        mine = self._order if isinstance(self._order, LifespanOrder) else None
        if mine is not None:
            self._validator.set_lifespan(mine)
        before = _snapshot(self._scope) if self._validator.recommendations else None
        cancellations = _cancellations()
        try:
            await self._awaitable()
        finally:
            self._ended = True
            if mine is not None and self._validator.lifespan_here() is mine:
                self._validator.set_lifespan(None)
        if self._raised is not None:
            raise self._raised
        cancelled = _cancellations() > cancellations
        if cancelled:
            self._tell(
                "app",
                Broken(
                    "call/cancellation",
                    SILENT + "; Python documentation, Task Cancellation",
                    "CancelledError to leave the app",
                    "the app returned",
                    "SHOULD",
                ),
                "end of the call",
            )
        if self._order is not None and not cancelled and not self._interrupted:
            self._tell_all("app", self._order.returned(), "end of the call")
        if before is not None:
            self._check_scope_unchanged(before)

    def _awaitable(self) -> Any:
        result: object = self._validator.app(self._scope, self._receive, self._send)
        if not inspect.isawaitable(result):
            self._tell(
                "app",
                Broken(
                    "call/awaitable", CORE, "an awaitable from the call of the app", type(result).__name__
                ),
                "call",
            )
            return _nothing()
        return result

    def _check_loop(self) -> None:
        asyncio = sys.modules.get("asyncio")
        if not in_trio_task() and (asyncio is None or asyncio._get_running_loop() is None):
            self._tell(
                "server",
                Broken("call/event-loop", OVERVIEW, "a running event loop", "none known", "SHOULD"),
                "call",
            )

    def _check_scope_unchanged(self, before: dict[Any, Any]) -> None:
        after = _snapshot(self._scope)
        # Equal is good enough: Starlette puts a list of its own in the place of the same headers.
        changed = [
            key
            for key, value in before.items()
            if key not in after or (after[key] is not value and after[key] != value)
        ]
        if changed:
            self._tell(
                "app",
                Broken(
                    "scope/changed",
                    MIDDLEWARE,
                    "a copy of the scope to be changed, since changes leak to whatever stands before the app",
                    f"changed in the scope itself: {', '.join(sorted(map(str, changed)))}",
                    "SHOULD",
                ),
                "end of the call",
            )

    # -- receive()

    async def _receive(self) -> Message:
        self._receives += 1
        where = f"receive() call {self._receives}"
        self._check_call("receive", where, self._receiving)
        self._receiving += 1
        try:
            message: Message = await self._from_server(self._server_receive(), "receive", where)
        except BaseException as error:
            self._interrupt(error)
            raise
        finally:
            self._receiving -= 1
        self._check_received(message, where)
        return message

    def _check_received(self, message: Any, where: str) -> None:
        if self._order is None:
            return
        envelope = list(envelope_rules(message))
        self._tell_all("server", envelope, where)
        shapes = RECEIVED[str(self._kind)]
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            return
        if kind not in shapes:
            self._tell("server", self._unknown_received(kind), where)
            return
        self._tell_all("server", shape_rules(message, shapes), f"{where} ({kind})")
        self._tell_all("server", self._order.received(message), f"{where} ({kind})")

    def _unknown_received(self, kind: str) -> Broken:
        # Messages of one's own are allowed, but not those of another protocol.
        known = any(kind in shapes for table in (RECEIVED, SENT) for shapes in table.values())
        return Broken(
            f"{self._kind}/receive/unknown",
            CORE_PROTOCOLS,
            f"one of {', '.join(RECEIVED[str(self._kind)])}",
            shortened(kind),
            "MUST" if known else "SHOULD",
        )

    # -- send()

    async def _send(self, *args: Any, **keywords: Any) -> None:
        self._sends += 1
        where = f"send() message {self._sends}"
        self._check_call("send", where, self._sending)
        if keywords or len(args) != 1:
            self._tell(
                "app",
                Broken(
                    "send/arguments",
                    CORE,
                    "send(event), the event as the only and positional argument",
                    f"{len(args)} positional arguments, and by name: {sorted(keywords)}",
                ),
                where,
            )
        else:
            args = (self._checked_for_sending(args[0], where),)
        self._sending += 1
        try:
            await self._to_server(args, keywords, where)
        finally:
            self._sending -= 1

    def _checked_for_sending(self, message: Any, where: str) -> Any:
        if self._order is None:
            return message
        envelope = list(envelope_rules(message))
        self._tell_all("app", envelope, where)
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            return message
        where = f"{where} ({kind})"
        shapes = SENT[str(self._kind)]
        if not self._is_expected(kind, shapes, where):
            return message
        message, one_shots = readable(message)
        self._tell_all("app", one_shots, where)
        self._tell_all("app", shape_rules(message, shapes), where)
        self._tell_all("app", self._order.sends(message), where)
        return message

    def _is_expected(self, kind: str, shapes: Mapping[str, Shape], where: str) -> bool:
        """Whether a message of this type may be sent at all, and can be checked."""
        offers = offered(self._scope)
        if kind not in shapes:
            # An extension of the server's own may name its messages as it likes.
            if all(name in _KNOWN_EXTENSIONS for name in offers):
                self._tell(
                    "app",
                    Broken(
                        f"{self._kind}/send/unknown",
                        CORE_ERRORS,
                        f"one of {', '.join(shapes)}",
                        shortened(kind),
                    ),
                    where,
                )
            return False
        extension = extension_of(kind)
        if extension in _KNOWN_EXTENSIONS and extension not in offers:
            self._tell(
                "app",
                Broken(
                    f"{kind}/offered",
                    CORE_EXTENSIONS,
                    f"this message only if the server offers {extension}",
                    f"extensions {sorted(map(str, offers))}",
                ),
                where,
            )
            # What a server ignores does not move the response on.
            return False
        return True

    async def _to_server(self, args: tuple[Any, ...], keywords: dict[str, Any], where: str) -> None:
        order = self._order
        watched = order is not None and order.gone and not order.complete
        try:
            await self._from_server(self._server_send(*args, **keywords), "send", where)
        except BaseException as error:
            self._interrupt(error)
            if (
                watched
                and isinstance(error, Exception)
                and not isinstance(error, (OSError, ProtocolViolation))
            ):
                self._tell("server", _wrong_error(type(error).__name__), where)
            raise
        if watched and spec_version(self._scope) >= _RAISING:
            self._tell("server", _SILENT_SEND, where)

    # -- both

    def _interrupt(self, error: BaseException) -> None:
        """Note that the server's own exception has come out of one of its callables.

        A cancellation is none: apps cancel tasks of theirs that wait for the client to leave. That of
        the whole call is known by `_cancellations`, or, where tasks do not count them, taken to be one.
        """
        if isinstance(error, Exception) or not _COUNTED:
            self._interrupted = True

    async def _from_server(self, awaitable: Any, name: str, where: str) -> Any:
        """What the server's awaitable gives; it need not be a coroutine."""
        if not inspect.isawaitable(awaitable):
            self._tell(
                "server",
                Broken(f"{name}/awaitable", CORE, f"an awaitable from {name}()", type(awaitable).__name__),
                where,
            )
            return awaitable
        return await awaitable

    def _check_call(self, name: str, where: str, busy: int) -> None:
        if self._ended:
            self._tell(
                "app",
                Broken(
                    f"{name}/after-return",
                    "ASGI 3.0, Applications: one call lasts as long as its connection",
                    f"no {name}() after the app has returned",
                    "one",
                    "SHOULD",
                ),
                where,
            )
        if busy:
            self._tell(
                "app",
                Broken(f"{name}/concurrent", SILENT, f"one {name}() at a time", "a second one", "SHOULD"),
                where,
            )
        if threading.get_ident() != self._thread:
            self._tell(
                "app",
                Broken(f"{name}/thread", OVERVIEW, f"{name}() on the thread of its loop", "another thread"),
                where,
            )

    def _tell_all(self, side: Side, broken: Iterable[Broken], where: str) -> None:
        for each in broken:
            self._tell(side, each, where)

    def _tell(self, side: Side, broken: Broken, where: str) -> None:
        try:
            self._validator.report(side, broken, f"{self._name}, {where}")
        except Exception as error:
            if self._raised is None:
                self._raised = error
            raise


_KNOWN_EXTENSIONS = frozenset(
    {
        "websocket.http.response",
        "tls",
        *(kind for kind in SENT["http"] if not kind.endswith((".start", ".body"))),
    }
)

_SILENT_SEND = Broken(
    "send/disconnected/silent",
    DISCONNECTED,
    "an OSError from send(), since the client is gone and the server says spec version 2.4 or later",
    "send() returned",
    "SHOULD",
)


def _wrong_error(came: str) -> Broken:
    return Broken(
        "send/disconnected/error",
        DISCONNECTED,
        "an OSError from send(), since the client is gone",
        came,
        "SHOULD",
    )


async def _nothing() -> None:
    """Stands in for the awaitable that an app did not return."""


def _name_of(scope: object) -> str:
    """The call in a few words, such as "GET /notes"; the path cannot break the line."""
    if not isinstance(scope, dict):
        return "call"
    kind = scope.get("type")
    if kind == "http":
        return f"{_plain(scope.get('method'))} {_plain(scope.get('path'))}"
    return f"websocket {_plain(scope.get('path'))}" if kind == "websocket" else _plain(kind)


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) < 80 else shortened(value)


def _snapshot(scope: Any) -> dict[Any, Any]:
    """The values under the keys of a scope, its headers as a list of their own."""
    if not isinstance(scope, dict):
        return {}
    copy = dict(scope)
    if isinstance(copy.get("headers"), (list, tuple)):
        copy["headers"] = list(copy["headers"])
    return copy


def _cancellations() -> int:
    """How many requests to cancel the running task has not taken back; Python 3.11 and later, else 0."""
    asyncio = sys.modules.get("asyncio")
    if in_trio_task() or asyncio is None or asyncio._get_running_loop() is None:
        return 0
    task = asyncio.current_task()
    count: int = task.cancelling() if task is not None and hasattr(task, "cancelling") else 0
    return count
