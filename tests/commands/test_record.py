"""`bridge record`, run for real: what servers write, and that a replay of it finds what has changed."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.bridge_command import PATIENCE, Serving, environment
from support.command_apps import BARE, shop
from support.drive import serve
from support.serve_apps import write
from support.served import die_with_parent, wait_until

from bridge import ASGIToWSGI, WSGIToASGI, cli
from bridge.commands.record import recorded
from bridge.exceptions import UsageError
from bridge.serving.worker import Around, Order, load
from bridge.testing.recording.recordings import load as read

SAME, DIFFERENT, MISUSE = 0, 1, 2


@contextmanager
def recording(*arguments: str, cwd: Path) -> Iterator[Serving]:
    """Run `bridge record ARGUMENTS --port 0` while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "record", *arguments, "--port", "0"],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    server = Serving(process)
    try:
        yield server
    finally:
        server.kill()


def ask(server: Serving, method: str, path: str, value: Any = None, **headers: str) -> tuple[int, bytes, str]:
    """Status, body and cookie of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        body = None if value is None else json.dumps(value)
        kind = {} if value is None else {"Content-Type": "application/json"}
        connection.request(method, path, body, {**kind, **headers})
        response = connection.getresponse()
        return response.status, response.read(), (response.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        connection.close()


def replayed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of `bridge replay`, and what it printed."""
    code = cli.main(["replay", *arguments])
    return code, capsys.readouterr().out


IGNORED = ("--ignore-json", "$.id")


def lines_of(file: Path) -> int:
    """How many lines a file has, which may not be there yet."""
    return file.read_text().count("\n") if file.exists() else 0


def test_what_was_recorded_is_replayed_alike_until_something_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a session, whose cookie is a secret, and a token in a header."""
    shop(folder)
    with recording("shop:app", "--to", "traffic.jsonl", cwd=folder) as server:
        assert server.announcement()["summary"].endswith(
            "serving it through WSGIToASGI (40 threads), recorded to traffic.jsonl"
        )
        # A client may have its answer before the exchange is recorded; here the order is to be that of them.
        ask(server, "GET", "/item/3", Authorization="Bearer of-a-secret")
        wait_until(lambda: lines_of(folder / "traffic.jsonl") == 1, PATIENCE, "the item is recorded")
        _, first, cookie = ask(server, "POST", "/visit", {"times": 2})
        wait_until(lambda: lines_of(folder / "traffic.jsonl") == 2, PATIENCE, "the first visit is recorded")
        _, second, _ = ask(server, "POST", "/visit", {"times": 3}, Cookie=cookie)
        assert [json.loads(each)["visits"] for each in (first, second)] == [2, 5]
        assert server.stop() == 0, server.output
    text = (folder / "traffic.jsonl").read_text()
    assert len(text.splitlines()) == 3
    assert "of-a-secret" not in text
    assert cookie.partition("=")[2] not in text
    code, out = replayed(capsys, "traffic.jsonl", "shop:app", *IGNORED)
    assert (code, "3 requests, all alike" in out) == (SAME, True), out
    shop(folder, "dear", price=11)
    code, out = replayed(capsys, "traffic.jsonl", "dear:app", *IGNORED)
    assert (code, "$.price" in out, "1 of 3 requests" in out) == (DIFFERENT, True, True), out
    assert replayed(capsys, "traffic.jsonl", "dear:app", *IGNORED, "--only", "^POST")[0] == SAME


@pytest.mark.parametrize(
    ("target", "options", "summary"),
    [
        (
            "bare:asgi",
            # The supervisor kills a worker that does not answer for so long, five seconds by default.
            ("--workers", "2", "--timeout-worker-healthcheck", "30"),
            "serving it, recorded to out.har",
        ),
        ("bare:wsgi", ("--server", "gunicorn", "--workers", "2"), "serving it, recorded to out.har"),
        ("bare:asgi", ("--server", "waitress"), "through ASGIToWSGI, recorded to out.har"),
    ],
    ids=["asgi-uvicorn-workers", "wsgi-gunicorn-workers", "asgi-waitress"],
)
def test_on_any_server_with_any_number_of_workers(
    folder: Path, target: str, options: tuple[str, ...], summary: str
) -> None:
    write(folder / "bare.py", BARE)
    with recording(target, "--to", "out.har", *options, cwd=folder) as server:
        assert server.announcement()["summary"].endswith(summary)
        for number in range(6):
            assert ask(server, "GET", f"/?number={number}")[0] == 200, server.output
        assert server.stop() == 0, server.output
    items = read(folder / "out.har")
    assert sorted(item.request.target for item in items) == [f"/?number={number}" for number in range(6)]
    assert {item.response.status for item in items} == {200}


def test_the_options_of_the_recorder(folder: Path) -> None:
    shop(folder)
    options = ("--redact", "price", "--redact-text", "nothing of", "--exclude", "^/old", "--max-body", "100")
    with recording("shop:app", "--to", "x.jsonl", "--server", "waitress", *options, cwd=folder) as server:
        for path in ("/item/7", "/find?q=x", "/old", "/"):
            ask(server, "GET", path)
        assert server.stop() == 0, server.output
    by_path = {recorded.request.path: recorded for recorded in read(folder / "x.jsonl")}
    assert set(by_path) == {"/item/7", "/find", "/"}
    item, find, index = (by_path[path] for path in ("/item/7", "/find", "/"))
    assert b'"price":"[redacted:' in item.response.body
    assert item.redacted
    assert b"nothing of" not in find.response.body
    assert (index.response_state, len(index.response.body)) == ("cut", 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shop:app",), "Missing option '--to'"),
        (("shop:app", "--to", "no/such/folder/x.jsonl"), "there is no folder"),
        (("shop:app", "--to", "shop.py"), "exists and is no recording"),
        (("shop:app", "--to", "x", "--include", "("), "--include takes a regular expression"),
        (("shop:app", "--to", "x", "--redact-text", "("), "--redact-text takes a regular expression"),
        (("shop:app", "--to", "x", "--sample", "2"), "0<=x<=1"),
        (("shop:app", "--to", "x", "--max-bytes", "0"), "--max-bytes"),
        (("shpo:app", "--to", "x"), "there is no module 'shpo'"),
        (("shop:app", "--to", "x", "--server", "waitress", "--workers", "2"), "--workers has no meaning"),
    ],
)
def test_misuse_is_told_before_anything_is_served(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    shop(folder)
    assert cli.main(["record", *arguments]) == MISUSE
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (folder / "x").exists()


def test_the_help_has_both_kinds_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["record", "--help"]) == 0
    out = capsys.readouterr().out
    places = [out.index(each) for each in ("--to FILE", "--server [", "Options of Uvicorn", "--ws-ping")]
    assert places == sorted(places)


def test_variables_of_uvicorn_are_not_about_the_recorder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UVICORN_TO", "elsewhere")
    assert cli.main(["record", "shop:app"]) == MISUSE
    assert "Missing option '--to'" in capsys.readouterr().err


# --- what goes around an app


ARGUMENTS: dict[str, Any] = {
    "key": "00" * 32,
    "redact": [],
    "redact_text": [],
    "keep": [],
    "include": [],
}


def marked(app: Any, interface: str, *, mark: str) -> Any:
    """What goes around an app in the tests below."""
    if interface == "wsgi":

        def wsgi(environ: Any, start_response: Any) -> list[bytes]:
            return [mark.encode(), *app(environ, start_response)]

        return wsgi

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = f"{mark}{scope['path']}".encode()
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return asgi


AROUND = Around("support_of_record:marked", {"mark": "<"}, "marked")


def test_an_order_with_something_around_survives_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIDGE_SERVE", raising=False)
    order = Order("shop:app", around=Around("a:b", {"x": [1, None]}, "note"))
    order.to_environment()
    assert Order.from_environment() == order


@pytest.mark.parametrize("value", ["3", '{"function": 1, "more": 2}'])
def test_something_around_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BRIDGE_SERVE", f'{{"target": "x", "around": {value}}}')
    with pytest.raises(UsageError, match="BRIDGE_SERVE"):
        Order.from_environment()


@pytest.mark.parametrize(
    ("attribute", "speaks", "adapter", "body"),
    [
        ("app", "wsgi", None, b"<app"),
        ("app", "asgi", WSGIToASGI, b"<app"),
        ("other", "asgi", None, b"</"),
        ("other", "wsgi", ASGIToWSGI, b"</"),
    ],
)
def test_it_goes_inside_the_adapter(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    attribute: str,
    speaks: str,
    adapter: type | None,
    body: bytes,
) -> None:
    monkeypatch.setitem(sys.modules, "support_of_record", sys.modules[__name__])
    write(
        folder / "two.py",
        """
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"app"]
        async def other(scope, receive, send):
            raise AssertionError("not reached")
        """,
    )
    loaded = load(Order(f"two:{attribute}", speaks=speaks, around=AROUND))
    assert str(loaded).endswith(", marked")
    assert (type(loaded.wrapped) if loaded.wrapped else None) is adapter
    try:
        if adapter is WSGIToASGI or (adapter is None and attribute == "other"):
            assert serve(loaded.app).unwrap().body == body
        else:
            answer = loaded.app(
                {"REQUEST_METHOD": "GET", "PATH_INFO": "/"} | ENVIRON, lambda *_: lambda _: None
            )
            assert b"".join(answer) == body
            getattr(answer, "close", lambda: None)()
    finally:
        loaded.close()
        if isinstance(loaded.app, WSGIToASGI):
            assert loaded.app.pool.drain(PATIENCE)


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SCRIPT_NAME": "",
    "wsgi.url_scheme": "http",
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.version": (1, 0),
}


def test_an_app_whose_interface_had_to_be_said_is_recorded(tmp_path: Path) -> None:
    def vague(*args: Any) -> list[bytes]:
        args[1]("200 OK", [])
        return [b"x"]

    app = recorded(vague, "wsgi", path=str(tmp_path / "x.jsonl"), sample=1.0, exclude=[], **ARGUMENTS)
    assert b"".join(app(dict(ENVIRON), lambda *_: lambda _: None)) == b"x"
    assert app.close()
    assert len(read(tmp_path / "x.jsonl")) == 1
