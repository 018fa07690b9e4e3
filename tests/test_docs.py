"""The documentation: examples run, commands and options exist, links lead somewhere, the site builds.

In README.md and the pages under docs/,

- each ```python block runs, in a fresh interpreter and one namespace for the page. One with a
  `title="x.py"` is written to that file and imported. A title that no module can have, such as that of a
  configuration file, is written only;
- `<!-- check ... -->` holds Python that runs at its place in that namespace, and asserts what the example
  does. `get`, `request`, `serving` and `run` are there for it, see below;
- each command of a ```console block is looked up in its program's own help, and a server is started and
  asked for `/`. So is a script of the page that serves: it listens where its text says 8000;
- `no-run` behind the language of a block: the Python must compile, the options must exist, no more;
- a ```text block with `output` behind it shows what the last `run(...)` of a check printed: its lines are
  there in this order, perhaps with others between; `...` within a line stands for anything;
- `<!-- use: PAGE -->` takes the files of another page.

`python tests/test_docs.py PAGE` runs the examples of one page in the current folder.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest

import bridge

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"

# A page takes a few seconds, mostly for imports and servers that start and stop.
PAGE_TIMEOUT = 240


# --- what is in a page


class Block(NamedTuple):
    """One thing on a page that concerns the tests."""

    kind: str
    """The language of a fence; `check` or `use` for a comment."""
    text: str
    line: int
    title: str = ""
    runs: bool = True
    shows_output: bool = False


_PARTS = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<code>.*?)^ *(?P=fence)[ ]*$"
    r"|^<!-- (?P<comment>check|use:)\s(?P<inside>.*?)-->",
    re.M | re.S,
)


def blocks_of(text: str) -> list[Block]:
    """The fences and comments of a page, in order."""
    found = []
    for match in _PARTS.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["comment"]:
            found.append(Block(match["comment"].rstrip(":"), match["inside"].strip() + "\n", line))
        else:
            language, _, options = match["info"].strip().partition(" ")
            title = re.search(r'title="([^"]+)"', options)
            code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.M)
            words = options.split()
            found.append(
                Block(
                    language, code, line, title[1] if title else "", "no-run" not in words, "output" in words
                )
            )
    return found


def pages() -> list[str]:
    """All pages, by their path from the root of the checkout."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
    return [page.relative_to(ROOT).as_posix() for page in found]


PAGES = pages()


@functools.cache
def blocks_on(page: str) -> list[Block]:
    return blocks_of((ROOT / page).read_text(encoding="utf-8"))


def files_of(page: str) -> list[Block]:
    """The blocks of a page that are files, those that it takes from another page among them."""
    found = []
    for block in blocks_on(page):
        if block.kind == "use":
            found += files_of(f"docs/{block.text.strip()}")
        elif block.title:
            found.append(block)
    return found


def is_module(block: Block) -> bool:
    """Whether a file is one that can be imported, and not a configuration file."""
    return block.kind == "python" and all(
        part.isidentifier() for part in Path(block.title).with_suffix("").parts
    )


# --- for the checks on the pages


def is_wsgi(app: Any) -> bool:
    from bridge.translate.interface import Interface, interface_of

    return interface_of(app).interface is Interface.WSGI


def request(app: Any, method: str, url: str, content: Any = None, **options: Any) -> httpx2.Response:
    """Ask an app of either kind, in this process. Pieces as `content` make a body of unknown length."""
    if is_wsgi(app):
        from support.wsgi_client import client_for

        # Not strict: middleware of WSGI frameworks changes the environ.
        with client_for(app, strict=False) as browser:
            answered: httpx2.Response = browser.request(method, url, content=content, **options)
            return answered

    async def main() -> httpx2.Response:
        body = content
        if isinstance(content, Iterator):

            async def pieces() -> AsyncIterator[bytes]:
                for piece in content:
                    yield piece

            body = pieces()
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://app.test"
        ) as client:
            answer: httpx2.Response = await client.request(method, url, content=body, **options)
            return answer

    return asyncio.run(main())


def get(app: Any, url: str, **options: Any) -> httpx2.Response:
    """Ask an app by GET, in this process."""
    return request(app, "GET", url, **options)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[httpx2.Client]:
    """Serve an app, lifespan included, and give a client for it: on Uvicorn, or a threaded WSGI server."""
    if is_wsgi(app):
        with serving_wsgi(app) as client:
            yield client
        return
    import uvicorn

    config = uvicorn.Config(app, port=0, lifespan="on", log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "Uvicorn has not started"
            assert time.monotonic() < deadline, "Uvicorn does not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


@contextlib.contextmanager
def serving_wsgi(app: Any) -> Iterator[httpx2.Client]:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
        if isinstance(app, bridge.ASGIToWSGI):
            app.close()


def run_program(program: str, *arguments: str) -> tuple[int, str]:
    """The exit code of `bridge` or `pytest`, run in the current folder, and all that it printed."""
    command = [sys.executable, "-m", program, *arguments]
    if program == "pytest":
        # Only bridge's plugin, by its module, since in a checkout it is not installed.
        command += ["-p", "bridge.testing.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PAGE_TIMEOUT / 4,
        check=False,
    )
    return done.returncode, done.stdout


def assert_shown(text: str, printed: str) -> None:
    """Fail unless every line of `text` was printed, in this order."""
    lines = iter(printed.splitlines())
    for line in filter(None, map(str.rstrip, text.splitlines())):
        pattern = ".*".join(map(re.escape, line.split("...")))
        assert any(re.fullmatch(pattern, each.rstrip()) for each in lines), f"not printed: {line}\n{printed}"


# --- examples


def run_page(page: str) -> None:
    """Run the examples of a page, here and now. A traceback shows the page and its lines."""
    sys.path.insert(0, os.getcwd())
    printed: list[str] = []

    def run(program: str, *arguments: str) -> int:
        code, text = run_program(program, *arguments)
        printed.append(text)
        return code

    namespace: dict[str, Any] = {
        "__name__": "page",
        "get": get,
        "request": request,
        "serving": serving,
        "run": run,
    }
    for block in files_of(page):
        if block not in blocks_on(page):
            Path(block.title).write_text(block.text, encoding="utf-8")
    for block in blocks_on(page):
        if block.title:
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.shows_output:
            assert_shown(block.text, printed[-1])
        if block.kind not in ("python", "check") or not block.runs:
            continue
        if block.title:
            if is_module(block):
                importlib.invalidate_caches()
                importlib.import_module(path.with_suffix("").as_posix().replace("/", "."))
            else:
                compile(block.text, block.title, "exec")
        else:
            # So that a traceback counts lines as the page does; the block begins below its fence.
            code = compile("\n" * block.line + block.text, str(ROOT / page), "exec")
            exec(code, namespace)


def in_a_fresh_interpreter(page: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, page],
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


def environment() -> dict[str, str]:
    """This process's variables, without a server's, and with the package that is under test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "DJANGO_"))}
    return {**kept, "PYTHONPATH": str(Path(bridge.__file__).parent.parent)}


def has_something_to_run(page: str) -> bool:
    return any(block.runs and block.kind in ("python", "check", "use") for block in blocks_on(page))


@pytest.mark.timeout(PAGE_TIMEOUT)
@pytest.mark.parametrize("page", [page for page in PAGES if has_something_to_run(page)])
def test_the_examples_of_a_page_do_what_it_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python runs and holds what is checked; then each server command serves the page's files."""
    from support.served import HOST, run_server

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
                answer = httpx2.get(f"http://{HOST}:{server.address[1]}/", trust_env=False, timeout=20)
            except httpx2.HTTPError as error:
                pytest.fail(f"{page}: {command}: {error!r}\n{server.output()}")
            assert answer.status_code < 500, f"{page}: {command}\n{server.output()}"
            if argv[0] == "bridge":
                # With --reload it is a child that says so, perhaps after the socket is there.
                assert re.search(r" on \w+ .*at http://", server.output()), (
                    f"{page}: {command}\n{server.output()}"
                )


@pytest.mark.parametrize("page", PAGES)
def test_examples_that_do_not_run_are_python_at_least(page: str) -> None:
    for block in blocks_on(page):
        if block.kind == "python" and not block.runs:
            ast.parse(block.text, f"{page}:{block.line}")


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
    elif program == "run" and argv[0] == ".ci/run":
        assert (ROOT / argv[0]).exists()
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


@pytest.mark.parametrize("page", [page for page in PAGES if commands_on(page)])
def test_commands_have_only_options_that_exist(page: str) -> None:
    for command in commands_on(page):
        try:
            check_command(shlex.split(command))
        except Exception as error:
            pytest.fail(f"{page}: {command}: {error}")


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


def load(name: str, path: Path) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


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
def test_the_comparison_says_of_bridge_what_bridge_does() -> None:
    """What it says of the others was true of the versions that it names; that is not asked again here."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "_compare.py"), "bridge"],
        env={**environment(), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PAGE_TIMEOUT / 2,
        check=True,
    )
    answers = dict(line.split() for line in done.stdout.splitlines())
    module = load("bridge_docs_compare", DOCS / "_compare.py")
    page = (DOCS / "explanation" / "comparison.md").read_text(encoding="utf-8")
    table = page.partition(module.BEGIN)[2].partition(module.END)[0]
    shown = dict(re.findall(r"^\| (?P<question>.+?) \| (?P<bridge>\**(?:yes|no)\**) \| ", table, re.M))
    questions = {name: each.question for name, each in module.PROBES.items()}
    assert answers.keys() == questions.keys()
    assert shown.keys() == set(questions.values()), "run docs/_compare.py --write"
    wrong = {name for name, answer in answers.items() if shown[questions[name]].strip("*") != answer}
    assert wrong == set()


@pytest.mark.timeout(PAGE_TIMEOUT)
def test_the_comparison_of_the_other_direction_says_what_bridge_does() -> None:
    """Likewise for `ASGIToWSGI`."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "_compare_asgi.py"), "bridge"],
        env={**environment(), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PAGE_TIMEOUT / 2,
        check=True,
    )
    answers = dict(line.split() for line in done.stdout.splitlines())
    module = load("bridge_docs_compare_asgi", DOCS / "_compare_asgi.py")
    page = (DOCS / "explanation" / "comparison.md").read_text(encoding="utf-8")
    table = page.partition(module.BEGIN)[2].partition(module.END)[0]
    shown = dict(re.findall(r"^\| (?P<question>.+?) \| (?P<bridge>\**(?:yes|no)\**) \| ", table, re.M))
    questions = {name: each.question for name, each in module.PROBES.items()}
    assert answers.keys() == questions.keys()
    assert shown.keys() == set(questions.values()), "run docs/_compare_asgi.py --write"
    wrong = {name for name, answer in answers.items() if shown[questions[name]].strip("*") != answer}
    assert wrong == set()


# --- links and the site

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]^]+\]: (\S+)", re.M)


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    """Anchors are mkdocs' business: it checks them while it builds."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    lost = []
    for match in _LINK.finditer(text):
        link = urlsplit(match[1] or match[2])
        if link.scheme or link.netloc or not link.path:
            continue
        target = (ROOT / page).parent / link.path
        # The benchmark page is made by a run; until there is one, the site has a page that says so.
        if not target.exists() and target.resolve() != DOCS / "benchmarks.md":
            lost.append(match[0])
    assert lost == []


@pytest.mark.timeout(PAGE_TIMEOUT)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [*executable("mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**environment(), "NO_MKDOCS_2_WARNING": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PAGE_TIMEOUT / 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    built = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert {"index.html", "tutorial/index.html", "benchmarks/index.html"} <= built
    assert not [name for name in built if name.endswith((".py", ".toml", ".md"))]
    texts = {name: (site / name).read_text(encoding="utf-8") for name in built if name.endswith(".html")}
    for name, text in texts.items():
        for left in ("<!-- check ", "<!-- check\n", "<!-- use:", "<!-- generate", "```", "--8&lt;--"):
            assert left not in text, f"{left!r} is left in {name}"
    assert 'id="e-07"' in texts["project/conformance/index.html"]
    assert "bridge.send_trailers" in texts["reference/environ/index.html"]
    assert "wsgi_environ" in texts["reference/scope/index.html"]
    assert "disconnect_grace" in texts["reference/asgi-to-wsgi/index.html"]
    assert "start_response" in texts["reference/asgi-to-wsgi/index.html"]
    assert "shutdown_timeout" in texts["reference/wsgi-to-asgi/index.html"]
    assert "oldest_wait" in texts["reference/thread-pool/index.html"]
    assert "--threads" in texts["reference/command-line/index.html"]
    # Nothing is fetched from elsewhere when a page is read.
    for name, text in texts.items():
        fetched = re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="(https?://[^"]+)"', text)
        assert fetched == [], f"{name} fetches {fetched}"


if __name__ == "__main__":
    run_page(sys.argv[1])
