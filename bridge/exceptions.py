"""Every exception that bridge raises on its own account, split by who broke the contract.

BridgeError
├── ApplicationError            the wrapped app broke PEP 3333 or the ASGI specification
│   ├── InvalidHeader           a status or header that must not reach the wire
│   ├── InvalidMessage          an ASGI message that is unknown, malformed or out of turn
│   ├── IncompleteResponse      no response, or fewer bytes than Content-Length promised
│   ├── ApplicationExit         StopIteration, SystemExit and the like left the app
│   └── StartupFailed           the app's lifespan did not start up
├── RequestError                the client sent what no environ can hold faithfully
│   ├── BadRequest              answered with 400
│   └── BodyTooLarge            answered with 413
├── ServerError                 the server's scope or messages broke the ASGI specification
│   └── UnsupportedScope        a scope type that this adapter does not serve
├── ClientDisconnected          the client left (also a ConnectionError, so an OSError)
├── LoopGone                    the event loop of the request has ended under it
├── PoolError                   a thread pool refused or dropped a job
│   ├── PoolFull                its queue is at its bound
│   ├── QueueTimeout            the job waited too long for a thread
│   └── PoolClosed              it was closed
├── ProtocolViolation           a validator saw a rule broken (also an AssertionError)
├── BehaviourDiffers            two apps did not answer alike (also an AssertionError)
├── WebSocketDisconnect         the app closed a test's WebSocket; has its code and reason
├── WebSocketDenied             the app did not accept a test's WebSocket; has its response
└── UsageError                  bridge was called with something it cannot work with
    ├── AdapterClosed           a request came after close()
    ├── InvalidRecording        a file of recorded requests that cannot be read as one
    ├── UnsuitableFunction      a function of the wrong colour for the shim (also a TypeError)
    ├── WouldDeadlock           a call that could never return was refused (also a RuntimeError)
    ├── ContextExited           an asgiref ThreadSensitiveContext takes no more calls (also a RuntimeError)
    ├── TargetError             `bridge serve` did not find an app where it was told to look
    └── MissingDependency       an optional library is not installed (also an ImportError)
"""

from __future__ import annotations

import typing


class BridgeError(Exception):
    """Base of all exceptions of this package."""


class ApplicationError(BridgeError):
    """The wrapped application broke its interface's contract.

    The message names the rule, what was expected and what came.
    """


class InvalidHeader(ApplicationError):
    """A status line or header that must not be sent (PEP 3333, RFC 9110 section 5)."""


class InvalidMessage(ApplicationError):
    """The application sent an ASGI message of an unknown type, a wrong shape, or out of turn."""


class IncompleteResponse(ApplicationError):
    """The application ended without a response, or produced fewer bytes than its `Content-Length`."""


class ApplicationExit(ApplicationError):
    """`StopIteration`, `SystemExit`, `KeyboardInterrupt` or `GeneratorExit` left the application.

    Such an exception would end the event loop or never complete a future; the original is the
    `__cause__`.
    """


class StartupFailed(ApplicationError):
    """The lifespan of the application did not start up; no request is served in this process."""


class RequestError(BridgeError):
    """The client's request cannot be handed to the application; `status` is what it is answered."""

    status = 400


class BadRequest(RequestError):
    """Ambiguous or malformed framing and headers: answered with 400."""

    status = 400


class BodyTooLarge(RequestError):
    """The request body exceeds the configured limit: answered with 413."""

    status = 413


class ServerError(BridgeError):
    """The server's scope or messages do not follow the ASGI specification."""


class UnsupportedScope(ServerError, ValueError):
    """The scope's `type` is one that this adapter does not serve."""


class ClientDisconnected(BridgeError, ConnectionError):
    """The client closed the connection before the exchange was complete.

    An `OSError`, so code that guards reads and writes of sockets handles it as it stands.
    """


class LoopGone(BridgeError, ConnectionError):
    """The event loop that served the request has stopped or closed; nothing can be sent any more."""


class PoolError(BridgeError):
    """A thread pool could not take or keep a job."""


class PoolFull(PoolError):
    """All threads are busy and the queue is at its bound."""


class QueueTimeout(PoolError):
    """The job waited in the queue longer than `queue_timeout`; it was never started."""


class PoolClosed(PoolError):
    """The pool was closed; it takes no jobs."""


class ProtocolViolation(BridgeError, AssertionError):
    """An application or a server broke a rule of its interface; raised by the validators.

    `violation` says which rule, where it stands, what was expected and what came.
    """

    def __init__(self, violation: object) -> None:
        super().__init__(str(violation))
        self.violation = violation

    def __reduce__(self) -> tuple[type[ProtocolViolation], tuple[object]]:
        return type(self), (self.violation,)


class BehaviourDiffers(BridgeError, AssertionError):
    """Two apps, or two ways to the same app, did not answer alike; the message is the difference."""


class WebSocketDisconnect(BridgeError):
    """The app closed the WebSocket of a test, or ended without closing it (`code` 1006).

    Attributes:
        code: of the Close frame that a client would have seen (RFC 6455 section 7.4).
        reason: of the same.
    """

    def __init__(self, message: str, *, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class WebSocketDenied(BridgeError):
    """The app did not accept the WebSocket of a test.

    Attributes:
        response: what the client would have got instead, a `bridge.testing.exchange.Response`.
    """

    def __init__(self, message: str, *, response: typing.Any = None) -> None:
        super().__init__(message)
        self.response = response


class UsageError(BridgeError):
    """bridge was called with something it cannot work with; the message says what to do instead."""


class AdapterClosed(UsageError):
    """The adapter has been closed, and serves no request any more."""


class InvalidRecording(UsageError):
    """A file that is no recording of requests, or a damaged one; the message names file and line."""


class UnsuitableFunction(UsageError, TypeError):
    """`sync_to_async` or `async_to_sync` was given what it cannot call; the message says what came."""


class WouldDeadlock(UsageError, RuntimeError):
    """A call that could never return was refused; the message says what to write instead."""


class ContextExited(UsageError, RuntimeError):
    """A task has outlived the asgiref `ThreadSensitiveContext` whose executor its calls belong to."""


class TargetError(UsageError):
    """No application was found where `bridge serve` was told to look."""


class MissingDependency(UsageError, ImportError):
    """An optional library is needed and not installed; the message names the extra to install."""
