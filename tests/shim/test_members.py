"""What an object's members are, and whether an object fits a protocol; told without running its code."""

from __future__ import annotations

import abc
import functools
import io
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from typing import Any, Protocol

import pytest

from bridge import sync_to_async
from bridge.exceptions import UsageError
from bridge.shim.members import Kind, abilities_of, check_protocol, instance_dict, kind_of, signature_of


def boom(*args: Any) -> Any:
    raise AssertionError("code of the object's was run")


class Descriptor:
    """Computes, and does not go before the instance's dict."""

    def __get__(self, instance: object, owner: type) -> Any:
        return boom() if instance is not None else self


class Members:
    """One of each."""

    constant = 3
    Error = ValueError
    plain: Any = boom
    partial: Any = functools.partial(boom)
    cached = functools.lru_cache(boom)
    part = functools.partialmethod(boom)
    dispatched = functools.singledispatchmethod(boom)
    described = Descriptor()
    awaited = sync_to_async(boom)

    def __init__(self) -> None:
        self.value = 1
        self.callback = boom
        self.kind = int

    @property
    def prop(self) -> Any:
        return boom()

    @functools.cached_property
    def once(self) -> int:
        return 1

    def method(self, a: int, *, b: int = 2) -> None:
        """A method."""

    def rows(self) -> Iterator[int]:
        yield boom()

    @contextmanager
    def scope(self) -> Iterator[None]:
        yield boom()

    @classmethod
    def of_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...

    async def coroutine(self) -> None: ...

    async def stream(self) -> AsyncIterator[int]:
        yield boom()

    @classmethod
    async def async_of_class(cls) -> None: ...


class Slots:
    __slots__ = ("given",)

    def __init__(self) -> None:
        self.given = 1


class Dynamic:
    known = 1

    def __getattr__(self, name: str) -> Any:
        return boom()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("constant", Kind.DATA),
        ("Error", Kind.DATA),
        ("plain", Kind.METHOD),
        ("partial", Kind.METHOD),
        ("cached", Kind.METHOD),
        ("part", Kind.METHOD),
        ("dispatched", Kind.METHOD),
        ("described", Kind.COMPUTED),
        ("awaited", Kind.COROUTINE_METHOD),
        ("value", Kind.DATA),
        ("callback", Kind.METHOD),
        ("kind", Kind.DATA),
        ("prop", Kind.COMPUTED),
        ("once", Kind.CACHED),
        ("method", Kind.METHOD),
        ("rows", Kind.METHOD),
        ("scope", Kind.METHOD),
        ("of_class", Kind.METHOD),
        ("static", Kind.METHOD),
        ("coroutine", Kind.COROUTINE_METHOD),
        ("stream", Kind.ASYNC_GENERATOR_METHOD),
        ("async_of_class", Kind.COROUTINE_METHOD),
        ("nothing", Kind.MISSING),
    ],
)
def test_a_member_is_told_without_running_it(name: str, kind: Kind) -> None:
    assert kind_of(Members(), name) is kind


@pytest.mark.parametrize(
    ("obj", "name", "kind"),
    [
        (Slots(), "given", Kind.DATA),
        (Dynamic(), "known", Kind.DATA),
        (Dynamic(), "other", Kind.DYNAMIC),
        (shutil, "copyfile", Kind.METHOD),
        (shutil, "Error", Kind.DATA),
        (shutil, "nothing", Kind.MISSING),
        (io.StringIO(), "read", Kind.METHOD),
        (io.StringIO(), "closed", Kind.COMPUTED),
        (zipfile.ZipFile(io.BytesIO(), "w"), "namelist", Kind.METHOD),
        (zipfile.ZipFile(io.BytesIO(), "w"), "filelist", Kind.DATA),
        (threading.local(), "anything", Kind.DYNAMIC),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name if isinstance(value, Kind) else "of",
)
def test_members_of_objects_from_elsewhere(obj: object, name: str, kind: Kind) -> None:
    assert kind_of(obj, name) is kind


def test_members_of_a_connection_are_told_in_another_thread_than_its_own() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        found: list[Kind] = []
        names = ("execute", "isolation_level", "row_factory", "Error")
        thread = threading.Thread(target=lambda: found.extend(kind_of(connection, name) for name in names))
        thread.start()
        thread.join(10)
        assert found == [Kind.METHOD, Kind.COMPUTED, Kind.DATA, Kind.DATA]


def test_an_instance_may_hide_a_method_of_its_class_but_no_property() -> None:
    obj: Any = Members()
    obj.__dict__["method"] = 5
    obj.__dict__["prop"] = 5
    obj.__dict__["described"] = 5
    assert (kind_of(obj, "method"), kind_of(obj, "prop")) == (Kind.DATA, Kind.COMPUTED)
    assert kind_of(obj, "described") is Kind.DATA
    assert kind_of(Members(), "method") is Kind.METHOD, "what is known of the class stays"


def test_a_cached_property_stays_one_when_it_has_its_value() -> None:
    obj = Members()
    assert obj.once == 1
    assert kind_of(obj, "once") is Kind.CACHED


def test_an_object_without_a_dict_has_an_empty_one() -> None:
    assert instance_dict(Slots()) == {}
    assert instance_dict(3) == {}


class Everything:
    def __iter__(self) -> Any: ...
    def __next__(self) -> Any: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def __aiter__(self) -> Any: ...
    def __anext__(self) -> Any: ...
    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *exc_info: object) -> None: ...
    def __await__(self) -> Any: ...
    def __call__(self) -> Any: ...
    def __getitem__(self, key: Any) -> Any: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __contains__(self, item: Any) -> bool:
        return False

    def __len__(self) -> int:
        return 3


class Nothing(Everything):
    __iter__ = __next__ = __enter__ = __aiter__ = __anext__ = __aenter__ = None  # type: ignore[assignment]
    __await__ = __call__ = __getitem__ = __setitem__ = __contains__ = __len__ = None  # type: ignore[assignment]


class OldSequence:
    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("obj", "able"),
    [
        (Everything(), set(abilities_of(Everything())._fields)),
        (Nothing(), set()),
        (object(), set()),
        (OldSequence(), {"iterable", "subscriptable", "container", "sized", "truth"}),
        (io.StringIO(), {"iterable", "iterator", "context_manager", "container"}),
        ((n for n in range(3)), {"iterable", "iterator", "container"}),
    ],
    ids=["everything", "taken back", "object", "old sequence", "file", "generator"],
)
def test_abilities_are_the_special_methods(obj: object, able: set[str]) -> None:
    assert {name for name, value in abilities_of(obj)._asdict().items() if value} == able


def test_a_signature_is_that_of_the_bound_method() -> None:
    assert str(signature_of(Members(), "method")) == "(a: 'int', *, b: 'int' = 2) -> 'None'"
    assert signature_of(Members(), "constant") is None


# -- protocols


def refusal(obj: object, protocol: type, **options: Any) -> list[str]:
    """The differences that are listed."""
    with pytest.raises(UsageError) as caught:
        check_protocol(obj, protocol, **options)
    return [line[2:] for line in str(caught.value).splitlines() if line.startswith("- ")]


class Fits(Protocol):
    value: int
    prop: Awaitable[int]

    async def method(self, a: int, *, b: int = 2) -> None: ...
    def rows(self) -> AsyncIterator[int]: ...
    def scope(self) -> AbstractAsyncContextManager[None]: ...
    @property
    def once(self) -> Awaitable[int]: ...
    @classmethod
    async def of_class(cls) -> None: ...
    @staticmethod
    async def static() -> None: ...


def test_an_object_that_fits_passes() -> None:
    check_protocol(Members(), Fits)


def test_special_methods_of_the_other_colour_will_do() -> None:
    class Stream(Protocol):
        def __aiter__(self) -> AsyncIterator[int]: ...
        async def __anext__(self) -> int: ...
        async def __aenter__(self) -> Any: ...
        async def __aexit__(self, *exc_info: object) -> None: ...

    check_protocol(io.StringIO(), Stream)
    assert refusal(object(), Stream) == [
        "__aiter__: the object has neither __aiter__ nor __iter__",
        "__anext__: the object has neither __anext__ nor __next__",
        "__aenter__: the object has neither __aenter__ nor __enter__",
        "__aexit__: the object has neither __aexit__ nor __exit__",
    ]


def test_all_differences_are_listed() -> None:
    class Wrong(Protocol):
        absent: int

        async def missing(self) -> None: ...
        async def constant(self) -> None: ...
        async def method(self, c: int) -> None: ...
        @property
        def coroutine(self) -> int: ...
        def __len__(self) -> int: ...

    assert refusal(Members(), Wrong, impossible={"__len__"}) == [
        "absent: the object has no such attribute",
        "missing: the object has no such method",
        "constant: a method in the protocol, but not in the object",
        "method: the protocol has method(c), the object method(a, *, b=2): c is not taken; a is required",
        "coroutine: a property in the protocol, but a method of the object",
        "__len__: a facade cannot have it",
    ]


def test_a_class_may_be_changed_while_it_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    class Patched:
        def method(self) -> None: ...

    async def method(self: Any) -> None: ...

    thing = Patched()
    assert kind_of(thing, "method") is Kind.METHOD
    monkeypatch.setattr(Patched, "method", method)
    assert kind_of(thing, "method") is Kind.COROUTINE_METHOD
    monkeypatch.setattr(Patched, "method", property(int))
    assert kind_of(thing, "method") is Kind.COMPUTED
    monkeypatch.setattr(Patched, "method", 3)
    assert kind_of(thing, "method") is Kind.DATA
    monkeypatch.delattr(Patched, "method")
    assert kind_of(thing, "method") is Kind.MISSING


def test_nothing_is_known_of_what_getattr_finds() -> None:
    class Asks(Protocol):
        async def anything(self, a: int) -> None: ...

    check_protocol(Dynamic(), Asks)


def test_an_abstract_base_class_and_what_it_inherits_are_checked() -> None:
    class Base(abc.ABC):
        @abc.abstractmethod
        async def one(self) -> None: ...

    class Derived(Base):
        @abc.abstractmethod
        async def two(self) -> None: ...

    assert [line.partition(":")[0] for line in refusal(object(), Derived)] == ["one", "two"]


def test_private_names_are_nobodys_business() -> None:
    class Private(Protocol):
        _hidden: int

    check_protocol(object(), Private)


def test_a_protocol_has_to_be_a_class() -> None:
    with pytest.raises(UsageError, match="protocol must be a class"):
        check_protocol(object(), "Protocol")  # type: ignore[arg-type]


def _signatures() -> list[tuple[str, Callable[..., Any], Callable[..., Any], str]]:
    return [
        ("same", lambda s, a, b=1, *c, d, **e: 0, lambda a, b=1, *c, d, **e: 0, ""),
        ("nothing", lambda s: 0, lambda: 0, ""),
        ("more by default", lambda s, a: 0, lambda a, b=1, *, c=2: 0, ""),
        ("all taken", lambda s, a, *, b: 0, lambda *args, **kwargs: 0, ""),
        ("by position only", lambda s, a, /: 0, lambda other: 0, ""),
        ("keyword to both", lambda s, *, a: 0, lambda a: 0, ""),
        ("default is more", lambda s, a: 0, lambda a=1: 0, ""),
        ("no default", lambda s, a=1: 0, lambda a: 0, "a has no default"),
        ("required", lambda s: 0, lambda a: 0, "a is required"),
        ("required keyword", lambda s: 0, lambda *, a: 0, "a is required"),
        ("other name", lambda s, a: 0, lambda b: 0, "a is not taken; b is required"),
        (
            "other order",
            lambda s, a, b: 0,
            lambda b, a: 0,
            "a is at another position; b is at another position",
        ),
        ("keyword only", lambda s, a: 0, lambda *, a: 0, "a is not taken by position"),
        ("position only", lambda s, a: 0, lambda a, /: 0, "a is not taken by name"),
        ("no keyword", lambda s, *, a: 0, lambda: 0, "a is not taken"),
        ("too many", lambda s, a, /: 0, lambda: 0, "a is not taken by position"),
        ("no args", lambda s, *args: 0, lambda a=1: 0, "*args is not taken"),
        ("no kwargs", lambda s, **kwargs: 0, lambda a=1: 0, "**kwargs is not taken"),
        ("args do not name", lambda s, a: 0, lambda *args: 0, "a is not taken"),
    ]


@pytest.mark.parametrize(
    ("declared", "method", "reasons"),
    [row[1:] for row in _signatures()],
    ids=[row[0] for row in _signatures()],
)
def test_a_method_has_to_take_every_call_that_the_protocol_allows(
    declared: Callable[..., Any], method: Callable[..., Any], reasons: str
) -> None:
    protocol = type("Declared", (), {"m": declared})
    obj = type("Object", (), {"m": staticmethod(method)})()
    if not reasons:
        check_protocol(obj, protocol)
    else:
        (difference,) = refusal(obj, protocol)
        assert difference.rpartition(": ")[2] == reasons
