"""The layout of the package: who may import whom, what loads what, and what every module owes.

The rules are those of "Layout" in the design notes of the documentation. They are read from the
source by `ast`, so that an import inside a function counts as well. One test is one rule for all
modules; where it fails, it lists each module that breaks it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import bridge

# All of it reads the same syntax trees, which one worker keeps.
pytestmark = pytest.mark.xdist_group("layout")

PACKAGE = Path(str(bridge.__file__)).resolve().parent
TESTS = Path(__file__).resolve().parent

# Layer -> the layers that it may import, besides itself. A layer is a folder or a module directly
# under `bridge`; one that is not listed here breaks a test, so that a new one gets its rule.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "_version": frozenset(),
    "types": frozenset(),
    "exceptions": frozenset(),
    "lazy_names": frozenset(),
    "translate": frozenset(),
    "engines": frozenset(),
    "tracing": frozenset(),
    "adapters": frozenset({"translate", "engines"}),
    "websocket": frozenset({"translate", "engines"}),
    "shim": frozenset({"engines"}),
    "migration": frozenset({"translate", "adapters"}),
    "testing": frozenset({"translate", "engines", "adapters", "websocket", "shim", "migration", "tracing"}),
    "compat": frozenset({"adapters"}),
}
# What all may import, since it imports nothing of bridge itself.
VOCABULARY = frozenset({"_version", "types", "exceptions", "lazy_names"})
# The command line stands above everything and may import any layer.
COMMAND_LINE = frozenset({"cli", "commands", "serving", "__main__"})

# Of the standard library, what could wait or run something elsewhere has no place in a translation.
WAITING = frozenset(
    {
        "_thread",
        "asyncio",
        "concurrent",
        "multiprocessing",
        "queue",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
    }
)

# Library -> the modules that may import it (a trailing dot means everything below). All else is refused.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "asgiref": ("bridge.engines.asgiref_notes", "bridge.adapters.as_asgi"),
    "click": ("bridge.cli", "bridge.serving.", "bridge.commands."),
    "rich": ("bridge.testing.comparison.", "bridge.commands."),
    "uvicorn": ("bridge.cli", "bridge.serving.", "bridge.testing.servers."),
    "cheroot": ("bridge.serving.", "bridge.testing.servers."),
    "daphne": ("bridge.serving.",),
    "granian": ("bridge.serving.", "bridge.testing.servers."),
    "gunicorn": ("bridge.serving.",),
    "hypercorn": ("bridge.serving.", "bridge.testing.servers."),
    "twisted": ("bridge.serving.",),
    "waitress": ("bridge.serving.", "bridge.testing.servers."),
    "trio": ("bridge.engines.trio_port",),
    "wsproto": ("bridge.websocket.upgrade",),
    "werkzeug": ("bridge.testing.servers.",),
    "yaml": ("bridge.testing.sources.",),
    "pytest": ("bridge.testing.pytest_plugin",),
    "httpx2": ("bridge.testing.",),
    "hypothesis": ("bridge.testing.",),
}

# Modules without a test file of their own, and why.
NO_MIRROR = {
    "bridge": "re-exports only; this file checks them",
    "bridge.__main__": "one call; tests/test_cli.py runs it",
    "bridge._version": "one constant",
    "bridge.types": "aliases; mypy checks them wherever they are used",
}


@dataclass(frozen=True)
class Import:
    """One imported module, as an absolute name, and whether it is loaded with the importing module."""

    name: str
    eager: bool
    line: int

    @property
    def layer(self) -> str | None:
        """The layer of bridge that is imported: "" for the package itself, `None` if it is not bridge."""
        package, _, rest = self.name.partition(".")
        return rest.partition(".")[0] if package == "bridge" else None


@dataclass(frozen=True)
class Module:
    """One module of the package."""

    name: str
    path: Path

    @property
    def layer(self) -> str:
        """The first name below `bridge`; "" for the package itself."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__.py` of a folder."""
        return self.path.name == "__init__.py"


def _modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(("bridge", *(parts[:-1] if parts[-1] == "__init__" else parts)))
        found[name] = Module(name, path)
    return found


MODULES = _modules()


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed source of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports_of(module: Module) -> tuple[Import, ...]:
    """Everything that a module imports, wherever in it the statement stands."""
    found: list[Import] = []
    # Statements below these run later than the import of the module, or never.
    waiting: list[tuple[ast.AST, bool]] = [(tree_of(module.path), True)]
    while waiting:
        node, eager = waiting.pop()
        if isinstance(node, ast.Import):
            found += [Import(alias.name, eager, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [Import(name, eager, node.lineno) for name in _targets(module, node)]
        elif _runs_later(node):
            eager = False
        waiting += [(child, eager) for child in ast.iter_child_nodes(node)]
    return tuple(found)


def _runs_later(node: ast.AST) -> bool:
    """Whether what stands inside does not run when the module is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _targets(module: Module, node: ast.ImportFrom) -> list[str]:
    """The modules that a `from ... import ...` reads: submodules by their own name."""
    base = node.module or ""
    if node.level:
        package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
        package = package[: len(package) - node.level + 1]
        base = ".".join([*package, *([base] if base else [])])
    names = [f"{base}.{alias.name}" for alias in node.names]
    # A name that is no module is an attribute of the base.
    return [name if name in MODULES else base for name in names]


def assert_none(wrong: list[str], rule: str) -> None:
    """Fail with all that is wrong, however long the list, a line each."""
    if wrong:
        pytest.fail("\n".join([f"{rule}:", *wrong]), pytrace=False)


def imports_where(is_wrong: Callable[[Module, Import], bool]) -> list[str]:
    """Every import of every module for which this holds, as a line that says where it stands."""
    return [
        f"{module.name}, line {each.line}: {each.name}"
        for module in MODULES.values()
        for each in imports_of(module)
        if is_wrong(module, each)
    ]


def allowed(layer: str) -> frozenset[str]:
    """The layers that a module of `layer` may import."""
    if layer in VOCABULARY:
        return frozenset()
    if layer in COMMAND_LINE or layer == "":
        return frozenset(MAY_IMPORT) | COMMAND_LINE
    return MAY_IMPORT[layer] | {layer} | VOCABULARY


def test_every_module_belongs_to_a_known_layer() -> None:
    wrong = [each.name for each in MODULES.values() if each.layer not in {"", *MAY_IMPORT, *COMMAND_LINE}]
    assert_none(wrong, "give the new layer its rule in MAY_IMPORT")


def test_imports_point_downwards() -> None:
    wrong = imports_where(lambda module, each: bool(each.layer) and each.layer not in allowed(module.layer))
    assert_none(wrong, "not what MAY_IMPORT lets the layer import")


def test_names_come_from_the_module_that_defines_them() -> None:
    """Not from `bridge` itself, which would make every module depend on all others."""
    assert_none(imports_where(lambda module, each: each.layer == ""), "imported from bridge itself")


def test_only_the_entry_points_import_the_command_line() -> None:
    """`cli` is imported by `__main__` alone, and `testing` by the commands alone."""
    users = {"cli": {"__main__", "cli"}, "testing": {"cli", "commands", "testing"}}
    wrong = imports_where(
        lambda module, each: module.layer not in users.get(each.layer or "", {module.layer})
    )
    assert_none(wrong, "imports of the command line from below it")


def test_translations_import_nothing_that_waits() -> None:
    wrong = imports_where(
        lambda module, each: module.layer == "translate" and each.name.partition(".")[0] in WAITING
    )
    assert_none(wrong, "a translation that could wait")


def test_engines_know_nothing_of_http() -> None:
    """They move opaque items: no message types, no HTTP modules."""
    imported = imports_where(
        lambda module, each: module.layer == "engines" and each.name.partition(".")[0] in {"http", "urllib"}
    )
    literals = [
        f"{module.name}, line {node.lineno}: {node.value!r}"
        for module in MODULES.values()
        if module.layer == "engines"
        for node in ast.walk(tree_of(module.path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(("http.", "websocket.", "lifespan.", "wsgi.", "HTTP_"))
    ]
    assert_none([*imported, *literals], "HTTP in an engine")


def test_libraries_are_imported_where_they_belong() -> None:
    def is_stray(module: Module, each: Import) -> bool:
        library = each.name.partition(".")[0]
        if library in sys.stdlib_module_names or library in ("bridge", "__future__"):
            return False
        homes = LIBRARIES.get(library, ())
        return module.name not in homes and not any(
            home.endswith(".") and f"{module.name}.".startswith(home) for home in homes
        )

    assert_none(imports_where(is_stray), "not where LIBRARIES has it")


def test_the_import_graph_has_no_cycle() -> None:
    """Of imports that run with the module; one inside a function may close a circle."""
    graph = {
        name: {each.name for each in imports_of(module) if each.eager and each.name in MODULES}
        for name, module in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_module_has_its_test_file() -> None:
    """`bridge/a/b.py` has `tests/a/test_b.py`, or several `tests/a/test_b_*.py` if it needs many."""
    missing = []
    for module in MODULES.values():
        if module.is_package or module.name in NO_MIRROR:
            continue
        folder = TESTS.joinpath(*module.name.split(".")[1:-1])
        stem = module.path.stem
        if not (folder / f"test_{stem}.py").exists() and not any(folder.glob(f"test_{stem}_*.py")):
            missing.append(str(folder.relative_to(TESTS.parent) / f"test_{stem}.py"))
    assert_none(missing, "these test files are missing")


def test_the_exceptions_to_the_mirror_still_exist() -> None:
    assert_none(sorted(NO_MIRROR.keys() - MODULES.keys()), "these modules are gone")


def test_every_module_says_what_it_is_for() -> None:
    bare = [each.name for each in MODULES.values() if not ast.get_docstring(tree_of(each.path))]
    assert_none(bare, "modules without a docstring")


def test_everything_public_has_a_docstring() -> None:
    bare = [
        f"{module.name}.{node.name}"
        for module in MODULES.values()
        for node in tree_of(module.path).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not any(getattr(decorator, "id", "") == "overload" for decorator in node.decorator_list)
        and ast.get_docstring(node) is None
    ]
    assert_none(bare, "no docstring")


def test_what_users_call_is_documented() -> None:
    """Each public name, and each public method or property of it."""
    bare = []
    for name in bridge.__all__:
        exported = getattr(bridge, name)
        members = vars(exported) if inspect.isclass(exported) else {}
        bare += [name] if not inspect.getdoc(exported) else []
        bare += [
            f"{name}.{member}"
            for member in members
            if not member.startswith("_") and not inspect.getdoc(getattr(exported, member))
        ]
    assert_none(bare, "no docstring")


def test_all_of_bridge_is_truthful() -> None:
    """`__all__` lists every public name of the package, each exists, and none is a module by accident."""
    names = bridge.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(bridge, name)] == []
    public = {
        name
        for name, value in vars(bridge).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert public - set(names) == set()


def test_all_of_a_module_is_truthful() -> None:
    absent = []
    for module in MODULES.values():
        if "__all__" in {getattr(target, "id", "") for target in _assigned(tree_of(module.path))}:
            loaded = importlib.import_module(module.name)
            absent += [f"{module.name}.{name}" for name in loaded.__all__ if not hasattr(loaded, name)]
    assert_none(absent, "names in __all__ that do not exist")


def _assigned(tree: ast.Module) -> list[ast.expr]:
    return [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]


def in_a_fresh_interpreter(code: str, cwd: Path) -> str:
    """What `code` prints when it runs alone, far from the checkout."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        # The package under test, wherever it was imported from.
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_bridge_loads_no_optional_library(tmp_path: Path) -> None:
    """No server, no framework, no second async library: they are loaded on use."""
    libraries = sorted({*LIBRARIES, "flask", "django", "starlette", "anyio", "werkzeug"} - {"asgiref"})
    loaded = in_a_fresh_interpreter(
        f"import sys, bridge\nprint([each for each in {libraries!r} if each in sys.modules])", tmp_path
    )
    assert loaded.strip() == "[]"


@pytest.mark.req("W-30")
def test_importing_bridge_starts_no_thread(tmp_path: Path) -> None:
    """A server that forks after the import would lose it."""
    started = in_a_fresh_interpreter(
        "import _thread, threading\n"
        "started = []\n"
        "threading.Thread.start = lambda self: started.append(self)\n"
        "_thread.start_new_thread = lambda *a, **k: started.append(a)\n"
        "import bridge\n"
        "print(started)",
        tmp_path,
    )
    assert started.strip() == "[]"


def test_importing_bridge_loads_no_heavy_module_of_the_standard_library(tmp_path: Path) -> None:
    """`http.client` alone costs as much as the whole package."""
    loaded = in_a_fresh_interpreter(
        "import sys, bridge\n"
        "print([each for each in ('http.client', 'http.server', 'email', 'ssl', 'concurrent.futures',"
        " 'multiprocessing', 'unittest', 'sqlite3', 'asyncio') if each in sys.modules])",
        tmp_path,
    )
    assert loaded.strip() == "[]"
