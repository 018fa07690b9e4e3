"""The rules of PEP 3333 as a table: what each is called, who owes it, where it stands, what it asks.

The checks of the other `wsgi_` modules name a rule and say what came; the rest is told from here.
What HTTP asks of header fields comes from `header_rules`, with `headers/` before its names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .header_rules import Broken, Level
from .violations import Side, Violation

_DETAILS = 'PEP 3333, "Specification Details"'
_ENVIRON = 'PEP 3333, "environ Variables"'
_STREAMS = 'PEP 3333, "Input and Error Streams"'
_START = 'PEP 3333, "The start_response() Callable"'
_LENGTH = 'PEP 3333, "Handling the Content-Length Header"'
_WRITE = 'PEP 3333, "The write() Callable"'
_UNICODE = 'PEP 3333, "Unicode Issues"'
_ERRORS = 'PEP 3333, "Error Handling"'
_FEATURES = 'PEP 3333, "Other HTTP Features"'
_THREADS = 'PEP 3333, "Thread Support"'
_URL = 'PEP 3333, "URL Reconstruction"'
_FILES = 'PEP 3333, "Optional Platform-Specific File Handling"'


@dataclass(frozen=True)
class Rule:
    """What is asked, of whom, and where it is written.

    `side`, `clause`, `expected` and `level` are those of `violations.Violation`.
    """

    side: Side
    clause: str
    expected: str
    level: Level = "MUST"


RULES: dict[str, Rule] = {
    # -- the call of the application
    "call/arguments": Rule("server", _DETAILS, "two positional arguments: environ and start_response"),
    "call/start_response": Rule("server", _DETAILS, "a start_response that can be called"),
    "call/multithread": Rule(
        "server", _ENVIRON, "wsgi.multithread true, as two threads are in the application at a time"
    ),
    "call/thread": Rule(
        "server",
        f"{_THREADS} (the PEP does not say so; frameworks keep connections and Contexts by thread)",
        "call, iteration and close() in one thread",
        "SHOULD",
    ),
    # -- environ
    "environ/type": Rule("server", _DETAILS, "a dict, no subclass of it"),
    "environ/keys": Rule("server", _DETAILS, "keys that are str"),
    "environ/names": Rule(
        "server", _ENVIRON, "server-defined names of a-z, 0-9, dots and underscores", "SHOULD"
    ),
    "environ/missing": Rule("server", _ENVIRON, "a key that may not be left out"),
    "environ/str": Rule("server", _ENVIRON, "a value of type str, no subclass of it"),
    "environ/latin-1": Rule("server", _UNICODE, "code points up to U+00FF only"),
    "environ/empty": Rule("server", _ENVIRON, "a value that is not empty"),
    "environ/header-value": Rule("server", "RFC 9110 5.5", "a header value without CR, LF and NUL"),
    "environ/content-header": Rule(
        "server", f"{_ENVIRON}; RFC 3875 4.1.18", "CONTENT_TYPE and CONTENT_LENGTH, without HTTP_", "SHOULD"
    ),
    "environ/REQUEST_METHOD": Rule("server", "RFC 3875 4.1.12; RFC 9110 9.1", "a token such as GET"),
    "environ/REQUEST_METHOD/case": Rule(
        "server",
        "RFC 9110 9.1 (by convention: methods are case-sensitive, and the known ones in upper case)",
        "a method in upper case",
        "SHOULD",
    ),
    "environ/SCRIPT_NAME": Rule(
        "server", f"{_URL}; RFC 3875 4.1.13", 'an empty SCRIPT_NAME, or one that begins with "/" and goes on'
    ),
    "environ/SCRIPT_NAME/slash": Rule(
        "server", f"{_URL}; RFC 3875 4.1.13", 'a SCRIPT_NAME without a "/" at its end', "SHOULD"
    ),
    "environ/PATH_INFO": Rule(
        "server", f"{_URL}; RFC 3875 4.1.5; RFC 9112 3.2.2", 'an empty PATH_INFO, or one that begins with "/"'
    ),
    "environ/PATH_INFO/empty": Rule(
        "server", f"{_ENVIRON}; RFC 9110 4.2.3", 'a PATH_INFO of "/" where SCRIPT_NAME is empty', "SHOULD"
    ),
    "environ/CONTENT_LENGTH": Rule("server", "RFC 3875 4.1.2; RFC 9112 6.3", "ASCII digits, or nothing"),
    "environ/SERVER_NAME": Rule(
        "server", f"{_URL}; RFC 3875 4.1.14", "a host name or address, IPv6 in brackets"
    ),
    "environ/SERVER_PORT": Rule("server", f"{_URL}; RFC 3875 4.1.15", "a port number in digits"),
    "environ/SERVER_PROTOCOL": Rule(
        "server", "RFC 3875 4.1.16", "a version with two numbers, such as HTTP/1.1", "SHOULD"
    ),
    "environ/wsgi.version": Rule("server", _ENVIRON, "the tuple (1, 0)"),
    "environ/wsgi.url_scheme": Rule("server", f"{_ENVIRON}; RFC 3986 3.1", "a URL scheme"),
    "environ/wsgi.url_scheme/other": Rule("server", _ENVIRON, '"http" or "https"', "SHOULD"),
    "environ/wsgi.input": Rule("server", _STREAMS, "a stream with read, readline, readlines and __iter__"),
    "environ/wsgi.errors": Rule("server", _STREAMS, "a stream with flush, write and writelines"),
    "environ/wsgi.file_wrapper": Rule("server", _FILES, "something that can be called"),
    # -- start_response
    "start_response/arguments": Rule(
        "app", _START, "status, headers and possibly exc_info, all of them positional"
    ),
    "start_response/never": Rule("app", _DETAILS, "start_response() called before the response ends"),
    "start_response/late": Rule("app", _DETAILS, "start_response() called before the first chunk comes"),
    "start_response/twice": Rule("app", _START, "a second start_response() only with exc_info"),
    "start_response/exc-info": Rule("app", _START, "what sys.exc_info() gives"),
    "start_response/exc-info/empty": Rule(
        "app", _START, "exc_info from an error handler, where there is an exception", "SHOULD"
    ),
    "start_response/trapped": Rule(
        "app", f"{_START}; {_ERRORS}", "what start_response() raises for exc_info to leave the application"
    ),
    "start_response/write": Rule("server", _START, "a write() that can be called"),
    "start_response/not-raised": Rule(
        "server", _START, "an error from start_response() with exc_info, as headers have been sent"
    ),
    "start_response/raised-too-soon": Rule(
        "server", f"{_START}; {_ERRORS}", "the new status and headers taken, as nothing has been sent yet"
    ),
    # -- status
    "status/type": Rule("app", _UNICODE, "a status of type str, no subclass of it"),
    "status/form": Rule("app", _START, 'three digits, one space and a reason, such as "404 Not Found"'),
    "status/control": Rule("app", _START, "a status without control characters"),
    "status/latin-1": Rule("app", _UNICODE, "code points up to U+00FF only"),
    "status/interim": Rule("app", "RFC 9110 15.2", "a final status: interim ones (1xx) are the server's"),
    "status/range": Rule("app", "RFC 9110 15", "a status from 200 to 599", "SHOULD"),
    # -- headers, besides those of header_rules
    "headers/list": Rule("app", _START, "a list, no subclass of it"),
    "headers/tuple": Rule("app", _START, "tuples of name and value in the list, no subclass of tuple"),
    "headers/str": Rule("app", _UNICODE, "names and values of type str, no subclass of it"),
    "headers/latin-1": Rule("app", _UNICODE, "code points up to U+00FF only"),
    "headers/name/punctuation": Rule("app", _START, "a name that ends with a letter or a digit"),
    "headers/name/status": Rule(
        "app", "RFC 3875 6.3.3", "no Status header: a CGI gateway takes it for the status line"
    ),
    "headers/value/control": Rule("app", _START, "a value without control characters, tabs included"),
    "headers/hop-by-hop": Rule(
        "app", _FEATURES, "no header that belongs to the connection: it is the server's"
    ),
    "headers/content-length/forbidden": Rule("app", "RFC 9110 8.6", "no Content-Length with 204"),
    "headers/content-type/forbidden": Rule(
        "app", "RFC 9110 15.3.5 and 15.4.5", "no Content-Type with 204 and 304", "SHOULD"
    ),
    "headers/content-type/missing": Rule("app", "RFC 9110 8.3", "a Content-Type with a body", "SHOULD"),
    # -- body
    "body/too-long": Rule("app", f"{_LENGTH}; RFC 9110 8.6", "no more bytes than Content-Length"),
    "body/too-short": Rule("app", f"{_LENGTH}; RFC 9110 8.6", "as many bytes as Content-Length"),
    "body/forbidden": Rule("app", "RFC 9110 15.3.5 and 15.4.5", "no body with 204 and 304"),
    "body/head": Rule("app", "RFC 9110 9.3.2", "no body in a response to HEAD", "SHOULD"),
    # -- what the application returns
    "iterable/type": Rule("app", _DETAILS, "an iterable of bytes"),
    "iterable/string": Rule(
        "app", _DETAILS, "bytes inside an iterable: iterated itself, a string gives single items"
    ),
    "iterable/bytes": Rule("app", _UNICODE, "chunks of type bytes, no subclass of it"),
    "iterable/len": Rule("app", _DETAILS, "a len() that is the number of chunks"),
    "iterable/iter": Rule("server", _DETAILS, "iter() called before next(): an iterable is no iterator"),
    "iterable/again": Rule("server", _DETAILS, "one iteration over what the application returned", "SHOULD"),
    "iterable/reentered": Rule(
        "server", _DETAILS, "one step at a time: no next() or close() while another one runs"
    ),
    "iterable/after-end": Rule(
        "server", _DETAILS, "no next() once the iterable has ended or failed", "SHOULD"
    ),
    "iterable/after-close": Rule("server", _DETAILS, "no next() after close(), which ends the request"),
    "iterable/attribute": Rule(
        "server", _DETAILS, "no other attribute than close() and those of iteration", "SHOULD"
    ),
    "close/never": Rule("server", _DETAILS, "close() called when the request ends, however it ends"),
    "close/twice": Rule("server", _DETAILS, "close() called once", "SHOULD"),
    "close/ignored": Rule("app", f"{_DETAILS}; PEP 342", "an iterable that ends when it is closed"),
    # -- write()
    "write/arguments": Rule("app", _WRITE, "one positional argument"),
    "write/bytes": Rule("app", _UNICODE, "chunks of type bytes, no subclass of it"),
    "write/after-return": Rule("app", _WRITE, "no write() once the application has returned its iterable"),
    "write/used": Rule("app", _WRITE, "chunks from the iterable instead of write()", "SHOULD"),
    # -- wsgi.input and wsgi.errors
    "input/arguments": Rule("app", _STREAMS, "at most a size (or hint), an int and positional"),
    "input/unbounded": Rule(
        "app", _STREAMS, "read() with a size: without it, some servers wait for ever", "SHOULD"
    ),
    "input/beyond-length": Rule("app", _STREAMS, "no read beyond CONTENT_LENGTH", "SHOULD"),
    "input/close": Rule("app", _STREAMS, "no close(): the stream is the server's"),
    "input/attribute": Rule(
        "app", _STREAMS, "read, readline, readlines and iteration: no server promises more", "SHOULD"
    ),
    "input/after-close": Rule(
        "app", _DETAILS, "no reading after close(), which ends the request: what comes is another one's"
    ),
    "input/bytes": Rule("server", _UNICODE, "bytes, no subclass of it"),
    "input/too-much": Rule("server", _STREAMS, "no more bytes than were asked for"),
    "input/line": Rule("server", _STREAMS, "one line with its newline, and nothing after that"),
    "input/lines": Rule("server", _STREAMS, "a list of lines"),
    "input/readline-size": Rule(
        "server", _STREAMS, "the size argument of readline() heeded, though servers may omit it", "SHOULD"
    ),
    "input/surplus": Rule("server", _STREAMS, "an end after CONTENT_LENGTH bytes", "SHOULD"),
    "input/end": Rule("server", _STREAMS, "the end only where there is no more to come"),
    "input/truncated": Rule(
        "server",
        f"{_STREAMS}; RFC 9112 8",
        "an error where the body breaks off, no end as if it were whole",
        "SHOULD",
    ),
    "errors/text": Rule("app", f"{_ENVIRON}; {_UNICODE}", "text of type str, no subclass of it"),
    "errors/arguments": Rule("app", _STREAMS, "one positional argument"),
    "errors/close": Rule("app", _STREAMS, "no close(): the stream is the server's"),
    "errors/attribute": Rule(
        "app", _STREAMS, "flush, write and writelines: no server promises more", "SHOULD"
    ),
    "errors/refused": Rule("server", _ENVIRON, "any text taken without an error", "SHOULD"),
    # -- wsgi.file_wrapper
    "file-wrapper/arguments": Rule(
        "app", _FILES, "a file-like object and possibly a block size, both positional"
    ),
    "file-wrapper/read": Rule("app", _FILES, "an object with read()"),
    "file-wrapper/iterable": Rule("server", _FILES, "an iterable"),
    "file-wrapper/close": Rule("server", _FILES, "a close() that closes the file, as the file has one"),
}
"""Every rule by its name, which is stable."""


class Report:
    """Tells what one request's app and server did wrong.

    Args:
        add: takes the violation; may raise.
        request: what the request is called, such as "GET /notes".
        should: whether rules of level SHOULD are told as well.
    """

    __slots__ = ("_add", "_raised", "_should", "request")

    def __init__(self, add: Callable[[Violation], object], request: str, should: bool) -> None:
        self._add = add
        self.request = request
        self._should = should
        self._raised: BaseException | None = None

    def __call__(self, name: str, came: str, moment: str) -> None:
        """Tell that a rule of the table was broken.

        Args:
            name: of the rule.
            came: what was there instead, in words.
            moment: of the request, such as "start_response()".

        Raises:
            ProtocolViolation: if violations are raised.
        """
        rule = RULES[name]
        self._tell(Broken(name, rule.clause, rule.expected, came, rule.level), rule.side, moment)

    def header(self, broken: Broken, moment: str) -> None:
        """Tell what `header_rules` found in the app's headers; raises as a call does."""
        self._tell(broken.under("headers"), "app", moment)

    def again(self) -> None:
        """Raise again what was raised, if anything; for when the application went on in spite of it."""
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def _tell(self, broken: Broken, side: Side, moment: str) -> None:
        if broken.level == "SHOULD" and not self._should:
            return
        rule, clause, expected, came, level = broken
        try:
            self._add(Violation(rule, side, clause, expected, came, f"{self.request}, {moment}", level))
        except BaseException as error:
            self._raised = error
            raise
