"""compare(): the same requests to two apps, or to one app in two ways, and what differs.

    comparison = compare(old_flask_app, new_fastapi_app, ["/", "POST /notes", "/notes?page=2"])
    comparison.assert_same()

Everything here runs in the calling thread; the clients have their own threads and loops.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

from ...exceptions import StartupFailed, UsageError
from ..exchange import Request, RequestLike, Response
from ..ways import Via
from .differences import DEFAULT_BASE, differences, effect_differences
from .result import Comparison, Difference, Result
from .rules import Rules

Step: TypeAlias = "RequestLike | Callable[[Response | None], RequestLike]"
"""A request; or a function of the previous answer of the same side (`None` at first) that makes it."""

Progress: TypeAlias = "Callable[[int, int | None, Result], object]"
"""Is called after each request with how many are done, how many there are (if known), and the result."""

# Shorter than this, in seconds, two times differ by chance: the scheduler's time slices, the collector.
SMALLEST_DELAY = 0.02


class Exchanging(Protocol):
    """What can be compared besides apps: anything that answers requests, such as a `Client`."""

    def exchange(self, request: Any, *, follow_redirects: bool = False) -> Response:
        """The response to a request, whatever became of it."""


@dataclass
class _Side:
    """One of the two: its client, and what is particular to it."""

    given: Any
    client: Exchanging
    base: str
    previous: Response | None = None

    def request(self, step: Step) -> Request:
        """The request that a step stands for on this side."""
        return Request.of(step(self.previous) if callable(step) else step)

    def exchange(self, request: Request, follow_redirects: bool) -> Response:
        """Send it; what the client raises is what came of it."""
        try:
            response = self.client.exchange(request, follow_redirects=follow_redirects)
        except (UsageError, StartupFailed):
            raise
        except Exception as exc:  # a client of the user's; ours gives it as Response.error
            response = Response(0, error=exc)
        self.previous = response
        return response


def compare(
    old: Any,
    new: Any,
    requests: Iterable[Step],
    *,
    via: Via | tuple[Via, Via] = "native",
    rules: Rules | None = None,
    reset: Callable[[Any], object] | None = None,
    effects: Callable[[Any], Any] | None = None,
    follow_redirects: bool = False,
    slower: float | timedelta | None = None,
    client_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Send each request to both sides, one side after the other, and compare the answers.

    Each side has one client with cookies of its own for all requests. Nothing that an app does ends
    the comparison: what it raises, an answer that breaks off or does not come in time is an answer.

    Args:
        old: the reference: an app of either interface, or a client (anything with `.exchange()`, such
            as `Client.served(...)`), which stays open. An app that writes its own URL into bodies needs the
            same host on both sides (a header `Host` in the requests), or `Rules.normalise_text`.
        new: what should behave like it. May be the same app, taken another way.
        requests: what `Request.of` takes; or functions that are given the side's previous response and
            make the request, such as one that sends back a token.
        via: how apps are called, for both or for each: "native", "asgi", "wsgi", "roundtrip", or a function
            that wraps the app. Clients have their own way.
        rules: what is forgiven (`Rules()`).
        reset: is called with `old` before each request to it, and with `new` before each to it, to bring
            what they keep (a database) into one state.
        effects: is called with `old` and with `new` after their answers; gives a JSON-like value (the rows
            of a table, the mails that were sent) which is compared too.
        follow_redirects: whether to go where redirects lead, and to compare each step.
        slower: report the new side if it takes more than this many times as long as the old (a number),
            or longer than it by more than a `timedelta`; differences below 20 ms are never reported.
        client_options: further options of `Client` for both sides, such as `{"timeout": 5}`. No time-out
            ends the wait for a WSGI app by its own interface, which runs in this thread; by "asgi" it does.
        progress: is called after each request.
        stop_after: send no more once this many requests have shown differences.
        names: what reports call the two sides; by default by their ways, or "old" and "new".

    Returns:
        The results, in the order of the requests.

    Raises:
        UsageError: an argument or a request is none, or there are no requests.
        StartupFailed: an app's lifespan did not start.
        Exception: what `reset`, `effects`, `progress` or a function among the requests raised; the last
            only if it failed on the old side's answer. On the new side's it is a difference.
    """
    rules = Rules.default() if rules is None else rules
    _check(rules, slower, stop_after)
    ways = via if isinstance(via, tuple) else (via, via)
    if len(ways) != 2:
        raise UsageError(f'via is one way or a pair of them, such as ("native", "asgi"); got {via!r}')
    total = len(requests) if isinstance(requests, Sized) else None
    results: list[Result] = []
    stopped, different = "", 0
    with ExitStack() as stack:
        sides = tuple(
            _side(app, way, client_options, stack) for app, way in zip((old, new), ways, strict=True)
        )
        for step in _steps(requests):
            if stop_after is not None and different >= stop_after:
                stopped = f"stopped after {different} request{'s' if different > 1 else ''} with differences"
                break
            result = _compared(step, sides[0], sides[1], rules, reset, effects, follow_redirects, slower)
            results.append(result)
            different += not result.same
            if progress is not None:
                progress(len(results), total, result)
    if not results:
        # All of nothing is alike: a test that lost its requests would pass for ever.
        raise UsageError("there is nothing to compare: requests gave no request")
    return Comparison(tuple(results), *(names or _names(old, new, ways)), stopped)


def _check(rules: object, slower: object, stop_after: object) -> None:
    if not isinstance(rules, Rules):
        raise UsageError(f"rules is a Rules, such as Rules().ignore_header('Date'); got {rules!r}")
    limit = slower.total_seconds() if isinstance(slower, timedelta) else slower
    if limit is not None and not (isinstance(limit, (int, float)) and 0 < limit < math.inf):
        raise UsageError(f"slower is a factor such as 2.0, or a timedelta, more than 0; got {slower!r}")
    if stop_after is not None and (not isinstance(stop_after, int) or stop_after < 1):
        raise UsageError(f"stop_after is a number of requests, 1 or more; got {stop_after!r}")


def _steps(requests: Iterable[Step]) -> Iterator[Step]:
    if isinstance(requests, (str, bytes, Mapping, Request)) or not isinstance(requests, Iterable):
        raise UsageError(f"requests is a list or another iterable of requests; got {requests!r}")
    return iter(requests)


def _side(given: Any, way: Via, options: Mapping[str, Any] | None, stack: ExitStack) -> _Side:
    # Statically: some apps, such as proxies, claim to have any attribute.
    if inspect.getattr_static(given, "exchange", None) is not None:
        if way != "native":
            raise UsageError(f"a client has its own way to its app; via={way!r} is for apps")
        client: Exchanging = given
    else:
        # On use: a comparison of clients of the user's own needs no HTTP library.
        from ..client import Client

        client = stack.enter_context(Client(given, via=way, **(options or {})))
    base = str(getattr(client, "base_url", "") or DEFAULT_BASE)
    return _Side(given, client, base if "://" in base else DEFAULT_BASE)


def _names(old: Any, new: Any, ways: tuple[Via, ...]) -> tuple[str, str]:
    if old is not new or ways[0] == ways[1]:
        return "old", "new"
    first, second = (way if isinstance(way, str) else getattr(way, "__name__", "wrapped") for way in ways)
    return first, second


def _compared(
    step: Step,
    old: _Side,
    new: _Side,
    rules: Rules,
    reset: Callable[[Any], object] | None,
    effects: Callable[[Any], Any] | None,
    follow_redirects: bool,
    slower: float | timedelta | None,
) -> Result:
    request = old.request(step)
    new_request, failure = _request_of_new_side(new, step)
    read: list[Any] = []
    answers: list[Response] = []
    for side, asked in ((old, request), (new, new_request)):
        if reset is not None:
            reset(side.given)
        if asked is None:
            side.previous = Response(0, error=failure)
            answers.append(side.previous)
        else:
            answers.append(side.exchange(asked, follow_redirects))
        if effects is not None:
            read.append(effects(side.given))
    one, other = answers
    if failure is not None:
        detail = "the new side's previous answer lacks what makes this request"
        said = f"{type(failure).__name__}: {failure}"
        found = [Difference("error/raised", "request", request.label, said, detail)]
    else:
        found = differences(one, other, rules, request=request, bases=(old.base, new.base))
    of_request = rules.of_request(request)
    if effects is not None:
        found += effect_differences(read[0], read[1], of_request)
    found += _of_time(one, other, slower)
    result = Result(request, one, other, tuple(found), (read[0], read[1]) if read else None)
    return result if new_request == request else replace(result, new_request=new_request)


def _request_of_new_side(new: _Side, step: Step) -> tuple[Request | None, Exception | None]:
    """The request; or why the function that makes it failed, after it had been well with the old side."""
    try:
        return new.request(step), None
    except UsageError:
        raise
    except Exception as exc:
        return None, exc


def _of_time(old: Response, new: Response, slower: float | timedelta | None) -> list[Difference]:
    delay = new.elapsed - old.elapsed
    if slower is None or delay < SMALLEST_DELAY:
        return []
    if isinstance(slower, timedelta):
        late = delay > slower.total_seconds()
    else:
        late = new.elapsed > old.elapsed * slower
    times = f"{new.elapsed / old.elapsed:.1f} times as long" if old.elapsed > 0 else ""
    return (
        [Difference("time", "seconds", round(old.elapsed, 4), round(new.elapsed, 4), times)] if late else []
    )
