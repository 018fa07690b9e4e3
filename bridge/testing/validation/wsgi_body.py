"""What the application returned, as the server gets it: the server's steps are checked here.

The server gets an iterable of the same abilities: `len()` if the application's has one (by which a
server finds the length of a body of one chunk), `close()` if it has one. Chunks pass as they are,
exceptions too, and each step runs in the thread in which the server takes it.

What the server's own `wsgi.file_wrapper` made goes back to the server as the very object that it made,
for a server sends files fast only if it knows the object again. So nothing of its iteration is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .wsgi_response import ResponseCheck
from .wsgi_rules import Report

_IGNORED = "generator ignored GeneratorExit"
"""What CPython says when a generator yields instead of ending (PEP 342)."""


class CheckedBody:
    """An iterable of the application, for one request.

    It has no public attribute of its own, as the server is to find what the application's has.

    Args:
        iterable: what the application returned.
        response: is told of chunks and of the end.
        same_thread: reports if the calling thread is not that of the call; takes the moment.
        report: is told of each fault, and may raise.
        late: is told of a fault that is found when the object is deleted; must not raise.
    """

    def __init__(
        self,
        iterable: Any,
        response: ResponseCheck,
        same_thread: Callable[[str], None],
        report: Report,
        late: Report,
    ) -> None:
        self._iterable = iterable
        self._response = response
        self._same_thread = same_thread
        self._late = late
        self._report = report
        self._bare: Iterator[Any] | None = None
        # Of the first iteration, whose chunks are the response. Its `_Steps` is not kept here: the two
        # would keep each other alive, and so a body that was never closed from being noticed.
        self._begun = False
        self._yielded = 0
        # Whether the application is in a step of any iteration.
        self._running = False
        self._closed = False
        self._closable = hasattr(iterable, "close")

    def __iter__(self) -> Iterator[Any]:
        if self._begun:
            self._report("iterable/again", f"iter() after {self._yielded} chunks", "iter()")
        self._same_thread("iter()")
        return _Steps(self, iter(self._iterable))

    def __next__(self) -> Any:
        # A server that takes what was returned for an iterator: it works with generators only.
        self._report("iterable/iter", "next() alone", "next()")
        if self._bare is None:
            self._bare = iter(self._iterable)
        return next(_Steps(self, self._bare, first=True))

    def _chunk(self, chunk: Any) -> None:
        """The first iteration gave a chunk."""
        self._yielded += 1
        self._response.chunk(chunk)

    def _end(self) -> None:
        """The first iteration has come to its end."""
        self._check_len(self._yielded)
        self._response.end()

    def _check_len(self, chunks: int) -> None:
        """Nothing to check: this one has no `len()`."""

    def __getattr__(self, name: str) -> Any:
        # `close` is there only if the application's iterable has it, as the server finds it without us.
        if name == "close" and self._closable:
            return self._close
        if not name.startswith("_") and name != "close":
            self._report("iterable/attribute", f"{name} was asked for", "the server's handling of the body")
        raise AttributeError(
            f"{type(self._iterable).__name__!r} object has no attribute {name!r} to use here"
        )

    def _close(self) -> None:
        again, self._closed = self._closed, True
        during = self._running
        # First the application's, as nothing that is reported may keep it from releasing what it holds.
        try:
            self._iterable.close()
        except RuntimeError as error:
            if str(error) == _IGNORED:
                self._report("close/ignored", "a chunk instead of an end", "close()")
            raise
        finally:
            self._response.closed = True
        if during:
            self._report("iterable/reentered", "close() within next()", "close()")
        if again:
            self._report("close/twice", "a second call", "close()")
        self._same_thread("close()")

    def __del__(self) -> None:
        # `_closable` is absent if `__init__` did not get that far.
        if self.__dict__.get("_closable") and not self._closed:
            self._late("close/never", "the iterable was dropped without it", "the end of the request")

    def __repr__(self) -> str:
        return f"<CheckedBody of {self._iterable!r}>"


class CheckedSizedBody(CheckedBody):
    """The same of an iterable that has a length."""

    def __init__(self, iterable: Any, *args: Any) -> None:
        super().__init__(iterable, *args)
        self._told: int | None
        try:
            self._told = len(iterable)
        except Exception:  # such a length is none: the PEP speaks of a len() that succeeds
            self._told = None

    def __len__(self) -> int:
        return len(self._iterable)

    def _check_len(self, chunks: int) -> None:
        if self._told is not None and self._told != chunks:
            came = f"len() {self._told}, and {chunks} chunks"
            self._report("iterable/len", came, "the end of the iterable")


class _Steps(Iterator[Any]):
    """One iteration over a checked body.

    Args:
        first: whether its chunks are the response. By default they are if it is the first that is asked
            for one.
    """

    def __init__(self, body: CheckedBody, iterator: Iterator[Any], first: bool | None = None) -> None:
        self._body = body
        self._iterator = iterator
        self._first = first
        self._asked = 0
        self._ended = False

    def __next__(self) -> Any:
        body = self._body
        self._asked += 1
        moment = f"next() {self._asked}"
        if self._first is None:
            self._first = not body._begun
        body._begun = True
        if body._closed:
            body._report("iterable/after-close", "next() afterwards", moment)
        if self._ended:
            body._report("iterable/after-end", "a further next()", moment)
        if body._running:
            body._report("iterable/reentered", "next() within next()", moment)
        body._same_thread(moment)
        body._running = True
        try:
            chunk = next(self._iterator)
        except StopIteration:
            again, self._ended = self._ended, True
            if not again:
                body._report.again()
                if self._first:
                    body._end()
            raise
        except BaseException:
            self._ended = True
            raise
        finally:
            body._running = False
        body._report.again()
        if self._first:
            body._chunk(chunk)
        return chunk


def checked_body(iterable: Any, *args: Any) -> CheckedBody:
    """The checked form of an iterable; further arguments are those of `CheckedBody`."""
    kind = CheckedSizedBody if hasattr(type(iterable), "__len__") else CheckedBody
    return kind(iterable, *args)


def to_be_closed(body: CheckedBody) -> bool:
    """Whether the server still has to call `close()`."""
    return body._closable and not body._closed


class CheckedFileWrapper:
    """The server's `wsgi.file_wrapper`, its use checked. What it makes is the server's object itself.

    `isinstance()` with it asks the server's, if that is a class.

    Args:
        wrapper: the server's.
        report: is told of each fault, and may raise.
    """

    def __init__(self, wrapper: Any, report: Report) -> None:
        self._wrapper = wrapper
        self._report = report
        self._made: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        moment = "wsgi.file_wrapper()"
        if kwargs or len(args) not in (1, 2) or (len(args) == 2 and not isinstance(args[1], int)):
            came = ", ".join([*(type(each).__name__ for each in args), *(f"{name}=" for name in kwargs)])
            self._report("file-wrapper/arguments", came or "none", moment)
        if args and not callable(getattr(args[0], "read", None)):
            self._report("file-wrapper/read", type(args[0]).__name__, moment)
        made = self._wrapper(*args, **kwargs)
        self._made.append(made)
        if not hasattr(made, "__iter__") and not hasattr(made, "__getitem__"):
            self._report("file-wrapper/iterable", type(made).__name__, moment)
        if args and hasattr(args[0], "close") and not hasattr(made, "close"):
            self._report("file-wrapper/close", f"{type(made).__name__} without it", moment)
        return made

    def made(self, value: Any) -> bool:
        """Whether the server's wrapper made this very object in this request."""
        return any(value is each for each in self._made)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, self._wrapper)
