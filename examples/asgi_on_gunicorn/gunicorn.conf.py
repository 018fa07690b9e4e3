"""How Gunicorn serves frost watch. It reads this file when it is started in this folder."""

import os
import signal
from types import FrameType
from typing import Any

bind = "127.0.0.1:8000"
workers = 2
worker_class = os.environ.get("FROST_WORKER") or "gthread"  # or sync, or gevent
threads = 1 if worker_class == "sync" else 16  # each open event stream takes one

# How long (seconds) requests may go on after SIGTERM. A worker that still has one then is killed, and the app
# does not get to what it does at its end.
graceful_timeout = 20

if worker_class == "gevent":
    # Before anything of the app is imported. The worker does it too, but with --preload that is too late.
    from gevent import monkey  # type: ignore[import-untyped]

    monkey.patch_all()


def post_worker_init(worker: Any) -> None:
    """Start the event loop and the app in each worker, after the fork and before its first request.

    Without this the first request does it. With it, an app that cannot start keeps its worker from booting.
    """
    worker.wsgi.start()
    stop = signal.getsignal(signal.SIGTERM)

    def end_streams_and_stop(number: int, frame: FrameType | None) -> None:
        worker.wsgi.app.state.stopping = True  # an event stream would go on for ever
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, end_streams_and_stop)
