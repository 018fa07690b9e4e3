"""Whether the client of a WSGI request is still there, asked without reading from its connection.

A WSGI server notices that a client is gone when it writes to it, so an app that is silent for long
(a rare event of an event stream, a long poll) would go on for nobody. Some servers show their
connection to the application; its state can be asked for at any time, without waiting and without
taking anything from it.

A client that has closed its sending half counts as gone, as it does under ASGI servers.
"""

from __future__ import annotations

import select
import sys
from typing import Any

from ..types import Environ

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
# The peer has closed or reset the connection; 0 where the system has no such notification.
_CLOSED = (
    getattr(select, "POLLRDHUP", 0) and select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL
)


def client_is_gone(environ: Environ) -> bool:
    """Whether the client is known to have left; `False` if that cannot be told.

    Called in the server's thread; does not wait. `waitress.client_disconnected` is asked where
    Waitress offers it, else the connection that Gunicorn or Werkzeug shows.
    """
    asked = environ.get("waitress.client_disconnected")
    if callable(asked):
        return bool(asked())
    # One connection serves many requests of HTTP/2, and says nothing of any of them.
    if not _CLOSED or environ.get("SERVER_PROTOCOL") not in ("HTTP/1.1", "HTTP/1.0"):
        return False
    for key in _SOCKETS:
        if key in environ:
            return _is_closed(environ[key])
    return False


def _is_closed(connection: Any) -> bool:
    try:
        descriptor = connection.fileno()
        if descriptor < 0:
            return True
        poller = _poll()
        poller.register(descriptor, _CLOSED)
        return bool(poller.poll(0))
    except (AttributeError, OSError, ValueError):
        return False  # no socket after all, or one that is just being closed


def _poll() -> Any:
    # gevent's would switch to other greenlets, for a question that takes no time.
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and hasattr(monkey, "get_original"):
        return monkey.get_original("select", "poll")()
    return select.poll()
