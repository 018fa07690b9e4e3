"""The server's side of one call, with a call that the test plays: every step in every order."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from support.wsgi_drive import ClosingInput

from bridge.adapters.asgi_call import File, Hint, Trailers
from bridge.adapters.asgi_exchange import Exchange
from bridge.adapters.input_reader import InputReader
from bridge.engines.crossing import FETCH, LOOK_AROUND, TAKE
from bridge.exceptions import (
    AdapterClosed,
    BadRequest,
    BodyTooLarge,
    ClientDisconnected,
    IncompleteResponse,
    LoopGone,
)

HEAD = ("200 OK", [("x-a", "1")])


class Boom(Exception):
    """What servers and apps of these tests raise."""


class BaseBoom(BaseException):
    """The same, outside of `Exception`."""


class Call:
    """Stands in for `ASGICall`: it says what the script says, and notes what is done to it.

    Args:
        steps: in order: a list is what there is to take, FETCH and LOOK_AROUND are what there is to do, an
            exception is raised. After the last, the call has ended.
        error: why it ended.

    Attributes:
        log: what was done.
        closed: the files that were dropped.
    """

    finished = None
    loop_thread = None

    def __init__(self, *steps: Any, error: BaseException | None = None, stillborn: bool = False) -> None:
        self._steps = list(steps)
        self._error = error
        self._stillborn = stillborn
        self.error: BaseException | None = None
        self.gone = False
        self.log: list[Any] = []

    @property
    def ended(self) -> bool:
        return not self._steps or self.error is not None

    def arrive(self) -> int:
        return self.next()

    def next(self) -> int:
        if self.ended or isinstance(self._steps[0], list):
            return TAKE
        step = self._steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        assert isinstance(step, int)
        return step

    def take(self) -> tuple[list[Any], bool]:
        items = list(self._steps.pop(0)) if self._steps and self.error is None else []
        last = self.ended
        if last and self.error is None:
            self.error = self._error
        return items, last

    def dealt(self, size: int) -> None:
        self.log.append(size)

    def supply(self, item: Any, size: int, last: bool) -> None:
        self.log.append((item, size, last))

    def leave(self, error: BaseException | None = None) -> None:
        self.gone = True
        self.log.append("leave")
        if error is not None and self.error is None:
            self.error = error

    def end(self, error: BaseException | None = None) -> None:
        self.error = error

    def cancelled_before_start(self) -> bool:
        return self._stillborn

    def leave_soon(self) -> None:
        self.leave()

    def forget_soon(self) -> None:
        self.log.append("forgotten")

    def dropped(self, items: Iterable[Any]) -> None:
        for item in items:
            if type(item) is File:
                item.file.close()


def begin(call: Call, **environ: Any) -> tuple[Any, list[Any]]:
    """The body that a server gets, and what it was told before: status and headers."""
    heads: list[Any] = []
    given: dict[str, Any] = {"REQUEST_METHOD": "GET", "wsgi.input": ClosingInput(b"abcdef"), **environ}
    reader = InputReader(given, 6, None)
    exchange = Exchange(call, reader, given, 0.0)  # type: ignore[arg-type]
    answer: Any = lambda *head: heads.append(head)  # noqa: E731
    return exchange.begin(answer, call.arrive()), heads


@pytest.mark.req("A-13", "A-14")
@pytest.mark.parametrize(
    "steps",
    [
        [[HEAD, b"a"]],
        [[HEAD], [b"a"]],
        [LOOK_AROUND, [], [HEAD, b"a"]],
        [FETCH, [HEAD, b"a"]],
        [[HEAD], LOOK_AROUND, FETCH, [], [b"a"], []],
    ],
    ids=["at once", "apart", "late", "after the body", "with interruptions"],
)
def test_the_head_is_told_once_and_before_the_body(steps: list[Any]) -> None:
    body, heads = begin(Call(*steps))
    assert heads == [HEAD]
    assert list(body) == [b"a"]
    assert heads == [HEAD]


@pytest.mark.req("A-05")
def test_the_body_is_fetched_when_it_is_asked_for() -> None:
    call = Call(FETCH, [HEAD])
    body, _ = begin(call)
    assert call.log == [((b"abcdef", True), 6, True)]
    body.close()


@pytest.mark.req("A-18")
def test_the_call_is_told_of_a_piece_when_the_next_one_is_asked_for() -> None:
    """Until then the server has it in hand."""
    call = Call([HEAD, b"a"], [b"bcd"], [])
    body, _ = begin(call)
    assert next(body) == b"a"
    assert call.log == []
    assert next(body) == b"bcd"
    assert call.log == [1]
    with pytest.raises(StopIteration):
        next(body)
    assert call.log == [1, 3]


@pytest.mark.req("A-18")
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a", b"b"], [b"ab"]),
        ([b"a" * 65_535, b"b", b"c"], [b"a" * 65_535 + b"b", b"c"]),
        ([b"a" * 65_536, b"b"], [b"a" * 65_536, b"b"]),
        ([b"a", b"b" * 65_536], [b"a", b"b" * 65_536]),
        ([b"a" * 40_000] * 3, [b"a" * 40_000] * 3),
    ],
    ids=["small", "to the bound", "at the bound", "small and large", "no two fit"],
)
def test_pieces_that_are_there_are_joined_to_a_bound(pieces: list[bytes], expected: list[bytes]) -> None:
    body, _ = begin(Call([HEAD, *pieces]))
    assert list(body) == expected


@pytest.mark.req("A-25")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Boom(), 500),
        (BaseBoom(), 500),
        (ClientDisconnected("of the app's own making"), 500),
        (LoopGone("x"), 500),
        (BodyTooLarge("x"), 413),
        (BadRequest("x"), 400),
        (None, 500),
    ],
    ids=repr,
)
def test_an_end_without_a_head_is_answered(error: BaseException | None, status: int) -> None:
    body, heads = begin(Call(error=error))
    ((line, _),) = heads
    assert line.startswith(f"{status} ")
    assert b"".join(body).startswith(b"%d " % status)
    body.close()


@pytest.mark.req("L-09")
def test_an_end_by_close_is_raised() -> None:
    error = AdapterClosed("closed")
    with pytest.raises(AdapterClosed) as caught:
        begin(Call(error=error))
    assert caught.value is error


@pytest.mark.req("A-10")
def test_a_body_that_breaks_tells_the_call_and_answers_400() -> None:
    call = Call(FETCH, [HEAD, b"never"])
    body, heads = begin(call, **{"wsgi.input": ClosingInput(OSError())})
    assert heads[0][0] == "400 Bad Request"
    assert call.log == ["leave"]
    assert list(body) == [b"400 Bad Request\n"]


def test_a_body_that_is_too_large_is_the_apps_to_hear() -> None:
    call = Call(FETCH, [HEAD])
    reader = InputReader({"wsgi.input": ClosingInput(b"abcdef")}, 6, 3)
    exchange = Exchange(call, reader, {}, 0.0)  # type: ignore[arg-type]
    exchange.begin(lambda *head: None, call.arrive())  # type: ignore[arg-type]
    ((item, size, last),) = call.log
    assert isinstance(item[0], BodyTooLarge)
    assert (item[1], size, last) == (True, 0, True)


@pytest.mark.req("A-27")
def test_a_task_that_never_ran_is_a_500() -> None:
    call = Call(LOOK_AROUND, [HEAD], stillborn=True)
    _, heads = begin(call)
    assert heads[0][0].startswith("500")
    assert "forgotten" in call.log


@pytest.mark.req("A-26")
def test_an_error_after_the_head_is_raised_after_what_came_before() -> None:
    error = Boom()
    body, _ = begin(Call([HEAD, b"a"], error=error))
    assert next(body) == b"a"
    for _ in range(2):
        with pytest.raises(Boom) as caught:
            next(body)
        assert caught.value is error
    body.close()


@pytest.mark.req("A-29")
@pytest.mark.parametrize("error", [LoopGone("x"), BaseBoom(), KeyboardInterrupt()], ids=repr)
def test_whatever_interrupts_the_wait_the_call_is_told(error: BaseException) -> None:
    call = Call([HEAD, b"a"], error)
    body, _ = begin(call)
    assert next(body) == b"a"
    with pytest.raises(type(error)) as caught:
        next(body)
    assert caught.value is error
    assert "leave" in call.log
    body.close()
    assert call.log.count("leave") == 1


@pytest.mark.req("A-28", "A-29")
@pytest.mark.parametrize("pulls", [0, 1])
def test_close_before_the_end_leaves_once(pulls: int) -> None:
    call = Call([HEAD, b"a"], [b"b"])
    body, _ = begin(call)
    for _ in range(pulls):
        next(body)
    assert call.log == []
    body.close()
    body.close()
    del body
    assert call.log == ["leave"]


@pytest.mark.req("A-28")
@pytest.mark.parametrize("exhausted", [False, True])
def test_close_after_the_last_piece_does_not_leave(exhausted: bool) -> None:
    """Whether or not the server has asked for one more, as it need not if it knows the length."""
    call = Call([HEAD, b"a"])
    body, _ = begin(call)
    assert next(body) == b"a"
    if exhausted:
        with pytest.raises(StopIteration):
            next(body)
    body.close()
    del body
    assert "leave" not in call.log


@pytest.mark.req("A-29")
def test_a_body_that_is_dropped_leaves() -> None:
    call = Call([HEAD, b"a"], [b"b"])
    body, _ = begin(call)
    del body
    assert call.log == ["leave"]


# -- files, hints and trailers


def file_of(data: bytes = b"content", size: int | None = None, whole: bool = True) -> File:
    """An open file as a call hands it over."""
    return File(io.BytesIO(data), len(data) if size is None else size, whole)


@pytest.mark.req("X-06")
def test_a_whole_file_is_the_servers_to_send() -> None:
    item = file_of()
    body, heads = begin(Call([HEAD, item]), **{"wsgi.file_wrapper": FileWrapper})
    assert heads == [HEAD]
    assert type(body) is FileWrapper
    assert list(body) == [b"content"]
    body.close()
    assert item.file.closed


@pytest.mark.req("X-05", "X-06")
@pytest.mark.parametrize(
    ("steps", "environ"),
    [
        ([[HEAD, file_of()]], {}),
        ([[HEAD, file_of(size=3, whole=False)]], {"wsgi.file_wrapper": FileWrapper}),
        ([[HEAD, file_of(whole=False)], []], {"wsgi.file_wrapper": FileWrapper}),
        ([[HEAD, file_of(), Trailers([])]], {"wsgi.file_wrapper": FileWrapper}),
    ],
    ids=["no wrapper", "a part", "more to come", "trailers"],
)
def test_any_other_file_is_read(steps: list[Any], environ: dict[str, Any]) -> None:
    body, _ = begin(Call(*steps), **environ, **{"gunicorn.http2.send_trailers": lambda headers: None})
    assert type(body) is Exchange
    size = steps[0][1].size
    assert b"".join(body) == b"content"[:size]
    assert steps[0][1].file.closed


@pytest.mark.req("A-21", "X-06")
def test_a_file_with_an_error_behind_it_is_not_left_to_the_wrapper() -> None:
    item = file_of()
    call = Call([HEAD, item], error=IncompleteResponse("short"))
    body, _ = begin(call, **{"wsgi.file_wrapper": FileWrapper})
    assert next(body) == b"content"
    with pytest.raises(IncompleteResponse):
        next(body)
    body.close()
    assert item.file.closed


@pytest.mark.req("X-06")
def test_a_file_that_ends_too_early_aborts() -> None:
    item = file_of(size=10)
    body, _ = begin(Call([HEAD, item]))
    assert next(body) == b"content"
    with pytest.raises(IncompleteResponse, match="3 bytes"):
        next(body)
    assert item.file.closed
    body.close()


@pytest.mark.req("X-06")
@pytest.mark.parametrize("end", ["close", "drop", "start_response", "wrapper"])
def test_a_file_is_closed_whatever_happens(end: str) -> None:
    item = file_of()
    call = Call([HEAD, item])
    if end in ("close", "drop"):
        body, _ = begin(call)
        if end == "close":
            body.close()
        del body
    elif end == "wrapper":

        def wrapper(file: Any, size: int) -> None:
            raise Boom

        with pytest.raises(Boom):
            begin(call, **{"wsgi.file_wrapper": wrapper})
    else:

        def refuse(status: str, headers: Any) -> None:
            raise Boom

        exchange = Exchange(call, InputReader({}, None, None), {}, 0.0)  # type: ignore[arg-type]
        with pytest.raises(Boom):
            exchange.begin(refuse, call.arrive())  # type: ignore[arg-type]
        del exchange
    assert item.file.closed


@pytest.mark.req("X-02", "X-03")
def test_hints_come_before_the_head() -> None:
    log: list[Any] = []
    hints = [Hint([("Link", "</a>")]), Hint([("Link", "</b>"), ("Link", "</c>")])]
    _, heads = begin(Call([hints[0]], [hints[1], HEAD, b"a"]), **{"wsgi.early_hints": log.append})
    assert log == [hint.headers for hint in hints]
    assert heads == [HEAD]


@pytest.mark.req("X-05")
def test_trailers_are_given_to_the_server_after_the_body_before_them() -> None:
    log: list[Any] = []
    trailers = Trailers([("x-sum", "1")])
    body, _ = begin(
        Call([HEAD, b"a", trailers], [Trailers([("x-b", "2")])]),
        **{"gunicorn.http2.send_trailers": log.append},
    )
    assert next(body) == b"a"
    assert log == []
    assert list(body) == []
    assert log == [[("x-sum", "1")], [("x-b", "2")]]


@pytest.mark.req("A-26", "X-05")
def test_trailers_that_the_server_cannot_send_abort() -> None:
    def broken(headers: Any) -> None:
        raise Boom

    body, _ = begin(Call([HEAD, b"a", Trailers([])]), **{"gunicorn.http2.send_trailers": broken})
    assert next(body) == b"a"
    with pytest.raises(Boom):
        next(body)
    body.close()
