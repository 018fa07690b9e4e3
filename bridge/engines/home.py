"""What a thread knows of the event loops that it works for."""

from __future__ import annotations

import threading
from typing import Any

from .ports import Port
from .waiting_thread import WaitingThread


class _Home(threading.local):
    """The calling thread's.

    Attributes:
        port: the loop whose task waits for what the thread does; left by each job, valid during it.
        started: what the job has started on a loop and waits for, to be cancelled with the job.
        wait: the innermost wait that the thread is in.
    """

    port: Port | None = None
    started: list[Any] | None = None
    wait: WaitingThread | None = None


home = _Home()
