"""What a server owes in the environ (PEP 3333, "environ Variables"), as checks without side effects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .header_rules import shortened
from .wsgi_rules import Report

_WHEN = "the call of the application"

_REQUIRED = (
    "REQUEST_METHOD",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "wsgi.version",
    "wsgi.url_scheme",
    "wsgi.input",
    "wsgi.errors",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
)
_NEVER_EMPTY = ("REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL")
_INPUT_METHODS = ("read", "readline", "readlines", "__iter__")
_ERRORS_METHODS = ("flush", "write", "writelines")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SERVER_DEFINED = re.compile(r"[a-z0-9._]+")
_DIGITS = re.compile(r"[0-9]+")
# RFC 3986 3.2.2; what is inside the brackets is left to those who resolve it.
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=\-]+|\[[0-9A-Fa-f:.]+\]")
_PROTOCOL = re.compile(r"[A-Za-z]+/[0-9]+\.[0-9]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_SPLITTING = re.compile(r"[\r\n\x00]")


def check_environ(environ: Any, report: Report) -> None:
    """Report every rule that an environ breaks.

    Args:
        environ: what the application was called with; anything that is no mapping has one fault only.
        report: is told of each fault; if it raises, the rest is not looked at.
    """
    if type(environ) is not dict:
        report("environ/type", type(environ).__name__, _WHEN)
        if not isinstance(environ, Mapping):
            return
    for key in _REQUIRED:
        if key not in environ:
            report("environ/missing", f"no {key}", _WHEN)
    for key, value in environ.items():
        if type(key) is not str:
            report("environ/keys", f"a key of type {type(key).__name__}", _WHEN)
        elif "." in key:
            if _SERVER_DEFINED.fullmatch(key) is None:
                report("environ/names", shortened(key), _WHEN)
        else:
            _check_text(key, value, report)
    _check_request(_Texts(environ), report)
    _check_wsgi(environ, report)


class _Texts:
    """The values that are `str`; what has another type is told of once only, by its own rule."""

    def __init__(self, environ: Mapping[Any, Any]) -> None:
        self._environ = environ

    def get(self, key: str) -> str | None:
        value = self._environ.get(key)
        return value if isinstance(value, str) else None


def _check_text(key: str, value: Any, report: Report) -> None:
    if type(value) is not str:
        report("environ/str", f"{key} of type {type(value).__name__}", _WHEN)
        return
    if any(character > "\xff" for character in value):
        report("environ/latin-1", f"{key} with code points above U+00FF", _WHEN)
    if key in _NEVER_EMPTY and not value:
        report("environ/empty", f"an empty {key}", _WHEN)
    if key in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
        report("environ/content-header", key, _WHEN)
    if key.startswith("HTTP_") and _SPLITTING.search(value) is not None:
        report("environ/header-value", f"CR, LF or NUL in {key}", _WHEN)


def _check_request(texts: _Texts, report: Report) -> None:
    method = texts.get("REQUEST_METHOD")
    if method:
        if _TOKEN.fullmatch(method) is None:
            report("environ/REQUEST_METHOD", shortened(method), _WHEN)
        elif method != method.upper():
            report("environ/REQUEST_METHOD/case", shortened(method), _WHEN)
    _check_path(texts, method, report)
    length = texts.get("CONTENT_LENGTH")
    if length and _DIGITS.fullmatch(length) is None:
        report("environ/CONTENT_LENGTH", shortened(length), _WHEN)
    for key, form in (("SERVER_NAME", _HOST), ("SERVER_PORT", _DIGITS), ("SERVER_PROTOCOL", _PROTOCOL)):
        value = texts.get(key)
        if value and form.fullmatch(value) is None:
            report(f"environ/{key}", shortened(value), _WHEN)


def _check_path(texts: _Texts, method: str | None, report: Report) -> None:
    script = texts.get("SCRIPT_NAME")
    path = texts.get("PATH_INFO")
    if script and (not script.startswith("/") or script == "/"):
        report("environ/SCRIPT_NAME", shortened(script), _WHEN)
    elif script and script.endswith("/"):
        report("environ/SCRIPT_NAME/slash", shortened(script), _WHEN)
    # `OPTIONS *` speaks of the server as a whole (RFC 9110 9.3.7); it has no path.
    if path and not path.startswith("/") and (path != "*" or method != "OPTIONS"):
        report("environ/PATH_INFO", shortened(path), _WHEN)
    if not script and not path:
        report("environ/PATH_INFO/empty", "SCRIPT_NAME and PATH_INFO both empty or left out", _WHEN)


def _check_wsgi(environ: Mapping[Any, Any], report: Report) -> None:
    if "wsgi.version" in environ:
        version = environ["wsgi.version"]
        if type(version) is not tuple or version != (1, 0):
            report("environ/wsgi.version", shortened(version), _WHEN)
    if "wsgi.url_scheme" in environ:
        scheme = environ["wsgi.url_scheme"]
        if type(scheme) is not str or _SCHEME.fullmatch(scheme) is None:
            report("environ/wsgi.url_scheme", shortened(scheme), _WHEN)
        elif scheme not in ("http", "https"):
            report("environ/wsgi.url_scheme/other", shortened(scheme), _WHEN)
    for key, methods in (("wsgi.input", _INPUT_METHODS), ("wsgi.errors", _ERRORS_METHODS)):
        if key in environ:
            absent = [each for each in methods if not callable(getattr(environ[key], each, None))]
            if absent:
                came = f"{type(environ[key]).__name__} without {', '.join(absent)}"
                report(f"environ/{key}", came, _WHEN)
    if "wsgi.file_wrapper" in environ and not callable(environ["wsgi.file_wrapper"]):
        report("environ/wsgi.file_wrapper", shortened(environ["wsgi.file_wrapper"]), _WHEN)


def content_length(environ: Mapping[Any, Any]) -> int | None:
    """The length of the request body that `CONTENT_LENGTH` states; `None` if it states none."""
    value = environ.get("CONTENT_LENGTH")
    if not isinstance(value, str) or _DIGITS.fullmatch(value) is None:
        return None
    try:
        return int(value)
    except ValueError:  # more digits than sys.set_int_max_str_digits() allows
        return None
