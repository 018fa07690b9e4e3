"""Pairs of apps with one behaviour."""

from __future__ import annotations

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from bridge.testing import Request, compare
from bridge.testing.strategies import Behaviour, GeneratedASGI, GeneratedWSGI, Twins, behaviours, requests

QUICK = settings(max_examples=500, phases=[Phase.generate, Phase.shrink])


def test_the_simplest_is_plain() -> None:
    found = find(behaviours(), lambda _: True, settings=QUICK)
    assert found == Twins(GeneratedWSGI(), GeneratedASGI())


@settings(max_examples=20, phases=[Phase.generate])
@given(pair=behaviours(), request=requests())
def test_both_behave_alike(pair: Twins, request: Request) -> None:
    wsgi, asgi = pair
    assert wsgi.does == asgi.does
    compare(wsgi, asgi, [request]).assert_same()


def test_the_behaviour_may_be_given() -> None:
    does = Behaviour(status=404)
    found = find(behaviours(st.just(does)), lambda pair: pair.wsgi.returns == "tuple", settings=QUICK)
    assert found == Twins(GeneratedWSGI(does, returns="tuple"), GeneratedASGI(does))
