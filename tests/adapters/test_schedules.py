"""Seeded random schedules: whatever client, server and app do to each other, nothing hangs or is left.

Each schedule puts one to four requests on one adapter with tiny limits and a few threads. Clients
leave, send late or never, stall; `send` and `receive` fail; requests are cancelled at some await; apps
read, write, stream, fail, end early, fail in `close()`. What the threads do meanwhile is up to the
system, so a seed names the script of a schedule, not every switch of it.

    python tests/adapters/test_schedules.py 123 124        runs these seeds alone
"""

from __future__ import annotations

import inspect
import io
import logging
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeGuard

import pytest
from support.drive import LOOPS, Exchange, Step, checkpoint, disconnect, run, together
from support.scopes import http_scope
from support.wsgi_apps import Watched

from bridge import ThreadPool, WSGIToASGI
from bridge.exceptions import ApplicationError, BodyTooLarge

SCHEDULES = 500
CHUNKS = 10
# A schedule that has not ended after this long (seconds) hangs; they take milliseconds.
HANGS = 20.0


class Planned(Exception):
    """What apps and `close()` raise on purpose."""


class Broken(RuntimeError):
    """What `send` and `receive` raise on purpose."""


# What a request may raise: planned failures, and a truncated body that an app lets go.
ALLOWED = (Planned, Broken, OSError, ApplicationError, BodyTooLarge)


WAYS_TO_READ: dict[str, Callable[[Any], bytes]] = {
    "all": lambda body: body.read(),
    "0": lambda body: body.read(0),
    "1": lambda body: body.read(1),
    "50": lambda body: body.read(50),
    "line": lambda body: body.readline(),
    "lines": lambda body: b"".join(body.readlines()),
    "iterate": lambda body: b"".join(body),
}


def is_request(step: Step) -> TypeGuard[dict[str, Any]]:
    return isinstance(step, dict) and step["type"] == "http.request"


class Plan:
    """What client, server and app will do in one request, all drawn from `choice` in advance."""

    def __init__(self, choice: random.Random, number: int, loop: str) -> None:
        self.said: list[bytes] = []
        self.bodies: list[Any] = []
        self.faults: list[str] = []
        self.finalised = 0
        self.generators = 0
        self._choose_client(choice, number)
        self._choose_server(choice)
        self._choose_app(choice)

    def _choose_client(self, choice: random.Random, number: int) -> None:
        method = choice.choice(["GET", "POST", "POST", "POST", "HEAD"])
        self.head = method == "HEAD"
        chunks = [b"x" * choice.choice([0, 1, 5, 100]) for _ in range(choice.randint(1, 6))]
        self.body = b"".join(chunks) if method == "POST" else b""
        headers = [(b"host", b"h")]
        framing = choice.choice(["length", "chunked", "none"])
        if method == "POST":
            if framing == "length":
                headers.append((b"content-length", b"%d" % len(self.body)))
            elif framing == "chunked":
                headers.append((b"transfer-encoding", b"chunked"))
            if choice.random() < 0.2:
                headers.append((b"expect", b"100-continue"))
        self.scope = http_scope(method=method, headers=headers, path=f"/{number}")

        script: list[Step] = []
        if method == "POST":
            for index, chunk in enumerate(chunks):
                script.append(choice.choice([0, 0, 1, 20]))
                script.append({"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1})
        self.whole = True
        fate = choice.random()
        if fate < 0.25:
            cut = choice.randint(0, len(script))
            self.whole = cut == len(script)
            script[cut:] = [choice.choice([0, 5, 50]), disconnect()]
        elif fate < 0.35:
            cut = choice.randint(0, len(script))
            self.whole = cut == len(script)
            script[cut:] = [choice.choice([OSError("gone"), Broken("receive")])]
        elif fate < 0.45 and script:
            # The client stops in the middle and neither goes on nor leaves; `beside` ends that.
            script[choice.randrange(len(script)) :] = []
            self.whole = False
        if framing == "length" and sum(len(step["body"]) for step in script if is_request(step)) == len(
            self.body
        ):
            self.whole = True  # what was cut off was empty
        self.script = script

    def _choose_server(self, choice: random.Random) -> None:
        self.options: dict[str, Any] = {"turns": choice.choice([0, 0, 1, 5])}
        if choice.random() < 0.2:
            error = choice.choice([OSError("gone"), ConnectionResetError("gone"), Broken("send")])
            self.options["fail_send"] = {choice.randint(1, 5): error}
        if choice.random() < 0.15:
            self.options["cancel_at"] = choice.randint(1, 12)
        steps: list[str | int] = []
        for _ in range(choice.randint(0, 4)):
            steps.append(choice.choice([1, 10, 50, 300]))
            steps.append(choice.choice(["hold", "hold", "hold", "release", "release", "leave", "cancel"]))
        self.steps = steps

    def _choose_app(self, choice: random.Random) -> None:
        self.reads = [choice.choice(["all", *WAYS_TO_READ]) for _ in range(choice.choice([0, 1, 1, 2]))]
        self.forgives = choice.random() < 0.3
        self.late = choice.random() < 0.2
        self.fails_over = choice.random() < 0.1
        self.written = [b"w" * choice.choice([0, 1, 80]) for _ in range(choice.choice([0, 0, 0, 1, 5]))]
        self.pieces = [
            b"p" * choice.choice([0, 1, 3, 80]) for _ in range(choice.choice([0, 1, 2, 8, 40, 40]))
        ]
        self.returns = choice.choice(["list", "watched", "watched", "generator", "file", "nonsense"])
        self.content_length = choice.choice([None, None, None, "right", "short", "long"])
        self.raises_at = choice.choice([None] * 10 + [-1, 0, 1, 5, 20])
        self.error = choice.choice([Planned("app"), SystemExit(1), KeyboardInterrupt(), StopIteration()])
        self.close_error = choice.choice([None, None, None, Planned("close"), SystemExit(2)])
        self.naps = choice.choice([0, 0, 0, 0.0002, 0.0005])

    # -- the app

    def app(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            for way in self.reads:
                self._read(environ["wsgi.input"], way)
        except OSError:
            if not self.forgives:
                raise
        if self.raises_at == -1:
            raise self.error
        if self.late and self.returns in ("watched", "generator"):
            return self._returned(environ, lambda: self._start(start_response))
        self._start(start_response)
        return self._returned(environ, None)

    def _read(self, body: Any, way: str) -> None:
        data = WAYS_TO_READ[way](body)
        # There is no newline in these bodies, so many a way is one to the end.
        if way in ("all", "line", "lines", "iterate") and len(self.reads) == 1:
            if data != self.body:
                self.faults.append(f"read {len(data)} of {len(self.body)} bytes as if they were all")
            if not self.whole and self.body:
                self.faults.append("a truncated body was read without an error")

    def _start(self, start_response: Any) -> None:
        headers = [("Content-Type", "text/plain")]
        size = len(b"".join(self.written + self.pieces))
        if self.content_length is not None:
            size += {"right": 0, "short": -1, "long": 1}[self.content_length]
            headers.append(("Content-Length", str(max(size, 0))))
        write = start_response("200 OK", headers)
        if self.fails_over:
            try:
                raise Planned("replaced")
            except Planned:
                write = start_response("500 Oops", headers, sys.exc_info())
        for piece in self.written:
            self.said.append(piece)
            write(piece)

    def _returned(self, environ: dict[str, Any], begin: Callable[[], None] | None) -> Any:
        if self.returns == "nonsense":
            return random.Random(len(self.pieces)).choice([None, 5, "text", ["text"]])
        if self.returns == "list":
            self.said += self.pieces
            return list(self.pieces)
        if self.returns == "file":
            data = b"".join(self.pieces)
            self.said.append(data)
            file = CountedFile(data)
            self.bodies.append(file)
            return environ["wsgi.file_wrapper"](file, 7)
        if self.returns == "generator":
            self.generators += 1
            generator = self._generator(begin)
            self.bodies.append(generator)
            return generator
        watched = Watched(self._generator(begin, finalise=False), close_error=self.close_error)
        self.bodies.append(watched)
        return watched

    def _generator(self, begin: Callable[[], None] | None, *, finalise: bool = True) -> Iterator[bytes]:
        try:
            if begin is not None:
                begin()
            for number, piece in enumerate(self.pieces):
                if number == self.raises_at:
                    raise self.error
                if self.naps:
                    time.sleep(self.naps)
                self.said.append(piece)
                yield piece
        finally:
            if finalise:
                self.finalised += 1

    # -- the client beside it

    async def beside(self, exchange: Exchange) -> None:
        for step in self.steps:
            if exchange.ended:
                break
            if isinstance(step, int):
                for _ in range(step):
                    await checkpoint()
            elif step == "hold":
                exchange.hold()
            elif step == "release":
                exchange.release()
            elif step == "leave":
                exchange.feed(disconnect())
                exchange.release()
            elif step == "cancel":
                exchange.cancel()
        exchange.release()
        if not self.whole:
            exchange.feed(disconnect())

    # -- what must be true afterwards

    def check(self, exchange: Exchange) -> list[str]:
        faults = list(self.faults)
        if not exchange.ended:
            faults.append("it did not end")
        error = exchange.error
        if error is not None and not isinstance(error, ALLOWED) and error.__cause__ is not self.error:
            faults.append(f"it raised {error!r}")
        if exchange.cancelled and exchange.error is not None:
            faults.append(f"it was cancelled and raised {exchange.error!r}")
        for body in self.bodies:
            if inspect.isgenerator(body):
                if inspect.getgeneratorstate(body) != inspect.GEN_CLOSED:
                    faults.append("a generator was not closed")
            elif body.closed != 1:
                faults.append(f"close() was called {body.closed} times")
        if self.finalised > self.generators:
            faults.append(f"{self.generators} generators were finalised {self.finalised} times")
        if exchange.status in (200, 500):
            said = b"".join(self.said)
            if not said.startswith(exchange.body):
                faults.append("other bytes were sent than the app said")
            if exchange.complete and exchange.error is None and not self.head and not self.raises_at:
                announced = exchange.header(b"content-length")
                if exchange.body != said[: int(announced) if announced is not None else len(said)]:
                    faults.append(f"{len(exchange.body)} of {len(said)} bytes were presented as whole")
                if announced is not None and len(exchange.body) != int(announced):
                    faults.append("fewer bytes than announced were presented as whole")
        return faults


class CountedFile:
    """A file that counts how often it was closed."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.closed = 0

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self.closed += 1


def run_schedule(seed: int) -> list[str]:
    """Run one schedule; return what was wrong with it."""
    choice = random.Random(seed)
    loop = LOOPS[seed % len(LOOPS)]
    threads = choice.randint(1, 4)
    crowded = choice.random() < 0.15
    pool = ThreadPool(
        threads,
        queue=choice.randint(0, 2) if crowded else None,
        queue_timeout=choice.choice([None, 0.005]) if crowded else None,
        name=f"schedule-{seed}",
    )
    plans = [Plan(choice, number, loop) for number in range(choice.randint(1, 4))]

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return plans[int(environ["PATH_INFO"][1:])].app(environ, start_response)

    adapter = WSGIToASGI(
        app,
        pool=pool,
        prebuffer=choice.choice([1, 1, 50, 65536]),
        read_ahead=choice.choice([1, 1, 50, 262144]),
        write_ahead=choice.choice([1, 1, 50, 262144]),
        max_body=choice.choice([None, None, None, 150]),
        spool=choice.random() < 0.15,
    )
    exchanges = [Exchange(adapter, plan.scope, plan.script, **plan.options) for plan in plans]

    def served(exchange: Exchange, plan: Plan) -> Callable[[], Awaitable[object]]:
        async def go() -> object:
            return await exchange.go(plan.beside)

        return go

    async def main() -> None:
        await together(*(served(exchange, plan) for exchange, plan in zip(exchanges, plans, strict=True)))

    faults = []
    try:
        run(main, loop, timeout=HANGS)
    except BaseException as error:
        faults.append(f"the run ended by {error!r}: {exchanges}")
    if not pool.drain(HANGS):
        faults.append(f"the pool does not come to rest: {pool.stats()}\n{pool.dump(0.0)}")
    for number, (exchange, plan) in enumerate(zip(exchanges, plans, strict=True)):
        faults += [f"request {number}: {fault}: {exchange!r}" for fault in plan.check(exchange)]
    for thread in threading.enumerate():
        if thread.name.startswith(f"schedule-{seed}-"):
            thread.join(0 if thread.name.endswith("-governor") else HANGS)
            if thread.is_alive() and not thread.name.endswith("-governor"):
                faults.append(f"{thread.name} is left")
    return [f"seed {seed} on {loop}: {fault}" for fault in faults]


@pytest.mark.req("E-40", "W-18", "W-23", "W-24", "W-25", "W-26", "W-27", "W-28", "W-29")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_schedules_leave_nothing_behind(chunk: int, caplog: pytest.LogCaptureFixture) -> None:
    """Ends within the bound; `close()` once; generators finalised; pool, tasks and threads at rest."""
    caplog.set_level(logging.CRITICAL, "bridge")  # planned failures would fill the report
    faults = []
    for seed in range(chunk * SCHEDULES // CHUNKS, (chunk + 1) * SCHEDULES // CHUNKS):
        faults += run_schedule(seed)
    assert faults == [], "\n".join(faults)


if __name__ == "__main__":  # with `tests` on PYTHONPATH
    logging.disable()
    for number in map(int, sys.argv[1:]):
        print(number, *(run_schedule(number) or ["nothing wrong"]), sep="\n")
