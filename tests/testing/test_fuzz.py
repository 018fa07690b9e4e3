"""fuzz_same_behaviour: what it finds, how small it gets it, what it says, and what it leaves alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from bridge import WSGIToASGI
from bridge.exceptions import BehaviourDiffers, UsageError
from bridge.testing import Client, Request, Rules, compare, fuzz_same_behaviour
from bridge.testing.fuzz import literal
from bridge.testing.strategies import headers, requests

# The simplest headers, where they are not what a test is about.
NONE = st.just(())


def answering(body: Callable[[dict[str, Any]], bytes]) -> Callable[[Any, Any], Iterable[bytes]]:
    """A WSGI app whose body is made of the environ."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body(environ)]

    return app


same = answering(lambda environ: b"same")


async def same_as_asgi(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"same" if scope["method"] != "HEAD" else b""})


def content(environ: dict[str, Any]) -> bytes:
    data: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return data


def found(old: Any, new: Any, **options: Any) -> str:
    """The message of what was found."""
    with pytest.raises(BehaviourDiffers) as raised:
        fuzz_same_behaviour(old, new, **{"seed": 1, **options})
    return str(raised.value)


def request_in(message: str) -> Request:
    """The request that a message tells to send."""
    line = re.search(r"compare\(old, new, \[(Request\(.*\))\]", message)
    assert line, message
    request = eval(line[1])
    assert isinstance(request, Request)
    return request


def test_apps_that_answer_alike_pass() -> None:
    fuzz_same_behaviour(same, same, max_examples=10)
    fuzz_same_behaviour(same, same_as_asgi, max_examples=10)


@pytest.mark.parametrize(
    ("new", "smallest"),
    [
        (lambda environ: b"other", Request()),
        (lambda environ: b"other" if environ["REQUEST_METHOD"] == "DELETE" else b"same", Request("DELETE")),
        (lambda environ: b"other" if environ["PATH_INFO"] > "/" else b"same", Request("GET", "/a")),
        (
            lambda environ: b"other" if "HTTP_X_A" in environ else b"same",
            Request("GET", "/", (("X-A", ""),)),
        ),
        (
            lambda environ: b"other" if '"' in environ.get("HTTP_COOKIE", "") else b"same",
            Request("GET", "/", (("Cookie", 'a="q"'),)),
        ),
    ],
    ids=["always", "method", "path", "header", "cookie"],
)
def test_the_smallest_request_is_told(new: Callable[[Any], bytes], smallest: Request) -> None:
    assert request_in(found(same, answering(new), max_examples=500)) == smallest


def test_bodies_shrink_too() -> None:
    old = answering(lambda environ: b"%d" % len(content(environ)))
    new = answering(lambda environ: b"%d" % min(2, len(content(environ))))
    only = requests(targets=["/"], headers=NONE, with_body=True)
    assert len(request_in(found(old, new, requests=only)).content) == 3


def test_the_message_has_the_difference_and_the_way_back() -> None:
    new = answering(lambda environ: b"other" if environ["PATH_INFO"] != "/" else b"same")
    message = found(same, new, requests=requests(targets=["/", "/notes"], methods=["GET"]), seed=7)
    first, rest = message.split("\n", 1)
    assert re.fullmatch(
        r"after \d+ examples, this is the smallest one found that is not answered alike:", first
    )
    comparison = compare(same, new, [Request("GET", "/notes")])
    assert comparison.text(color=False).strip() in rest
    assert "compare(old, new, [Request(target='/notes')]).assert_same()" in rest
    assert message.endswith("or search again with the same arguments and seed=7.")


def test_the_way_back_leads_there() -> None:
    new = answering(lambda environ: b"other" if environ["QUERY_STRING"] else b"same")
    assert not compare(same, new, [request_in(found(same, new))]).same


def test_a_seed_gives_the_same_search() -> None:
    def searched(seed: int) -> list[str]:
        seen: list[str] = []

        def noted(environ: dict[str, Any]) -> bytes:
            seen.append(environ["REQUEST_METHOD"])
            return b"same"

        old = answering(noted)
        fuzz_same_behaviour(old, same, max_examples=20, seed=seed, requests=requests(headers=NONE))
        return seen

    assert searched(5) == searched(5)
    assert searched(5) != searched(6)


def test_without_a_seed_the_profile_decides() -> None:
    """That of these tests is derandomized; otherwise each search begins elsewhere, and tells where."""
    new = answering(lambda environ: b"other")
    assert found(same, new, seed=None).endswith("seed=0.")
    before = settings.get_current_profile_name()
    settings.register_profile("fuzz-anywhere", derandomize=False, database=None)
    settings.load_profile("fuzz-anywhere")
    try:
        assert found(same, new, seed=None) != found(same, new, seed=None)
    finally:
        settings.load_profile(before)


def test_rules_forgive() -> None:
    new = answering(lambda environ: b"other")
    fuzz_same_behaviour(same, new, rules=Rules().ignore_text("other|same"), max_examples=10)


def test_each_side_may_go_its_own_way() -> None:
    def upper(app: Any) -> Any:
        return answering(lambda environ: b"UPPER")

    message = found(same, same, via=("native", upper))
    assert "native and upper: 1 difference" in message
    assert "compare(old, new, [Request()], via=('native', upper)).assert_same()" in message
    fuzz_same_behaviour(same, same, via=("native", "roundtrip"), max_examples=10)


def test_adapters_of_others_are_found_out() -> None:
    """One that loses what comes twice."""

    def careless(app: Any) -> Any:
        async def adapter(scope: Any, receive: Any, send: Any) -> None:
            headers = dict(reversed(scope["headers"])) if scope["type"] == "http" else {}
            await WSGIToASGI(app)({**scope, "headers": list(headers.items())}, receive, send)

        return adapter

    tells = answering(lambda environ: environ.get("HTTP_COOKIE", "").encode("latin-1"))
    only = requests(targets=["/"], methods=["GET"], headers=headers(names=["Cookie", "X-A"]))
    request = request_in(found(tells, tells, via=("asgi", careless), requests=only))
    assert [name.lower() for name, _ in request.headers] == ["cookie", "cookie"]


def counting() -> Any:
    """An app that counts what it was asked."""
    calls: list[None] = []

    def body(environ: dict[str, Any]) -> bytes:
        calls.append(None)
        return b"%d" % len(calls)

    app = answering(body)
    app.calls = calls  # type: ignore[attr-defined]
    return app


def test_reset_brings_both_into_one_state() -> None:
    old, new = counting(), counting()
    new.calls.append(None)
    given = []

    def reset(app: Any) -> None:
        given.append(app)
        app.calls.clear()

    fuzz_same_behaviour(old, new, reset=reset, max_examples=5)
    assert given == [old, new] * (len(given) // 2)
    new.calls.append(None)
    assert "Request()" in found(old, new)


def test_steps_see_what_those_before_have_left() -> None:
    old, new = counting(), answering(lambda environ: b"1")

    def reset(app: Any) -> None:
        if app is old:
            old.calls.clear()

    fuzz_same_behaviour(old, new, reset=reset, max_examples=5)
    message = found(old, new, reset=reset, steps=3)
    assert "[Request(), Request()]" in message


def test_what_does_not_happen_again_is_said_to_be_unsteady() -> None:
    """The seventh answer differs, whatever was asked."""
    counted = counting()

    def seventh(environ: dict[str, Any]) -> bytes:
        counted.calls.append(None)
        return b"other" if len(counted.calls) == 7 else b"same"

    new = answering(seventh)
    message = found(same, new)
    assert "The same request was answered alike at another time" in message
    assert "give reset=" in message
    assert "'other'" in message


def test_cookies_do_not_outlive_an_example() -> None:
    """Or else an app that sets one would answer the next example otherwise."""
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(environ.get("HTTP_COOKIE", "none"))
        start_response("200 OK", [("Set-Cookie", "later=1"), ("Content-Type", "text/plain")])
        return [b"same"]

    with Client(app, cookies={"mine": "1"}) as client:
        fuzz_same_behaviour(
            client,
            same,
            rules=Rules().ignore_cookie("later"),
            requests=requests(headers=NONE),
            max_examples=5,
        )
        assert client.exchange("/").status == 200
    assert set(seen[:-1]) == {"mine=1"}


def test_a_client_that_is_given_stays_open() -> None:
    with Client(same) as client:
        fuzz_same_behaviour(client, same, max_examples=5)
        assert client.exchange("/").body == b"same"


def test_a_client_goes_its_own_way() -> None:
    with Client(same) as client, pytest.raises(UsageError, match="has its own way"):
        fuzz_same_behaviour(client, same, via="asgi")


def test_lifespans_run_once() -> None:
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                log.append(event)
                await send({"type": f"lifespan.{event}.complete"})
            return
        await same_as_asgi(scope, receive, send)

    fuzz_same_behaviour(same, app, max_examples=10)
    assert log == ["startup", "shutdown"]


def test_options_reach_the_clients_and_redirects_are_followed() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["SCRIPT_NAME"] + environ["PATH_INFO"] == "/at/end":
            start_response("200 OK", [])
            return [b"end"]
        start_response("302 Found", [("Location", "/at/end")])
        return []

    def shortcut(environ: Any, start_response: Any) -> Iterable[bytes]:
        return app({**environ, "SCRIPT_NAME": "/at", "PATH_INFO": "/end"}, start_response)

    only = requests(targets=["/go"], methods=["GET"], headers=NONE)
    assert "status" in found(app, shortcut, requests=only)
    assert "status" not in found(app, shortcut, requests=only, follow_redirects=True)
    told = answering(lambda environ: environ["SCRIPT_NAME"].encode())
    assert "/mounted" in found(same, told, client_options={"root_path": "/mounted"}, requests=only)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requests": ["/notes"]}, r"a strategy of hypothesis, such as requests\(targets="),
        ({"max_examples": 0}, "max_examples is a whole number, at least 1; got 0"),
        ({"max_examples": 2.5}, "max_examples is a whole number"),
        ({"steps": 0}, "steps is a whole number, at least 1; got 0"),
        ({"via": "sideways"}, "via is one of"),
        ({"via": ("native",)}, "via is one way or a pair of them"),
    ],
    ids=["requests", "none", "half", "steps", "via", "ways"],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fuzz_same_behaviour(same, same, **options)


@pytest.mark.parametrize(
    ("request_", "written"),
    [
        (Request(), "Request()"),
        (
            Request("POST", "/a", (("X", "1"),), b"b"),
            "Request(method='POST', target='/a', headers=(('X', '1'),), body=b'b')",
        ),
        (Request(body=(b"a", b"x" * 100)), "Request(body=(b'a', b'x' * 100))"),
    ],
    ids=["plain", "full", "pieces"],
)
def test_a_request_is_written_as_python(request_: Request, written: str) -> None:
    assert literal(request_) == written
    assert eval(written) == request_


def test_without_hypothesis_the_message_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['hypothesis'] = None\n"
        "from bridge.exceptions import MissingDependency\n"
        "try:\n"
        "    from bridge.testing import fuzz_same_behaviour\n"
        "except MissingDependency as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert "pip install 'wsgi-asgi-bridge[testing]'" in done.stdout, done.stderr
