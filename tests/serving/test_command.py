"""The options of `bridge serve`: its own, and Uvicorn's as Uvicorn defines them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import pytest
import uvicorn
from click.testing import CliRunner, Result
from uvicorn.config import LOGGING_CONFIG

from bridge.serving import command as command_module
from bridge.serving.command import command
from bridge.serving.worker import Order


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Order, dict[str, Any]]]:
    """What would be served, instead of serving it."""
    calls: list[tuple[Order, dict[str, Any]]] = []

    def serve(order: Order, options: Mapping[str, Any]) -> int:
        calls.append((order, dict(options)))
        return 0

    monkeypatch.setattr(command_module, "serve", serve)
    for name in ("UVICORN_PORT", "UVICORN_THREADS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    return calls


def invoke(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), env=env, catch_exceptions=False)


def test_the_target_is_enough(served: list[tuple[Order, dict[str, Any]]]) -> None:
    assert invoke("shop:app").exit_code == 0
    ((order, options),) = served
    assert order == Order("shop:app")
    assert (options["host"], options["port"], options["workers"]) == ("127.0.0.1", 8000, None)
    assert options["proxy_headers"] is True
    assert (options["loop"], options["http"], options["lifespan"]) == ("auto", "auto", "auto")


def test_every_option_is_one_that_uvicorn_takes(served: list[tuple[Order, dict[str, Any]]]) -> None:
    """The names are those of `uvicorn.Config`, so that what is given arrives, in this version of Uvicorn."""
    invoke("shop:app")
    config = uvicorn.Config("shop:app", **served[0][1])
    assert config.log_config is LOGGING_CONFIG


def test_the_defaults_are_uvicorns_own(served: list[tuple[Order, dict[str, Any]]]) -> None:
    invoke("shop:app")
    ours = uvicorn.Config("shop:app", **served[0][1])
    theirs = uvicorn.Config("shop:app")
    different = {name for name, value in vars(theirs).items() if getattr(ours, name) != value}
    assert different == set()


def test_the_own_options_go_into_the_order(served: list[tuple[Order, dict[str, Any]]]) -> None:
    invoke("shop:make", "--factory", "--threads", "7", "--interface", "wsgi", "--app-dir", "src")
    ((order, options),) = served
    assert order == Order("shop:make", "wsgi", True, 7, "src")
    assert not {"target", "factory", "threads", "interface", "app_dir"} & set(options)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("auto", "auto"), ("wsgi", "wsgi"), ("asgi", "asgi"), ("asgi2", "asgi"), ("asgi3", "asgi")],
)
def test_uvicorns_words_for_an_interface_are_understood(
    served: list[tuple[Order, dict[str, Any]]], given: str, meant: str
) -> None:
    invoke("shop", "--interface", given)
    assert served[0][0].interface == meant


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--host ::1 --port 0", {"host": "::1", "port": 0}),
        ("--ssl-keyfile k.pem --ssl-certfile c.pem", {"ssl_keyfile": "k.pem", "ssl_certfile": "c.pem"}),
        ("--uds /run/x.sock", {"uds": "/run/x.sock"}),
        ("--fd 3", {"fd": 3}),
        ("--no-access-log", {"access_log": False}),
        ("--no-proxy-headers", {"proxy_headers": False}),
        ("--forwarded-allow-ips *", {"forwarded_allow_ips": "*"}),
        ("--header X-A:b:c --header X-D:e", {"headers": [("X-A", "b:c"), ("X-D", "e")]}),
        ("--reload --reload-dir .", {"reload": True, "reload_dirs": ["."], "reload_includes": None}),
        ("--reload-include *.html", {"reload_dirs": None, "reload_includes": ["*.html"]}),
        ("--workers 3 --root-path /api", {"workers": 3, "root_path": "/api"}),
        ("--log-level debug", {"log_level": "debug"}),
        ("--timeout-graceful-shutdown 30", {"timeout_graceful_shutdown": 30}),
        ("--limit-concurrency=5", {"limit_concurrency": 5}),
    ],
)
def test_uvicorns_options_are_passed_on(
    served: list[tuple[Order, dict[str, Any]]], arguments: str, expected: dict[str, Any]
) -> None:
    """Wherever they stand."""
    assert invoke("shop:app", *arguments.split()).exit_code == 0
    assert invoke(*arguments.split(), "shop:app").exit_code == 0
    for order, options in served:
        assert order.target == "shop:app"
        assert {name: options[name] for name in expected} == expected
    assert len(served) == 2


def test_uvicorns_environment_variables_count(served: list[tuple[Order, dict[str, Any]]]) -> None:
    invoke("shop:app", env={"UVICORN_PORT": "9", "UVICORN_THREADS": "3"})
    ((order, options),) = served
    assert options["port"] == 9
    assert order.threads is None


def test_the_help_tells_both_kinds_of_options_apart() -> None:
    text = invoke("--help").output
    own, _, uvicorns = text.partition("Options of Uvicorn:")
    for option in ("--host", "--port", "--workers", "--threads", "--reload", "--root-path", "--log-level"):
        assert option in own
    for option in ("--interface", "--factory", "--help"):
        assert option in own
    for option in ("--ssl-keyfile", "--uds", "--fd", "--access-log", "--timeout-graceful-shutdown"):
        assert option in uvicorns
        assert option not in own
    assert "TARGET" not in uvicorns
    assert "module:factory()" in own


def test_uvicorns_command_is_left_as_it_is() -> None:
    from uvicorn.main import main as theirs

    (option,) = (param for param in theirs.params if param.name == "timeout_graceful_shutdown")
    assert isinstance(option, click.Option)
    assert "--reload" not in (option.help or "")
