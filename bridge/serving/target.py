"""Find the app that a target string names.

    module:attr          an attribute, dotted if need be; an app, or a factory that makes one
    module:factory()     a factory to be called; literal arguments are allowed: create_app("test")
    module               the first app or factory among DEFAULT_NAMES (so `project.wsgi` of Django)
    path/to/app.py       as `module`, for a file; also path/to/app.py:attr

Everything here runs in the calling thread, and imports what the user asks for.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from ..exceptions import TargetError
from ..translate.interface import Interface, Verdict, describe, interface_of
from . import hints

DEFAULT_NAMES = ("app", "application", "asgi", "wsgi", "create_app", "make_app")
"""What a target without an attribute is searched for, in this order."""

FORMS = "module:attr, module:factory(), module, path/to/file.py or path/to/file.py:attr"

_MODULE = re.compile(r"[^\W\d][\w-]*(\.[^\W\d][\w-]*)*")


@dataclass(frozen=True)
class Call:
    """A call that a target spells out, such as `create_app("test")`: what to pass, and its text."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Target:
    """A target string, taken apart.

    Attributes:
        module: the dotted name to import, or the path of a file.
        attribute: the names to look up, one after the other; empty if the target has none.
        call: how to call the attribute, a factory, if the target says so.
    """

    text: str
    module: str | Path
    attribute: tuple[str, ...] = ()
    call: Call | None = None

    @property
    def rest(self) -> str:
        """What follows the colon, with the colon; empty if nothing does."""
        attribute = self.call.text if self.call is not None else ".".join(self.attribute)
        return f":{attribute}" if attribute else ""


@dataclass(frozen=True)
class Found:
    """The app that a target names.

    Attributes:
        name: in the form `module:attr`, with `()` after a factory that was called.
        app: the app.
        interface: WSGI, ASGI3 or ASGI2.
        picked: the target named no attribute; the one in `name` was picked from `DEFAULT_NAMES`.
        made: `app` is what a factory returned.
    """

    name: str
    app: Any
    interface: Interface
    picked: bool = False
    made: bool = False

    def __str__(self) -> str:
        """As in: `shop.web:app is a WSGI app (flask.Flask)`."""
        name = f"{self.name} (picked by its name)" if self.picked else self.name
        article = "a" if self.interface is Interface.WSGI else "an"
        verb = "made" if self.made else "is"
        return f"{name} {verb} {article} {self.interface.value} app ({describe(self.app)})"


def parse(text: str) -> Target:
    """Take a target string apart, without an import.

    Raises:
        TargetError: it has none of the forms.
    """
    text = text.strip()
    path, attribute = _split_path(text)
    if path is not None:
        return Target(text, path, *_parse_attribute(text, attribute))
    module, colon, attribute = text.partition(":")
    if not _MODULE.fullmatch(module) or (colon and not attribute.strip()):
        raise TargetError(f"{text!r} is no target; the forms are {FORMS}")
    return Target(text, module, *_parse_attribute(text, attribute))


def find(
    text: str, *, factory: bool = False, interface: Interface | None = None, directory: str | None = None
) -> Found:
    """Import what `text` names, call it if it is a factory, and tell the interface of the app.

    Args:
        text: the target, in one of the forms of `Target`.
        factory: the attribute is a factory, whatever it looks like.
        interface: WSGI or ASGI3 if the user knows better than detection; `None` detects.
        directory: what goes first on `sys.path`; the current directory if `None`. It stays there.

    Raises:
        TargetError: there is no such module, attribute or app; the message says what was looked
            for, what was found and what to type. If the user's own code raised while it was imported
            or called, that exception is the `__cause__`.
    """
    target = parse(text)
    _put_on_path(os.path.abspath(directory or os.curdir))
    module = _import(target)
    if not target.attribute:
        return _pick(target, module, factory, interface)
    value = _look_up(target, module)
    return _resolve(_Candidate(module, ".".join(target.attribute), value), target, factory, interface)


def folders(text: str) -> list[Path]:
    """Where the code of a target lies, as far as that can be told without an import; for a reloader."""
    try:
        module = parse(text).module
    except TargetError:
        return []
    return [_import_root(module)[0]] if isinstance(module, Path) else []


def explain(error: TargetError) -> str:
    """The message of `error`, and under it the traceback if the user's own code raised.

    The frames of the import machinery and of this package, which lead to that code, are left out.
    """
    cause = error.__cause__
    if cause is None:
        return str(error)
    lines = traceback.format_exception(type(cause), cause, _from_user_code(cause.__traceback__))
    return f"{error}\n\n{''.join(lines).rstrip()}"


# --- taking a target apart


def _split_path(text: str) -> tuple[Path | None, str]:
    """The path and the attribute, if the target names a file; `(None, "")` if it names a module."""
    head, colon, tail = text.partition(":")
    if len(head) == 1 and tail[:1] in ("\\", "/"):  # the drive of a Windows path
        rest, colon, tail = tail.partition(":")
        head = f"{head}:{rest}"
    is_path = head.endswith(".py") or any(separator in head for separator in (os.sep, os.altsep) if separator)
    if is_path or ("." in head and os.path.isfile(head)):
        if colon and not tail.strip():
            raise TargetError(f"{text!r} names nothing after the colon; the forms are {FORMS}")
        return Path(head), tail
    return None, ""


def _parse_attribute(text: str, attribute: str) -> tuple[tuple[str, ...], Call | None]:
    if not attribute:
        return (), None
    try:
        node: ast.expr = ast.parse(attribute.strip(), mode="eval").body
        call = None
        if isinstance(node, ast.Call):
            call = Call(
                tuple(ast.literal_eval(value) for value in node.args),
                # A None for `arg` is `**mapping`, which is no literal: it becomes an error below.
                {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in node.keywords},
                ast.unparse(node),
            )
            node = node.func
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or (call is not None and "" in call.kwargs):
            raise ValueError
    except (SyntaxError, ValueError):
        raise TargetError(
            f"{attribute!r} in {text!r} is neither a name (app), a dotted name (shop.app) nor a call with "
            'literal arguments (create_app(), create_app("test", debug=True))'
        ) from None
    return (node.id, *reversed(names)), call


# --- import


def _put_on_path(folder: str) -> None:
    """Let imports look in `folder` first."""
    if not sys.path or os.path.abspath(sys.path[0]) != folder:
        sys.path.insert(0, folder)


def _import(target: Target) -> ModuleType:
    if isinstance(target.module, Path):
        return _import_file(target, target.module)
    name = target.module
    try:
        with _user_code(f"importing {name}"):
            return importlib.import_module(name)
    except TargetError as error:
        if _is_missing(error.__cause__, name):
            raise TargetError(hints.for_missing_module(name, target.rest, DEFAULT_NAMES)) from None
        raise


def _is_missing(error: BaseException | None, name: str) -> bool:
    """Whether the module itself is not there, rather than one that it imports."""
    return isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")


def _import_file(target: Target, path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(hints.for_missing_file(path, target.rest, DEFAULT_NAMES))
    root, name = _import_root(path)
    _put_on_path(str(root))
    with _user_code(f"importing {path}"):
        if name is None:
            return _load_by_location(path)
        module = importlib.import_module(name)
    loaded_from = getattr(module, "__file__", None)
    if loaded_from is None or not os.path.samefile(loaded_from, path):
        raise TargetError(
            f"{path} cannot be imported: its name is that of the module {name!r}, which is loaded from "
            f"{loaded_from or 'the interpreter itself'}; rename the file"
        )
    return module


def _import_root(path: Path) -> tuple[Path, str | None]:
    """The folder to import a file from, and its dotted name: the top of its package, or its own folder.

    The name is `None` for a file that no import statement can name, such as mod_wsgi's `app.wsgi`.
    """
    path = path.resolve()
    folder, parts = path.parent, [path.stem]
    if path.suffix != ".py" or "." in path.stem:
        return folder, None
    while (folder / "__init__.py").is_file():
        parts.append(folder.name)
        folder = folder.parent
    if parts[0] == "__init__" and len(parts) > 1:
        del parts[0]
    return folder, ".".join(reversed(parts))


def _load_by_location(path: Path) -> ModuleType:
    name = re.sub(r"\W", "_", path.name)
    loader = importlib.machinery.SourceFileLoader(name, str(path.resolve()))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # a loader was given
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as import does: dataclasses and pickle look a module up by its name
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _user_code(doing: str) -> Iterator[None]:
    """Around code of the user: what it raises becomes the cause of a `TargetError`.

    `app.run()` at the end of a Flask script, not guarded by `__name__`, would start Flask's own
    server and never return; Flask skips it where it sees its own command line at work.
    """
    before = os.environ.get("FLASK_RUN_FROM_CLI")
    os.environ["FLASK_RUN_FROM_CLI"] = "true"
    try:
        yield
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise TargetError(
            f"{doing} ended the program (exit status {error.code!r}): code that runs a program belongs "
            'under `if __name__ == "__main__":`'
        ) from error
    except BaseException as error:
        raise TargetError(f"{doing} raised {type(error).__name__}: {error}") from error
    finally:
        if before is None:
            del os.environ["FLASK_RUN_FROM_CLI"]
        else:
            os.environ["FLASK_RUN_FROM_CLI"] = before


def _from_user_code(trace: TracebackType | None) -> TracebackType | None:
    ours = (os.path.join(os.path.dirname(__file__), ""), importlib.__file__, "<frozen importlib")
    start = trace
    while start is not None and start.tb_frame.f_code.co_filename.startswith(ours):
        start = start.tb_next
    return start


# --- from a module to an app


@dataclass(frozen=True)
class _Candidate:
    """A value that may be an app, and where it was found."""

    module: ModuleType
    attribute: str
    value: Any
    picked: bool = False

    @property
    def name(self) -> str:
        return f"{self.module.__name__}:{self.attribute}"


def _look_up(target: Target, module: ModuleType) -> Any:
    value: Any = module
    for depth, name in enumerate(target.attribute):
        try:
            with _user_code(f"looking up {name!r} in {module.__name__}"):
                value = getattr(value, name)
        except TargetError as error:
            if not isinstance(error.__cause__, AttributeError):
                raise
            holder = module.__name__
            if depth:
                holder = f"{holder}:{'.'.join(target.attribute[:depth])}"
            raise TargetError(hints.for_missing_attribute(module, holder, value, name)) from None
    return value


def _pick(target: Target, module: ModuleType, factory: bool, interface: Interface | None) -> Found:
    """The first of `DEFAULT_NAMES` that is an app or makes one; modules of these names are passed over."""
    for name in DEFAULT_NAMES:
        value = getattr(module, name, None)
        if not callable(value):
            continue
        verdict = interface_of(value)
        if verdict.is_app or verdict.interface is Interface.FACTORY or interface is not None or factory:
            return _resolve(_Candidate(module, name, value, picked=True), target, factory, interface)
    raise TargetError(hints.for_module_without_app(module, DEFAULT_NAMES))


def _resolve(candidate: _Candidate, target: Target, factory: bool, interface: Interface | None) -> Found:
    """Call the candidate if it is a factory, and tell the interface of the app."""
    value, name = candidate.value, candidate.name
    if target.call is not None:
        return _made_by(value, target.call, candidate, interface)
    verdict = interface_of(value)
    if factory and verdict.is_app:
        raise TargetError(
            f"--factory was given, but {name} {verdict.reason}: it is an app, not a factory. "
            "Leave --factory out"
        )
    if factory or verdict.interface is Interface.FACTORY:
        return _made_by(value, Call((), {}, f"{candidate.attribute}()"), candidate, interface)
    kind = _settle(value, verdict, interface)
    if kind is None:
        raise TargetError(hints.for_value_that_is_no_app(candidate.module, name, value, verdict.reason))
    return Found(name, value, kind, candidate.picked)


def _made_by(make: Any, call: Call, candidate: _Candidate, interface: Interface | None) -> Found:
    """The app that a factory makes."""
    name = f"{candidate.module.__name__}:{call.text}"
    if not callable(make):
        raise TargetError(
            f"{candidate.name} cannot be called: it is {describe(make)}. "
            "A factory is a function that makes the app"
        )
    try:
        signature = inspect.signature(make)
    except Exception:
        signature = None  # it does not tell; a call will
    if signature is not None:
        try:
            signature.bind(*call.args, **call.kwargs)
        except TypeError as error:
            raise TargetError(
                f"{name} cannot be called so: {error}. It is defined as {candidate.attribute}{signature}\n"
                f"  type:  bridge serve '{candidate.name}(...)'  with values for its arguments"
            ) from None
    with _user_code(f"calling {name}"):
        app = make(*call.args, **call.kwargs)
    if inspect.iscoroutine(app):
        app.close()
        raise TargetError(
            f"{name} is a coroutine. A factory must be a plain function: no event loop runs yet when it is "
            "called. What has to be awaited belongs in the app's lifespan"
        )
    verdict = interface_of(app)
    kind = _settle(app, verdict, interface)
    if kind is None:
        raise TargetError(
            f"{name} returned {describe(app)}, which {verdict.reason}; "
            "a factory must return a WSGI or ASGI app"
        )
    return Found(name, app, kind, candidate.picked, made=True)


def _settle(value: Any, verdict: Verdict, interface: Interface | None) -> Interface | None:
    """The interface of an app: what was detected, or what the user says it is; `None` if it is no app."""
    if not callable(value):
        return None
    if interface is Interface.ASGI3 and verdict.interface is Interface.ASGI2:
        return Interface.ASGI2
    if interface is not None:
        return interface
    return verdict.interface if verdict.is_app else None
