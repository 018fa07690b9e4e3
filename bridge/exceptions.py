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
└── UsageError                  bridge was called with something it cannot work with
    ├── AdapterClosed           a request came after close()
    ├── TargetError             `bridge serve` did not find an app where it was told to look
    └── MissingDependency       an optional library is not installed (also an ImportError)
"""

from __future__ import annotations


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


class UsageError(BridgeError):
    """bridge was called with something it cannot work with; the message says what to do instead."""


class AdapterClosed(UsageError):
    """The adapter has been closed, and serves no request any more."""


class TargetError(UsageError):
    """No application was found where `bridge serve` was told to look."""


class MissingDependency(UsageError, ImportError):
    """An optional library is needed and not installed; the message names the extra to install."""
