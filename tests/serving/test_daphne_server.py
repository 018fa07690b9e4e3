"""What is Daphne's alone: its options."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.serving.daphne_server import _arguments, _Command
from bridge.serving.settings import Settings
from bridge.serving.worker import Order


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            Settings(),
            {"host": "127.0.0.1", "port": 8000, "verbosity": 1, "root_path": "", "access_log": None},
        ),
        (Settings(host="::1", port=0), {"host": "::1", "port": 0}),
        (Settings(uds="x.sock"), {"unix_socket": "x.sock", "host": None, "port": None}),
        (Settings(root_path="/x", access_log=True), {"root_path": "/x", "access_log": "-"}),
        (Settings(access_log=False), {"access_log": None}),
        (Settings(log_level="error"), {"verbosity": 0}),
        (Settings(log_level="debug"), {"verbosity": 2}),
        (
            Settings(ssl_certfile="a:b", port=9),
            {
                "host": None,
                "socket_strings": [r"ssl:9:privateKey=a\:b:certKey=a\:b:interface=127.0.0.1"],
            },
        ),
        (Settings(further=("-p", "9")), {"host": None, "port": 9}),
        (Settings(further=("--fd", "3")), {"host": None, "file_descriptor": 3}),
    ],
)
def test_options(settings: Settings, expected: dict[str, Any]) -> None:
    command = _Command(Order("shop:app"), settings)
    found = vars(command.parser.parse_args([*_arguments(settings, command), *settings.further, "TARGET"]))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(port=9, further=("-p", "9")), "Daphne's port: leave one of the two out"),
        (Settings(ssl_certfile="c", further=("--fd", "3")), "Daphne's file_descriptor"),
        (Settings(root_path="/x", further=("--root-path", "/x")), "'root_path'"),
        (Settings(log_level="info", further=("-v", "2")), "'verbosity'"),
    ],
)
def test_options_that_are_wrong(settings: Settings, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _arguments(settings, _Command(Order("shop:app"), settings))


def test_the_parser_speaks_in_daphnes_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    settings = Settings(further=("shop:app",))
    with pytest.raises(SystemExit) as caught:
        _arguments(settings, _Command(Order("shop:app"), settings))
    assert caught.value.code == 2
    assert "daphne: error: " in capsys.readouterr().err
    assert os.environ.get("DJANGO_SETTINGS_MODULE") is None


def test_no_access_log_is_none() -> None:
    """By itself Daphne writes one whenever it writes anything."""
    for access_log, expected in ((None, print), (True, print), (False, None)):
        command = _Command(Order("shop:app"), Settings(access_log=access_log))
        server = command.server_class(application=print, endpoints=["tcp:0"], action_logger=print)
        assert server.action_logger is expected
