"""The response of one WSGI request, checked: start_response, write, chunks, end.

    CALLED   the application runs      start_response() and write() may come
    RETURNED it gave its iterable      start_response() may come with the first chunk, write() no more
    ENDED    the iterable is exhausted the length must have been reached

Besides, three facts are kept: whether `start_response()` was called (one that raised counts), whether
headers must have left the server (a non-empty chunk was handed over), and whether an exception that
`start_response()` raised for `exc_info` is still on its way out of the application.

All of it runs in the thread that calls, which is the request's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...exceptions import ProtocolViolation
from ...translate.headers import HOP_BY_HOP
from .header_rules import content_length, content_length_rules, field_rules, may_have_content, shortened
from .wsgi_rules import Report

_STATUS = re.compile(r"([0-9]{3}) (\S(?:.*\S)?)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_START = "start_response()"


class ResponseCheck:
    """One response. Its `start_response` is what the application is called with.

    Args:
        method: of the request.
        start_response: the server's.
        report: is told of each fault, and may raise.

    Attributes:
        returned: the application has returned its iterable.
        closed: its `close()` has been called and has ended, which ends the request.
    """

    def __init__(self, method: str, start_response: Callable[..., Any], report: Report) -> None:
        self.returned = False
        self.closed = False
        self._head = method == "HEAD"
        self._server_start_response = start_response
        self._report = report
        self._called = False
        self._headers_left = False
        self._trapped = False
        self._status = 0
        self._length: int | None = None
        self._typed = False
        self._sent = 0
        self._chunks = 0
        self._writes = 0
        self._told_type = False

    # -- start_response

    def start_response(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """The checked `start_response`; calls the server's with the very same arguments."""
        again, self._called = self._called, True
        # A length of 0 is the one case in which headers may leave before a chunk comes.
        may_have_left = self._headers_left or self._length == 0
        try:
            with_error = self._check_call(args, kwargs, again)
            if len(args) >= 2:
                self._check_head(args[0], args[1])
            try:
                write = self._server_start_response(*args, **kwargs)
            except BaseException as error:
                if with_error and not isinstance(error, ProtocolViolation):
                    self._trapped = True
                    if error is args[2][1] and not may_have_left:
                        self._report(
                            "start_response/raised-too-soon", f"{type(error).__name__} was raised", _START
                        )
                raise
            if with_error and self._headers_left:
                self._report("start_response/not-raised", "it returned", _START)
            if not callable(write):
                self._report("start_response/write", type(write).__name__, _START)
            return self._checked_write(write)
        finally:
            # exc_info refers to this frame through its traceback (PEP 3333 asks to break that circle).
            args = ()

    def _check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], again: bool) -> bool:
        """Check how it was called; return whether with an exception."""
        if kwargs:
            self._report("start_response/arguments", f"{', '.join(sorted(kwargs))} by name", _START)
        elif len(args) not in (2, 3):
            self._report("start_response/arguments", f"{len(args)} arguments", _START)
        exc_info = args[2] if len(args) > 2 else kwargs.get("exc_info")
        if exc_info is None:
            if again:
                self._report("start_response/twice", "a further call without exc_info", _START)
            return False
        if exc_info == (None, None, None):
            self._report("start_response/exc-info/empty", "(None, None, None)", _START)
            return False
        if not _is_exc_info(exc_info):
            self._report("start_response/exc-info", _shape_of(exc_info), _START)
            return False
        return len(args) > 2

    def _check_head(self, status: Any, headers: Any) -> None:
        self._status, self._length, self._typed = 0, None, False
        self._check_status(status)
        self._check_headers(headers)

    def _check_status(self, status: Any) -> None:
        if type(status) is not str:
            self._report("status/type", type(status).__name__, _START)
        if not isinstance(status, str):
            return
        if _CONTROL.search(status) is not None:
            self._report("status/control", shortened(status), _START)
        if any(character > "\xff" for character in status):
            self._report("status/latin-1", shortened(status), _START)
        form = _STATUS.fullmatch(status)
        if form is None:
            # A line break at the end has been told of already.
            if _CONTROL.search(status) is None:
                self._report("status/form", shortened(status), _START)
            return
        self._status = int(form[1])
        if 100 <= self._status < 200:
            self._report("status/interim", shortened(status), _START)
        elif not 200 <= self._status < 600:
            self._report("status/range", shortened(status), _START)

    def _check_headers(self, headers: Any) -> None:
        if type(headers) is not list:
            self._report("headers/list", type(headers).__name__, _START)
        if not isinstance(headers, (list, tuple)):
            return  # to iterate it may use it up
        pairs: list[tuple[bytes, bytes]] = []
        for item in headers:
            if type(item) is not tuple or len(item) != 2:
                self._report("headers/tuple", _shape_of(item), _START)
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                continue
            name, value = item
            if type(name) is not str or type(value) is not str:
                came = f"name of type {type(name).__name__}, value of type {type(value).__name__}"
                self._report("headers/str", came, _START)
            if isinstance(name, str) and isinstance(value, str):
                try:
                    pairs.append((name.encode("latin-1"), value.encode("latin-1")))
                except UnicodeEncodeError:
                    self._report("headers/latin-1", f"beyond it in {shortened(name)}", _START)
        # Taken first: what is raised below may be caught by the app.
        self._length = content_length(pairs)
        self._typed = any(name.lower() == b"content-type" for name, _ in pairs)
        self._check_pairs(pairs)

    def _check_pairs(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for broken in field_rules(pairs):
            if broken.rule != "value/control":  # the PEP is stricter than HTTP: below
                self._report.header(broken, _START)
        for broken in content_length_rules(pairs):
            self._report.header(broken, _START)
        lengths = 0
        for raw, encoded in pairs:
            name, value = raw.decode("latin-1"), encoded.decode("latin-1")
            if name and not (name[-1].isascii() and name[-1].isalnum()):
                self._report("headers/name/punctuation", shortened(name), _START)
            lower = name.lower()
            if lower == "status":
                self._report("headers/name/status", shortened(name), _START)
            elif lower in HOP_BY_HOP:
                self._report("headers/hop-by-hop", shortened(name), _START)
            elif lower == "content-length":
                lengths += 1
            found = _CONTROL.search(value)
            # CR, LF and NUL have been told of as what splits a message.
            if found is not None and _without_splitting(value):
                came = f"{found.group()!r} at index {found.start()} of the value of {shortened(name)}"
                self._report("headers/value/control", came, _START)
        if self._status == 204 and lengths:
            self._report("headers/content-length/forbidden", "Content-Length with 204", _START)
        if self._typed and self._status in (204, 304):
            self._report("headers/content-type/forbidden", f"Content-Type with {self._status}", _START)

    # -- write

    def _checked_write(self, write: Any) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            self._writes += 1
            moment = f"write() {self._writes}"
            if kwargs or len(args) != 1:
                came = f"{len(args)} positional arguments and {len(kwargs)} by name"
                self._report("write/arguments", came, moment)
                return write(*args, **kwargs)
            self._report("write/used", "a call of write()", moment)
            if self.returned:
                self._report("write/after-return", "a call afterwards", moment)
            self._check_chunk(args[0], "write/bytes", moment)
            return write(*args)

        return checked

    # -- chunks and the end

    def chunk(self, chunk: Any) -> None:
        """The iterable gave a chunk, which goes to the server next."""
        self._chunks += 1
        moment = f"chunk {self._chunks} of the iterable"
        if not self._called:
            self._report("start_response/late", "a chunk first", moment)
        self._check_trapped(moment)
        self._check_chunk(chunk, "iterable/bytes", moment)

    def _check_chunk(self, chunk: Any, rule: str, moment: str) -> None:
        size = len(chunk) if isinstance(chunk, (bytes, bytearray, memoryview, str)) else 0
        before, self._sent = self._sent, self._sent + size
        if size:
            self._headers_left = True
        if type(chunk) is not bytes and not self._told_type:
            self._told_type = True  # once is enough where a string is iterated
            self._report(rule, type(chunk).__name__, moment)
        if not size or not self._status:
            return
        if not may_have_content(self._status):
            self._report("body/forbidden", f"{size} bytes with {self._status}", moment)
        elif self._head:
            self._report("body/head", f"{size} bytes", moment)
        elif self._length is not None and before <= self._length < self._sent:
            self._report("body/too-long", f"{self._sent} bytes so far, of {self._length}", moment)

    def _check_trapped(self, moment: str) -> None:
        if self._trapped:
            self._trapped = False
            self._report("start_response/trapped", "the application went on", moment)

    def returned_iterable(self) -> None:
        """The application has returned."""
        self.returned = True
        self._check_trapped("the return of the application")

    def end(self, counted: bool = True) -> None:
        """The iterable is exhausted, or nothing more can be seen of it.

        Args:
            counted: whether all chunks were seen. They are not where the server takes the iterable
                over, as it may with a `wsgi.file_wrapper`.
        """
        moment = "the end of the iterable"
        if not self._called:
            self._report("start_response/never", "the end without it", moment)
        self._check_trapped(moment)
        if not counted or not self._status:
            return
        if self._sent and not self._typed and may_have_content(self._status):
            self._report("headers/content-type/missing", f"{self._sent} bytes without one", moment)
        if self._head or not may_have_content(self._status):
            return
        if self._length is not None and self._sent < self._length:
            self._report("body/too-short", f"{self._sent} bytes of {self._length}", moment)


def _without_splitting(value: str) -> bool:
    return not any(character in value for character in "\r\n\x00")


def _is_exc_info(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and isinstance(value[0], type)
        and isinstance(value[1], BaseException)
    )


def _shape_of(value: Any) -> str:
    """What something is, without what it holds, which may be a secret."""
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
