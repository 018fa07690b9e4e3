"""`bridge replay` of recordings that stand here; those of `bridge record` are in test_record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_apps import shop
from support.serve_apps import write

from bridge import cli
from bridge.testing import Client

SAME, DIFFERENT, MISUSE = 0, 1, 2


def exchange(target: str, body: str, status: int = 200, kind: str = "text/html; charset=utf-8") -> str:
    """A line of a recording."""
    answer = {"status": status, "headers": [["Content-Type", kind], ["Content-Length", str(len(body))]]}
    value = {
        "recording": 1,
        "request": {"method": "GET", "target": target, "headers": []},
        "response": {**answer, "body": body},
        "origin": "http://shop.example",
    }
    return json.dumps(value) + "\n"


FOUND, MISSING = exchange("/find?q=x", "nothing of 'x'"), exchange("/find?q=y", "something")


@pytest.fixture
def recording(folder: Path) -> str:
    """A recording that the shop answers alike but for one exchange."""
    shop(folder)
    write(folder / "traffic.jsonl", FOUND + MISSING)
    return "traffic.jsonl"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code of `bridge replay`, and what it printed on either stream."""
    code = cli.main(["replay", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_is_answered_otherwise(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, recording, "shop:app", "--ignore-header", "Content-Length")
    assert (code, err) == (DIFFERENT, "")
    assert "GET /find?q=y" in out
    assert "traffic.jsonl and shop:app" in out
    assert "1 of 2 requests" in out


@pytest.mark.parametrize("via", ["native", "asgi", "roundtrip"])
def test_only_some_requests_and_any_way(recording: str, capsys: pytest.CaptureFixture[str], via: str) -> None:
    code, out, _ = said(capsys, recording, "shop:app", "--only", "q=x$", "--via", via)
    assert (code, "1 request, all alike" in out) == (SAME, True), out


def test_rules_hold(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    rules = ("--ignore-text", "^.*$", "--ignore-header", "Content-Length")
    assert said(capsys, recording, "shop:app", *rules)[0] == SAME


def test_the_app_is_asked_for_the_host_of_the_recording(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        folder / "hosts.py",
        """
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
            return [environ["HTTP_HOST"].encode(), environ.get("HTTP_X_KEY", "").encode()]
        """,
    )
    write(folder / "traffic.jsonl", exchange("/", "shop.example!"))
    ignored = ("--ignore-header", "Content-Length")
    assert said(capsys, "traffic.jsonl", "hosts:app", *ignored)[0] == DIFFERENT
    assert said(capsys, "traffic.jsonl", "hosts:app", *ignored, "--header", "X-Key: !")[0] == SAME


def test_reports_are_written(recording: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, recording, "shop:app", "--html", "out.html", "--json", "-")
    assert code == DIFFERENT
    assert (json.loads(out)["old"], json.loads(out)["different"]) == ("traffic.jsonl", 1)
    assert "/find?q=y" in (folder / "out.html").read_text()


def test_a_site_that_is_running(recording: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Client.served("shop:app", "waitress", app_dir=str(folder)) as client:
        address = str(client.base_url).rstrip("/")
        assert said(capsys, recording, address, "--only", "q=x$")[0] == SAME
        assert said(capsys, recording, address)[0] == DIFFERENT


def test_an_app_on_a_server(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = said(capsys, recording, "shop:app", "--served", "waitress", "--only", "q=x$")
    assert code == SAME


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("traffic.jsonl",), "Missing argument 'TARGET'"),
        (("missing.jsonl", "shop:app"), "does not exist"),
        (("shop.py", "shop:app"), "shop.py, line 2: expected a JSON object"),
        (("traffic.jsonl", "shpo:app"), "there is no module 'shpo'"),
        (("traffic.jsonl", "shop:app", "--only", "("), "--only takes a regular expression"),
        (("traffic.jsonl", "shop:app", "--only", "nothing"), "there is nothing to replay"),
        (("traffic.jsonl", "shop:app", "--served", "apache"), "--served is one of uvicorn"),
        (("traffic.jsonl", "http://127.0.0.1:1"), "nobody answers at"),
        (("traffic.jsonl", "shop:app", "--json", "no/such/x.json"), "there is no folder"),
    ],
)
def test_misuse_is_told_in_a_few_words(
    recording: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = said(capsys, *arguments)
    assert (code, out, message in err, "Traceback" in err) == (MISUSE, "", True, False), err
