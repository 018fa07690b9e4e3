"""What to tell somebody whose target names no app: what was looked for, what is there, what to type.

Files nearby are read, never imported: an error message must not run anybody's code. Modules that the
target itself named have been imported already, so these are looked at as they are.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..translate.interface import Interface, describe, interface_of

# A search for apps nearby ends after so many files, levels of folders, and bytes of one file: it
# must be quick in a home directory too.
_MOST_FILES = 200
_MOST_LEVELS = 3
_MOST_BYTES = 256 * 1024
# Longer lists help nobody.
_MOST_SHOWN = 5

_PASSED_OVER = frozenset(
    {"__pycache__", "node_modules", "site-packages", "tests", "test", "docs", "build", "dist"}
)

_MAKERS = frozenset(
    {
        "API",
        "App",
        "Bottle",
        "Dash",
        "FastAPI",
        "Flask",
        "Litestar",
        "ProtocolTypeRouter",
        "Quart",
        "Sanic",
        "Starlette",
        "WSGIToASGI",
        "get_asgi_application",
        "get_wsgi_application",
        "make_wsgi_app",
    }
)
"""What frameworks call the function or class that makes an app, for files that are not imported."""

_HOLDERS = ("app", "application", "wsgi_app", "asgi_app", "server", "wsgi", "asgi")
"""Where objects that are no app keep the app that they manage; Dash has it under `server`."""


def for_missing_module(name: str, rest: str, default_names: Sequence[str]) -> str:
    """There is no module `name`; `rest` is what follows it in the target."""
    parts = name.split(".")
    length = next((n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) not in sys.modules), len(parts))
    missing = ".".join(parts[:length])
    parent = sys.modules.get(".".join(parts[: length - 1])) if length > 1 else None
    if parent is None:
        siblings = sorted(_modules_in(Path.cwd()))
        message = _Message(f"there is no module {missing!r} in {Path.cwd()} or elsewhere on the Python path")
    else:
        siblings = sorted(_submodules(parent))
        message = _Message(f"there is no module {missing!r}: {parent.__name__} is {_origin(parent)}")
        if hasattr(parent, parts[length - 1]):
            # shop.app.app for shop.app:app
            dotted = ".".join(parts[length - 1 :])
            message.found(f"{parent.__name__} has the attribute {parts[length - 1]!r}")
            message.type(f"{parent.__name__}:{dotted}{rest.replace(':', '.', 1)}")
            return str(message)
    for similar in _similar(parts[length - 1], siblings):
        corrected = ".".join([*parts[: length - 1], similar, *parts[length:]])
        message.found(f"a module {'.'.join([*parts[: length - 1], similar])!r}")
        message.type(f"{corrected}{rest}")
    if message.has_suggestion:
        return str(message)
    if siblings:
        message.found(f"the modules {_listed(siblings)}")
    return str(message.with_apps_in(Path.cwd(), default_names))


def for_missing_file(path: Path, rest: str, default_names: Sequence[str]) -> str:
    """`path` is no file; `rest` is what follows it in the target."""
    if path.is_dir():
        message = _Message(f"{path} is a folder, not a file")
        return str(message.with_apps_in(path, default_names))
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    message = _Message(f"there is no file {path}")
    if folder != path.parent:
        message.found(f"no folder {path.parent} in {folder.resolve()}")
        return str(message.with_apps_in(folder, default_names))
    files = sorted(entry.stem for entry in folder.iterdir() if entry.suffix == ".py")
    for similar in _similar(path.stem, files):
        message.found(f"a file {folder / similar}.py")
        message.type(f"{folder / similar}.py{rest}")
    if message.has_suggestion:
        return str(message)
    if files:
        message.found(f"in {folder.resolve()}: {_listed([f'{stem}.py' for stem in files])}")
    return str(message.with_apps_in(folder, default_names))


def for_missing_attribute(module: ModuleType, holder: str, value: Any, name: str) -> str:
    """`value`, which is called `holder`, has no attribute `name`."""
    message = _Message(f"{holder} ({_origin(value)}) has no attribute {name!r}")
    prefix = f"{holder}:" if value is module else f"{holder}."
    if value is module and name in _submodules(module):
        message.found(f"a module {holder}.{name}")
        message.type(f"{holder}.{name}")
        return str(message)
    public = [other for other in dir(value) if not other.startswith("_")]
    for similar in _similar(name, public):
        message.found(f"{prefix}{similar} ({describe(_value(value, similar))})")
        if _is_target(_value(value, similar)):
            message.type(f"{prefix}{similar}")
    if value is module:
        message.with_apps_of(module)
    elif not message.has_found:
        message.found(f"the attributes {_listed(public)}")
    return str(message)


def for_module_without_app(module: ModuleType, default_names: Sequence[str]) -> str:
    """None of `default_names` is an app in `module`."""
    names = ", ".join(default_names[:-1])
    message = _Message(
        f"{module.__name__} ({_origin(module)}) has no app by the name of {names} or {default_names[-1]}"
    )
    for name in default_names:
        value = _value(module, name)
        if value is not None:
            message.found(f"{module.__name__}:{name}, which is no app ({describe(value)})")
    message.with_apps_of(module)
    if not message.has_suggestion:
        for folder in getattr(module, "__path__", ()):
            message.with_apps_in(Path(folder), default_names, f"{module.__name__}.")
    if not message.has_suggestion:
        message.found(f"in it: {_listed(_own_names(module)) or 'nothing'}")
        message.type(f"{module.__name__}:NAME", "where NAME is your app, or a function that makes it")
    return str(message)


def for_value_that_is_no_app(module: ModuleType, name: str, value: Any, reason: str) -> str:
    """`value`, called `name` and found in `module`, is neither an app nor a factory."""
    message = _Message(f"{name} ({describe(value)}) is no WSGI or ASGI app: it {reason}")
    if isinstance(value, ModuleType):
        message.type(value.__name__)
        return str(message)
    for holder in _HOLDERS:
        if _is_target(_value(value, holder)):
            message.found(f"{name}.{holder} ({describe(_value(value, holder))})")
            message.type(f"{name}.{holder}")
    if not message.has_suggestion:
        message.with_apps_of(module)
    if callable(value) and not isinstance(value, type) and describe(value) != "coroutine function":
        if _takes(value, 2) or _takes(value, 3):
            message.type(f"{name} --interface wsgi", "if it is a WSGI app all the same")
            message.type(f"{name} --interface asgi", "if it is an ASGI app all the same")
            if _takes(value, 0):
                message.type(f"{name}()", "if it makes the app")
        elif _takes(value, 1):
            message.type(f"{name}(...)", "with values for its arguments, if it makes the app")
    return str(message)


class _Message:
    """A first line, and under it what was found and what may be typed instead."""

    def __init__(self, problem: str) -> None:
        self._problem = problem
        self._found: list[str] = []
        self._type: dict[str, str] = {}

    @property
    def has_found(self) -> bool:
        return bool(self._found)

    @property
    def has_suggestion(self) -> bool:
        return bool(self._type)

    def found(self, what: str) -> None:
        self._found.append(what)

    def type(self, target: str, when: str = "") -> None:
        self._type.setdefault(target, when)

    def with_apps_of(self, module: ModuleType) -> _Message:
        """Add the apps and factories of an imported module."""
        for name in _own_names(module):
            value = _value(module, name)
            if _is_target(value):
                target = f"{module.__name__}:{name}"
                if interface_of(value).interface is Interface.FACTORY:
                    target += "()"
                if target not in self._type:
                    self.found(f"{target} ({describe(value)})")
                    self.type(target)
        return self

    def with_apps_in(self, folder: Path, default_names: Sequence[str], prefix: str = "") -> _Message:
        """Add what looks like an app in the files of a folder."""
        for file, names in _apps_in(folder, frozenset(default_names)):
            self.found(f"{_shown(file)} with {_listed(names)}")
            self.type(_as_target(file, folder, prefix, names[0]))
            if len(self._type) >= _MOST_SHOWN:
                break
        return self

    def __str__(self) -> str:
        lines = [self._problem]
        lines += [f"  found: {what}" for what in self._found[:_MOST_SHOWN]]
        for target, when in list(self._type.items())[:_MOST_SHOWN]:
            shown = f"'{target}'" if "(" in target else target  # a shell would take the brackets
            lines.append(f"  type:  bridge serve {shown}{'  ' if when else ''}{when}")
        return "\n".join(lines)


def _similar(name: str, names: Iterable[str]) -> list[str]:
    by_lower = {other.lower(): other for other in names}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, _MOST_SHOWN)]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _value(holder: Any, name: str) -> Any:
    try:
        return getattr(holder, name, None)
    except Exception:
        return None  # a property that fails


def _takes(value: Any, count: int) -> bool:
    """Whether `value` may be called with so many arguments; taken to be so if it does not tell."""
    try:
        inspect.signature(value).bind(*range(count))
    except ValueError:
        return True
    except Exception:
        return False  # a TypeError of `bind`, or anything else from a proxy for what is not there
    return True


def _is_target(value: Any) -> bool:
    verdict = interface_of(value)
    return verdict.is_app or verdict.interface is Interface.FACTORY


def _own_names(module: ModuleType) -> list[str]:
    """The public names that the module itself gives a meaning to, without what it merely imported."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and (_value(value, "__module__") == module.__name__ or not _is_definition(value))
    ]


def _is_definition(value: Any) -> bool:
    return isinstance(value, type) or _value(value, "__name__") is not None


def _origin(value: Any) -> str:
    file = getattr(value, "__file__", None) if isinstance(value, ModuleType) else None
    if file is None:
        return "a namespace package" if hasattr(value, "__path__") else describe(value)
    return _shown(Path(file))


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _submodules(module: ModuleType) -> list[str]:
    return [info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))]


def _modules_in(folder: Path) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.suffix == ".py" and entry.is_file():
            yield entry.stem
        elif entry.is_dir() and entry.name.isidentifier() and entry.name not in _PASSED_OVER:
            yield entry.name


def _apps_in(folder: Path, default_names: frozenset[str]) -> Iterator[tuple[Path, list[str]]]:
    """Files that seem to hold an app, those nearest to `folder` first."""
    pending = [(folder, 0)]
    seen = 0
    while pending:
        directory, level = pending.pop(0)
        try:
            entries = sorted(directory.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _PASSED_OVER:
                continue
            if entry.is_dir():
                if level + 1 < _MOST_LEVELS and not (entry / "pyvenv.cfg").exists():
                    pending.append((entry, level + 1))
            elif entry.suffix == ".py":
                seen += 1
                if seen > _MOST_FILES:
                    return
                names = _app_names(entry, default_names)
                if names:
                    yield entry, names


def _app_names(file: Path, default_names: frozenset[str]) -> list[str]:
    """Names at the top level of a file that are usual for an app, or are assigned what makes one."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            return []
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    names: list[str] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = [node.name] if node.name in default_names else []
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound = [target.id for target in targets if isinstance(target, ast.Name)]
            found = [name for name in bound if name in default_names or _makes_app(node.value)]
        elif isinstance(node, ast.ImportFrom):
            bound = [alias.asname or alias.name for alias in node.names]
            found = [name for name in bound if name in default_names]
        else:
            continue
        names += [name for name in found if name not in names]
    return names


def _makes_app(node: ast.expr | None) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in _MAKERS


def _as_target(file: Path, folder: Path, prefix: str, name: str) -> str:
    """`module:name` where an import from the current directory, or from `prefix`, reaches it; else a path."""
    if not prefix and folder.resolve() != Path.cwd():
        return f"{_shown(file)}:{name}"
    parts = list(file.relative_to(folder).with_suffix("").parts)
    if len(parts) > 1 and not prefix and not (folder / parts[0] / "__init__.py").exists():
        return f"{_shown(file)}:{name}"
    if parts[-1] == "__init__":
        parts.pop()
    dotted = f"{prefix}{'.'.join(parts)}".rstrip(".")
    return f"{dotted}:{name}"
