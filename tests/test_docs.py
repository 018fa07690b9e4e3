"""The documentation: examples run, commands and options exist, links lead somewhere.

tests/support/doc_pages.py says what of a page runs, and how. That the site builds, and is complete, is for
`.ci/check-docs` to say: it takes as long as two hundred of these tests.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from support import doc_pages
from support.doc_pages import (
    DOCS,
    PAGE_TIMEOUT,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    blocks_on,
    environment,
    files_of,
    load,
)
from support.served import HOST, START_TIMEOUT, run_server, wait_until

# --- examples


def in_a_fresh_interpreter(page: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", doc_pages.__file__, page],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PAGE_TIMEOUT / 2,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout}"


def has_something_to_run(page: str) -> bool:
    return any(block.runs and block.kind in ("python", "check", "use") for block in blocks_on(page))


@pytest.mark.timeout(PAGE_TIMEOUT)
@pytest.mark.parametrize("page", [page for page in PAGES if has_something_to_run(page)])
def test_the_examples_of_a_page_do_what_it_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python runs and holds what is checked; then each server command serves the page's files."""
    # Tests that set Django up in this process leave it here, for servers to inherit.
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    in_a_fresh_interpreter(page, tmp_path)
    texts = {block.title: block.text for block in files_of(page)}
    for command in served_commands(page):
        argv = shlex.split(command)

        def started(port: int, argv: list[str] = argv) -> list[str]:
            if argv[0] == "python":
                script = tmp_path / argv[1]
                script.write_text(texts[argv[1]].replace("8000", str(port)), encoding="utf-8")
                return [sys.executable, *argv[1:]]
            where = SERVERS[argv[0]](HOST, port)
            if argv[0] == "waitress-serve":  # which takes no options behind the application
                return [*executable(argv[0]), *where, *argv[1:]]
            return [*executable(argv[0]), *argv[1:], *where]

        with run_server(started, tmp_path, environment()) as server:
            try:
                url = f"http://{HOST}:{server.address[1]}/"
                # No certificates, which take long to read.
                answer = httpx2.get(url, trust_env=False, verify=False, timeout=60)
            except httpx2.HTTPError as error:
                pytest.fail(f"{page}: {command}: {error!r}\n{server.output()}")
            assert answer.status_code < 500, f"{page}: {command}\n{server.output()}"
            if argv[0] == "bridge":
                try:  # it may say so after the socket is there
                    wait_until(
                        lambda: bool(re.search(r" on \w+ .*at http://", server.output())), START_TIMEOUT, ""
                    )
                except AssertionError:
                    pytest.fail(f"{page}: {command} does not say where it serves\n{server.output()}")


def test_examples_that_do_not_run_are_python_at_least() -> None:
    wrong = []
    for page in PAGES:
        for block in blocks_on(page):
            if block.kind == "python" and not block.runs:
                try:
                    ast.parse(block.text)
                except SyntaxError as error:
                    wrong.append(f"{page}:{block.line}: {error}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_blocks_are_found_where_they_are() -> None:
    """The reader of pages itself: fences, titles, comments, indentation, and what is not to run."""
    text = (
        'text\n\n```python title="a.py"\nx = 1\n```\n\n<!-- check\nassert x\n-->\n\n'
        "- a list\n\n    ```console no-run\n    $ ls\n    ```\n\n"
        "<!-- use: b.md -->\n```python no-run\ny\n```\n"
    )
    assert blocks_of(text) == [
        Block("python", "x = 1\n", 3, "a.py"),
        Block("check", "assert x\n", 7),
        Block("console", "$ ls\n", 13, "", False),
        Block("use", "b.md\n", 17),
        Block("python", "y\n", 18, "", False),
    ]


def test_a_wrong_check_fails_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests of all pages would pass whatever they say."""
    page = tmp_path / "wrong.md"
    page.write_text("# Wrong\n\n```python\nx = 1\n```\n\n<!-- check\nassert x == 2, 'planned'\n-->\n")
    with pytest.raises(AssertionError, match=r"(?s)wrong\.md.*line 8.*planned"):
        in_a_fresh_interpreter(str(page), tmp_path)


# --- commands

SERVERS: Mapping[str, Any] = {
    "bridge": lambda host, port: ["--port", str(port)],
    "uvicorn": lambda host, port: ["--port", str(port)],
    "hypercorn": lambda host, port: ["--bind", f"{host}:{port}"],
    "daphne": lambda host, port: ["--port", str(port)],
    "granian": lambda host, port: ["--port", str(port), "--workers-kill-timeout", "2"],
    "gunicorn": lambda host, port: ["--bind", f"{host}:{port}", "--no-control-socket"],
    "waitress-serve": lambda host, port: ["--host", host, "--port", str(port)],
    "uwsgi": lambda host, port: ["--http-socket", f"{host}:{port}"],
}
"""By program: what makes it listen where the test wants it to, and leave when the test is over."""

# Programs whose options are not looked up.
PLAIN = frozenset({".", "curl", "printf"})


def executable(program: str) -> list[str]:
    """The program beside this interpreter, as a user would call it; as a module if it is not there."""
    script = Path(sys.executable).parent / program
    return [str(script)] if script.exists() else [sys.executable, "-m", program]


def commands_of(block: Block) -> list[str]:
    """What stands behind the prompts of a console, one command each."""
    lines = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    return [part.strip() for line in lines for part in re.split(r"&&|\|", line)]


def commands_on(page: str) -> list[str]:
    return [command for block in blocks_on(page) if block.kind == "console" for command in commands_of(block)]


def served_commands(page: str) -> list[str]:
    return [
        command
        for block in blocks_on(page)
        if block.kind == "console" and block.runs
        for command in commands_of(block)
        if is_server(shlex.split(command)) or is_script(page, shlex.split(command))
    ]


def is_server(argv: list[str]) -> bool:
    """Whether a command serves; of bridge's own only one does."""
    return argv[0] in SERVERS and (argv[0] != "bridge" or argv[1] == "serve")


def is_script(page: str, argv: list[str]) -> bool:
    """Whether a command starts a script of its page that serves."""
    return argv == ["python", "serve.py"] and "serve.py" in {block.title for block in files_of(page)}


@functools.cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [*command, "--help"],
        cwd=ROOT,
        env={**environment(), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def click_command(program: str) -> Any:
    """The parser of a program that is built on click; `None` if it is built on something else."""
    if program == "uvicorn":
        return importlib.import_module("uvicorn.main").main
    if program == "granian":
        return importlib.import_module("granian.cli").cli
    return None


def check_command(argv: list[str]) -> None:
    """Fail if a command has an option that its program does not know, or names what is not there."""
    program, *arguments = argv
    if program in PLAIN:
        return
    program = Path(program).name
    if program in ("python", "python3"):
        check_python(arguments)
    elif program == "pip":
        check_extras(arguments)
    elif program in ("pytest", "ruff", "mypy", "mkdocs"):
        subcommand = [arguments[0]] if program in ("ruff", "mkdocs") else []
        if program == "pytest" and not any(each.name == "bridge" for each in entry_points(group="pytest11")):
            subcommand = ["-p", "bridge.testing.pytest_plugin"]  # run from a checkout that is not installed
        check_options(arguments, help_of(sys.executable, "-m", program, *subcommand))
        for argument in arguments:
            assert not argument.startswith("tests/") or (ROOT / argument).exists(), argument
    elif program == "mod_wsgi-express":  # an extra, which needs a C compiler
        if (Path(sys.executable).parent / program).exists():
            check_options(arguments, help_of(*executable(program), arguments[0]))
    elif argv[0].startswith(".ci/"):
        assert not arguments
        assert os.access(ROOT / argv[0], os.X_OK)
    elif program == "bridge" and arguments == ["--version"]:
        assert "--version" in help_of(*executable(program))
    elif program == "bridge":
        from bridge.cli import COMMANDS

        name = arguments.pop(0)
        command = importlib.import_module(COMMANDS[name][0]).command
        if name == "serve":
            command.make_context(name, arguments)  # raises for what it does not know
        else:  # the others look for the files that they are told to read
            known = " ".join(each for option in command.params for each in option.opts)
            check_options(
                arguments, known if name != "record" else known + help_of(*executable("bridge"), "serve")
            )
    elif program in SERVERS:
        parser = click_command(program)
        if parser is not None:
            parser.make_context(program, arguments)  # raises for what it does not know
        else:
            check_options(arguments, help_of(*executable(program)))
    else:
        pytest.fail(f"nobody knows how to check {program!r}")


def check_options(arguments: list[str], known: str) -> None:
    for argument in arguments:
        if argument.startswith("--"):
            option = argument.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", known), f"no option {option}"


def check_python(arguments: list[str]) -> None:
    if arguments[:2] == ["-m", "venv"] or arguments == ["serve.py"]:
        return
    if arguments[0] == "-m":
        check_options(arguments[2:], help_of(sys.executable, *arguments[:2]))
    else:
        check_options(arguments[1:], help_of(sys.executable, arguments[0]))


def check_extras(arguments: list[str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert arguments.pop(0) == "install"
    for argument in arguments:
        name, _, extras = argument.partition("[")
        if name == "wsgi-asgi-bridge" or name.startswith("."):
            for extra in filter(None, extras.rstrip("]").split(",")):
                assert re.search(rf"^{extra} = \[", project, re.M), f"no extra {extra!r}"


# One worker asks each program for its help, once.
COMMANDS_GROUP = pytest.mark.xdist_group("commands of the docs")


@COMMANDS_GROUP
@pytest.mark.parametrize("page", [page for page in PAGES if commands_on(page)])
def test_commands_have_only_options_that_exist(page: str) -> None:
    for command in commands_on(page):
        try:
            check_command(shlex.split(command))
        except Exception as error:
            pytest.fail(f"{page}: {command}: {error}")


@COMMANDS_GROUP
@pytest.mark.parametrize(
    "command",
    [
        "bridge serve app:app --no-such-option",
        "bridge serve app:app --interface cgi",
        "uvicorn app:app --no-such-option",
        "hypercorn app:app --no-such-option",
        "gunicorn app:app --worker-clas asgi",
        "waitress-serve --no-such-option app:app",
        "uwsgi --no-such-option app.ini",
        "pip install '.[no-such-extra]'",
        "python tests/support/conformance.py --no-such-option",
        "no-such-program",
    ],
)
def test_a_wrong_command_is_found(command: str) -> None:
    with pytest.raises((Exception, pytest.fail.Exception)):
        check_command(shlex.split(command))


@COMMANDS_GROUP
def test_the_options_of_the_serve_guide_are_in_its_help() -> None:
    """Options that stand in the running text of any page, behind `bridge serve`."""
    known = help_of(*executable("bridge"), "serve")
    text = (DOCS / "howto" / "serve.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named
    check_options(sorted(named), known)


# --- what is written down and can go stale


def test_defaults_are_as_written() -> None:
    """The pages on threads, uploads, streaming, lifespan, the shim, and the docstrings give these numbers."""
    from bridge.adapters import asgi_runtime, asgi_to_wsgi, input_reader, refusals, wsgi_input, wsgi_to_asgi
    from bridge.engines import crossing, thread_pool
    from bridge.serving import settings, uvicorn_server
    from bridge.shim import loop_call, reports, to_async
    from bridge.shim.iterate_in_thread import DEFAULT_READ_AHEAD as AHEAD_IN_THREAD
    from bridge.shim.iterate_on_loop import DEFAULT_READ_AHEAD as AHEAD_ON_LOOP

    assert wsgi_to_asgi.DEFAULT_PREBUFFER == 64 * 1024
    assert wsgi_to_asgi.DEFAULT_AHEAD == 256 * 1024
    assert wsgi_to_asgi.DEFAULT_SHUTDOWN_TIMEOUT == 10
    assert thread_pool.DEFAULT_THREADS == 40
    assert thread_pool.DEFAULT_STREAMS == 512
    assert thread_pool.STREAMING_LONG == 0.5
    assert wsgi_input._SPOOL_MEMORY == 1024 * 1024
    assert refusals.RETRY_AFTER == 1
    assert (settings.GRACE, uvicorn_server.GRACE_WITH_RELOAD) == (8, 1)
    assert asgi_to_wsgi.DEFAULT_AHEAD == 256 * 1024
    assert asgi_to_wsgi.DEFAULT_STARTUP_TIMEOUT == 60
    assert asgi_to_wsgi.DEFAULT_SHUTDOWN_TIMEOUT == 10
    assert asgi_to_wsgi.DEFAULT_DISCONNECT_GRACE == 5
    assert asgi_runtime._EXIT_GRACE == 0.5
    assert input_reader.PIECE == 64 * 1024
    assert crossing.LOOK == 1
    assert to_async.DEFAULT_THREADS == 40
    assert AHEAD_IN_THREAD == AHEAD_ON_LOOP == 16
    assert reports.UNUSUAL == 10
    assert (loop_call._CANCEL_GRACE, loop_call._PATIENCE) == (2, 3)


def generator() -> ModuleType:
    """docs/_generate.py, which mkdocs loads as a hook."""
    return load("bridge_docs_generate", DOCS / "_generate.py")


def test_every_environ_key_is_explained() -> None:
    """The table has what the adapter sets, and nothing else; both kinds of disagreement are found."""
    module = generator()
    table = module.environ_keys()
    for key in ("REQUEST_METHOD", "wsgi.input_terminated", "asgi.scope", "bridge.send_trailers", "SSL_*"):
        assert f"| `{key}` |" in table
    environ = module.environ_of(module.SCOPE)
    assert isinstance(environ, dict)
    names = [row["name"] for row in module._toml(DOCS / "_environ.toml")["key"]]
    with pytest.raises(module.GenerationError, match=r"not explained: wsgi\.new"):
        module._check_complete({**environ, "wsgi.new": 1}, names, "_environ.toml")
    with pytest.raises(module.GenerationError, match="not set by the adapter: HTTPS_OLD"):
        module._check_complete(environ, [*names, "HTTPS_OLD"], "_environ.toml")


def test_examples_of_losses_are_what_the_adapter_does() -> None:
    table = generator().environ_losses()
    assert "`HTTP_X_USER`: `'ada'`" in table
    assert "answered with 400" in table
    assert "no `HTTP_PROXY`" in table


def test_every_key_of_a_scope_is_explained() -> None:
    """The table has what the builder makes, and nothing else but the lifespan's state."""
    module = generator()
    table = module.scope_keys()
    for key in ("raw_path", "state", "wsgi_environ", 'extensions["http.response.trailers"]'):
        assert f"| `{key}` |" in table
    assert "b'/shop/caf%C3%A9/a%2Fb'" in table
    from bridge.translate.scope import ScopeBuilder

    scope, _ = ScopeBuilder().build(module.ENVIRON)
    names = [row["name"] for row in module._toml(DOCS / "_scope.toml")["key"]]
    assert sorted(names) == sorted([*module.flat(scope), "state"])
    with pytest.raises(module.GenerationError, match=r"_scope\.toml: not explained: new"):
        module._check_complete({**module.flat(scope), "state": {}, "new": 1}, names, "_scope.toml")


def test_examples_of_losses_of_an_environ_are_what_the_adapter_does() -> None:
    table = generator().scope_losses()
    assert "| `path`: `'/a/b'`<br>`raw_path`: `b'/a%2Fb'` |" in table
    assert "answered with 400" in table
    assert "no header `proxy`" in table
    assert "`client`: `('203.0.113.7', 0)`" in table


# Folders of the package that the design page names as a whole; the list of one is made from the code.
APART = ("commands", "serving", "testing")


def test_the_design_page_lists_every_module() -> None:
    text = (DOCS / "explanation" / "design.md").read_text(encoding="utf-8")
    package = ROOT / "bridge"
    missing = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if not path.name.startswith("_")
        and path.relative_to(package).parts[0] not in APART
        and f" {path.name} " not in text
    ]
    assert missing == []


@pytest.mark.timeout(PAGE_TIMEOUT)
@pytest.mark.parametrize("script", ["_compare.py", "_compare_asgi.py"], ids=["WSGIToASGI", "ASGIToWSGI"])
def test_the_comparison_says_of_bridge_what_bridge_does(script: str) -> None:
    """What it says of the others was true of the versions that it names; that is not asked again here."""
    done = subprocess.run(
        [sys.executable, str(DOCS / script), "bridge"],
        env={**environment(), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PAGE_TIMEOUT / 2,
        check=True,
    )
    answers = dict(line.split() for line in done.stdout.splitlines())
    module = load(f"bridge_docs{script.removesuffix('.py')}", DOCS / script)
    page = (DOCS / "explanation" / "comparison.md").read_text(encoding="utf-8")
    table = page.partition(module.BEGIN)[2].partition(module.END)[0]
    shown = dict(re.findall(r"^\| (?P<question>.+?) \| (?P<bridge>\**(?:yes|no)\**) \| ", table, re.M))
    questions = {name: each.question for name, each in module.PROBES.items()}
    assert answers.keys() == questions.keys()
    assert shown.keys() == set(questions.values()), f"run docs/{script} --write"
    wrong = {name for name, answer in answers.items() if shown[questions[name]].strip("*") != answer}
    assert wrong == set()


# --- links

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]^]+\]: (\S+)", re.M)


def test_links_within_the_project_lead_somewhere() -> None:
    """Anchors are mkdocs' business: it checks them while it builds."""
    lost = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
        for match in _LINK.finditer(text):
            link = urlsplit(match[1] or match[2])
            if link.scheme or link.netloc or not link.path:
                continue
            target = (ROOT / page).parent / link.path
            # The benchmark page is made by a run; until there is one, the site has a page that says so.
            if not target.exists() and target.resolve() != DOCS / "benchmarks.md":
                lost.append(f"{page}: {match[0]}")
    if lost:
        pytest.fail("\n".join(lost), pytrace=False)
