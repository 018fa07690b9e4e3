"""`bridge check`, run for real on apps of several frameworks, sound ones and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.bridge_command import command
from support.command_apps import API, DJANGO, shop
from support.serve_apps import write

from bridge import cli

CLEAN, FOUND, MISUSE = 0, 1, 2


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code of `bridge check`, and what it printed on either stream."""
    code = cli.main(["check", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the result as JSON."""
    code, out, _ = said(capsys, *arguments, "--json", "-")
    result: dict[str, Any] = json.loads(out)
    return code, result


def test_a_flask_site(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop(folder)
    code, out, err = said(capsys, "shop:app", "--crawl", "/", "-r", "/late")
    assert (code, err) == (CLEAN, "")
    assert out.splitlines()[0] == (
        "shop:app is a WSGI app (flask.Flask): it is called with (environ, start_response)"
    )
    assert "6 requests, and no rule of its interface was broken" in out
    assert "native and via asgi: 6 requests, all alike" in out
    assert "streamed responses: GET /late: 2 pieces" in out
    assert "on Daphne" in out


def test_a_fastapi_app(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs its lifespan, has a WebSocket and an event stream."""
    write(folder / "api.py", API)
    code, result = found(capsys, "api:app", "--openapi", "/openapi.json")
    assert code == CLEAN, result
    assert result["app"] == "api:app is an ASGI app (fastapi.FastAPI)"
    assert (result["interface"], result["through"]) == ("asgi", "wsgi")
    assert result["relies_on"] == {
        "lifespan": "GET / answers 500 without it, and answers 200 with it",
        "websocket": "/chat",
        "event_stream": "GET /events",
        "stream": "GET /events: 3 pieces",
    }
    servers = {each["server"]: each for each in result["servers"]}
    assert servers["uvicorn"]["how"] == "as it is"
    assert servers["waitress"]["how"] == "in ASGIToWSGI"
    none = {"use": "lifespan", "verdict": "breaks", "reason": "it runs no lifespan"}
    assert none in servers["daphne"]["limits"]
    assert "websocket" in {limit["use"] for limit in servers["waitress"]["limits"]}


@pytest.mark.parametrize(("server", "code"), [("uvicorn", CLEAN), ("daphne", FOUND), ("waitress", FOUND)])
def test_a_server_that_is_named_counts(
    folder: Path, capsys: pytest.CaptureFixture[str], server: str, code: int
) -> None:
    write(folder / "api.py", API)
    got, result = found(capsys, "api:app", "--server", server)
    assert got == code
    assert [each["server"] for each in result["servers"]] == [server]
    assert result["clean"] is (code == CLEAN)


@pytest.mark.parametrize("attribute", ["wsgi", "asgi"])
def test_django(tmp_path: Path, attribute: str) -> None:
    write(tmp_path / "site1.py", DJANGO)
    # Django's own ASGI handler sends `Content-Type`, where ASGI asks for lower case.
    rule = "http.response.start/headers/name/lower-case"
    done = command("check", f"site1:{attribute}", "-r", "/notes/?page=2", "--ignore-rule", rule, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (CLEAN, ""), done.stdout
    assert f"is {'a WSGI' if attribute == 'wsgi' else 'an ASGI'} app" in done.stdout
    assert "2 requests, all alike" in done.stdout


PLANTED = """
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [b"x"]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [("content-type", "text/plain")]})
    await send({"type": "http.response.body", "body": b"x"})

def asgi2(scope):
    async def inner(receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})
    return inner
"""


@pytest.mark.parametrize(
    ("attribute", "rule", "came"),
    [
        ("wsgi", "headers/hop-by-hop", "'Connection'"),
        ("asgi", "http.response.start/headers", "'content-type'"),
    ],
)
def test_a_planted_violation(
    folder: Path, capsys: pytest.CaptureFixture[str], attribute: str, rule: str, came: str
) -> None:
    write(folder / "planted.py", PLANTED)
    code, result = found(capsys, f"planted:{attribute}")
    assert code == FOUND
    violation = next(each for each in result["violations"] if each["rule"].startswith(rule))
    assert violation["level"] == "MUST"
    assert came in violation["came"]
    code, out, _ = said(capsys, f"planted:{attribute}")
    assert (code, "Broken rules" in out, violation["rule"] in out) == (FOUND, True, True)


def test_an_asgi_2_app(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "planted.py", PLANTED)
    code, result = found(capsys, "planted:asgi2")
    assert (code, result["app"]) == (CLEAN, "planted:asgi2 is an ASGI 2 app (function)")


def test_a_rule_may_be_ignored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "planted.py", PLANTED)
    assert said(capsys, "planted:wsgi", "--ignore-rule", "headers/hop-by-hop")[0] == CLEAN
    assert said(capsys, "planted:wsgi", "--ignore-rule", "headers/")[0] == CLEAN
    assert said(capsys, "planted:wsgi", "--ignore-rule", "status/")[0] == FOUND


def test_advice_is_shown_if_it_is_wanted_and_never_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        folder / "advised.py",
        """
        async def app(scope, receive, send):
            if scope["type"] != "http":
                raise NotImplementedError
            scope["mine"] = 1
            scope["headers"] = []
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
        """,
    )
    code, out, _ = said(capsys, "advised:app")
    assert (code, "Advice" in out) == (CLEAN, False)
    code, out, _ = said(capsys, "advised:app", "--advice")
    assert (code, "Advice" in out) == (CLEAN, True), out


def test_requests_that_fail_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder / "failing.py",
        """
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/raises":
                raise RuntimeError("no database")
            start_response("503 Service Unavailable" if environ["PATH_INFO"] == "/busy" else "200 OK", [])
            return []
        """,
    )
    code, result = found(capsys, "failing:app", "-r", "/raises", "-r", "/busy")
    assert code == FOUND
    assert result["failures"] == [
        {"request": "GET /raises", "outcome": "raises RuntimeError: no database"},
        {"request": "GET /busy", "outcome": "answers 503"},
    ]


def test_an_answer_that_is_another_one_through_the_adapter(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        folder / "counting.py",
        """
        count = 0

        def app(environ, start_response):
            global count
            count += 1
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(count).encode()]
        """,
    )
    code, result = found(capsys, "counting:app")
    assert (code, result["comparison"]["same"]) == (FOUND, False)
    assert found(capsys, "counting:app", "--ignore-text", r"\d+")[0] == CLEAN


@pytest.mark.parametrize("via", ["asgi", "wsgi", "roundtrip"])
def test_the_other_way_may_be_chosen(folder: Path, capsys: pytest.CaptureFixture[str], via: str) -> None:
    shop(folder)
    code, result = found(capsys, "shop:app", "--via", via)
    assert (code, result["through"]) == (CLEAN, via)


def test_a_late_start_breaks_on_granian(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder / "late.py",
        """
        def app(environ, start_response):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            yield b"x"
        """,
    )
    assert said(capsys, "late:app")[0] == CLEAN
    code, out, _ = said(capsys, "late:app", "--server", "granian-wsgi")
    assert (code, "breaks  a late start_response" in out) == (FOUND, True)


def test_reports_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "api.py", API)
    code, out, _ = said(capsys, "api:app", "--html", "out.html", "--json", "out.json")
    assert (code, "On servers" in out) == (CLEAN, True)
    page = (folder / "out.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "it runs no lifespan" in page
    assert json.loads((folder / "out.json").read_text())["clean"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'TARGET'"),
        (("shpo:app",), "there is no module 'shpo'"),
        (("http://127.0.0.1:1",), "an app is checked in this process"),
        (("shop:app", "--server", "apache"), "--server is one of uvicorn"),
        (("shop:app", "--via", "native"), "'native' is not one of"),
        (("shop:app", "-r", "no path"), "a target begins with"),
        (("shop:app", "--html", "no/such/x.html"), "there is no folder"),
    ],
)
def test_misuse_is_told_in_a_few_words(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    shop(folder)
    code, out, err = said(capsys, *arguments)
    assert (code, out, message in err, "Traceback" in err) == (MISUSE, "", True, False), err


def test_a_lifespan_that_fails_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder / "failing.py",
        """
        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})
        """,
    )
    code, out, err = said(capsys, "failing:app")
    assert (code, out) == (FOUND, "")
    assert "no database" in next(line for line in err.splitlines() if line.startswith("bridge: "))
