"""The command `bridge`: its messages and exit codes. What it serves is tested in tests/serving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.bridge_command import command, environment
from support.serve_apps import write

import bridge
from bridge import cli


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bridge {bridge.__version__}\n"


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    output = capsys.readouterr().out
    for name, (_, summary) in cli.COMMANDS.items():
        assert name in output
        assert summary in output


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    done = command(cwd=tmp_path)
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["srve"], "No such command 'srve'"),
        (["--colour"], "No such option"),
        (["serve"], "Missing argument 'TARGET'"),
        (["serve", "x", "--prot", "1"], "--port"),
        (["serve", "x", "--port", "many"], "'many' is not a valid integer"),
        (["serve", "x", "--threads", "0"], "x>=1"),
        (["serve", "x", "--interface", "cgi"], "'cgi' is not one of"),
        (["serve", "x", "y"], "unexpected extra argument"),
        (["serve", "x", "--env-file", "/nowhere"], "does not exist"),
        (["check"], "Missing argument 'TARGET'"),
        (["check", "x", "--via", "cgi"], "'cgi' is not one of"),
        (["compare", "x"], "Missing argument 'NEW'"),
        (["compare", "x", "y", "--slower", "much"], "'much' is not a valid float"),
        (["record", "x"], "Missing option '--to'"),
        (["record", "x", "--to", "y", "--port", "many"], "'many' is not a valid integer"),
        (["replay", "/nowhere", "x"], "does not exist"),
    ],
)
def test_a_wrong_command_line_is_misuse(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_a_command_is_imported_when_it_is_called(tmp_path: Path) -> None:
    """So that `bridge --help` and other commands need nothing of a server."""
    code = "import sys; from bridge.cli import main; main(['--help']); print('uvicorn' in sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], env=environment(), text=True, timeout=30)
    assert output.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", ["check", "compare", "record", "replay"])
def test_the_help_of_a_command_needs_no_http_library(name: str) -> None:
    code = (
        "import sys; from bridge.cli import main; main([sys.argv[1], '--help']);"
        "print([each for each in ('httpx2', 'rich', 'hypothesis', 'pytest') if each in sys.modules])"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", code, name], env=environment(), text=True, timeout=30
    )
    assert output.startswith("Usage:")
    assert output.splitlines()[-1] == "[]"


WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Without())
from bridge.cli import main
sys.exit(main(["serve", "shop", *{options!r}]))
"""


def without(missing: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`bridge serve shop` where a module cannot be imported."""
    write(folder / "shop.py")
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing, options=list(options))],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("missing", ["click", "uvicorn"])
def test_a_library_that_is_not_installed_is_named_with_what_to_type(tmp_path: Path, missing: str) -> None:
    done = without(missing, tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("bridge: ")
    assert f"needs {missing}, which is not installed: pip install 'wsgi-asgi-bridge[serve]'" in line


def test_a_server_that_is_not_installed_is_named_with_what_to_type(tmp_path: Path) -> None:
    done = without("waitress", tmp_path, "--server", "waitress")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "bridge: `bridge serve --server waitress` needs waitress, which is not installed: "
        "pip install 'wsgi-asgi-bridge[waitress]'"
    )


def test_another_server_needs_no_uvicorn(tmp_path: Path) -> None:
    done = without("uvicorn", tmp_path, "--server", "waitress", "--", "--help")
    assert done.returncode == 0, done.stderr
    assert "--url-prefix" in done.stdout


def test_a_broken_installation_of_a_library_is_not_called_missing(tmp_path: Path) -> None:
    """What a library itself lacks must be seen, with the traceback."""
    done = without("uvicorn.importer", tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "uvicorn.importer" in done.stderr.splitlines()[-1]


def test_a_wrong_target_is_misuse_without_a_traceback(tmp_path: Path) -> None:
    write(tmp_path / "shop.py")
    done = command("serve", "shpo:app", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"bridge: there is no module 'shpo' in {tmp_path} or elsewhere on the Python path",
        "  found: a module 'shop'",
        "  type:  bridge serve shop:app",
    ]


def test_an_app_that_fails_is_a_failure_with_its_traceback(tmp_path: Path) -> None:
    write(tmp_path / "shop.py", "import settings_that_are_not_there\n")
    done = command("serve", "shop", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == (
        "bridge: importing shop raised ModuleNotFoundError: No module named 'settings_that_are_not_there'"
    )
    assert lines[2:4] == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path / "shop.py"}", line 1, in <module>',
    ]


def test_the_module_is_guarded_for_worker_processes(tmp_path: Path) -> None:
    """Spawned processes import the main module under another name; that must start nothing."""
    code = "import bridge.__main__"
    subprocess.run([sys.executable, "-c", code, "--version"], env=environment(), timeout=30, check=True)
