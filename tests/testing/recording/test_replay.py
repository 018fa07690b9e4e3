"""Recordings sent again: nothing differs on the same app, and what was changed is found."""

from __future__ import annotations

import gzip
import json
import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fastapi
import flask
import pytest

from bridge.exceptions import UsageError
from bridge.testing.client import Client
from bridge.testing.comparison.rules import Rules
from bridge.testing.exchange import Request, Response
from bridge.testing.recording.recorder import Recorder
from bridge.testing.recording.recordings import Recorded, load, save
from bridge.testing.recording.replay import replay

PASSWORD = "hunter2-xyzzy"


def shop(change: str = "") -> Any:
    """A Flask app with sessions, tokens and forms; no value of these is ever given twice.

    `change` says in what it differs from the recorded one.
    """
    app = flask.Flask("shop")
    users: dict[str, str] = {}
    tokens: dict[str, str] = {}

    @app.get("/login")
    def form() -> Any:
        session = secrets.token_hex(16)
        tokens[session] = secrets.token_urlsafe(16)
        page = flask.Response(
            f'<form><input type="hidden" name="csrf_token" value="{tokens[session]}"></form>'
        )
        page.set_cookie("session", session, secure=change == "cookie attribute")
        return page

    @app.post("/login")
    def login() -> Any:
        session = flask.request.cookies.get("session", "")
        given = flask.request.form
        if not session or given["csrf_token"] != tokens.get(session) or given["password"] != PASSWORD:
            return "refused", 403
        users[session] = given["user"]
        return flask.redirect("/me", 307 if change == "redirect" else 302)

    @app.get("/me")
    def me() -> Any:
        user = users.get(flask.request.cookies.get("session", ""))
        if user is None:
            return "who?", 401
        token = secrets.token_urlsafe(20)
        tokens[token] = user
        answer = {"user": user, "api_token": None if change == "no token" else token, "items": [1, 2]}
        if change == "json":
            answer["items"] = [1, 3]
        return flask.jsonify(answer)

    @app.post("/api")
    def api() -> Any:
        bearer = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
        again = flask.request.get_json()["token"]
        in_query = flask.request.args["access_token"]
        if not tokens.get(bearer) or {again, in_query} != {bearer}:
            return "refused", 401
        page = flask.Response(f"hello {tokens[bearer]}", 200 if change != "status" else 202)
        page.headers["X-Kind"] = "other" if change == "header" else "api"
        return page

    @app.get("/fails")
    def fails() -> Any:
        return "fails", 500

    @app.get("/long")
    def long() -> Any:
        return "x" * 5000 + ("y" if change == "end" else "")

    @app.get("/packed")
    def packed() -> Any:
        body = json.dumps({"token": secrets.token_hex(), "n": 2 if change == "packed" else 1})
        return gzip.compress(body.encode()), {"Content-Encoding": "gzip", "Content-Type": "application/json"}

    return app


def visit(app: Any, user: str, base_url: str = "http://testserver") -> None:
    """What a browser does."""
    with Client(app, base_url=base_url) as client:
        page = client.get("/login").text
        token = re.findall('value="([^"]+)"', page)[0]
        form = {"user": user, "password": PASSWORD, "csrf_token": token}
        me = client.post("/login", data=form, follow_redirects=True).json()
        assert me["user"] == user
        bearer = me["api_token"]
        answer = client.post(
            f"/api?access_token={bearer}",
            json={"token": bearer},
            headers={"Authorization": f"Bearer {bearer}"},
        )
        assert answer.text == f"hello {user}"
        for path in ("/fails", "/long", "/packed", "/nowhere"):
            client.get(path)


@pytest.fixture(scope="module", params=["jsonl", "har"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two browsers, one after the other; long bodies are cut."""
    path: Path = tmp_path_factory.mktemp("replay") / f"shop.{request.param}"
    with Recorder(shop(), path, max_body=2000) as recorder:
        visit(recorder, "ann")
        visit(recorder, "bob")
    assert len(load(path)) == 16
    assert PASSWORD.encode() not in path.read_bytes()
    return path


def with_password(request: Request) -> Request:
    """What only the user knows is put back."""
    body = re.sub(rb"(password=)\[redacted:\w+\]", rb"\g<1>" + PASSWORD.encode(), request.content)
    return replace(request, body=body)


@pytest.mark.parametrize("via", ["native", "asgi", "roundtrip"])
@pytest.mark.parametrize("follow", [False, True], ids=["as recorded", "following redirects"])
def test_the_same_app_shows_no_difference(recording: Path, via: Any, follow: bool) -> None:
    """Cookies, form tokens and bearer tokens are those of the app of today, for each browser its own."""
    comparison = replay(recording, shop(), via=via, prepare=with_password, follow_redirects=follow)
    assert comparison.same, comparison.text()
    assert len(comparison) == (14 if follow else 16)
    assert not comparison.stopped


def test_browsers_whose_requests_are_mixed(recording: Path) -> None:
    """Each request goes with the cookies of its own browser."""
    items = load(recording)
    mixed = [item for pair in zip(items[:8], items[8:], strict=True) for item in pair]
    comparison = replay(mixed, shop(), prepare=with_password)
    assert comparison.same, comparison.text()


@pytest.mark.parametrize(
    ("change", "label", "kind"),
    [
        ("json", "GET /me", "json/value"),
        ("no token", "GET /me", "json/type"),
        ("status", "POST /api", "status"),
        ("header", "POST /api", "header/value"),
        ("redirect", "POST /login", "status"),
        ("cookie attribute", "GET /login", "cookie/attribute"),
        ("packed", "GET /packed", "json/value"),
    ],
)
def test_what_was_changed_is_found(recording: Path, change: str, label: str, kind: str) -> None:
    comparison = replay(
        recording, shop(change), prepare=with_password, only="" if change != "no token" else "/login|/me"
    )
    assert not comparison.same
    found = {
        (result.request.label.partition("?")[0], each.kind)
        for result in comparison.different
        for each in result.differences
    }
    assert label in {name for name, _ in found}
    assert {each for name, each in found if name == label} == {kind}, found
    if change not in ("cookie attribute",):
        assert {name for name, _ in found} == {label}


def test_of_a_long_body_only_the_beginning_is_known(recording: Path) -> None:
    assert replay(recording, shop("end"), only="/long").same


def test_without_what_was_redacted_the_app_refuses(recording: Path) -> None:
    """The test of `prepare`: it is needed."""
    comparison = replay(recording, shop(), only="/login")
    assert [result.new.status for result in comparison.different] == [403, 403]


def test_rules_progress_and_reset(recording: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    resets: list[Any] = []
    app = shop("header")
    comparison = replay(
        recording,
        app,
        prepare=with_password,
        rules=Rules().ignore_header("X-Kind"),
        progress=lambda done, total, result: seen.append((done, total)),
        reset=resets.append,
    )
    assert comparison.same, comparison.text()
    assert seen == [(number, 16) for number in range(1, 17)]
    assert resets == [app] * 16


@pytest.mark.parametrize(
    ("only", "count"),
    [("GET /fails|/nowhere", 4), (re.compile("^POST"), 4), (lambda item: item.response.status == 500, 2)],
)
def test_only_some(recording: Path, only: Any, count: int) -> None:
    comparison = replay(recording, shop(), only=only, prepare=with_password)
    assert len(comparison) == count


def test_secrets_do_not_reach_the_report(recording: Path) -> None:
    comparison = replay(recording, shop("status"), prepare=with_password)
    assert not comparison.same
    assert PASSWORD not in comparison.text(color=False)
    for result in comparison:
        if result.new.header("set-cookie"):
            assert "[redacted:" in str(result.new.header("set-cookie"))


def exchange(request: Request, response: Response, **more: Any) -> Recorded:
    return Recorded(request, response, **{"origin": "http://shop.example", **more})


def echo(environ: Any, start_response: Any) -> list[bytes]:
    """Says what it was asked."""
    size = int(environ.get("CONTENT_LENGTH") or 0)
    told = {
        "host": environ["HTTP_HOST"],
        "scheme": environ["wsgi.url_scheme"],
        "body": environ["wsgi.input"].read(size).decode("latin-1"),
        "headers": sorted(key for key in environ if key.startswith("HTTP_")),
        "cookie": environ.get("HTTP_COOKIE"),
        "length": environ.get("CONTENT_LENGTH"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def answer_to(item: Recorded, **options: Any) -> dict[str, Any]:
    (result,) = replay([item], echo, **options)
    value: dict[str, Any] = json.loads(result.new.body)
    return value


@pytest.mark.parametrize("known", [True, False], ids=["all started", "one of unknown time"])
def test_requests_are_sent_in_the_order_in_which_they_came(tmp_path: Path, known: bool) -> None:
    """A recorder writes each exchange when it has ended, so a long one comes behind others."""
    begin = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    order = [2, 0, 1, 3]
    items = [
        Recorded(
            Request("GET", f"/{number}"),
            Response(200, chunks=(b"ok",)),
            begin + timedelta(seconds=number) if known or number != 3 else None,
        )
        for number in order
    ]
    save(tmp_path / "r.jsonl", items)
    asked: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"ok"]

    replay(tmp_path / "r.jsonl", app)
    assert asked == [f"/{number}" for number in (sorted(order) if known else order)]
    asked.clear()
    replay(items, app)
    assert asked == [f"/{number}" for number in order], "exchanges that are given as such are in order"


def test_requests_go_to_where_they_were_sent() -> None:
    told = answer_to(exchange(Request("GET", "/"), Response(200), origin="https://shop.example:8443"))
    assert (told["host"], told["scheme"]) == ("shop.example:8443", "https")
    told = answer_to(
        exchange(Request("GET", "/"), Response(200)), client_options={"base_url": "http://other"}
    )
    assert told["host"] == "other"


def test_headers_of_the_connection_and_unknown_secrets_are_not_sent() -> None:
    mark = "[redacted:aaaaaaaaaaaaaaaa]"
    headers = (
        ("Cookie", f"a={mark}"),
        ("Authorization", f"Bearer {mark}"),
        ("Content-Length", "99"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("X-A", "1"),
    )
    item = exchange(Request("POST", "/", headers, b"hello"), Response(200))
    told = answer_to(item)
    assert told["headers"] == ["HTTP_HOST", "HTTP_X_A"]
    assert (told["body"], told["length"]) == ("hello", "5")
    told = answer_to(item, client_options={"headers": {"Authorization": "Basic x"}, "cookies": {"a": "b"}})
    assert told["headers"] == ["HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_HOST", "HTTP_X_A"]
    assert told["cookie"] == "a=b"


def test_what_is_learned_is_sent_in_the_coding_of_its_place() -> None:
    """A token with letters that mean something in a query, in a form and in JSON."""
    token = 'a b&c="d"\\+%41\u00e9'
    mark = "[redacted:aaaaaaaaaaaaaaaa]"
    seen: list[Any] = []
    app = flask.Flask("x")

    @app.route("/", methods=["GET", "POST"])
    def root() -> Any:
        request = flask.request
        seen.append((request.args.get("token"), request.form.get("token"), request.get_json(silent=True)))
        return flask.jsonify(token=token)

    form, js = "application/x-www-form-urlencoded", "application/json"
    recorded_answer = Response(
        200, headers=(("Content-Type", js),), chunks=(f'{{"token": "{mark}"}}\n'.encode(),)
    )
    packed = gzip.compress(f'{{"token": "{mark}"}}'.encode())
    items = [
        exchange(Request("GET", "/"), recorded_answer),
        exchange(Request("GET", f"/?token={mark}"), recorded_answer),
        exchange(Request("POST", "/", (("Content-Type", form),), f"token={mark}".encode()), recorded_answer),
        exchange(
            Request("POST", "/", (("Content-Type", js),), f'{{"token": "{mark}"}}'.encode()), recorded_answer
        ),
    ]
    assert replay(items, app).same
    assert seen == [
        (None, None, None),
        (token, None, None),
        (None, token, None),
        (None, None, {"token": token}),
    ]
    item = exchange(
        Request("POST", "/", (("Content-Encoding", "gzip"), ("Content-Type", js)), packed), Response(200)
    )
    (first, second) = replay(
        [items[0], replace(item, response=Response(200))], lambda e, s: flask_then_echo(app, e, s)
    )
    assert first.same
    sent = json.loads(second.new.body)["body"].encode("latin-1")
    assert json.loads(gzip.decompress(sent)) == {"token": token}


def flask_then_echo(app: Any, environ: Any, start_response: Any) -> Any:
    return (app if environ["REQUEST_METHOD"] == "GET" else echo)(environ, start_response)


def test_requests_whose_bodies_are_not_known_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    answer = Response(200)
    items = [
        exchange(Request("POST", "/a", (), b"a"), answer, request_state="cut"),
        exchange(Request("POST", "/b"), answer, request_state="dropped"),
        exchange(Request("POST", "/c", (), b"c"), answer, request_state="unread"),
        exchange(Request("POST", "/d"), answer, request_state="unread"),
        exchange(Request("POST", "/e", (), b"e"), answer),
    ]
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        comparison = replay(items, echo)
    assert [result.request.target for result in comparison] == ["/d", "/e"]
    assert comparison.stopped == "3 of 5 requests were left out: their bodies were not kept"
    assert comparison.stopped in caplog.text


@pytest.mark.parametrize("only", [None, "nothing like this"])
def test_nothing_to_replay(only: Any, tmp_path: Path) -> None:
    save(tmp_path / "a", [exchange(Request("POST", "/"), Response(200), request_state="cut")])
    with pytest.raises(UsageError, match=r"there is nothing to replay in .*a: it holds 1 exchange"):
        replay(tmp_path / "a", echo, only=only)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": "("}, "only must be a regular expression"),
        ({"only": 1}, "only must be a regular expression"),
        ({"rules": "strict"}, "rules is a Rules"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replay([exchange(Request(), Response(200))], echo, **options)


def test_a_client_instead_of_an_app() -> None:
    item = exchange(Request(), Response(200))
    with Client(echo) as client:
        (result,) = replay([item], client)
        assert result.new.status == 200
        with pytest.raises(UsageError, match="a client has its own way"):
            replay([item], client, via="asgi")
        assert client.get("/").status_code == 200, "it is still open"

    class Own:
        def exchange(self, request: Any, *, follow_redirects: bool = False) -> Response:
            return Response(200, headers=(("x", "1"),))

    assert not replay([item], Own()).same


def raising(kind: type[Exception], message: str) -> Callable[..., Any]:
    def app(environ: Any, start_response: Any) -> Any:
        raise kind(message)

    return app


def test_an_app_that_raised_and_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Recorder(raising(ValueError, "bad token=12345678"), path) as recorder, Client(recorder) as client:
        assert client.exchange("/").error is not None
    assert replay(path, raising(ValueError, "bad token=87654321")).same
    assert not replay(path, raising(ValueError, "worse token=87654321")).same
    assert not replay(path, raising(KeyError, "bad token=12345678")).same
    assert not replay(path, echo).same


def test_fastapi_with_what_a_recording_does_not_show(tmp_path: Path) -> None:
    """An ASGI app, its lifespan, and a recording that holds only what came of it."""
    app = fastapi.FastAPI()

    @app.get("/items/{number}")
    def item(number: int) -> dict[str, int]:
        return {"number": number}

    path = tmp_path / "a.har"
    with Recorder(app, path) as recorder, Client(recorder) as client:
        for each in ("1", "2", "x"):
            client.get(f"/items/{each}")
    vias: tuple[Any, ...] = ("native", "wsgi")
    for via in vias:
        comparison = replay(path, app, via=via)
        assert comparison.same, comparison.text()
        assert len(comparison) == 3


def test_a_har_of_a_browser(tmp_path: Path) -> None:
    """What a browser exported, with its pseudo-headers, decoded bodies and pages of others."""

    def entry(url: str, text: str, **request: Any) -> dict[str, Any]:
        headers = {":authority": "shop.example", "accept-encoding": "gzip, br"}
        return {
            "startedDateTime": "2026-01-02T03:04:05.678Z",
            "request": {
                "method": "GET",
                "url": url,
                "headers": [{"name": name, "value": value} for name, value in headers.items()],
                **request,
            },
            "response": {
                "status": 200,
                "headers": [
                    {"name": "content-type", "value": "text/plain; charset=utf-8"},
                    {"name": "content-encoding", "value": "br"},
                ],
                "content": {"mimeType": "text/plain", "text": text},
            },
        }

    form = {"mimeType": "application/x-www-form-urlencoded", "text": "a=b&c=d"}
    kind = [{"name": "content-type", "value": form["mimeType"]}, {"name": "content-length", "value": "7"}]
    entries = [
        entry("https://shop.example/echo", "a=b c=d", method="POST", postData=form, headers=kind),
        entry("https://cdn.example/x.js", "else"),
        entry("https://shop.example/?q=caf%C3%A9", "caf\u00e9"),
    ]
    path = tmp_path / "browser.har"
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}))
    app = flask.Flask("x")

    @app.post("/echo")
    def echoed() -> Any:
        said = " ".join(f"{name}={value}" for name, value in flask.request.form.items())
        return said, {"Content-Type": "text/plain; charset=utf-8"}

    @app.get("/")
    def asked() -> Any:
        return flask.request.args["q"], {"Content-Type": "text/plain; charset=utf-8"}

    comparison = replay(path, app)
    assert comparison.same, comparison.text()
    assert [result.request.label for result in comparison] == ["POST /echo", "GET /?q=caf%C3%A9"]


def test_redirects_that_the_recording_does_not_follow_are_not_followed() -> None:
    app = flask.Flask("x")
    app.add_url_rule("/a", view_func=lambda: flask.redirect("/b"), endpoint="a")
    app.add_url_rule("/b", view_func=lambda: "b", endpoint="b")
    redirect = exchange(
        Request("GET", "/a"),
        Response(302, headers=(("Location", "/b"), ("Content-Type", "text/html; charset=utf-8"))),
    )
    (result,) = replay([replace(redirect, response_state="cut")], app, follow_redirects=True)
    assert result.new.status == 302
    elsewhere = exchange(Request("GET", "/a"), Response(302, headers=(("Location", "http://other/b"),)))
    (result, _) = replay(
        [elsewhere, exchange(Request("GET", "/b"), Response(200))], app, follow_redirects=True
    )
    assert result.new.status == 302
