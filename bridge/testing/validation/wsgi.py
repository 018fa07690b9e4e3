"""WSGIValidator: stands between a WSGI server and an application, and checks both (PEP 3333).

    application = WSGIValidator(application)

It finds what `wsgiref.validate` finds and what that does not look at, and says who is at fault. The
parts: `wsgi_rules` has the rules, `wsgi_environ` looks at the environ, `wsgi_response` at what the
application says, `wsgi_body` at what the server does with it, `wsgi_input` at the two streams.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ...exceptions import ProtocolViolation, UsageError
from ...translate.interface import Interface, interface_of
from ...types import WSGIApp
from .header_rules import Level
from .violations import OnViolation, Violation, Violations
from .wsgi_body import CheckedBody, CheckedFileWrapper, checked_body, to_be_closed
from .wsgi_environ import check_environ, content_length
from .wsgi_input import CheckedErrors, CheckedInput
from .wsgi_response import ResponseCheck
from .wsgi_rules import Report

_LEVELS = ("MUST", "SHOULD")
# An argument that was not given.
_ABSENT: Any = object()
# What may stand in a path as it is (RFC 3986 3.3).
_IN_PATHS = "/:@!$&'()*+,;=~"
# Longer paths hide what a message has to say.
_LONGEST = 100


class WSGIValidator:
    """A WSGI application that runs another one, and checks what it and its server do.

    Nothing else changes: environ, arguments, chunks and exceptions pass as they are, in the thread in
    which they come. Of the environ, three values are replaced: `wsgi.input` and `wsgi.errors` by streams
    that have what PEP 3333 promises and nothing more, `wsgi.file_wrapper` by a function that calls it.
    What that one makes is returned to the server as it is, so that its iteration is not seen.
    Any other iterable is wrapped; `len()` and `close()` are there if they are there without. A server
    that asks for the very type does not know a list again: `WSGIToASGI` then sends no `Content-Length`
    of its own.

    A fault of the application is raised where the application makes it: out of `start_response()`,
    `write()` or a stream's method; if it goes on in spite of that, the exception is raised to the
    server as well. What its iterable does wrong, and what the server does wrong, is raised to the
    server. An iterable that was never closed is found when it is deleted, where nothing can be raised:
    it is in `violations`, and reported with the next request.

    Any number of threads may call it at a time.

    Args:
        app: the WSGI application.
        on_violation: what becomes of a violation: "raise" (`ProtocolViolation`, an `AssertionError`),
            "collect", "log" (a warning on the logger `bridge.testing`), or a function that takes it.
        ignore: rules not to report, such as "environ/SERVER_NAME"; one with a trailing "/" stands for
            all that begin with it.
        level: "MUST" reports what breaks the specification; "SHOULD" also what it advises against, and
            what works on some servers only.
        limit: how many violations are kept; `count` counts all.

    Raises:
        UsageError: an argument is not usable, for one an app that is an ASGI app.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        on_violation: OnViolation = "raise",
        ignore: Iterable[str] = (),
        level: Level = "MUST",
        limit: int = 1000,
    ) -> None:
        if not callable(app):
            raise UsageError(f"expected a WSGI application, a callable; got {type(app).__name__}")
        if interface_of(app).interface in (Interface.ASGI3, Interface.ASGI2):
            raise UsageError(
                f"expected a WSGI application; {type(app).__name__} is an ASGI application: check it with "
                "ASGIValidator, or put ASGIToWSGI around it first"
            )
        if isinstance(ignore, str):
            raise UsageError(f"ignore is a collection of rule names, such as ({ignore!r},); got one text")
        if level not in _LEVELS:
            raise UsageError(f"level is one of {', '.join(_LEVELS)}; got {level!r}")
        self.app = app
        self._on_violation = on_violation
        self._ignore = tuple(ignore)
        self._should = level == "SHOULD"
        self._limit = limit
        self._kept = Violations(on_violation, self._ignore, limit)
        # Faults that were found while something was deleted. That may happen anywhere, also where this
        # thread holds the lock of `_kept`; a deque needs none.
        self._late: deque[Violation] = deque()
        self._lock = threading.Lock()
        # Of each thread, how many calls of the application are running in it. Guarded by `_lock`.
        self._calls: dict[int, int] = {}
        # What servers have been given. Guarded by `_lock`.
        self._bodies: weakref.WeakSet[CheckedBody] = weakref.WeakSet()

    # -- what was found

    @property
    def violations(self) -> list[Violation]:
        """A copy of what was found, in order; at most the first `limit` of it."""
        self._tell_late(raising=False)
        return self._kept.seen

    @property
    def count(self) -> int:
        """How many violations there were, kept or not."""
        self._tell_late(raising=False)
        return self._kept.count

    def assert_clean(self) -> None:
        """Fail if there was a violation.

        Iterables that nobody refers to any more and that were not closed count; garbage is collected
        to find them.

        Raises:
            ProtocolViolation: with the first one; the message tells all.
        """
        self._collect()
        found = self.violations
        if found:
            error = ProtocolViolation(found[0])
            if self.count > 1:
                error.args = ("\n".join([f"{self.count} violations", *map(str, found)]),)
            raise error

    def reset(self) -> None:
        """Forget what was found."""
        self._collect()
        self._late.clear()
        self._kept = Violations(self._on_violation, self._ignore, self._limit)

    def _collect(self) -> None:
        """Have iterables deleted that nobody refers to, if any is still to be closed."""
        with self._lock:
            bodies = list(self._bodies)
        waiting = any(map(to_be_closed, bodies))
        del bodies
        if waiting:
            gc.collect()

    def _add(self, violation: Violation) -> None:
        self._kept.add(violation)

    def _tell_late(self, raising: bool = True) -> None:
        while self._late:
            try:
                late = self._late.popleft()
            except IndexError:
                return  # another thread was faster
            try:
                self._kept.add(late)
            except ProtocolViolation:
                if raising:
                    raise

    # -- requests

    # The names tell what kind of app it is (`bridge.translate.interface`).
    def __call__(
        self, environ: Any = _ABSENT, start_response: Any = _ABSENT, /, *more: Any, **named: Any
    ) -> Any:
        """Serve one request: `(environ, start_response)`, both positional.

        Returns:
            An iterable over the application's body, or the object of the server's `wsgi.file_wrapper`.

        Raises:
            ProtocolViolation: the server, or the application in what it returns, broke a rule.
            BaseException: what the application raises.
        """
        self._tell_late()
        report = Report(self._add, _label(environ), self._should)
        args = (*(each for each in (environ, start_response) if each is not _ABSENT), *more)
        if named or len(args) != 2:
            came = f"{len(args)} positional arguments and {len(named)} by name"
            report("call/arguments", came, "the call of the application")
            return self.app(*args, **named)
        if not callable(start_response):
            report("call/start_response", type(start_response).__name__, "the call of the application")
        check_environ(environ, report)
        if not isinstance(environ, dict):
            # Nothing can be put into it; what the server gave goes on as it is.
            return self.app(environ, start_response)
        return self._run(environ, start_response, report)

    def _run(self, environ: dict[str, Any], start_response: Callable[..., Any], report: Report) -> Any:
        thread = threading.get_ident()

        def same_thread(moment: str) -> None:
            if threading.get_ident() != thread:
                report("call/thread", "another thread", moment)

        response = ResponseCheck(environ.get("REQUEST_METHOD", ""), start_response, report)
        wrapper = _wrap_streams(environ, lambda: response.closed, report)
        self._enter(thread, environ.get("wsgi.multithread", True), report)
        try:
            iterable = self.app(environ, response.start_response)
        finally:
            self._leave(thread)
        try:
            report.again()
            response.returned_iterable()
            if wrapper is not None and wrapper.made(iterable):
                response.end(counted=False)
                return iterable
            _check_iterable(iterable, report)
        except BaseException:
            # The server never sees the iterable, so nobody else would close it.
            close = getattr(iterable, "close", None)
            if close is not None:
                close()
            raise
        if not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
            return iterable
        late = Report(self._late.append, report.request, self._should)
        body = checked_body(iterable, response, same_thread, report, late)
        with self._lock:
            self._bodies.add(body)
        return body

    def _enter(self, thread: int, multithread: Any, report: Report) -> None:
        with self._lock:
            others = len(self._calls.keys() - {thread})
            self._calls[thread] = self._calls.get(thread, 0) + 1
        if others and not multithread:
            try:
                report(
                    "call/multithread",
                    f"{others + 1} threads in the application",
                    "the call of the application",
                )
            except BaseException:
                self._leave(thread)
                raise

    def _leave(self, thread: int) -> None:
        with self._lock:
            left = self._calls[thread] - 1
            if left:
                self._calls[thread] = left
            else:
                del self._calls[thread]

    def __repr__(self) -> str:
        return f"<WSGIValidator of {self.app!r}>"


def _label(environ: Any) -> str:
    """What the request is called in reports: one line, whatever the client has sent."""
    if not isinstance(environ, Mapping):
        return "a request"
    method, script, path = (
        str(environ.get(key, "")) for key in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO")
    )
    target = quote(script + path, safe=_IN_PATHS, encoding="latin-1", errors="replace")
    return f"{quote(method)} {target if len(target) <= _LONGEST else target[:_LONGEST] + '...'}"


def _wrap_streams(
    environ: dict[str, Any], closed: Callable[[], bool], report: Report
) -> CheckedFileWrapper | None:
    """Put checked streams into the environ; return the file wrapper, if the server has one."""
    if "wsgi.input" in environ:
        environ["wsgi.input"] = CheckedInput(
            environ["wsgi.input"],
            content_length(environ),
            bool(environ.get("wsgi.input_terminated")),
            closed,
            report,
        )
    if "wsgi.errors" in environ:
        environ["wsgi.errors"] = CheckedErrors(environ["wsgi.errors"], report)
    if "wsgi.file_wrapper" not in environ:
        return None
    wrapper = environ["wsgi.file_wrapper"] = CheckedFileWrapper(environ["wsgi.file_wrapper"], report)
    return wrapper


def _check_iterable(iterable: Any, report: Report) -> None:
    moment = "the return of the application"
    if isinstance(iterable, (str, bytes, bytearray, memoryview)):
        report("iterable/string", type(iterable).__name__, moment)
    elif not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
        report("iterable/type", type(iterable).__name__, moment)
