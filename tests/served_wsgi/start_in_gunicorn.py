"""A configuration of Gunicorn: each worker starts the adapter when it has been forked."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    worker.wsgi.start()
