"""Makes what the documentation takes from code and tests; mkdocs calls it as a hook.

A page says `<!-- generate: NAME -->` where the result of `GENERATORS[NAME]` belongs:

    environ-keys       every environ key: where it comes from, an example, the requirement behind it
    environ-losses     what of a scope does not come through, with the scope and the environ side by side
    scope-keys         the same for the other direction: every key of a scope
    scope-losses       what of an environ does not come through
    exception-tree     every exception, from the docstring of bridge.exceptions
    exceptions, types  an entry for each public name of that module, for mkdocstrings to fill in
    testing-modules    each module of bridge.testing with the first line of its docstring
    serve-help         the output of `bridge serve --help`; likewise check-help and so on
    requirements       each requirement and the tests that prove it, from tests/support/conformance.py

The examples are not written down anywhere: they are what the adapters make of a scope or an environ
while the site is built. A key that an adapter sets and `_environ.toml` or `_scope.toml` does not explain
fails the build, and so does one that is explained and not set.

Comments of the form `<!-- check ... -->` and `<!-- use: PAGE -->`, and the words `no-run` and `output`
behind the name of a language, are for tests/test_docs.py, which runs the examples. They are taken out here.
"""

from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import importlib.util
import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from bridge import ASGIToWSGI, WSGIToASGI, exceptions, types
from bridge.cli import COMMANDS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BENCHMARKS = "benchmarks.md"
CONFORMANCE_PAGE = "../project/conformance.md"

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "2",
    "method": "POST",
    "scheme": "https",
    "path": "/shop/caf\u00e9/a/b",
    "raw_path": b"/shop/caf%C3%A9/a%2Fb",
    "query_string": b"page=2",
    "root_path": "/shop",
    "headers": [
        (b"host", b"shop.example"),
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"accept", b"text/html"),
        (b"accept", b"application/json"),
        (b"cookie", b"sid=7"),
        (b"cookie", b"theme=dark"),
    ],
    "client": ("203.0.113.7", 51234),
    "server": ("192.0.2.10", 443),
    "state": {},
    "extensions": {
        "tls": {
            "server_cert": "-----BEGIN CERTIFICATE-----",
            "client_cert_chain": ["-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"],
            "client_cert_name": "CN=ada",
            "client_cert_error": None,
            "tls_version": 0x0304,
            "cipher_suite": 0x1301,
        },
        "http.response.early_hint": {},
        "http.response.trailers": {},
    },
}
"""The request of the examples: it has everything that an environ key can come from."""


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "/shop",
    "PATH_INFO": "/caf\u00c3\u00a9/a/b",
    "QUERY_STRING": "page=2",
    "REQUEST_URI": "/shop/caf%C3%A9/a%2Fb?page=2",
    "SERVER_PROTOCOL": "HTTP/2.0",
    "SERVER_NAME": "192.0.2.10",
    "SERVER_PORT": "443",
    "REMOTE_ADDR": "203.0.113.7",
    "REMOTE_PORT": "51234",
    "CONTENT_TYPE": "application/json",
    "CONTENT_LENGTH": "2",
    "HTTP_HOST": "shop.example",
    "HTTP_ACCEPT": "text/html,application/json",
    "HTTP_COOKIE": "sid=7; theme=dark",
    "SSL_PROTOCOL": "TLSv1.3",
    "SSL_CLIENT_S_DN": "CN=ada",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.early_hints": lambda headers: None,
    "gunicorn.http2.send_trailers": lambda headers: None,
}
"""The same request for the other direction: it has everything that a key of a scope can come from."""


class GenerationError(Exception):
    """What is written down does not agree with the code; the message says what to change."""


# --- asking the adapter


def environ_of(scope: Mapping[str, Any]) -> dict[str, Any] | int:
    """The environ that an application gets for `scope`, or the status with which it is refused."""
    seen: dict[str, Any] = {}
    statuses: list[int] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    adapter = WSGIToASGI(application, threads=2)
    asyncio.run(adapter(copy.deepcopy(dict(scope)), receive, send))
    adapter.pool.close()
    return seen or statuses[0]


def scope_of(environ: Mapping[str, Any]) -> dict[str, Any] | int:
    """The scope that an application gets for `environ`, or the status with which it is refused."""
    seen: dict[str, Any] = {}
    statuses: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["started"] = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.update(scope)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)

    with ASGIToWSGI(application) as adapter:
        body: Any = adapter({"wsgi.input": io.BytesIO(b"{}"), **environ}, start_response)
        list(body)
        body.close()
    return seen or int(statuses[0].partition(" ")[0])


def flat(scope: Mapping[str, Any]) -> dict[str, Any]:
    """A scope with each of its extensions as a key, as the tables name them."""
    extensions = {f'extensions["{name}"]': value for name, value in scope["extensions"].items()}
    return {**scope, **extensions}


# --- the tables


def environ_keys() -> str:
    """A table for each group of keys in `_environ.toml`."""
    environ = environ_of(SCOPE)
    assert isinstance(environ, dict), "the request of the examples was refused"
    rows = _toml(DOCS / "_environ.toml")["key"]
    _check_complete(environ, [row["name"] for row in rows], "_environ.toml")
    head = ["| key | comes from | in the example | what to know | requirement |", "|---|---|---|---|---|"]
    lines: list[str] = []
    group = None
    for row in rows:
        if row.get("group", group) != group:
            group = row["group"]
            lines += ["", f"## {group}", "", *head]
        example = row.get("example") or _examples(environ, row["name"])
        note, proofs = row.get("note", ""), _proofs(row["reqs"])
        lines.append(_row(f"`{row['name']}`", row["from"], example, note, proofs))
    return "\n".join(lines)


def environ_losses() -> str:
    """What does not come through unchanged: a scope, and what the adapter makes of it."""
    lines = ["| what | in the scope | in the environ | why | requirement |", "|---|---|---|---|---|"]
    for row in _toml(DOCS / "_environ.toml")["loss"]:
        change = ast.literal_eval(row["scope"])
        environ = environ_of({**SCOPE, **change})
        shown = [f"`{name}`: {_code(value)}" for name, value in change.items()]
        if isinstance(environ, int):
            made = f"none: answered with {environ}"
        else:
            made = "<br>".join(
                f"`{name}`: {_code(environ[name])}" if name in environ else f"no `{name}`"
                for name in row["show"]
            )
        lines.append(_row(row["what"], "<br>".join(shown), made, row["why"], _proofs(row["reqs"])))
    return "\n".join(lines)


def scope_keys() -> str:
    """A table for each group of keys in `_scope.toml`."""
    scope = scope_of(ENVIRON)
    assert isinstance(scope, dict), "the request of the examples was refused"
    shown = flat(scope)
    rows = _toml(DOCS / "_scope.toml")["key"]
    _check_complete(shown, [row["name"] for row in rows], "_scope.toml")
    head = ["| key | comes from | in the example | what to know | requirement |", "|---|---|---|---|---|"]
    lines: list[str] = []
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines += ["", f"## {group}", "", *head]
        example = row.get("example") or _code(shown[row["name"]])
        lines.append(
            _row(f"`{row['name']}`", row["from"], example, row.get("note", ""), _proofs(row["reqs"]))
        )
    return "\n".join(lines)


def scope_losses() -> str:
    """What does not come through unchanged: an environ, and what the adapter makes of it."""
    lines = ["| what | in the environ | in the scope | why | requirement |", "|---|---|---|---|---|"]
    for row in _toml(DOCS / "_scope.toml")["loss"]:
        change = ast.literal_eval(row["environ"])
        scope = scope_of({key: value for key, value in {**ENVIRON, **change}.items() if value is not None})
        shown = [f"`{key}`: {'absent' if value is None else _code(value)}" for key, value in change.items()]
        if isinstance(scope, int):
            made = f"none: answered with {scope}"
        else:
            made = "<br>".join(_shown(scope, name) for name in row["show"])
        lines.append(_row(row["what"], "<br>".join(shown), made, row["why"], _proofs(row["reqs"])))
    return "\n".join(lines)


def _shown(scope: Mapping[str, Any], name: str) -> str:
    """A key of a scope, or `headers: x`, and what it holds."""
    key, _, header = name.partition(": ")
    if not header:
        return f"`{key}`: {_code(scope[key])}"
    values = [value for known, value in scope["headers"] if known == header.encode("ascii")]
    return f"`{header}`: " + ", ".join(map(_code, values)) if values else f"no header `{header}`"


def requirements() -> str:
    """The conformance table without its own heading, with an anchor at each id, its tests folded up."""
    tool = conformance()
    text: str = tool.table(tool.load_requirements(), tool.marks_of())
    return re.sub(r"^\| ([A-Z]+-\d+) \|(.*)\| (.*) \|$", _requirement, text.partition("\n")[2], flags=re.M)


def _requirement(match: re.Match[str]) -> str:
    """One row of that table."""
    requirement_id, middle, tests = match.groups()
    count = tests.count("`") // 2
    if count:
        folded = f"<summary>{count} {'test' if count == 1 else 'tests'}</summary>{tests}"
        tests = f"<details>{folded}</details>"
    return f"| {requirement_id} {{ #{requirement_id.lower()} }} |{middle}| {tests} |"


def exception_tree() -> str:
    """The tree at the top of `bridge/exceptions.py`."""
    tree = textwrap.dedent((exceptions.__doc__ or "").partition("\n\n")[2]).strip()
    return f"```text\n{tree}\n```"


def entries(module: ModuleType) -> str:
    """`::: name` for each public name that `module` itself defines, in the order of the source."""
    names = []
    for node in ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return "\n\n".join(f"::: {module.__name__}.{name}" for name in names if not name.startswith("_"))


def testing_modules() -> str:
    """A table of the modules of `bridge.testing`, by folder."""
    package = ROOT / "bridge" / "testing"
    lines = ["| | |", "|---|---|"]
    # The folders first, each headed by what its `__init__.py` says.
    for path in sorted(package.rglob("*.py"), key=lambda each: (each.parent == package, each.as_posix())):
        if path == package / "__init__.py":
            continue
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        name = path.relative_to(package).as_posix()
        if path.name == "__init__.py":
            lines.append(f"| **{path.parent.name}/** | **{summary}** |")
        else:
            lines.append(f"| `{name}` | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def command_help(name: str) -> str:
    """What `bridge NAME --help` prints, where Uvicorn is installed, whose options some commands have."""
    if importlib.util.find_spec("uvicorn") is None:
        return f"This copy of the documentation was made without Uvicorn. Run `bridge {name} --help`."
    import click

    command: click.Command = importlib.import_module(COMMANDS[name][0]).command
    context = click.Context(command, info_name=f"bridge {name}", max_content_width=96, terminal_width=96)
    text = command.get_help(context)
    if name != "serve":
        text = text.partition("\n\nOptions of Uvicorn:")[0]
    return f"```text\n{text}\n```"


GENERATORS: dict[str, Callable[[], str]] = {
    "environ-keys": environ_keys,
    "environ-losses": environ_losses,
    "scope-keys": scope_keys,
    "scope-losses": scope_losses,
    "exception-tree": exception_tree,
    "exceptions": lambda: entries(exceptions),
    "types": lambda: entries(types),
    "requirements": requirements,
    "testing-modules": testing_modules,
    **{f"{name}-help": partial(command_help, name) for name in COMMANDS},
}


def conformance() -> ModuleType:
    """The tool that knows the requirements and reads which test proves which."""
    path = ROOT / "tests" / "support" / "conformance.py"
    name = "bridge_docs_conformance"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def _toml(path: Path) -> dict[str, Any]:
    # tomllib came with Python 3.11.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    content: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    return content


def _check_complete(made: Mapping[str, Any], names: Iterable[str], file: str) -> None:
    patterns = [re.compile(re.escape(name).replace(r"\*", ".+")) for name in names]
    unexplained = [key for key in made if not any(pattern.fullmatch(key) for pattern in patterns)]
    unset = [pattern.pattern for pattern in patterns if not any(map(pattern.fullmatch, made))]
    if unexplained or unset:
        raise GenerationError(
            f"docs/{file}: not explained: {', '.join(unexplained) or 'none'}; "
            f"explained, but not set by the adapter: {', '.join(unset) or 'none'}"
        )


def _examples(environ: Mapping[str, Any], name: str) -> str:
    if "*" not in name:
        return _code(environ[name])
    pattern = re.compile(re.escape(name).replace(r"\*", ".+"))
    return "<br>".join(f"`{key}`: {_code(value)}" for key, value in environ.items() if pattern.fullmatch(key))


def _code(value: object) -> str:
    """A value as code; beyond ASCII in escapes, so that it can be seen which characters there are."""
    return f"`{value!a}`"


_SOURCES = re.compile(r"(?<!\*)\*((?:[A-Z0-9]|bridge|validate|server|httpoxy|gunicorn)[^*]*)\*")


def _proofs(ids: Iterable[str]) -> str:
    """Links to requirements, each with the clauses that it rests on."""
    known = conformance().load_requirements()
    parts = []
    for requirement_id in ids:
        if requirement_id not in known:
            raise GenerationError(f"there is no requirement {requirement_id}, which a table names")
        # The sources stand in italics after what is required; C-nn are entries of a register of choices.
        sources = _SOURCES.findall(known[requirement_id].text)
        clauses = [re.sub(r"; C-\d+|C-\d+; |^C-\d+", "", source).rstrip(". ") for source in sources]
        told = "; ".join(filter(None, clauses)) or ("where sources differ" if sources else "")
        link = f"[{requirement_id}]({CONFORMANCE_PAGE}#{requirement_id.lower()})"
        parts.append(f"{link} ({told})" if told else link)
    return "<br>".join(parts)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in cells) + " |"


# --- mkdocs

_PLACEHOLDER = re.compile(r"^<!-- generate: ([a-z-]+) -->$", re.M)
_CHECK = re.compile(r"^<!-- (?:check|use:)\s.*?-->\n?", re.M | re.S)
_FOR_TESTS = re.compile(r"^( *```+ *\w+) (?:no-run|output)\b", re.M)


def on_files(files: Any, config: Any) -> Any:
    """Where nobody has measured, say so, instead of failing on the links to the benchmark page."""
    if files.get_file_from_path(BENCHMARKS) is None:
        from mkdocs.structure.files import File

        text = (
            "# Benchmarks\n\nNothing was measured for this copy of the documentation. "
            "`python -m benchmarks --write-docs` measures, and writes this page."
        )
        files.append(File.generated(config, BENCHMARKS, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in what is generated, and take out what is for the tests."""
    markdown = _PLACEHOLDER.sub(lambda match: GENERATORS[match[1]](), markdown)
    return _FOR_TESTS.sub(r"\1", _CHECK.sub("", markdown))
