"""Proof that behaviour is the same: clients, validators, comparison, recordings, property-based tests.

General layout, each part importing only those above it:

    exchange          requests and responses as plain values
    validation/       what an app and its server owe each other, checked while they talk
    transports/       servers in process for either interface, as transports of httpx2
    ways, local_app, client, async_client, websocket, served
                      the clients, and the ways through the adapters that they can take
    comparison/       the differences between responses, rules that forgive some, reports
    recording/        exchanges written down with secrets removed, and sent again
    sources/          where requests come from: files, OpenAPI descriptions, a crawl
    strategies, fuzz  requests and apps for hypothesis
    pytest_plugin     fixtures and options

Names are imported when they are asked for, so that each part needs only its own libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazily

if TYPE_CHECKING:
    from .async_client import AsyncClient as AsyncClient
    from .client import Client as Client
    from .comparison.compare import compare as compare
    from .comparison.result import Comparison as Comparison
    from .comparison.result import Difference as Difference
    from .comparison.rules import Rules as Rules
    from .exchange import Request as Request
    from .exchange import Response as Response
    from .fuzz import fuzz_same_behaviour as fuzz_same_behaviour
    from .recording.recorder import Recorder as Recorder
    from .recording.redaction import Redaction as Redaction
    from .recording.replay import replay as replay
    from .validation.asgi import ASGIValidator as ASGIValidator
    from .validation.violations import Violation as Violation
    from .validation.wsgi import WSGIValidator as WSGIValidator

_HOMES = {
    "ASGIValidator": "validation.asgi",
    "AsyncClient": "async_client",
    "Client": "client",
    "Comparison": "comparison.result",
    "Difference": "comparison.result",
    "Recorder": "recording.recorder",
    "Redaction": "recording.redaction",
    "Request": "exchange",
    "Response": "exchange",
    "Rules": "comparison.rules",
    "Violation": "validation.violations",
    "WSGIValidator": "validation.wsgi",
    "compare": "comparison.compare",
    "fuzz_same_behaviour": "fuzz",
    "replay": "recording.replay",
}

__all__ = [
    "ASGIValidator",
    "AsyncClient",
    "Client",
    "Comparison",
    "Difference",
    "Recorder",
    "Redaction",
    "Request",
    "Response",
    "Rules",
    "Violation",
    "WSGIValidator",
    "compare",
    "fuzz_same_behaviour",
    "replay",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
