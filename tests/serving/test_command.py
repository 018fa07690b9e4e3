"""The options of `bridge serve`: its own, Uvicorn's as Uvicorn defines them, and those of all servers."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import uvicorn
from click.testing import CliRunner, Result
from uvicorn.config import LOGGING_CONFIG

from bridge.exceptions import UsageError
from bridge.serving import uvicorn_server
from bridge.serving.command import command
from bridge.serving.servers import DEFAULT, SERVERS, Server
from bridge.serving.settings import Settings
from bridge.serving.worker import Order


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Order, dict[str, Any]]]:
    """What would be served, instead of serving it."""
    calls: list[tuple[Order, dict[str, Any]]] = []

    def serve(order: Order, options: Mapping[str, Any]) -> int:
        calls.append((order, dict(options)))
        return 0

    monkeypatch.setattr(uvicorn_server, "serve", serve)
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


# --- other servers


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Order, Settings]]:
    """What would be served on another server than Uvicorn, instead of serving it."""
    calls: list[tuple[str, Order, Settings]] = []

    def runner(server: Server) -> Any:
        if server.name == DEFAULT:
            return uvicorn_server

        def serve(order: Order, settings: Settings) -> int:
            calls.append((server.name, order, settings))
            return 0

        return types.SimpleNamespace(serve=serve)

    monkeypatch.setattr(Server, "runner", runner)
    return calls


def test_another_server_gets_the_common_options(elsewhere: list[tuple[str, Order, Settings]]) -> None:
    arguments = (
        "--host ::1 --port 0 --workers 2 --threads 7 --reload --root-path /x --log-level debug --access-log "
        "--timeout-graceful-shutdown 0 --factory --interface asgi3 --app-dir src"
    )
    assert invoke("shop:make", "--server", "gunicorn", *arguments.split()).exit_code == 0
    assert invoke("--server=gunicorn", *arguments.split(), "shop:make").exit_code == 0
    first, second = elsewhere
    assert first == second
    assert first == (
        "gunicorn",
        Order("shop:make", "asgi", True, 7, "src"),
        Settings(
            host="::1",
            port=0,
            workers=2,
            threads=7,
            reload=True,
            root_path="/x",
            log_level="debug",
            access_log=True,
            timeout_graceful_shutdown=0,
        ),
    )


def test_what_is_not_given_is_left_to_the_server(elsewhere: list[tuple[str, Order, Settings]]) -> None:
    env = {"UVICORN_PORT": "9", "UVICORN_SERVER": "waitress"}
    assert invoke("shop", "--server", "cheroot", env=env).exit_code == 0
    assert elsewhere == [("cheroot", Order("shop"), Settings())]


def test_files_for_tls_must_be_there(elsewhere: list[tuple[str, Order, Settings]], tmp_path: Path) -> None:
    (tmp_path / "c.pem").touch()
    cert = str(tmp_path / "c.pem")
    assert invoke("shop", "--server=granian", "--ssl-certfile", cert).exit_code == 0
    assert elsewhere[0][2] == Settings(ssl_certfile=cert)
    assert "does not exist" in invoke("shop", "--server=granian", "--ssl-certfile", "nowhere").output


def test_what_stands_behind_is_for_the_server(elsewhere: list[tuple[str, Order, Settings]]) -> None:
    """Whatever it is: another `--`, an option of ours, a word."""
    further = ["--workers", "3", "--", "--server", "x", "word"]
    assert invoke("shop", "--server", "gunicorn", "--workers", "2", "--", *further).exit_code == 0
    ((_, _, settings),) = elsewhere
    assert settings == Settings(workers=2, further=tuple(further))


def test_an_option_of_uvicorn_is_none_of_another_server(elsewhere: list[tuple[str, Order, Settings]]) -> None:
    result = invoke("shop", "--server", "gunicorn", "--limit-concurrency", "5")
    assert result.exit_code == 2
    assert "No such option" in result.output
    assert "Those of Gunicorn stand behind `--`, and `gunicorn --help` lists them." in result.output
    assert "stand behind" not in invoke("shop", "--limit-concurency", "5").output
    assert elsewhere == []


def test_an_option_that_the_server_lacks_says_why(elsewhere: list[tuple[str, Order, Settings]]) -> None:
    with pytest.raises(UsageError, match="--workers has no meaning on Waitress: it serves in one process"):
        invoke("shop", "--server", "waitress", "--workers", "2")
    assert elsewhere == []


@pytest.mark.parametrize("arguments", [["--server", "apache"], ["--server=apache"], ["--server"]])
def test_a_server_that_nobody_knows(arguments: list[str]) -> None:
    result = invoke("shop", *arguments)
    assert result.exit_code == 2
    assert "--server" in result.output


def test_the_last_server_counts(elsewhere: list[tuple[str, Order, Settings]]) -> None:
    assert invoke("shop", "--server", "uvicorn", "--server", "waitress").exit_code == 0
    assert elsewhere[0][0] == "waitress"


@pytest.mark.parametrize("server", [name for name in SERVERS if name != DEFAULT])
def test_the_help_shows_what_a_server_has(server: str) -> None:
    for arguments in (["--help", "--server", server], ["--server", server, "--help"]):
        text = invoke(*arguments).output
        for name in ("host", "threads", "workers", "reload", "root_path", "log_level", "ssl_certfile"):
            shown = f"--{name.replace('_', '-')} " in text
            assert shown is (name not in SERVERS[server].lacks), name
        assert f"`{SERVERS[server].program} --help` lists them" in text
        assert "Options of Uvicorn" not in text


# --- options of Uvicorn behind `--`


def test_uvicorns_options_may_stand_behind_as_well(served: list[tuple[Order, dict[str, Any]]]) -> None:
    arguments = ("--limit-concurrency", "5", "--no-access-log", "--app-dir", "src", "--header", "A:b")
    assert invoke("shop", "--port", "9", "--", *arguments).exit_code == 0
    ((order, options),) = served
    assert order == Order("shop", directory="src")
    assert (options["port"], options["limit_concurrency"], options["access_log"]) == (9, 5, False)
    assert options["headers"] == [("A", "b")]


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ("--no-such", "No such option"),
        ("--port x", "not a valid integer"),
        ("word", "unexpected extra argument"),
    ],
)
def test_what_is_wrong_behind(served: list[tuple[Order, dict[str, Any]]], behind: str, said: str) -> None:
    result = invoke("shop", "--", *behind.split())
    assert result.exit_code == 2
    assert said in result.output
    assert served == []


def test_the_same_before_and_behind(served: list[tuple[Order, dict[str, Any]]]) -> None:
    with pytest.raises(UsageError, match="--port stands before `--` and behind it"):
        invoke("shop", "--port", "9", "--", "--port", "9")
    assert invoke("shop", "--", "--port", "9", env={"UVICORN_PORT": "8"}).exit_code == 0
    assert served[0][1]["port"] == 9
