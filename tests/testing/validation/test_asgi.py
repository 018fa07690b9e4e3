"""`ASGIValidator` between the two sides: what it lets pass unchanged, when it speaks, and how.

The rules of scopes and messages are planted in `test_asgi_planted.py`; here are those of behaviour.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from support.drive import LOOPS, Exchange, checkpoint, requests, run, serve
from support.scopes import ABSENT, http_scope, lifespan_scope
from testing.validation.asgi_planting import (
    CONNECT,
    OK,
    RECEIVE,
    SHUTDOWN,
    STARTED,
    STARTUP,
    STOPPED,
    Server,
    body,
    call,
    request,
    says,
    scope_of,
    start,
)

from bridge import WSGIToASGI
from bridge.exceptions import ProtocolViolation, UsageError
from bridge.testing import ASGIValidator
from bridge.testing.validation.violations import Violation

App = Callable[[Any, Any, Any], Any]


def rules(found: list[Violation]) -> list[tuple[str, str, str]]:
    return [(each.rule, each.side, each.level) for each in found]


def called(app: Any, scope: Any = None, **options: Any) -> ASGIValidator:
    """A validator of the app after one call of it by a server that keeps the rules."""
    validator = ASGIValidator(app, on_violation="collect", level="SHOULD", **options)
    server = Server(http_scope() if scope is None else scope, [request()])
    asyncio.run(validator(server.scope, server.receive, server.send))
    return validator


# -- what it does not change


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_added_to_a_call(loop: str) -> None:
    """No await, no turn of the loop, no other object: each side sees what it would see without it."""
    seen: list[Any] = []
    chunk = b"x" * 1000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        seen.append(await receive())
        await checkpoint()
        await send(start())
        await send(body(chunk))

    exchanges = []
    for wrapped in (app, ASGIValidator(app, level="SHOULD")):
        seen.clear()
        scope = http_scope()
        exchange = serve(wrapped, scope, requests(b"ab", b"c"), loop=loop, turns=2)
        assert seen[0] is scope
        assert exchange.chunks[0] is chunk
        exchanges.append((exchange.awaits, exchange.log, exchange.sent, seen[1]))
    assert exchanges[0] == exchanges[1]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_exceptions_of_the_app_pass_unchanged(kind: type[BaseException]) -> None:
    error = kind("mine")
    validator = ASGIValidator(says(RECEIVE, error))
    server = Server(http_scope(), [request()])

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await validator(server.scope, server.receive, server.send)
        assert caught.value is error

    asyncio.run(main())
    assert validator.violations == []


@pytest.mark.parametrize("where", ["receive", "send"])
def test_exceptions_of_the_server_pass_unchanged(where: str) -> None:
    """And an app that stops because of one owes no response."""
    error = RuntimeError("the server's")
    caught = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
            await send(start())
        except RuntimeError as what:
            caught.append(what)

    script = [error] if where == "receive" else [request()]
    server = Server(http_scope(), script, fail_send=error if where == "send" else None)
    assert call(app, server) == []
    assert caught == [error]


def test_a_message_is_passed_on_as_the_same_object() -> None:
    message, answer = request(b"x"), body(b"y")
    got = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append(await receive())
        await send(start())
        await send(answer)

    server = Server(http_scope(), [message])
    assert call(app, server) == []
    assert got[0] is message
    assert server.sent[1] is answer


class Ready:
    """An awaitable that is no coroutine, as Granian's `receive()` returns."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield from ()
        return self.value


def test_awaitables_need_not_be_coroutines() -> None:
    sent: list[Any] = []
    validator = ASGIValidator(OK, level="SHOULD")

    def send(message: Any) -> Any:
        sent.append(message)
        return Ready(None)

    asyncio.run(validator(http_scope(), lambda: Ready(request()), send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_scopes_of_other_types_are_not_looked_into() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        await send("anything")

    async def receive() -> Any:
        return 7

    async def send(message: Any) -> None:
        seen.append(message)

    asyncio.run(ASGIValidator(app)({"type": "mychat"}, receive, send))
    assert seen == [7, "anything"]


# -- what it refuses


async def _asgi2_inner(receive: Any, send: Any) -> None: ...


def asgi2(scope: Any) -> Any:
    return _asgi2_inner


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


def factory() -> App:
    return OK


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        (asgi2, "guarantee_single_callable"),
        (wsgi, "WSGIToASGI"),
        (factory, "call it"),
        (None, "cannot be called"),
    ],
    ids=["ASGI 2", "WSGI", "a factory", "None"],
)
def test_what_is_no_asgi_3_app_is_refused_with_a_hint(app: Any, hint: str) -> None:
    with pytest.raises(UsageError, match="expects an ASGI 3 app") as caught:
        ASGIValidator(app)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"level": "must"}, "MUST, SHOULD"),
        ({"ignore": "http.scope/"}, "a tuple of rules"),
        ({"on_violation": "warn"}, "raise, collect, log"),
    ],
    ids=["level", "ignore", "on_violation"],
)
def test_bad_options_are_refused(options: Any, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        ASGIValidator(OK, **options)


# -- how it speaks


async def _sends_text(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(start())
    await send(body("text"))  # the line at fault
    await send(body())


def test_the_traceback_of_an_apps_fault_shows_its_line_and_the_message_stays_back() -> None:
    server = Server(http_scope(), [request()])
    with pytest.raises(ProtocolViolation) as caught:
        call(_sends_text, server, on_violation="raise")
    assert "# the line at fault" in "".join(traceback.format_exception(caught.value))
    assert [message["type"] for message in server.sent] == ["http.response.start"]
    text = str(caught.value)
    assert "GET /, send() message 2 (http.response.body): the app broke http.response.body/body/type" in text
    assert "expected: bytes" in text
    assert "came:     str: 'text'" in text


def test_what_an_app_swallows_is_raised_again_at_the_end_of_its_call() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await _sends_text(scope, receive, send)
        except Exception:
            await send(body(b"sorry"))

    with pytest.raises(ProtocolViolation, match="body/type"):
        call(app, Server(http_scope(), [request()]), on_violation="raise")


def test_another_exception_of_the_app_is_not_replaced() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await _sends_text(scope, receive, send)
        except ProtocolViolation as error:
            raise LookupError("mine") from error

    with pytest.raises(LookupError, match="mine"):
        call(app, Server(http_scope(), [request()]), on_violation="raise")


def test_a_servers_fault_in_the_scope_is_raised_before_the_app_is_called() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("called")

    with pytest.raises(ProtocolViolation, match=r"the server broke http\.scope/method/upper-case"):
        call(app, Server(http_scope(method="get"), []), on_violation="raise")


def test_collecting_lets_everything_pass_and_asserts_at_the_end() -> None:
    validator = called(_sends_text)
    assert rules(validator.violations) == [
        ("http.response.body/body/type", "app", "MUST"),
        ("http/order/after-end", "app", "SHOULD"),
    ]
    assert validator.count == 2
    with pytest.raises(ProtocolViolation) as caught:
        validator.assert_clean()
    assert "2 violations" in str(caught.value)
    assert "http/order/after-end" in str(caught.value)
    assert "2 violations" in repr(validator)


def test_a_single_violation_needs_no_count() -> None:
    with pytest.raises(ProtocolViolation, match=r"\AGET /, end of the call"):
        called(says(RECEIVE)).assert_clean()


def test_a_clean_validator_asserts_nothing() -> None:
    called(OK).assert_clean()


def test_no_more_than_the_limit_are_kept_and_all_are_counted() -> None:
    validator = called(_sends_text, limit=1)
    assert (len(validator.violations), validator.count) == (1, 2)


def test_violations_are_logged_if_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        call(says(RECEIVE), Server(http_scope(), [request()]), on_violation="log")
    assert "http/order/no-response" in caplog.text


def test_a_function_is_called_with_each() -> None:
    given: list[Violation] = []
    call(says(RECEIVE), Server(http_scope(), [request()]), on_violation=given.append)
    assert rules(given) == [("http/order/no-response", "app", "MUST")]


def test_recommendations_are_reported_only_if_asked_for() -> None:
    app = says(RECEIVE, start(200, (b"connection", b"close")), body(), body())
    validator = ASGIValidator(app)
    server = Server(http_scope(), [request()])
    asyncio.run(validator(server.scope, server.receive, server.send))
    assert validator.violations == []
    assert len(called(app).violations) == 2


def test_rules_are_ignored_by_name_or_by_prefix() -> None:
    assert rules(called(_sends_text, ignore=["http/order/"]).violations) == [
        ("http.response.body/body/type", "app", "MUST")
    ]
    assert called(_sends_text, ignore=("http.response.body/", "http/order/after-end")).violations == []


def test_a_path_cannot_break_the_lines_of_a_report() -> None:
    [violation] = called(says(RECEIVE), http_scope(path="/a\r\nb", raw_path=b"/a%0D%0Ab")).violations
    assert "\n" not in violation.where


# -- rules of behaviour: calls


def planted_call(rule: str, level: str, app: Any, **options: Any) -> None:
    """The app breaks this rule alone, and it is raised if asked for."""
    assert rules(call(app, Server(http_scope(), [request()]), **options)) == [(rule, "app", level)]
    with pytest.raises(ProtocolViolation, match=rule):
        call(app, Server(http_scope(), [request()]), on_violation="raise", **options)


async def _answer(send: Any) -> None:
    await send(start())
    await send(body())


def test_two_receives_at_once_are_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.gather(receive(), receive())
        await _answer(send)

    class Slow(Server):
        async def receive(self) -> Any:
            await asyncio.sleep(0)
            return await super().receive()

    found = call(app, Slow(http_scope(), [request()]))
    assert rules(found) == [("receive/concurrent", "app", "SHOULD")]
    assert (
        call(says(RECEIVE, RECEIVE, start(), body()), Slow(http_scope(), [request(b"", True), request()]))
        == []
    )


def test_two_sends_at_once_are_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await asyncio.gather(send(body(b"a", True)), send(body(b"b")))

    class Slow(Server):
        async def send(self, message: Any, **more: Any) -> None:
            await asyncio.sleep(0)
            await super().send(message)

    assert rules(call(app, Slow(http_scope(), [request()]))) == [("send/concurrent", "app", "SHOULD")]


@pytest.mark.parametrize("name", ["receive", "send"])
def test_calls_after_the_app_has_returned_are_told(name: str) -> None:
    tasks = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await _answer(send)

        async def late() -> None:
            await checkpoint()
            await (receive() if name == "receive" else send(body(b"late")))

        tasks.append(asyncio.ensure_future(late()))

    validator = ASGIValidator(app, on_violation="collect", level="SHOULD", ignore=("http/order/after-end",))
    server = Server(http_scope(), [request()])

    async def main() -> None:
        await validator(server.scope, server.receive, server.send)
        assert validator.violations == []
        await tasks[0]

    asyncio.run(main())
    assert rules(validator.violations) == [(f"{name}/after-return", "app", "SHOULD")]


def test_send_takes_its_event_by_position() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(message=start())
        await send(body())

    class Named(Server):
        async def send(self, message: Any, **more: Any) -> None:
            await super().send(message)

    found = call(app, Named(http_scope(), [request()]))
    assert rules(found)[0] == ("send/arguments", "app", "MUST")
    with pytest.raises(ProtocolViolation, match="send/arguments"):
        call(app, Named(http_scope(), [request()]), on_violation="raise")


def test_calls_from_another_thread_are_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        thread = threading.Thread(target=lambda: asyncio.run(send(body())))
        thread.start()
        await asyncio.to_thread(thread.join)

    assert rules(call(app, Server(http_scope(), [request()]))) == [("send/thread", "app", "MUST")]


def test_an_app_that_returns_no_awaitable_is_told() -> None:
    def app(scope: Any, receive: Any, send: Any) -> None:
        return None

    assert rules(call(app, Server(http_scope(), [request()])))[0] == ("call/awaitable", "app", "MUST")
    with pytest.raises(ProtocolViolation, match="call/awaitable"):
        call(app, Server(http_scope(), [request()]), on_violation="raise")


@pytest.mark.parametrize("name", ["receive", "send"])
def test_a_server_whose_callables_return_no_awaitable_is_told(name: str) -> None:
    server = Server(http_scope(), [request()])
    receive: Any = (lambda: request()) if name == "receive" else server.receive
    send: Any = (lambda message: None) if name == "send" else server.send
    validator = ASGIValidator(OK, on_violation="collect")
    asyncio.run(validator(server.scope, receive, send))
    assert {(each.rule, each.side) for each in validator.violations} == {(f"{name}/awaitable", "server")}


def test_a_server_without_an_event_loop_is_told() -> None:
    validator = ASGIValidator(OK, on_violation="collect", level="SHOULD")
    server = Server(http_scope(), [request()])
    with pytest.raises(StopIteration):
        validator(server.scope, server.receive, server.send).send(None)
    assert rules(validator.violations) == [("call/event-loop", "server", "SHOULD")]


def test_a_scope_that_is_no_dict_is_told() -> None:
    validator = ASGIValidator(OK, on_violation="collect")
    server = Server(http_scope(), [request()])
    asyncio.run(validator(tuple(http_scope()), server.receive, server.send))  # type: ignore[arg-type]
    assert rules(validator.violations) == [("scope/dict", "server", "MUST")]


@pytest.mark.parametrize(
    ("scope", "rule"),
    [
        (dict([(b"x", 1), *http_scope().items()]), "scope/keys"),
        ({"asgi": {"version": "3.0"}}, "scope/type/missing"),
        ({"type": b"http"}, "scope/type/type"),
    ],
    ids=["keys", "no type", "a type of bytes"],
)
def test_what_all_scopes_share(scope: Any, rule: str) -> None:
    validator = ASGIValidator(OK, on_violation="collect")
    server = Server(http_scope(), [request()])
    asyncio.run(validator(scope, server.receive, server.send))
    assert rules(validator.violations) == [(rule, "server", "MUST")]


# -- cancellation


async def _cancelled(app: Any) -> ASGIValidator:
    validator = ASGIValidator(app, on_violation="collect", level="SHOULD")
    server = Server(http_scope(), [request()])
    task = asyncio.ensure_future(validator(server.scope, server.receive, server.send))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    return validator


async def _sleeper(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def _swallower(scope: Any, receive: Any, send: Any) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks do not count their cancellations before")
def test_a_swallowed_cancellation_is_told() -> None:
    """And nothing else: after a cancellation no response is owed."""
    validator = asyncio.run(_cancelled(_swallower))
    assert rules(validator.violations) == [("call/cancellation", "app", "SHOULD")]


def test_a_cancellation_that_leaves_the_app_is_clean() -> None:
    assert asyncio.run(_cancelled(_sleeper)).violations == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks do not count their cancellations before")
def test_an_app_that_cancels_its_own_watcher_owes_a_response_all_the_same() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        watcher = asyncio.ensure_future(receive())
        await checkpoint()
        watcher.cancel()
        await asyncio.wait((watcher,))

    class Waiting(Server):
        async def receive(self) -> Any:
            if not self.script:
                await asyncio.Event().wait()
            return await super().receive()

    assert rules(call(app, Waiting(http_scope(), [request()]))) == [("http/order/no-response", "app", "MUST")]


def test_a_time_limit_inside_the_app_is_clean() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        await _answer(send)

    assert called(app).violations == []


# -- a client that has left


def _goes_on(error: type[BaseException] = OSError) -> App:
    """An app that sends on after it was told that the client is gone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await receive()
        try:
            await send(body(b"x", True))
        except error:
            return

    return app


def _left(version: str, error: Exception | None) -> Server:
    asgi = {"version": "3.0", "spec_version": version}
    return Server(http_scope(asgi=asgi), [request(), {"type": "http.disconnect"}], fail_send=error)


@pytest.mark.parametrize(
    ("version", "error", "expected"),
    [
        ("2.4", None, ["send/disconnected/silent"]),
        ("2.4", RuntimeError(), ["send/disconnected/error"]),
        ("2.3", RuntimeError(), ["send/disconnected/error"]),
        ("2.4", BrokenPipeError(), []),
        ("2.3", None, []),
        ("2.3", OSError(), []),
    ],
    ids=["2.4 silent", "2.4 RuntimeError", "2.3 RuntimeError", "2.4 OSError", "2.3 silent", "2.3 OSError"],
)
def test_send_to_a_client_that_is_gone(version: str, error: Exception | None, expected: list[str]) -> None:
    """The server should raise an OSError from spec version 2.4 on, and nothing else ever."""
    found = call(_goes_on(Exception), _left(version, error))
    assert rules(found) == [(rule, "server", "SHOULD") for rule in expected]


def test_messages_after_a_complete_response_are_not_sends_to_a_client_that_is_gone() -> None:
    """They are to be ignored (ASGI HTTP, Response Body), so that no error is expected."""
    app = says(RECEIVE, start(), body(), RECEIVE, body(b"more"))
    asgi = {"version": "3.0", "spec_version": "2.5"}
    found = call(app, Server(http_scope(asgi=asgi), [request()]))
    assert rules(found) == [("http/order/after-end", "app", "SHOULD")]


# -- the scope


@pytest.mark.parametrize("how", ["set", "delete", "headers"])
def test_an_app_that_changes_the_servers_scope_is_told(how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if how == "set":
            scope["root_path"] = "/elsewhere"
        elif how == "delete":
            del scope["client"]
        else:
            scope["headers"].append((b"x-a", b"1"))
        await receive()
        await _answer(send)

    planted_call("scope/changed", "SHOULD", app)


def test_adding_to_the_scope_and_changing_a_copy_are_clean() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["app"] = app
        scope["headers"] = list(scope["headers"])
        inner = {**scope, "root_path": "/elsewhere"}
        assert inner is not scope
        await receive()
        await _answer(send)

    assert called(app).violations == []


# -- extensions of a server's own


def test_messages_of_unknown_extensions_are_let_pass() -> None:
    app = says(RECEIVE, start(), {"type": "http.fullflush"}, body())
    server = Server(http_scope(extensions={"fullflush": {}}), [request()])
    assert call(app, server) == []
    assert {"type": "http.fullflush"} in server.sent


# -- lifespan, and the requests beside it


async def _beside(
    validator: ASGIValidator, lifespan: dict[str, Any], script: list[Any], then: Callable[[], Any]
) -> None:
    """Run a lifespan until the server has given all of `script`, then `then`, and end it."""
    gates = [asyncio.Event(), asyncio.Event()]

    async def receive() -> Any:
        if script:
            return script.pop(0)
        gates[0].set()
        await gates[1].wait()
        return SHUTDOWN

    async def send(message: Any) -> None: ...

    task = asyncio.ensure_future(validator(lifespan, receive, send))
    await gates[0].wait()
    await then()
    gates[1].set()
    await asyncio.wait((task,))


def _site(answer: Any = STARTED, **state: Any) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["type"] == "lifespan":
            if "state" in scope:
                scope["state"].update(state)
            if answer is not None:
                await send(answer)
            await receive()
            if answer is STARTED:
                await send(STOPPED)
        elif scope["type"] == "http":
            await _answer(send)
        else:
            await send({"type": "websocket.close"})

    return app


def _lifespan(
    app: App, state: Any, request_state: Callable[[dict[str, Any]], dict[str, Any]], kind: str = "http"
) -> list[tuple[str, str, str]]:
    """What is found if one request is made while the lifespan waits for its second event."""
    validator = ASGIValidator(app, on_violation="collect", level="SHOULD")
    lifespan = lifespan_scope(state=state)

    async def one() -> None:
        first = {"http": request(), "websocket": CONNECT}[kind]
        server = Server(scope_of(kind, request_state(lifespan.get("state", {}))), [first])
        await validator(server.scope, server.receive, server.send)

    asyncio.run(_beside(validator, lifespan, [STARTUP], one))
    assert validator.lifespan_here() is None
    return rules(validator.violations)


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {"state": dict(state)}


def _without_state(_: Any) -> dict[str, Any]:
    return {"state": ABSENT}


def test_a_request_gets_a_shallow_copy_of_the_state() -> None:
    site = _site(pool=[1])
    assert _lifespan(site, {}, _copied) == []
    assert _lifespan(site, {}, _copied, "websocket") == []
    for give, kind, rule in (
        (lambda state: {"state": state}, "http", "http.scope/state/copy"),
        (lambda state: {"state": {"pool": [1]}}, "http", "http.scope/state/shallow"),
        (lambda state: {"state": {}}, "websocket", "websocket.scope/state/shallow"),
        (_without_state, "http", "http.scope/state/missing"),
    ):
        assert _lifespan(site, {}, give, kind) == [(rule, "server", "MUST")]


def test_no_state_is_owed_by_a_server_that_offers_none() -> None:
    assert _lifespan(_site(), ABSENT, _without_state) == []


def test_requests_wait_for_the_startup() -> None:
    assert _lifespan(_site(answer=None), {}, _copied)[0] == ("lifespan/order/early-request", "server", "MUST")


def test_no_request_comes_after_a_failed_startup() -> None:
    failed = {"type": "lifespan.startup.failed", "message": "no database"}
    assert _lifespan(_site(answer=failed), {}, _copied) == [
        ("lifespan/order/request-after-failure", "server", "MUST")
    ]


def test_no_request_comes_after_the_shutdown() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await says(RECEIVE, STARTED, RECEIVE, RECEIVE, STOPPED)(scope, receive, send)
        else:
            await OK(scope, receive, send)

    validator = ASGIValidator(app, on_violation="collect")

    async def one() -> None:
        server = Server(http_scope(), [request()])
        await validator(server.scope, server.receive, server.send)

    asyncio.run(_beside(validator, lifespan_scope(), [STARTUP, SHUTDOWN], one))
    assert rules(validator.violations)[0] == ("lifespan/order/request-after-shutdown", "server", "MUST")


def test_a_lifespan_that_raises_is_clean_and_owes_requests_nothing() -> None:
    """An app that does not know the protocol should reject it with an exception."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("unknown protocol")
        await OK(scope, receive, send)

    validator = ASGIValidator(app, level="SHOULD")

    async def main() -> None:
        server = Server(lifespan_scope(), [STARTUP])
        with pytest.raises(ValueError, match="unknown protocol"):
            await validator(server.scope, server.receive, server.send)
        request_server = Server(http_scope(state={}), [request()])
        await validator(request_server.scope, request_server.receive, request_server.send)

    asyncio.run(main())
    assert validator.violations == []


def test_lifespans_of_several_threads_are_kept_apart() -> None:
    """A server of threads runs one lifespan in each; a request belongs to that of its own thread."""
    validator = ASGIValidator(_site(pool=1), level="SHOULD")
    barrier = threading.Barrier(2)
    errors: list[BaseException] = []

    def serve_in_thread(wait_first: bool) -> None:
        lifespan = lifespan_scope()

        async def one() -> None:
            await asyncio.to_thread(barrier.wait, 10)
            server = Server(http_scope(state=dict(lifespan["state"])), [request()])
            await validator(server.scope, server.receive, server.send)

        try:
            asyncio.run(_beside(validator, lifespan, [STARTUP], one))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=serve_in_thread, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert validator.lifespan_here() is None


# -- on every loop


@pytest.mark.parametrize("loop", LOOPS)
def test_the_adapter_of_wsgi_apps_is_clean_on_every_loop(loop: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        data = environ["wsgi.input"].read()
        start_response("200 OK", [("X-A", "1")])
        return [data, b"!"]

    async def main() -> Exchange:
        exchange = Exchange(
            ASGIValidator(WSGIToASGI(app), level="SHOULD"), http_scope(method="POST"), requests(b"ab", b"c")
        )
        return await exchange.go()

    assert run(main, loop).unwrap().body == b"abc!"
