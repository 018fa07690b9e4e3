"""fuzz_same_behaviour: look for a request that two apps, or two ways to one app, do not answer alike.

hypothesis makes the requests and shrinks the one that was found; `compare` says what differs.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..exceptions import BehaviourDiffers, UsageError
from .client import Client
from .comparison.compare import compare
from .exchange import Request
from .strategies import hypothesis  # from there, which says what to install if it is missing
from .strategies import requests as any_requests
from .strategies.readable import expression

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from .comparison.result import Comparison
    from .comparison.rules import Rules
    from .ways import Via

# As hypothesis has it: seconds rather than minutes, with apps that answer at once.
DEFAULT_EXAMPLES = 100
# Large enough that no two runs share it by chance, short enough to be copied from a log.
_SEEDS = 2**32


def fuzz_same_behaviour(
    old: Any,
    new: Any,
    *,
    via: Via | tuple[Via, Via] = "native",
    requests: SearchStrategy[Request] | None = None,
    steps: int = 1,
    rules: Rules | None = None,
    max_examples: int = DEFAULT_EXAMPLES,
    seed: int | None = None,
    reset: Callable[[Any], object] | None = None,
    follow_redirects: bool = False,
    client_options: Mapping[str, Any] | None = None,
) -> None:
    """Do nothing if no request is found that the two do not answer alike.

        def test_the_new_app_answers_as_the_old_one():
            fuzz_same_behaviour(old, new, requests=requests(targets=["/notes", "/notes/{id}"]))

        def test_the_adapters_change_nothing():
            fuzz_same_behaviour(app, app, via=("native", "roundtrip"))

    Each side has one client for all requests: its lifespan runs once. Cookies that it was sent are
    dropped after each example.

    Args:
        old, new: an app of either interface, or a client (anything with `.exchange(request)`), which stays
            open.
        via: the way to both apps, or a pair of ways, the old app's first.
        requests: a strategy for `Request`; by default `bridge.testing.strategies.requests()`, so any
            path. `requests(targets=[...])` keeps to the routes that there are.
        steps: how many requests one example has at most. With more than one, what a request leaves
            behind (a cookie, a row) is seen by the next; give `reset` as well then.
        rules: what does not count as a difference.
        max_examples: how many examples are tried (100), besides those of the shrinking.
        seed: where the search begins. `None`: elsewhere each time, and the message tells where; or
            always at the same, if the current profile of hypothesis is derandomized.
        reset: is called with `old` before the first request of an example to it, and with `new` before the
            first to that, to bring what they keep (a database) back into one state.
        follow_redirects: whether the responses to redirects are compared instead of the redirects.
        client_options: for the clients of apps, as `Client` takes them.

    Raises:
        BehaviourDiffers: such a request was found. The message has the smallest one that was, what
            differs, and how to see it again.
        UsageError: an argument is not usable.
        MissingDependency: hypothesis or httpx2 is not installed.
    """
    __tracebackhide__ = True  # pytest then shows the caller's line
    if requests is not None and not isinstance(requests, hypothesis.strategies.SearchStrategy):
        raise UsageError(
            "requests is a strategy of hypothesis, such as requests(targets=['/notes/{id}']) of "
            f"bridge.testing.strategies; got {requests!r}"
        )
    for name, number in (("max_examples", max_examples), ("steps", steps)):
        if type(number) is not int or number < 1:
            raise UsageError(f"{name} is a whole number, at least 1; got {number!r}")
    ways = via if isinstance(via, tuple) else (via, via)
    if len(ways) != 2:
        raise UsageError(f'via is one way or a pair of them, such as ("native", "asgi"); got {via!r}')
    start = _seed() if seed is None else seed
    each = any_requests() if requests is None else requests
    examples = hypothesis.strategies.lists(each, min_size=1, max_size=steps)
    first, second = map(_name, ways)
    names = (first, second) if old is new and ways[0] != ways[1] else ("old", "new")
    with contextlib.ExitStack() as stack:
        sides = [
            _Side(stack, app, way, client_options or {}) for app, way in zip((old, new), ways, strict=True)
        ]
        search = _Search(sides, rules, reset, follow_redirects, names)
        steady = search.run(examples, max_examples, start)
    if search.found is not None:
        raise BehaviourDiffers("\n".join(_told(search, ways, start, steady)))


def _seed() -> int:
    """Where a search begins that is not told."""
    profile = hypothesis.settings.default
    return 0 if profile is not None and profile.derandomize else random.SystemRandom().randrange(_SEEDS)


def _name(via: Via) -> str:
    return via if isinstance(via, str) else getattr(via, "__name__", "wrapped")


class _Side:
    """One of the two: its client, and the cookies that this began with."""

    def __init__(self, stack: contextlib.ExitStack, app: Any, via: Via, options: Mapping[str, Any]) -> None:
        self.app = app
        self.rests = True
        # Statically, as `compare` does: some apps, such as proxies, claim to have any attribute.
        if inspect.getattr_static(app, "exchange", None) is None:
            self.client = stack.enter_context(Client(app, via=via, **options))
        elif via == "native":
            self.client = app
        else:
            raise UsageError(f"a client has its own way to its app; via={via!r} is for apps")
        cookies = getattr(self.client, "cookies", None)
        self._jar = getattr(cookies, "jar", None)
        self._cookies = [] if self._jar is None else list(self._jar)

    def forget(self) -> None:
        """Drop the cookies of the last example; the app is to be reset before the next request."""
        self.rests = True
        if self._jar is not None:
            self._jar.clear()
            for cookie in self._cookies:
                self._jar.set_cookie(cookie)


class _Search:
    """One search for a difference.

    Attributes:
        examples: how many were tried, those of the shrinking too.
        found: the last comparison that showed a difference.
    """

    def __init__(
        self,
        sides: list[_Side],
        rules: Rules | None,
        reset: Callable[[Any], object] | None,
        follow_redirects: bool,
        names: tuple[str, str],
    ) -> None:
        self._sides = sides
        self._names = names
        self._rules = rules
        self._reset = reset
        self._follow_redirects = follow_redirects
        self.examples = 0
        self.found: Comparison | None = None

    def run(self, examples: SearchStrategy[list[Request]], count: int, seed: int) -> bool:
        """Search; return whether what was found, if anything, was found each time that it was tried."""
        try:
            hypothesis.find(
                examples,
                self._differs,
                settings=hypothesis.settings(
                    max_examples=count,
                    deadline=None,
                    database=None,
                    derandomize=False,
                    # Without "explain", which tries many more examples to say which part matters.
                    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
                    suppress_health_check=list(hypothesis.HealthCheck),
                    verbosity=hypothesis.Verbosity.quiet,
                ),
                random=random.Random(seed),
            )
        except hypothesis.errors.NoSuchExample:
            self.found = None
        except hypothesis.errors.Flaky:
            return False
        return True

    def _differs(self, requests: list[Request]) -> bool:
        self.examples += 1
        for side in self._sides:
            side.forget()
        old, new = (side.client for side in self._sides)
        comparison = compare(
            old,
            new,
            requests,
            rules=self._rules,
            reset=None if self._reset is None else self._reset_first,
            follow_redirects=self._follow_redirects,
            names=self._names,
        )
        if not comparison.same:
            self.found = comparison
        return not comparison.same

    def _reset_first(self, client: Any) -> None:
        """Called before each request; only the first of an example finds the app as `reset` leaves it."""
        for side in self._sides:
            if side.client is client and side.rests:
                side.rests = False
                assert self._reset is not None
                self._reset(side.app)
                return


def _told(search: _Search, ways: tuple[Via, ...], seed: int, steady: bool) -> Iterator[str]:
    """The lines of the message."""
    assert search.found is not None
    requests = ", ".join(literal(result.request) for result in search.found.results)
    yield f"after {search.examples} examples, this is the smallest one found that is not answered alike:"
    yield ""
    yield search.found.text(color=False).rstrip()
    yield ""
    if not steady:
        yield (
            "The same request was answered alike at another time. Something else than the request makes the "
            "difference: state that is kept (give reset=), a clock or chance (give rules=)."
        )
        yield ""
    yield "To see it again:"
    yield "    from bridge.testing import Request, compare"
    via = "" if set(ways) == {"native"} else f", via=({', '.join(map(_written, ways))})"
    yield f"    compare(old, new, [{requests}]{via}).assert_same()"
    yield f"or search again with the same arguments and seed={seed}."


def _written(via: Via) -> str:
    return repr(via) if isinstance(via, str) else _name(via)


def literal(request: Request) -> str:
    """A request as Python source, without what is as it is by default."""
    told = [
        f"{field.name}={expression(getattr(request, field.name))}"
        for field in fields(request)
        if getattr(request, field.name) != field.default
    ]
    return f"Request({', '.join(told)})"
