"""From what a command line names to a client."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.command_apps import shop
from support.serve_apps import write

from bridge.commands.sides import (
    Calling,
    app_of,
    names_of,
    open_both,
    open_side,
    pair,
    server_from,
    servers_from,
    telling,
    ways_from,
)
from bridge.exceptions import TargetError, UsageError
from bridge.serving.target import find
from bridge.translate.interface import Interface, interface_of

NATIVE = ("native", "native")


@pytest.mark.parametrize(
    ("text", "values"),
    [(None, ("d", "d")), ("a", ("a", "a")), ("a,b", ("a", "b")), (" a , b ", ("a", "b"))],
)
def test_a_value_for_each_side(text: str | None, values: tuple[str, str]) -> None:
    assert pair(text, "--x", "d") == values


@pytest.mark.parametrize("text", ["", ",", "a,", ",a", "a,b,c"])
def test_values_that_are_not_one_or_two(text: str) -> None:
    with pytest.raises(UsageError, match="--x takes one value for both sides, or two"):
        pair(text, "--x", "d")


def test_ways_and_servers() -> None:
    assert ways_from(None) == NATIVE
    assert ways_from("asgi,roundtrip") == ("asgi", "roundtrip")
    assert servers_from(None) == ("", "")
    assert servers_from("uvicorn,werkzeug") == ("uvicorn", "werkzeug")
    assert server_from(None) == ""
    with pytest.raises(UsageError, match="--via is one of"):
        ways_from("native,cgi")
    with pytest.raises(UsageError, match="--served is one of"):
        servers_from("uvicorn,apache")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("a:app", "b:app"), ("a:app", "b:app")),
        (("a:app", "a:app"), ("a:app (first)", "a:app (second)")),
        (("http://x", "a:app", ("asgi", "asgi"), ("uvicorn", "")), ("http://x", "a:app via asgi")),
        (("a:app", "a:app", ("native", "asgi")), ("a:app", "a:app via asgi")),
        (
            ("a:app", "b:app", ("wsgi", "native"), ("waitress", "uvicorn")),
            ("a:app via wsgi on waitress", "b:app on uvicorn"),
        ),
    ],
)
def test_what_the_sides_are_called(arguments: Any, names: tuple[str, str]) -> None:
    assert names_of(*arguments) == names


def vague(*args: Any) -> Any:
    return args


@pytest.mark.parametrize(("interface", "expected"), [("wsgi", Interface.WSGI), ("asgi", Interface.ASGI3)])
def test_an_app_that_does_not_tell_its_interface_is_made_to(interface: str, expected: Interface) -> None:
    made = telling(vague, interface)
    assert interface_of(made).interface is expected
    assert telling(made, interface) is made


def test_calls_pass_through_what_tells() -> None:
    assert telling(vague, "wsgi")(1, 2) == (1, 2)
    seen = []

    class Vague:
        def __call__(self, *args: Any) -> Any:
            seen.append(args)

            async def inner() -> None:
                pass

            return inner()

    with pytest.raises(StopIteration):
        telling(Vague(), "asgi")(1, 2, 3).send(None)
    assert seen == [(1, 2, 3)]


def test_an_asgi_2_app_becomes_asgi_3(folder: Path) -> None:
    write(
        folder / "two.py",
        "def app(scope):\n    async def inner(receive, send):\n        pass\n    return inner\n",
    )
    assert interface_of(app_of(find("two:app"))).interface is Interface.ASGI3


def test_a_side_is_closed_with_the_stack(folder: Path) -> None:
    shop(folder)
    with ExitStack() as stack:
        client = open_side("shop:app", stack, Calling(headers=(("X-A", "b"),), timeout=3.0), via="asgi")
        assert client.exchange("/item/1").status == 200
        assert (client.interface, client.headers["X-A"], client.timeout.read) == ("asgi", "b", 3.0)
    assert client.is_closed


def test_a_side_on_a_server_in_a_thread_of_this_process(folder: Path) -> None:
    """A way through the adapters is for an app of this process."""
    shop(folder)
    with ExitStack() as stack:
        client = open_side("shop:app", stack, Calling(), via="roundtrip", served="wsgiref")
        assert client.exchange("/item/1").status == 200
        assert str(client.base_url).startswith("http://127.0.0.1:")


def test_what_was_opened_is_closed_if_the_other_side_is_not_there(folder: Path) -> None:
    shop(folder)
    with pytest.raises(TargetError, match="there is no module"), ExitStack() as stack:
        open_both("shop:app", "shpo:app", stack, Calling())


@pytest.mark.parametrize("headers", [("A: b",), ()])
def test_options_of_a_call(headers: tuple[str, ...]) -> None:
    values = {
        "interface": "wsgi",
        "factory": True,
        "app_dir": "src",
        "headers": headers,
        "timeout": 1.0,
        "insecure": True,
        "base_url": "https://shop.example",
    }
    expected = (("A", "b"),) if headers else ()
    calling = Calling.of(values)
    assert calling == Calling("wsgi", True, "src", expected, 1.0, True, "https://shop.example")
    assert calling.client_options()["base_url"] == "https://shop.example"
    assert Calling().client_options()["base_url"] == "http://localhost"
    assert "base_url" not in Calling().client_options(base_url=None)
    for wrong in ("shop.example", "https://", "https://shop.example/path", "ftp://shop.example"):
        with pytest.raises(UsageError, match="--base-url is scheme and host"):
            Calling.of({**values, "base_url": wrong})
