"""`wsgi.input` and `wsgi.errors` as the application gets them from the validator (PEP 3333).

Both offer what the PEP promises and no more, so that an application that needs more of a stream fails
here as it would under some server: other attributes raise `AttributeError`. That is told of as SHOULD
only, since who asks with `hasattr()` and has another way does no harm. `close()` is there, told of, and
passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .wsgi_rules import Report

_INPUT = "wsgi.input"
_ERRORS = "wsgi.errors"


class CheckedInput:
    """The request body as a stream; every call is made on the server's stream.

    Args:
        stream: the server's.
        length: of the body in bytes, `None` if the request does not state it.
        ends: whether the server says that the stream ends by itself (`wsgi.input_terminated`).
        closed: tells whether the request is over, by `close()` of the iterable.
        report: is told of each fault, and may raise.
    """

    def __init__(
        self, stream: Any, length: int | None, ends: bool, closed: Callable[[], bool], report: Report
    ) -> None:
        self._stream = stream
        self._length = length
        self._ends = ends
        self._closed = closed
        self._report = report
        self._taken = 0
        self._ended = False
        # The last line that came had no newline.
        self._cut = False

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """As the server's; reports a fault on either side."""
        size = self._check_call("read()", args, kwargs)
        data = self._stream.read(*args, **kwargs)
        return self._check_data(data, "read()", size)

    def readline(self, *args: Any, **kwargs: Any) -> Any:
        """As the server's; reports a fault on either side."""
        size = self._check_call("readline()", args, kwargs)
        try:
            line = self._stream.readline(*args, **kwargs)
        except TypeError as error:
            if args:
                self._report("input/readline-size", f"TypeError: {error}", f"{_INPUT}.readline()")
            raise
        self._check_data(line, "readline()", size)
        self._check_line(line, "readline()", size)
        return line

    def readlines(self, *args: Any, **kwargs: Any) -> Any:
        """As the server's; reports a fault on either side."""
        self._check_call("readlines()", args, kwargs)
        lines = self._stream.readlines(*args, **kwargs)
        if not isinstance(lines, list):
            self._report("input/lines", type(lines).__name__, f"{_INPUT}.readlines()")
            return lines
        for line in lines:
            self._check_data(line, "readlines()", None)
            self._check_line(line, "readlines()")
        if not args or args[0] in (None, -1):
            self._check_end("readlines()")
        return lines

    def __iter__(self) -> Iterator[Any]:
        self._check_call("iteration", (), {})
        for line in self._stream:
            self._check_data(line, "iteration", None)
            self._check_line(line, "iteration")
            yield line
        self._check_end("iteration")

    def close(self) -> Any:
        """Not the application's to call; reported, then passed on."""
        self._report("input/close", "a call of close()", f"{_INPUT}.close()")
        return self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return _absent(self._report, _INPUT, "input/attribute", name)

    def _check_call(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Check a call; return how many bytes it asks for, `None` if all or a line."""
        moment = f"{_INPUT}.{what}"
        if self._closed():
            self._report("input/after-close", "a call afterwards", moment)
        if kwargs or len(args) > 1 or not all(each is None or isinstance(each, int) for each in args):
            came = ", ".join([*(type(each).__name__ for each in args), *(f"{name}=" for name in kwargs)])
            self._report("input/arguments", came, moment)
            return None
        size: int | None = args[0] if args and args[0] is not None and args[0] >= 0 else None
        if what == "read()" and size is None:
            self._report("input/unbounded", "no size", moment)
        if size != 0 and not self._ends:
            if self._length is None:
                self._report("input/beyond-length", "a read without CONTENT_LENGTH", moment)
            elif size is not None and self._taken + size > self._length and what == "read()":
                came = f"{size} bytes asked for after {self._taken} of {self._length}"
                self._report("input/beyond-length", came, moment)
        return size

    def _check_data(self, data: Any, what: str, size: int | None) -> Any:
        """Check what the server's stream gave; return it."""
        moment = f"{_INPUT}.{what}"
        if type(data) is not bytes:
            self._report("input/bytes", type(data).__name__, moment)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            return data
        if size is not None and len(data) > size:
            rule = "input/too-much" if what == "read()" else "input/readline-size"
            self._report(rule, f"{len(data)} bytes where {size} were asked for", moment)
        before, self._taken = self._taken, self._taken + len(data)
        if data:
            # Both are told of once: what comes after is a consequence.
            ended, self._ended = self._ended, False
            if ended:
                self._report("input/end", f"{len(data)} bytes after the end", moment)
            cut, self._cut = self._cut, False
            if cut:
                self._report("input/line", "a line without its newline, and then more", moment)
            if self._length is not None and self._taken > self._length >= before:
                self._report("input/surplus", f"{self._taken} bytes of {self._length}", moment)
        if size != 0 and (not data or (what == "read()" and size is None)):
            self._check_end(what)
        return data

    def _check_end(self, what: str) -> None:
        """The stream has said that it is at its end."""
        again, self._ended = self._ended, True
        if not again and self._length is not None and self._taken < self._length:
            came = f"the end after {self._taken} of {self._length} bytes"
            self._report("input/truncated", came, f"{_INPUT}.{what}")

    def _check_line(self, line: Any, what: str, size: int | None = None) -> None:
        if not isinstance(line, bytes) or not line:
            return
        if b"\n" in line[:-1]:
            self._report("input/line", "a newline before the end of it", f"{_INPUT}.{what}")
        # The last line may have none; so whether something follows tells.
        self._cut = not line.endswith(b"\n") and (size is None or len(line) != size)

    def __repr__(self) -> str:
        return f"<CheckedInput of {self._stream!r}>"


class CheckedErrors:
    """The stream for error output; every call is made on the server's stream.

    Args:
        stream: the server's.
        report: is told of each fault, and may raise.
    """

    def __init__(self, stream: Any, report: Report) -> None:
        self._stream = stream
        self._report = report

    def write(self, *args: Any, **kwargs: Any) -> Any:
        """As the server's; reports a fault on either side."""
        if kwargs or len(args) != 1:
            came = f"{len(args)} positional arguments and {len(kwargs)} by name"
            self._report("errors/arguments", came, f"{_ERRORS}.write()")
        else:
            self._check_text(args[0], "write()")
        return self._passing(self._stream.write, args, kwargs, "write()")

    def writelines(self, lines: Iterable[Any], /) -> Any:
        """As the server's; reports a fault on either side."""
        # Looked at one by one as the server takes them: the lines may come from a generator.
        return self._passing(self._stream.writelines, (self._each_checked(lines),), {}, "writelines()")

    def _each_checked(self, lines: Iterable[Any]) -> Iterator[Any]:
        for line in lines:
            self._check_text(line, "writelines()")
            yield line

    def flush(self) -> Any:
        """As the server's."""
        return self._stream.flush()

    def close(self) -> Any:
        """Not the application's to call; reported, then passed on."""
        self._report("errors/close", "a call of close()", f"{_ERRORS}.close()")
        return self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return _absent(self._report, _ERRORS, "errors/attribute", name)

    def _check_text(self, text: Any, what: str) -> None:
        if type(text) is not str:
            self._report("errors/text", type(text).__name__, f"{_ERRORS}.{what}")

    def _passing(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], what: str
    ) -> Any:
        try:
            return method(*args, **kwargs)
        except UnicodeError as error:
            self._report("errors/refused", type(error).__name__, f"{_ERRORS}.{what}")
            raise

    def __repr__(self) -> str:
        return f"<CheckedErrors of {self._stream!r}>"


def _absent(report: Report, stream: str, rule: str, name: str) -> Any:
    """What is not in the PEP is not there; who looks for special methods asks nothing of the stream."""
    if not name.startswith("_"):
        report(rule, f"{name} was asked for", stream)
    raise AttributeError(f"{stream} has no {name!r} here: PEP 3333 promises no more than its methods")
