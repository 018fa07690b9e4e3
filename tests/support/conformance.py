"""Which requirement is proven by which test, read from the source of the tests without running them.

    python tests/support/conformance.py            the served MUST ids that no test names, one a line
    python tests/support/conformance.py --table FILE    writes the table for the documentation

A test names ids with `@pytest.mark.req("E-07", ...)`: as a decorator of the function or of its class,
in `pytestmark` of the module or the class, or as `marks=` of a `pytest.param(...)` in its parameters,
which may stand in a table of the same module or of one imported from `support`. A mark that no test
uses proves nothing and is not counted; neither is one on a test that is skipped or expected to fail.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
REQUIREMENTS = TESTS.parent / "docs" / "project" / "requirements.toml"

_NOT_PROVING = frozenset({"skip", "xfail"})
_ADAPTERS = frozenset({"WSGIToASGI", "ASGIToWSGI", "both"})
_LEVELS = frozenset({"MUST", "MUST NOT", "SHOULD", "MAY"})

SECTIONS = {
    "E": "The environ made from a scope",
    "W": "Running the WSGI app under ASGI",
    "S": "The scope made from an environ",
    "A": "Running the ASGI app under WSGI",
    "L": "Lifespan",
    "WS": "WebSocket",
    "X": "Extensions",
    "H": "Header and injection safety",
}


class ConformanceError(Exception):
    """The requirements or the marks cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Requirement:
    """One numbered requirement."""

    id: str
    level: str
    section: str
    adapter: str
    text: str
    served: bool

    @property
    def owed(self) -> bool:
        """Whether a test must name it: it binds, and the code it binds exists."""
        return self.served and self.level.startswith("MUST")

    @property
    def summary(self) -> str:
        """The first sentence or two: what is required, without sources and examples."""
        return re.split(
            r" (?=\*(?:[A-Z0-9]|bridge|validate|server|httpoxy|gunicorn|several)|Ex\.|Seen|Test)", self.text
        )[0]


@dataclass(frozen=True, order=True)
class Proof:
    """One test function, by the path of its file under `tests` and its qualified name."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.path}::{self.name}"


def load_requirements(path: Path = REQUIREMENTS) -> dict[str, Requirement]:
    """All requirements by id, in the order of the file."""
    # tomllib came with Python 3.11; before that pytest itself brings tomli.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    requirements: dict[str, Requirement] = {}
    for row in toml.loads(path.read_text(encoding="utf-8"))["requirement"]:
        requirement = Requirement(**{"served": False, **row})
        if requirement.id in requirements:
            raise ConformanceError(f"{path.name}: {requirement.id} stands there twice")
        if requirement.level not in _LEVELS or requirement.adapter not in _ADAPTERS:
            raise ConformanceError(f"{path.name}: {requirement.id} has an unknown level or adapter")
        if requirement.section != requirement.id.partition("-")[0]:
            raise ConformanceError(f"{path.name}: {requirement.id} is not of section {requirement.section}")
        requirements[requirement.id] = requirement
    return requirements


def marks_of(tests: Path = TESTS) -> dict[str, set[Proof]]:
    """The ids that the tests under `tests` name, each with the tests that name it."""
    modules = {
        path.relative_to(tests).with_suffix("").as_posix().replace("/", "."): _Module(path, tests)
        for path in sorted(tests.rglob("*.py"))
    }
    found: dict[str, set[Proof]] = {}
    for module in modules.values():
        for name, ids in module.tests(modules):
            for requirement_id in ids:
                found.setdefault(requirement_id, set()).add(Proof(module.path, name))
    return found


def unknown(requirements: Mapping[str, Requirement], marks: Mapping[str, set[Proof]]) -> list[str]:
    """A line for each id that a test names and no requirement has."""
    return [
        f"{requirement_id} (named by {', '.join(map(str, sorted(marks[requirement_id])))})"
        for requirement_id in sorted(marks)
        if requirement_id not in requirements
    ]


def missing(requirements: Mapping[str, Requirement], marks: Mapping[str, set[Proof]]) -> list[str]:
    """The served MUST ids that no test names."""
    return [each.id for each in requirements.values() if each.owed and not marks.get(each.id)]


def table(requirements: Mapping[str, Requirement], marks: Mapping[str, set[Proof]]) -> str:
    """The page of the documentation: each served requirement and the tests that prove it."""
    served = [each for each in requirements.values() if each.served]
    proven = sum(1 for each in served if marks.get(each.id))
    lines = [
        "# Conformance",
        "",
        "<!-- Made by tests/support/conformance.py from the tests and docs/project/requirements.toml. -->",
        "",
        f"{len(served)} requirements bind what exists today; tests name {proven} of them.",
        "Every MUST has one: the test suite fails otherwise.",
    ]
    for section in dict.fromkeys(each.section for each in served):
        lines += ["", f"## {section}: {SECTIONS[section]}", "", "| id | level | requirement | proven by |"]
        lines += ["|---|---|---|---|"]
        for each in served:
            if each.section == section:
                tests = "<br>".join(f"`{test}`" for test in sorted(marks.get(each.id, ()))) or "none"
                lines.append(
                    f"| {each.id} | {each.level} | {each.summary.replace('|', chr(92) + '|')} | {tests} |"
                )
    return "\n".join([*lines, ""])


@dataclass
class _Binding:
    """A top-level name of a module: the ids marked inside it, and where it is bound."""

    ids: list[str] = field(default_factory=list)
    nodes: list[ast.stmt] = field(default_factory=list)

    @cached_property
    def references(self) -> set[tuple[str, ...]]:
        """The names that it refers to. Of most bindings nobody asks, so they are read on demand."""
        return {reference for node in self.nodes for reference in _references(node)}


class _Module:
    """One source file, as far as marks go."""

    def __init__(self, path: Path, tests: Path) -> None:
        self.path = path.relative_to(tests).as_posix()
        source = path.read_text(encoding="utf-8")
        self._tree = ast.parse(source, str(path))
        # Most modules have no mark of their own, and need not be searched for any.
        self._has_marks = ".req(" in source
        # Name here -> (module, name there); the name is empty for a module as a whole.
        self._imports: dict[str, tuple[str, str]] = {}
        self._bindings: dict[str, _Binding] = {}
        for node in self._tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self._imports[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self._imports[alias.asname or alias.name] = (alias.name, "")
            else:
                for name in _bound_names(node):
                    binding = self._bindings.setdefault(name, _Binding())
                    # A test function is no table: what marks it proves that test alone.
                    if not name.startswith(("test", "Test")):
                        binding.ids += self._ids(node)
                        binding.nodes.append(node)

    def tests(self, modules: Mapping[str, _Module]) -> Iterator[tuple[str, list[str]]]:
        """Each test function with all ids that it names."""
        if self.path.rpartition("/")[2].startswith("test_"):
            yield from self._tests_in(
                self._tree.body, "", self._pytestmark(self._tree.body, modules), modules
            )

    def _tests_in(
        self, body: Sequence[ast.stmt], prefix: str, outer: list[str], modules: Mapping[str, _Module]
    ) -> Iterator[tuple[str, list[str]]]:
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                if not _is_marked(node.decorator_list, _NOT_PROVING):
                    ids = outer + self._resolve(node.decorator_list, modules)
                    ids += self._pytestmark(node.body, modules)
                    yield from self._tests_in(node.body, f"{prefix}{node.name}::", ids, modules)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
                if not _is_marked(node.decorator_list, _NOT_PROVING):
                    # A fixture's parameters may carry marks, too: an argument counts as its name.
                    fixtures = [ast.Name(argument.arg) for argument in node.args.args]
                    yield (
                        prefix + node.name,
                        outer + self._resolve([*node.decorator_list, *fixtures], modules),
                    )
            elif isinstance(node, (ast.If, ast.Try)):
                yield from self._tests_in([*node.body, *node.orelse], prefix, outer, modules)

    def _pytestmark(self, body: Sequence[ast.stmt], modules: Mapping[str, _Module]) -> list[str]:
        values = [
            node.value
            for node in body
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
        ]
        return self._resolve(values, modules)

    def _resolve(self, nodes: Iterable[ast.AST], modules: Mapping[str, _Module]) -> list[str]:
        """The ids in `nodes` and in every table that they refer to, here or in an imported module."""
        ids: list[str] = []
        seen: set[tuple[str, str]] = set()
        waiting: list[tuple[_Module, tuple[str, ...]]] = []
        for node in nodes:
            ids += self._ids(node)
            waiting += [(self, reference) for reference in _references(node)]
        while waiting:
            module, (name, *rest) = waiting.pop()
            if name in module._imports:
                target, there = module._imports[name]
                if f"{target}.{there}" in modules:  # `from support import tables`, then `tables.NAME`
                    target, there = f"{target}.{there}", ""
                name = there or (rest[0] if rest else "")
                if target not in modules:
                    continue
                module = modules[target]
            binding = module._bindings.get(name)
            if binding is not None and (module.path, name) not in seen:
                seen.add((module.path, name))
                ids += binding.ids
                waiting += [(module, reference) for reference in binding.references]
        return ids

    def _ids(self, root: ast.AST) -> list[str]:
        """The arguments of every `req(...)` mark under `root`, but for parameters that prove nothing."""
        ids: list[str] = []
        waiting = [root] if self._has_marks else []
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Call):
                if _is_marked(
                    [keyword.value for keyword in node.keywords if keyword.arg == "marks"], _NOT_PROVING
                ):
                    continue
                if _mark_name(node.func) == "req":
                    if not node.args or node.keywords:
                        raise ConformanceError(f"{self.path}:{node.lineno}: req() takes ids and nothing else")
                    for argument in node.args:
                        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                            raise ConformanceError(f"{self.path}:{node.lineno}: req() takes literal ids only")
                        ids.append(argument.value)
            waiting += ast.iter_child_nodes(node)
        return ids


def _bound_names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets: list[Any] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _references(root: ast.AST) -> set[tuple[str, ...]]:
    """Names that are read under `root`: `NAME` as one item, `module.NAME` as two."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(root):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add((node.value.id, node.attr))
        elif isinstance(node, ast.Name):
            found.add((node.id,))
    return found


def _mark_name(node: ast.AST) -> str | None:
    """`x` if the expression is `pytest.mark.x` or `mark.x`."""
    if isinstance(node, ast.Attribute):
        value = node.value
        name = (
            value.attr
            if isinstance(value, ast.Attribute)
            else value.id
            if isinstance(value, ast.Name)
            else None
        )
        if name == "mark":
            return node.attr
    return None


def _is_marked(nodes: Iterable[ast.AST], names: frozenset[str]) -> bool:
    """Whether one of `nodes` is one of these marks itself, or a list that holds one."""
    for node in nodes:
        if isinstance(node, (ast.List, ast.Tuple)):
            if _is_marked(node.elts, names):
                return True
        elif _mark_name(node.func if isinstance(node, ast.Call) else node) in names:
            return True
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if every served MUST is named by a test and no test names an unknown id."""
    parser = argparse.ArgumentParser(prog="conformance.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--table", metavar="FILE", type=Path, help="write the conformance page to FILE")
    parser.add_argument(
        "--missing", action="store_true", help="list unproven ids (the default without --table)"
    )
    options = parser.parse_args(arguments)
    try:
        requirements = load_requirements()
        marks = marks_of()
    except ConformanceError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    strangers = unknown(requirements, marks)
    for line in strangers:
        print(f"conformance: no such requirement: {line}", file=sys.stderr)
    if options.table is not None:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(table(requirements, marks), encoding="utf-8")
    gaps = missing(requirements, marks) if options.missing or options.table is None else []
    for gap in gaps:
        print(gap)
    return 1 if gaps or strangers else 0


if __name__ == "__main__":
    sys.exit(main())
