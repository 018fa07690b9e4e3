"""What a thread knows of the event loops that it works for."""

from __future__ import annotations

import threading
from typing import Any

from . import asgiref_notes
from .ports import Port
from .waiting_thread import WaitingThread


class _Home(threading.local):
    """The calling thread's.

    Attributes:
        port: the loop whose task waits for what the thread does; left by each job, valid during it.
        started: what the job has started on that loop and waits for, to be cancelled with it.
        wait: the innermost wait that the thread is in.
    """

    port: Port | None = None
    started: list[Any] | None = None
    wait: WaitingThread | None = None


home = _Home()


def enter(port: Port) -> None:
    """Note in the calling thread that what it calls by `async_to_sync`, ours or asgiref's, runs on `port`.

    The note stays until the next one: each job of a pool leaves its own.
    """
    if home.port is not port:
        home.port = port
    asgiref_notes.enter(port.loop)
