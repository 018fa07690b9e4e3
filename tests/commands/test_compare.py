"""`bridge compare`, run for real: exit codes, what is printed, files, sides of all kinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bridge_command import command
from support.clock import Clock
from support.command_apps import API, BARE, DJANGO, shop
from support.serve_apps import write

import bridge
from bridge import cli
from bridge.testing import Client
from bridge.testing.transports import plain

ALIKE, DIFFERENT, MISUSE = 0, 1, 2


@pytest.fixture
def shops(folder: Path) -> Path:
    """Two versions of a shop: `shop` and, with other prices, `dear`."""
    shop(folder)
    shop(folder, "dear", price=11)
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code of `bridge compare`, and what it printed on either stream."""
    code = cli.main(["compare", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


IGNORED = ("--ignore-json", "$.id")


def test_two_apps_that_answer_alike(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "shop:app", "shop:app", "-r", "/", "-r", "/find?q=x")
    assert (code, err) == (ALIKE, "")
    assert "2 requests, all alike" in out


def test_a_planted_difference_is_found_and_shown(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, "shop:app", "dear:app", "-r", "/", "-r", "GET /item/3", *IGNORED)
    assert (code, err) == (DIFFERENT, "")
    assert "GET /item/3" in out
    assert "$.price" in out
    assert "- shop:app  30" in out
    assert "+ dear:app  33" in out
    assert "1 of 2 requests" in out
    assert "\x1b" not in out


def test_a_crawl_of_a_site_finds_what_differs(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All pages but the way out, which would raise; the redirect is one of them."""
    code, _, _ = said(capsys, "shop:app", "dear:app", "--crawl", "/", *IGNORED, "--json", "out.json")
    assert code == DIFFERENT
    results = json.loads((shops / "out.json").read_text())["results"]
    assert {each["request"]["target"]: each["same"] for each in results} == {
        "/": True,
        "/item/1": False,
        "/item/2": False,
        "/old": True,
        "/find?q=": True,
    }


def test_a_crawl_leaves_no_cookies_on_the_side_that_it_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        folder / "greeting.py",
        """
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", "seen=1")])
            return [b"welcome back" if "HTTP_COOKIE" in environ else b"hello"]
        """,
    )
    code, out, _ = said(capsys, "greeting:app", "greeting:app", "--crawl", "/")
    assert (code, "2 requests" in out) == (ALIKE, True)


def test_the_limit_of_a_crawl(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = said(capsys, "shop:app", "shop:app", "--crawl", "/", "--limit", "2", *IGNORED)
    assert "2 requests" in out


def test_each_side_keeps_its_cookies(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visit = json.dumps({"url": "/visit", "method": "POST", "json": {"times": 2}})
    code, out, _ = said(capsys, "shop:app", "dear:app", "-r", visit, "-r", visit, "--json", "-")
    result = json.loads(out)
    assert (code, result["requests"], result["same"]) == (ALIKE, 2, True)


@pytest.mark.parametrize("way", ["asgi", "wsgi", "roundtrip"])
def test_one_app_in_two_ways(shops: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    code, out, _ = said(
        capsys, "shop:app", "shop:app", "--via", f"native,{way}", "--crawl", "/", "-r", "/late", *IGNORED
    )
    assert code == ALIKE, out
    assert f"via {way}" in out


def test_an_api_by_its_own_description(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "api.py", API)
    write(folder / "louder.py", API.replace('"loud": loud', '"loud": True'))
    options = ("--openapi", "/openapi.json", "--json", "-")
    code, out, _ = said(capsys, "api:app", "louder:app", *options)
    results = {each["request"]["target"]: each["same"] for each in json.loads(out)["results"]}
    assert code == DIFFERENT
    assert results == {
        "/": True,
        "/notes/1": False,
        "/notes/1?loud=false": False,
        "/notes/1?loud=true": True,
        "/events": True,
    }
    _, out, _ = said(capsys, "api:app", "api:app", "--all-methods", *options)
    assert "POST" in {each["request"]["method"] for each in json.loads(out)["results"]}


def test_an_api_by_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "api.py", API)
    write(folder / "api.json", json.dumps({"openapi": "3.1.0", "paths": {"/notes/7": {"get": {}}}}))
    code, out, _ = said(capsys, "api:app", "api:app", "--openapi", "api.json", "--via", "native,wsgi")
    assert (code, "1 request" in out) == (ALIKE, True)


HAR = {
    "log": {
        "version": "1.2",
        "entries": [
            {
                "startedDateTime": "2026-01-31T12:00:00Z",
                "time": 1,
                "request": {
                    "method": "GET",
                    "url": "http://shop.example/item/4",
                    "httpVersion": "HTTP/1.1",
                    "headers": [],
                    "cookies": [],
                    "queryString": [],
                    "headersSize": -1,
                    "bodySize": 0,
                },
                "response": {
                    "status": 200,
                    "statusText": "OK",
                    "httpVersion": "HTTP/1.1",
                    "headers": [],
                    "cookies": [],
                    "content": {"size": 0, "mimeType": ""},
                    "redirectURL": "",
                    "headersSize": -1,
                    "bodySize": 0,
                },
                "cache": {},
                "timings": {"send": 0, "wait": 1, "receive": 0},
            }
        ],
    }
}


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--har", json.dumps(HAR)),
        ("--requests", json.dumps(HAR)),
        ("--requests", "GET /item/4\n"),
        ("--requests", '["/item/4"]'),
    ],
    ids=["har", "har-as-requests", "lines", "json"],
)
def test_requests_from_a_file(
    shops: Path, capsys: pytest.CaptureFixture[str], option: str, text: str
) -> None:
    write(shops / "requests", text)
    code, out, _ = said(capsys, "shop:app", "dear:app", option, "requests", *IGNORED)
    assert (code, "GET /item/4" in out, "1 of 1 request" in out) == (DIFFERENT, True, True)


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ((), DIFFERENT),
        (("--ignore-json", "$.price"), DIFFERENT),
        (("--ignore-json", "$.price", "--ignore-json", "$.id"), ALIKE),
        (("--ignore-json", "$.price", "--ignore-json", "$.id", "--exact-headers"), ALIKE),
    ],
)
def test_rules_say_what_is_no_difference(
    shops: Path, capsys: pytest.CaptureFixture[str], rules: tuple[str, ...], code: int
) -> None:
    assert said(capsys, "shop:app", "dear:app", "-r", "/item/1", *rules)[0] == code


RULED = """
def make(kind):
    def app(environ, start_response):
        headers = [("Content-Type", "application/json"), ("X-Kind", str(kind)), ("Set-Cookie", f"k={kind}")]
        start_response("200 OK", headers[::kind])
        tags = ["a", "b"][::kind]
        return [f'{{"tags": {tags}, "text": "kind={kind}"}}'.replace("'", '"').encode()]
    return app
old, new = make(1), make(-1)
"""


def test_each_kind_of_rule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All are needed: without any one of them there is a difference."""
    write(folder / "ruled.py", RULED)
    rules = [
        ("--ignore-header", "X-*"),
        ("--ignore-cookie", "k"),
        ("--ignore-text", r"=-?\d"),
        ("--unordered", "$.tags"),
    ]
    everything = [word for rule in rules for word in rule]
    assert said(capsys, "ruled:old", "ruled:new", "-r", "/", *everything)[0] == ALIKE
    assert said(capsys, "ruled:old", "ruled:new", "-r", "/", *everything, "--exact-headers")[0] == DIFFERENT
    for missing in rules:
        some = [word for rule in rules if rule is not missing for word in rule]
        assert said(capsys, "ruled:old", "ruled:new", "-r", "/", *some)[0] == DIFFERENT, missing


def test_redirects_are_followed_if_that_is_wanted(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "shop:app", "dear:app", "-r", "/old", *IGNORED)[0] == ALIKE
    assert said(capsys, "shop:app", "dear:app", "-r", "/old", *IGNORED, "--follow-redirects")[0] == DIFFERENT


def test_headers_are_sent_with_every_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder / "guarded.py",
        """
        def old(environ, start_response):
            start_response("200 OK", [])
            return [environ.get("HTTP_AUTHORIZATION", "nobody").encode()]
        def new(environ, start_response):
            start_response("200 OK", [])
            return [b"Bearer x"]
        """,
    )
    arguments = ("guarded:old", "guarded:new", "-r", "/")
    assert said(capsys, *arguments)[0] == DIFFERENT
    assert said(capsys, *arguments, "--header", "Authorization: Bearer x")[0] == ALIKE


def test_a_new_side_that_is_slower_is_a_difference(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "time", Clock())
    write(
        folder / "slow.py",
        """
        from bridge.testing.transports import plain
        def quick(environ, start_response):
            plain.time.now += 0.01
            start_response("200 OK", [])
            return [b"done"]
        def slow(environ, start_response):
            plain.time.now += 0.05
            return quick(environ, start_response)
        """,
    )
    assert said(capsys, "slow:quick", "slow:slow", "-r", "/")[0] == ALIKE
    assert said(capsys, "slow:quick", "slow:slow", "-r", "/", "--slower", "2")[0] == DIFFERENT
    assert said(capsys, "slow:slow", "slow:quick", "-r", "/", "--slower", "2")[0] == ALIKE


ENDLESS = """
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    while True:
        yield b"x" * 64

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 64, "more_body": True})
"""


@pytest.mark.parametrize("attribute", ["wsgi", "asgi"])
def test_a_stream_without_an_end_is_broken_off(
    folder: Path, capsys: pytest.CaptureFixture[str], attribute: str
) -> None:
    write(folder / "endless.py", ENDLESS)
    target = f"endless:{attribute}"
    code, out, _ = said(capsys, target, target, "-r", "/", "--timeout", "0.05", "--json", "-")
    assert json.loads(out)["requests"] == 1
    assert code in (ALIKE, DIFFERENT)  # how much came is chance


def test_reports_are_written(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("shop:app", "dear:app", "-r", "/item/1", "--html", "out.html", "--json", "out.json")
    code, out, _ = said(capsys, *arguments)
    assert code == DIFFERENT
    assert "$.price" in out
    assert "$.price" in (shops / "out.html").read_text()
    result = json.loads((shops / "out.json").read_text())
    assert (result["old"], result["new"], result["same"]) == ("shop:app", "dear:app", False)


# --- sites that are running


@pytest.fixture
def address(shops: Path) -> Iterator[str]:
    """The shop on a real server."""
    with Client.served("shop:app", "waitress", app_dir=str(shops)) as client:
        yield str(client.base_url).rstrip("/")


def test_an_address_and_an_app(shops: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, address, "shop:app", "--crawl", "/", *IGNORED)
    assert (code, "5 requests, all alike" in out) == (ALIKE, True), out
    code, out, _ = said(capsys, address, "dear:app", "-r", "/item/1", *IGNORED)
    assert (code, address in out) == (DIFFERENT, True)


def test_apps_on_servers(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(
        capsys, "shop:app", "dear:app", "-r", "/item/1", *IGNORED, "--served", "uvicorn,waitress"
    )
    assert code == DIFFERENT
    assert "- shop:app on uvicorn" in out
    assert "+ dear:app on waitress" in out


def test_files_of_one_name_are_compared_in_processes_of_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "old" / "app.py", BARE)
    write(folder / "new" / "app.py", BARE.replace("hello", "howdy"))
    code, _, err = said(capsys, "old/app.py:wsgi", "new/app.py:wsgi", "-r", "/")
    assert code == MISUSE
    assert err.endswith("or give --served uvicorn, which runs each side in a process of its own\n")
    arguments = ("old/app.py:wsgi", "new/app.py:asgi", "-r", "/", "--served", "waitress")
    code, out, _ = said(capsys, *arguments)
    assert (code, "howdy" in out) == (DIFFERENT, True)


def test_django_of_both_interfaces(tmp_path: Path) -> None:
    write(tmp_path / "site1.py", DJANGO)
    done = command("compare", "site1:wsgi", "site1:asgi", "-r", "/", "-r", "/notes/?page=2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (ALIKE, "")
    assert done.stdout == "site1:wsgi and site1:asgi: 2 requests, all alike\n"


# --- what cannot be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shop:app",), "Missing argument 'NEW'"),
        (("shop:app", "dear:app"), "there is nothing to ask: give --request"),
        (("shop:app", "shpo:app", "-r", "/"), "there is no module 'shpo'"),
        (("shop:app", "shop:PRICE", "-r", "/"), "shop:PRICE"),
        (("shop:app", "dear:app", "-r", "no path"), "a target begins with"),
        (("shop:app", "dear:app", "-r", "{"), "is no JSON"),
        (("shop:app", "dear:app", "-r", '{"uri": "/"}'), "a request has the keys"),
        (("shop:app", "dear:app", "--requests", "missing"), "does not exist"),
        (("shop:app", "dear:app", "--har", "shop.py"), "shop.py"),
        (("shop:app", "dear:app", "--openapi", "missing.json"), "missing.json cannot be read"),
        (("shop:app", "dear:app", "--openapi", "/openapi.json"), "answered 404"),
        (("shop:app", "dear:app", "-r", "/", "--limit", "3"), "--limit is about --crawl"),
        (("shop:app", "dear:app", "-r", "/", "--all-methods"), "--all-methods is about --openapi"),
        (("shop:app", "dear:app", "-r", "/", "--exclude", "("), "--exclude takes a regular expression"),
        (("shop:app", "dear:app", "-r", "/", "--base-url", "shop"), "--base-url is scheme and host"),
        (("shop:app", "dear:app", "-r", "/", "--via", "cgi"), "--via is one of native, asgi"),
        (("shop:app", "dear:app", "-r", "/", "--via", "asgi,wsgi,asgi"), "or two as in A,B"),
        (("shop:app", "dear:app", "-r", "/", "--served", "apache"), "--served is one of uvicorn"),
        (("shop:app", "dear:app", "-r", "/", "--ignore-text", "("), "regular expression"),
        (("shop:app", "dear:app", "-r", "/", "--ignore-json", "price"), "price"),
        (("shop:app", "dear:app", "-r", "/", "--header", "novalue"), "--header takes a name and a value"),
        (("shop:app", "dear:app", "-r", "/", "--slower", "0"), "--slower"),
        (("shop:app", "dear:app", "-r", "/", "--html", "no/such/folder/x.html"), "there is no folder"),
        (("shop:app", "dear:app", "-r", "/", "--json", "."), "cannot write ."),
        (("shop:app", "http://127.0.0.1:1", "-r", "/"), "nobody answers at http://127.0.0.1:1"),
        (("shop:app", "http://127.0.0.1:1/x", "-r", "/"), "ends with its host and port"),
        (("http://", "shop:app", "-r", "/"), "the address of a site is such as"),
    ],
)
def test_misuse_is_told_in_a_few_words(
    shops: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = said(capsys, *arguments)
    assert (code, message in err) == (MISUSE, True), err
    assert "Traceback" not in err
    assert "$.price" not in out


def test_a_wrong_target_is_not_answered_with_another_command(
    shops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = said(capsys, "shpo:app", "shop:app", "-r", "/")
    assert "  type:  shop:app" in err
    assert "bridge serve" not in err


def test_an_app_whose_startup_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder / "failing.py",
        """
        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})
        """,
    )
    shop(folder)
    code, _, err = said(capsys, "shop:app", "failing:app", "-r", "/")
    assert (code, "bridge: " in err, "no database" in err) == (1, True, True)
    assert "Traceback" not in err


def test_an_app_that_fails_at_import_shows_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "broken.py", "import no_such_module_at_all\n")
    code, _, err = said(capsys, "broken:app", "broken:app", "-r", "/")
    assert code == 1
    assert err.startswith("bridge: importing broken raised ModuleNotFoundError")
    assert 'broken.py", line 1' in err


def test_an_interface_that_has_to_be_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder / "vague.py",
        """
        def app(*args):
            args[1]("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """,
    )
    arguments = ("vague:app", "vague:app", "-r", "/", "--via", "native,asgi")
    assert said(capsys, *arguments)[0] == MISUSE
    assert said(capsys, *arguments, "--interface", "wsgi")[0] == ALIKE


def test_a_factory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop(folder, "inner")
    write(folder / "made.py", "def build(name=None):\n    import inner\n    return inner.app\n")
    assert said(capsys, "made:build", "inner:app", "-r", "/")[0] == ALIKE
    assert said(capsys, "made:build('x')", "inner:app", "-r", "/")[0] == ALIKE
    code, _, err = said(capsys, "made:build", "inner:app", "-r", "/", "--factory")
    assert (code, "inner:app is called with" in err, "Leave --factory out" in err) == (MISUSE, True, True)


def test_apps_in_another_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop(folder / "src")
    assert said(capsys, "shop:app", "shop:app", "-r", "/")[0] == MISUSE
    assert said(capsys, "shop:app", "shop:app", "-r", "/", "--app-dir", "src")[0] == ALIKE


def test_a_library_that_is_missing_is_named(shops: Path) -> None:
    """In a process of its own: here it has been imported long ago."""
    code = (
        "import sys\n"
        "sys.modules['httpx2'] = None\n"
        "from bridge.cli import main\n"
        "sys.exit(main(['compare', 'shop:app', 'dear:app', '-r', '/']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shops,
        env={**os.environ, "PYTHONPATH": str(Path(str(bridge.__file__)).parent.parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'wsgi-asgi-bridge[testing]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "--help")
    assert (code, "The exit code is 0 if both answer alike" in " ".join(out.split())) == (0, True)
