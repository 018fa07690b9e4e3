"""The same behaviour on both interfaces, from one value."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from .asgi import GeneratedASGI, asgi_apps
from .behaviour import Behaviour, acts
from .wsgi import GeneratedWSGI, wsgi_apps


class Twins(NamedTuple):
    """Two apps that answer every request alike.

    Attributes:
        wsgi: a WSGI app.
        asgi: an ASGI app with the same `does`.
    """

    wsgi: GeneratedWSGI
    asgi: GeneratedASGI


def behaviours(does: SearchStrategy[Behaviour] | None = None) -> SearchStrategy[Twins]:
    """Pairs `(wsgi_app, asgi_app)` with the same behaviour, each done in a way of its own interface.

    For tests that two servers, two adapters or two middlewares are equal:

        @given(pair=behaviours(), request=requests())
        def test_equal(pair, request):
            compare(pair.wsgi, MyAdapter(pair.asgi), [request]).assert_same()

    Args:
        does: what they do; by default anything. Trailers have no equal in WSGI, and are left out.
    """

    def twins(behaviour: Behaviour) -> SearchStrategy[Twins]:
        same = st.just(behaviour)
        return st.builds(Twins, wsgi_apps(same), asgi_apps(same, trailers=False))

    return (acts() if does is None else does).flatmap(twins)
