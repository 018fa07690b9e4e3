"""compare(): how requests are sent to both sides, and what the hooks are given."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.exceptions import StartupFailed, UsageError
from bridge.testing import compare as exported
from bridge.testing.client import Client
from bridge.testing.comparison.compare import compare
from bridge.testing.comparison.result import Comparison, Result
from bridge.testing.comparison.rules import Rules
from bridge.testing.exchange import Request, Response


class Fake:
    """A client of a function; it remembers what it was asked."""

    def __init__(self, answer: Callable[[Request], Response], base_url: str = "") -> None:
        self.answer = answer
        self.asked: list[Request] = []
        self.followed: list[bool] = []
        if base_url:
            self.base_url = base_url

    def exchange(self, request: Request, *, follow_redirects: bool = False) -> Response:
        self.asked.append(request)
        self.followed.append(follow_redirects)
        return self.answer(request)


def says(text: str, **fields: Any) -> Fake:
    return Fake(lambda request: replace(Response(200, chunks=(text.encode(),)), **fields))


def echoes() -> Fake:
    return Fake(lambda request: Response(200, chunks=(request.target.encode(),)))


def raises(error: Exception) -> Fake:
    def answer(request: Request) -> Response:
        raise error

    return Fake(answer)


def kinds(comparison: Comparison) -> list[str]:
    return [each.kind for each in comparison.differences]


def test_the_package_exports_it() -> None:
    assert exported is compare


def test_every_request_goes_to_both_sides_in_order() -> None:
    old, new = echoes(), echoes()
    found = compare(
        old, new, ["/a", "POST /b", ("PUT", "/c"), {"url": "/d", "params": {"e": 1}}, Request("GET", "/f")]
    )
    assert [each.label for each in old.asked] == ["GET /a", "POST /b", "PUT /c", "GET /d?e=1", "GET /f"]
    assert new.asked == old.asked == [result.request for result in found.results]
    assert found.same
    assert (found.old_name, found.new_name, found.stopped) == ("old", "new", "")


def test_results_hold_answers_and_differences() -> None:
    (result,) = compare(says("a"), says("b"), ["/"]).results
    assert (result.old.body, result.new.body) == (b"a", b"b")
    assert [each.kind for each in result.differences] == ["text"]
    assert (result.effects, result.new_request) == (None, None)


def test_requests_may_come_one_by_one_from_an_endless_source() -> None:
    old, new = echoes(), Fake(lambda request: Response(200, chunks=(request.target[:3].encode(),)))
    found = compare(old, new, (f"/{number}" for number in itertools.count()), stop_after=2)
    assert [result.same for result in found.results[-3:]] == [True, False, False]
    assert len(found) == len(old.asked) == len(new.asked) == 102
    assert found.stopped == "stopped after 2 requests with differences"
    assert found.stopped in found.text(color=False)


def test_it_is_not_called_stopped_if_nothing_was_left() -> None:
    assert compare(says("a"), says("b"), ["/"], stop_after=1).stopped == ""
    assert (
        compare(says("a"), says("b"), ["/", "/"], stop_after=1).stopped
        == "stopped after 1 request with differences"
    )


def test_a_request_may_depend_on_the_answers_of_its_side() -> None:
    def sides(token: str) -> Fake:
        return Fake(
            lambda request: Response(
                200, chunks=(f"token={token}".encode() if request.path == "/form" else b"",)
            )
        )

    def submit(previous: Response | None) -> Request:
        assert previous is not None
        found = re.search(rb"token=(\w+)", previous.body)
        assert found is not None
        return Request("POST", f"/form/{found[1].decode()}")

    old, new = sides("abc"), sides("xyz")
    results = compare(
        old, new, [lambda previous: "/form", submit], rules=Rules().ignore_text("token=.*")
    ).results
    assert [each.label for each in old.asked] == ["GET /form", "POST /form/abc"]
    assert [each.label for each in new.asked] == ["GET /form", "POST /form/xyz"]
    assert (results[0].new_request, results[1].new_request) == (None, new.asked[1])
    assert all(result.same for result in results)


def test_the_first_function_is_given_none_and_later_ones_what_came() -> None:
    given: list[Response | None] = []

    def step(previous: Response | None) -> str:
        given.append(previous)
        return "/"

    results = compare(says("a"), says("b"), [step, step]).results
    assert given == [None, None, results[0].old, results[0].new]


def test_an_answer_without_what_the_next_request_needs_is_a_difference() -> None:
    def step(previous: Response | None) -> str:
        assert previous is not None
        return f"/{previous.body.decode('ascii')}"

    results = compare(says("a"), says("é"), ["/", step]).results
    assert [(each.kind, each.where) for each in results[1].differences] == [("error/raised", "request")]
    assert results[1].differences[0].new.startswith("UnicodeDecodeError: ")
    assert isinstance(results[1].new.error, UnicodeDecodeError)
    with pytest.raises(UnicodeDecodeError):
        compare(says("é"), says("a"), ["/", step])


def test_hooks_are_called_in_their_order() -> None:
    log: list[str] = []

    def side(name: str) -> Fake:
        def answer(request: Request) -> Response:
            log.append(f"{name} answers")
            return Response(200)

        return Fake(answer)

    old, new = side("old"), side("new")
    names = {id(old): "old", id(new): "new"}

    def progress(done: int, total: int | None, result: Result) -> None:
        log.append(f"{done} of {total}: {result.request.label}")

    found = compare(
        old,
        new,
        ["/a", "/b"],
        reset=lambda app: log.append(f"reset {names[id(app)]}"),
        effects=lambda app: log.append(f"effects of {names[id(app)]}"),
        progress=progress,
    )
    turn = [f"{each} {name}" if each == "reset" else each.replace("X", name)
            for name in ("old", "new") for each in ("reset", "X answers", "effects of X")]  # fmt: skip
    assert log == [*turn, "1 of 2: GET /a", *turn, "2 of 2: GET /b"]
    assert found.results[0].effects == (None, None)


def test_the_number_of_requests_may_be_unknown() -> None:
    totals: list[int | None] = []
    compare(says(""), says(""), iter(["/"]), progress=lambda done, total, result: totals.append(total))
    assert totals == [None]


def test_effects_are_compared() -> None:
    rows: list[int] = []

    def writes(number: int) -> Fake:
        def answer(request: Request) -> Response:
            rows.append(number)
            return Response(200)

        return Fake(answer)

    found = compare(
        writes(1), writes(2), ["/"], reset=lambda app: rows.clear(), effects=lambda app: {"rows": list(rows)}
    )
    assert [(each.kind, each.where, each.old, each.new) for each in found.differences] == [
        ("effects/value", "$.rows[0]", 1, 2)
    ]
    assert found.results[0].effects == ({"rows": [1]}, {"rows": [2]})


def test_what_hooks_raise_is_raised() -> None:
    def fail(app: object) -> None:
        raise LookupError("no database")

    for hook in ("reset", "effects"):
        with pytest.raises(LookupError):
            compare(says(""), says(""), ["/"], **{hook: fail})  # type: ignore[arg-type]


def test_what_a_client_raises_is_its_answer() -> None:
    found = compare(says("a"), raises(TimeoutError("too slow")), ["/", "/"])
    assert kinds(found) == ["error/raised", "error/raised"]
    assert found.differences[0].new == "TimeoutError: too slow"
    assert compare(raises(KeyError("a")), raises(KeyError("a")), ["/"]).same


@pytest.mark.parametrize("error", [UsageError("closed"), StartupFailed("no database"), KeyboardInterrupt()])
def test_what_is_no_answer_ends_it(error: BaseException) -> None:
    with pytest.raises(type(error)):
        compare(says("a"), raises(error), ["/"])  # type: ignore[arg-type]


def test_redirects_are_followed_if_asked() -> None:
    old, new = echoes(), echoes()
    compare(old, new, ["/"])
    compare(old, new, ["/"], follow_redirects=True)
    assert old.followed == new.followed == [False, True]


def test_each_side_redirects_to_its_own_host() -> None:
    def side(base: str) -> Fake:
        return Fake(lambda request: Response(302, headers=(("Location", f"{base}/x"),)), base_url=f"{base}/")

    assert compare(side("http://127.0.0.1:1"), side("http://127.0.0.1:2"), ["/"]).same


@pytest.mark.parametrize(
    ("old", "new", "slower", "expected"),
    [
        (0.1, 0.3, 2.0, ["time"]),
        (0.1, 0.19, 2.0, []),
        (0.1, 0.3, timedelta(milliseconds=100), ["time"]),
        (0.1, 0.3, timedelta(seconds=1), []),
        (0.001, 0.019, 2.0, []),
        (0.0, 0.5, 2.0, ["time"]),
        (0.3, 0.1, 2.0, []),
        (0.1, 9.0, None, []),
        (0.1, 0.13, 1, ["time"]),
    ],
)
def test_time_counts_if_asked(
    old: float, new: float, slower: float | timedelta | None, expected: list[str]
) -> None:
    assert kinds(compare(says("", elapsed=old), says("", elapsed=new), ["/"], slower=slower)) == expected


def test_rules_for_some_requests_hold_for_their_effects_too() -> None:
    rules = Rules().for_request("/a", Rules().ignore_json("$"))
    values = itertools.count()
    found = compare(says(""), says(""), ["/a", "/b"], rules=rules, effects=lambda app: next(values))
    assert [result.same for result in found.results] == [True, False]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one request": ({"requests": "/a"}, "a list or another iterable of requests; got '/a'"),
    "a mapping": ({"requests": {"url": "/a"}}, "a list or another iterable"),
    "a Request": ({"requests": Request()}, "a list or another iterable"),
    "no requests": ({"requests": []}, "nothing to compare"),
    "no request": ({"requests": [3]}, "a request is a path"),
    "rules": ({"rules": "Date"}, "rules is a Rules"),
    "slower": ({"slower": 0}, "slower is a factor"),
    "slower negative": ({"slower": timedelta(seconds=-1)}, "slower is a factor"),
    "slower text": ({"slower": "2x"}, "slower is a factor"),
    "stop_after": ({"stop_after": 0}, "stop_after is a number"),
    "via": ({"via": ("native",)}, "via is one way or a pair"),
    "via of clients": ({"via": "asgi"}, "a client has its own way"),
    "no app": ({"new": 3}, "3|int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    given, said = REFUSED[name]
    options = {"old": says(""), "new": says(""), "requests": ["/"], **given}
    with pytest.raises(UsageError, match=said):
        compare(**options)


def counting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """A WSGI app that counts visits in a cookie."""
    visits = int(environ.get("HTTP_COOKIE", "visits=0").partition("=")[2]) + 1
    start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", f"visits={visits}; Path=/")])
    yield b"%d" % visits


async def waiting(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI app that answers "/" and never answers anything else."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["path"] != "/":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


def test_each_side_has_cookies_of_its_own_for_the_whole_run() -> None:
    found = compare(counting, counting, ["/", "/", "/"], via=("native", "asgi"))
    assert found.same
    assert [result.new.body for result in found.results] == [b"1", b"2", b"3"]
    assert (found.old_name, found.new_name) == ("native", "asgi")


@pytest.mark.parametrize("via", ["native", "asgi", "wsgi", "roundtrip", lambda app: app])
def test_an_app_behaves_alike_in_every_way(via: Any) -> None:
    assert compare(counting, counting, ["/", "HEAD /"], via=("native", via)).same
    assert compare(counting, counting, ["/"], via=via).same


class Proxy:
    """An app that claims to have any attribute, as proxies do."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        return counting(environ, start_response)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return counting


def test_an_app_that_has_every_attribute_is_an_app() -> None:
    assert compare(counting, Proxy(), ["/"]).same


def test_names_can_be_given() -> None:
    found = compare(counting, counting, ["/"], names=("flask", "fastapi"))
    assert (found.old_name, found.new_name) == ("flask", "fastapi")


def wrapped(app: Any) -> Any:
    return app


def test_a_way_of_the_user_names_its_side() -> None:
    found = compare(counting, counting, ["/"], via=("native", wrapped))
    assert (found.old_name, found.new_name) == ("native", "wrapped")


def test_an_app_that_takes_too_long_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next request is sent all the same; options go to the clients."""
    monkeypatch.setattr("bridge.testing.transports.asgi_host.DISCONNECT_GRACE", 0.01)

    def hurry(request: Any) -> None:
        if request.url.path == "/never":
            request.extensions["timeout"]["read"] = 0.05

    options = {"event_hooks": {"request": [hurry]}}
    found = compare(says(""), waiting, ["/", "/never", "/"], client_options=options)
    assert [[each.kind for each in result.differences] for result in found.results] == [
        [],
        ["error/raised"],
        [],
    ]
    assert "ReadTimeout" in found.differences[0].new


def test_lifespans_start_before_the_first_request_and_end_with_the_last() -> None:
    events: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                events.append(message["type"])
                await send({"type": f"{message['type']}.complete"})
            return
        events.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    compare(app, says("", headers=()), ["/a", "/b"])
    assert events == ["lifespan.startup", "/a", "/b", "lifespan.shutdown"]


def test_clients_that_were_given_stay_open() -> None:
    with Client(counting) as client:
        assert compare(client, counting, ["/"]).same
        assert client.exchange("/").body == b"2"


def test_a_startup_that_fails_ends_it() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartupFailed, match="no database"):
        compare(counting, app, ["/"])


def test_a_flask_app_and_its_rewrite_in_starlette() -> None:
    """Two frameworks, one behaviour: what their defaults do apart is found, and nothing else."""
    flask = pytest.importorskip("flask")
    applications = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")
    routing = pytest.importorskip("starlette.routing")
    old = flask.Flask("old")

    @old.get("/notes")  # type: ignore[untyped-decorator]
    def notes() -> Any:
        answer = flask.jsonify(notes=[{"id": 1, "text": "é"}], count=1)
        answer.set_cookie("seen", "yes", max_age=60, httponly=True, samesite="Lax")
        return answer

    @old.get("/page")  # type: ignore[untyped-decorator]
    def page() -> str:
        return "<ul>\n  <li class='a'>one</li>\n</ul>"

    @old.get("/gone")  # type: ignore[untyped-decorator]
    def gone() -> Any:
        answer = flask.redirect("/notes")
        answer.delete_cookie("seen")
        return answer

    def new_notes(request: Any) -> Any:
        answer = responses.JSONResponse({"count": 1, "notes": [{"text": "é", "id": 1}]})
        answer.set_cookie("seen", "yes", max_age=60, httponly=True)
        return answer

    def new_gone(request: Any) -> Any:
        answer = responses.RedirectResponse("/notes", 302)
        answer.delete_cookie("seen", samesite=None)
        return answer

    new = applications.Starlette(
        routes=[
            routing.Route("/notes", new_notes),
            routing.Route("/page", lambda request: responses.HTMLResponse('<ul><li class="a">one</ul>')),
            routing.Route("/gone", new_gone),
        ]
    )
    found = compare(old, new, ["/notes", "/page", "/notes/", "/gone"])
    told = [[(each.kind, each.where) for each in result.differences] for result in found.results]
    assert told == [
        # Werkzeug sets Expires beside Max-Age.
        [("cookie/attribute", "seen; Expires")],
        [],
        # Starlette redirects to the path without the slash.
        [
            ("status", "status"),
            ("header/missing", "Content-Type"),
            ("header/extra", "location"),
            ("body/missing", "body"),
        ],
        # Flask's redirects have a page; both delete the cookie, each in its way.
        [("header/missing", "Content-Type"), ("body/missing", "body")],
    ]
