"""Requests and apps for hypothesis: any that may come, the simple ones first, so that they shrink well.

General layout, each part importing only those above it:

    wire          targets, headers, bodies, requests
    readable      apps as values whose repr can be pasted into a test
    behaviour     what an app does, the same for both interfaces
    wsgi, asgi    apps that do it, each in one of the ways that its interface allows
    faulty        apps that break a rule of their interface, and are told apart by its name
    twins         the same behaviour on both interfaces

    from hypothesis import given
    from bridge.testing import Client
    from bridge.testing.strategies import requests, wsgi_apps

    @given(app=wsgi_apps(), request=requests())
    def test_my_middleware_changes_nothing(app, request):
        assert Client(MyMiddleware(app)).exchange(request).body == Client(app).exchange(request).body
"""

from __future__ import annotations

from ...exceptions import MissingDependency

try:
    import hypothesis as hypothesis
except ImportError as error:
    raise MissingDependency(
        "bridge.testing.strategies needs hypothesis; install it with: pip install 'wsgi-asgi-bridge[testing]'"
    ) from error

from .asgi import GeneratedASGI, asgi_apps
from .behaviour import Behaviour
from .faulty import ASGI_FAULTS, WSGI_FAULTS, Fault, FaultyASGI, FaultyWSGI, bad_asgi_apps, bad_wsgi_apps
from .twins import Twins, behaviours
from .wire import bodies, chunkings, contents, headers, paths, queries, requests
from .wsgi import GeneratedWSGI, wsgi_apps

__all__ = [
    "ASGI_FAULTS",
    "WSGI_FAULTS",
    "Behaviour",
    "Fault",
    "FaultyASGI",
    "FaultyWSGI",
    "GeneratedASGI",
    "GeneratedWSGI",
    "Twins",
    "asgi_apps",
    "bad_asgi_apps",
    "bad_wsgi_apps",
    "behaviours",
    "bodies",
    "chunkings",
    "contents",
    "headers",
    "paths",
    "queries",
    "requests",
    "wsgi_apps",
]
