"""The pages of the documentation, and what runs their examples: by itself, without the test suite.

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

`python tests/support/doc_pages.py PAGE` runs the examples of one page in the current folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import bridge

# Of other libraries only what a page needs is loaded: there are fifty of them, each in a process of its own.
if TYPE_CHECKING:
    import httpx2

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"

# A page takes a few seconds, mostly for imports and servers that start and stop. On a busy machine it takes
# many times as long.
PAGE_TIMEOUT = 600


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

    import httpx2

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


def client_of(port: int) -> httpx2.Client:
    """A client for what listens here. It reads no certificates, which takes long."""
    import httpx2

    return httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False, timeout=30)


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
        with client_of(port) as client:
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
        with client_of(server.port) as client:
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


def load(name: str, path: Path) -> ModuleType:
    """A script as a module, made once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def assert_shown(text: str, printed: str) -> None:
    """Fail unless every line of `text` was printed, in this order."""
    lines = iter(printed.splitlines())
    for line in filter(None, map(str.rstrip, text.splitlines())):
        pattern = ".*".join(map(re.escape, line.split("...")))
        assert any(re.fullmatch(pattern, each.rstrip()) for each in lines), f"not printed: {line}\n{printed}"


# --- running them


def environment() -> dict[str, str]:
    """This process's variables, without a server's, and with the package that is under test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "DJANGO_"))}
    return {**kept, "PYTHONPATH": str(Path(bridge.__file__).parent.parent)}


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
    try:
        _run_blocks(page, namespace, printed)
    except BaseException:
        if printed:
            print(f"the last that was run printed:\n{printed[-1]}")
        raise


def _run_blocks(page: str, namespace: dict[str, Any], printed: list[str]) -> None:
    """What stands in a page, from top to bottom; `printed` grows with what is run."""
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
            code = compile("\n" * block.line + block.text, str(ROOT / page), "exec", dont_inherit=True)
            exec(code, namespace)


if __name__ == "__main__":
    # What a page imports is its own, or on the path of the tests; not what lies beside this file.
    sys.path[0] = str(TESTS)
    run_page(sys.argv[1])
