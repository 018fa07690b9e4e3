"""A scripted server and scripted apps, to plant one broken rule at a time under `ASGIValidator`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from support.scopes import ABSENT, http_scope, lifespan_scope

from bridge.testing.validation.asgi import ASGIValidator
from bridge.testing.validation.violations import OnViolation, Violation

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Message: TypeAlias = dict[str, Any]

CONNECT: Message = {"type": "websocket.connect"}
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}
STARTUP: Message = {"type": "lifespan.startup"}
STARTED: Message = {"type": "lifespan.startup.complete"}
SHUTDOWN: Message = {"type": "lifespan.shutdown"}
STOPPED: Message = {"type": "lifespan.shutdown.complete"}
RECEIVE = "receive()"
"""Among what an app says: it calls `receive()` here."""


def request(body: Any = b"", more: Any = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def start(status: Any = 200, *headers: tuple[bytes, bytes], **keys: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **keys}


def body(content: Any = b"", more: Any = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


class Refusal(Exception):
    """What a scripted app or server raises though it may: it ends the call, and is nobody's fault."""


def scope_of(kind: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """A full scope with `overrides` of any type put over it; `ABSENT` removes a key."""
    if kind == "lifespan":
        return lifespan_scope(**overrides)
    path = overrides.get("path", "/")
    scope = http_scope(path=path if isinstance(path, str) else "/")
    if kind == "websocket":
        scope.update(type="websocket", scheme="ws", subprotocols=[])
        del scope["method"]
    scope.update(overrides)
    return {key: value for key, value in scope.items() if value is not ABSENT}


# What `receive()` gives when the script is at its end.
_FOREVER: dict[str, Message] = {
    "http": {"type": "http.disconnect"},
    "websocket": {"type": "websocket.disconnect", "code": 1006},
}


def says(*steps: Message | str | BaseException) -> App:
    """An app that calls `receive()` and sends messages in this order, and then returns."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, str):
                await receive()
            else:
                await send(step)

    return app


OK = says(RECEIVE, start(), body(b"ok"))
"""An app that keeps all rules."""


@dataclass
class Server:
    """A server that makes one call of an app, from a script.

    Attributes:
        scope: what the app is called with.
        script: what `receive()` gives, in order.
        sent: what `send()` was given.
        fail_send: what `send()` raises once the script is at its end, as if the client were gone then.
    """

    scope: dict[str, Any]
    script: list[Any] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    fail_send: Exception | None = None

    async def receive(self) -> Any:
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, BaseException):
                raise step
            return step
        return _FOREVER[self.scope["type"]]

    async def send(self, message: Any, **more: Any) -> None:
        self.sent.append(message)
        if self.fail_send is not None and not self.script:
            raise self.fail_send


def call(
    app: Any, server: Server, *, on_violation: OnViolation = "collect", ignore: tuple[str, ...] = ()
) -> list[Violation]:
    """Serve one call of the app under a validator that reports everything; what it reports."""
    validator = ASGIValidator(app, on_violation=on_violation, level="SHOULD", ignore=ignore)
    try:
        asyncio.run(validator(server.scope, server.receive, server.send))
    except Refusal:
        pass
    return validator.violations


@dataclass(frozen=True)
class Planted:
    """One broken rule, and what is the same but right.

    Attributes:
        rule, side, level: what has to be reported, alone.
        bad: makes app and server that break the rule.
        good: makes app and server that do not.
    """

    rule: str
    side: str
    level: str
    bad: Callable[[], tuple[Any, Server]]
    good: Callable[[], tuple[Any, Server]]

    @property
    def id(self) -> str:
        return self.rule


def in_app(
    rule: str,
    bad: App,
    good: App,
    level: str = "MUST",
    script: Iterable[Any] | None = None,
    kind: str = "http",
    **scope: Any,
) -> Planted:
    """An app that breaks the rule, and one that does not, on the same server."""
    steps = _default_script(kind) if script is None else list(script)
    return Planted(
        rule,
        "app",
        level,
        lambda: (bad, Server(scope_of(kind, scope), list(steps))),
        lambda: (good, Server(scope_of(kind, scope), list(steps))),
    )


def in_scope(
    rule: str, bad: dict[str, Any], good: dict[str, Any], level: str = "MUST", kind: str = "http"
) -> Planted:
    """A server with a bad scope, and the same with a good one."""
    return Planted(
        rule,
        "server",
        level,
        lambda: (_well_behaved(kind), Server(scope_of(kind, bad), _default_script(kind))),
        lambda: (_well_behaved(kind), Server(scope_of(kind, good), _default_script(kind))),
    )


def in_receive(
    rule: str,
    bad: list[Any],
    good: list[Any],
    app: App,
    level: str = "MUST",
    kind: str = "http",
    **scope: Any,
) -> Planted:
    """A server that gives bad messages, and one that gives good ones, to the same app."""
    return Planted(
        rule,
        "server",
        level,
        lambda: (app, Server(scope_of(kind, scope), list(bad))),
        lambda: (app, Server(scope_of(kind, scope), list(good))),
    )


def _default_script(kind: str) -> list[Any]:
    return {"http": [request()], "websocket": [CONNECT], "lifespan": [STARTUP, SHUTDOWN]}[kind]


def _well_behaved(kind: str) -> App:
    return {
        "http": OK,
        "websocket": says(RECEIVE, ACCEPT, CLOSE),
        "lifespan": says(RECEIVE, STARTED, RECEIVE, STOPPED),
    }[kind]
