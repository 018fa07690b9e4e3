"""Long bodies inside one process: many small chunks, many large ones both ways, and peak memory.

A slice is one whole response or upload. What the app sends and what the client sends is a pattern
whose blocks differ, so a block that is lost, doubled or out of its place is a wrong answer.

Memory is measured in a process of its own for each contender, from `/proc`: the greatest resident size
during the transfer less the resident size before it, after a small transfer has warmed everything up.
There every piece is made afresh, as an app that reads a file makes them; otherwise a queue without a
bound would hold a thousand references to one piece and look innocent.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import apps, contenders
from benchmarks.contenders import BRIDGE
from benchmarks.exchange import BodyExchange, WrongAnswer
from benchmarks.measure import (
    ROOT,
    Case,
    Progress,
    Result,
    Series,
    Settings,
    Slice,
    progress,
    run,
    settle,
    shuffled,
)

MIB = 1 << 20
PIECE = 1 << 16
PIECES_A_MIB = MIB // PIECE

TRANSFER_TIMEOUT = 60.0
CHUNKS = 10_000
CHUNK_SIZE = 100

BLOCKS = tuple(
    number.to_bytes(4, "big") + Random(number).randbytes(PIECE - 4) for number in range(PIECES_A_MIB)
)
"""One MiB that no two blocks of are alike; the pattern repeats it."""
_CYCLE = b"".join(BLOCKS)
_TWO_CYCLES = _CYCLE * 2

LINE = b"%07d," + b"field," * 15 + b"ok"
LINES = b"".join(LINE % number + b"\n" for number in range(MIB // 100))
"""About one MiB of lines of 101 bytes; no piece boundary falls between lines, save by chance."""
LINE_COUNT = LINES.count(b"\n")


class Pattern:
    """Checks that what it takes is the pattern of `BLOCKS`, however it is cut."""

    def __init__(self) -> None:
        self.size = 0
        self.wrong_at: int | None = None

    def take(self, piece: bytes) -> None:
        offset = self.size % MIB
        self.size += len(piece)
        if len(piece) == PIECE and offset % PIECE == 0:
            block = BLOCKS[offset // PIECE]
            # Mostly the very object that was sent, and then nothing is compared.
            right = piece is block or piece == block
        else:
            right = self._compare(piece, offset)
        if not right and self.wrong_at is None:
            self.wrong_at = self.size - len(piece)

    @staticmethod
    def _compare(piece: bytes, offset: int) -> bool:
        for start in range(0, len(piece), MIB):
            part = piece[start : start + MIB]
            if _TWO_CYCLES[offset : offset + len(part)] != part:
                return False
        return True

    def check(self, size: int) -> None:
        if self.wrong_at is not None:
            raise WrongAnswer(f"wrong bytes in the piece at {self.wrong_at}")
        if self.size != size:
            raise WrongAnswer(f"{self.size} bytes, expected {size}")


class PatternBody:
    """The client's side of a download: takes the pattern, as fast as it comes or at a reader's pace."""

    def __init__(self, size: int, pause_a_mib: float = 0.0) -> None:
        self._size = size
        self._pattern = Pattern()
        self._pause = pause_a_mib
        self._pause_at = MIB

    async def take(self, piece: bytes) -> None:
        self._pattern.take(piece)
        if self._pause:
            while self._pattern.size >= self._pause_at:
                self._pause_at += MIB
                await asyncio.sleep(self._pause)

    def check(self) -> None:
        self._pattern.check(self._size)


class WholeBody:
    """The client's side of a response that is small enough to be kept and compared at the end."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self._pieces: list[bytes] = []

    async def take(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def check(self) -> None:
        if b"".join(self._pieces) != self._expected:
            raise WrongAnswer("not the expected body")


def fresh(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A copy of each block, as new memory."""
    return (bytes(bytearray(block)) for block in blocks)


def repeated(mebibytes: int) -> Iterator[bytes]:
    for _ in range(mebibytes):
        yield from BLOCKS


def downloader(mebibytes: int, copies: bool = False) -> Any:
    """A WSGI app that sends the pattern in 64 KiB pieces, without a Content-Length."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return fresh(repeated(mebibytes)) if copies else repeated(mebibytes)

    return app


DOWNLOAD_HEADERS = [(b"content-type", b"application/octet-stream")]
CHUNK_HEADERS = [(b"content-type", b"text/plain")]


def uploader(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A WSGI app that reads the pattern in 64 KiB pieces and says how much it was."""
    pattern = Pattern()
    read = environ["wsgi.input"].read
    while piece := read(PIECE):
        pattern.take(piece)
    return _told(start_response, str(pattern.size if pattern.wrong_at is None else -1))


def slow_uploader(environ: Any, start_response: Any) -> Iterable[bytes]:
    """As `uploader`, but the app takes a rest of 10 ms after each MiB."""
    pattern = Pattern()
    read = environ["wsgi.input"].read
    while piece := read(PIECE):
        pattern.take(piece)
        if pattern.size % MIB == 0:
            time.sleep(0.01)
    return _told(start_response, str(pattern.size if pattern.wrong_at is None else -1))


def line_reader(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A WSGI app that reads lines, checks where each begins and ends, and says how many there were."""
    readline = environ["wsgi.input"].readline
    count = 0
    while line := readline():
        if len(line) != 101 or line[-3:] != b"ok\n":
            break
        count += 1
    return _told(start_response, str(count))


def _told(start_response: Any, text: str) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]


def _told_headers(text: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]


def chunk_source(count: int) -> tuple[Any, bytes]:
    """A WSGI app that yields `count` chunks of 100 bytes, and what they are together."""
    chunks = [b"%098d\r\n" % number for number in range(count)]

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter(chunks)

    return app, b"".join(chunks)


def _scope(size: int | None = None) -> dict[str, Any]:
    scope = apps.hello_scope()
    if size is not None:
        scope["method"] = "POST"
        scope["headers"] = [*scope["headers"], (b"content-length", b"%d" % size)]
    return scope


@dataclass
class Transfer:
    """One request about to be made: what the client sends, and what it must be answered."""

    scope: dict[str, Any]
    exchange: BodyExchange
    headers: list[tuple[bytes, bytes]]

    async def make(self, app: Any) -> float:
        """Make it and check the answer; the seconds it took, the checks at its end not included."""
        begun = time.perf_counter()
        call = app(self.scope, self.exchange.receive, self.exchange.send)
        await asyncio.wait_for(call, TRANSFER_TIMEOUT)
        seconds = time.perf_counter() - begun
        self.exchange.check(200, self.headers)
        return seconds


def download(size: int, pause: float = 0.0) -> Transfer:
    """A GET answered with the pattern; `pause`: seconds that the reader rests after each MiB."""
    return Transfer(_scope(), BodyExchange((), PatternBody(size, pause)), DOWNLOAD_HEADERS)


def upload(pieces: Iterable[bytes], size: int, told: str) -> Transfer:
    """A POST of `pieces`, answered with the text `told`."""
    answer = told.encode()
    return Transfer(_scope(size), BodyExchange(pieces, WholeBody(answer)), _told_headers(answer))


@dataclass(frozen=True)
class Scenario:
    """One kind of body."""

    name: str
    title: str
    case: str
    unit: str
    rounds: int
    size: int
    """In `unit`s without the "/s"."""
    smoke_size: int
    sizes: dict[str, int]
    """Smaller sizes for contenders that would take minutes, with a note in the report."""


SCENARIOS = (
    Scenario("chunks", "A stream of 100-byte chunks in process", "100 bytes", "chunks/s", 5, CHUNKS, 200, {}),
    Scenario("down", "200 MiB down in process", "64 KiB pieces", "MiB/s", 9, 200, 1, {}),
    Scenario("up", "200 MiB up in process", "64 KiB pieces", "MiB/s", 9, 200, 1, {"starlette": 16}),
    Scenario(
        "readline",
        "32 MiB up in process, read line by line (101 bytes)",
        "64 KiB pieces",
        "MiB/s",
        9,
        32,
        1,
        {"starlette": 16},
    ),
)


def _app_and_begin(name: str, size: int) -> tuple[Any, Callable[[], Transfer]]:
    """The WSGI app of a scenario, and a function that prepares one transfer of `size`."""
    if name == "chunks":
        app, whole = chunk_source(size)
        return app, lambda: Transfer(_scope(), BodyExchange((), WholeBody(whole)), CHUNK_HEADERS)
    if name == "down":
        return downloader(size), lambda: download(size * MIB)
    if name == "up":
        return uploader, lambda: upload(repeated(size), size * MIB, str(size * MIB))
    told = str(size * LINE_COUNT)
    return line_reader, lambda: upload(_cut_lines(size), size * len(LINES), told)


def _cut_lines(mebibytes: int) -> Iterator[bytes]:
    for _ in range(mebibytes):
        for start in range(0, len(LINES), PIECE):
            yield LINES[start : start + PIECE]


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    return run(_measure(scenario, settings), settings.loop)


async def _measure(scenario: Scenario, settings: Settings) -> Result:
    result = Result(scenario.name, f"{scenario.title} ({settings.loop})", scenario.unit, reference="a2wsgi")
    case = Case(scenario.case)
    result.cases.append(case)
    adapters = {}
    for contender in contenders.available():
        series = case.series[contender.name] = Series()
        size = scenario.smoke_size if settings.smoke else scenario.sizes.get(contender.name, scenario.size)
        if not settings.smoke and contender.name in scenario.sizes:
            series.note = f"{size} MiB only: its time grows with the square of the size"
        app, begin = _app_and_begin(scenario.name, size)
        adapters[contender.name] = (contender.build(app, None), begin, size)
    gc.freeze()
    rounds = settings.rounds_or(scenario.rounds)
    said = Progress(scenario.name, rounds)
    try:
        # Round -1 starts threads and fills caches; it does not count.
        for number in range(-1, rounds):
            for name in shuffled(list(adapters), number):
                app, begin, size = adapters[name]
                settle()
                slice_ = await _one(app, begin, size)
                if number >= 0:
                    case.series[name].add(slice_)
            said.round_done(number)
    finally:
        gc.unfreeze()
        for app, _, _ in adapters.values():
            contenders.close(app)
    return result


async def _one(app: Any, begin: Callable[[], Transfer], size: int) -> Slice:
    try:
        return Slice(size / await begin().make(app), answers=1)
    except Exception as exc:
        return Slice(None, failures=1, failure=f"{type(exc).__name__}: {exc}")


MEMORY_CASES = ("down", "down, slow reader", "up", "up, slow reader")
MEMORY_MIB = 200
MEMORY_SMALLER = {("starlette", "up"): 16, ("starlette", "up, slow reader"): 16}
READER_PAUSE = 0.01
"""Seconds that a slow reader rests after each MiB: at most 100 MiB/s."""


def measure_memory(settings: Settings) -> Result:
    """Peak memory of each contender, each in a process of its own."""
    result = Result(
        "memory",
        f"Peak memory above idle during {MEMORY_MIB} MiB in 64 KiB pieces ({settings.loop})",
        "MiB",
        reference=None,
        higher_is_better=False,
    )
    names = [contender.name for contender in contenders.available()]
    if settings.smoke:
        names = [name for name in names if name in (BRIDGE, "a2wsgi")]
    rounds = settings.rounds_or(1)
    said = Progress("memory", rounds)
    cases = MEMORY_CASES[:3:2] if settings.smoke else MEMORY_CASES
    result.cases = [Case(name, {contender: Series() for contender in names}) for name in cases]
    for number in range(rounds):
        for case in result.cases:
            for name in shuffled(names, number):
                size = 2 if settings.smoke else MEMORY_SMALLER.get((name, case.name), MEMORY_MIB)
                if not settings.smoke and size != MEMORY_MIB:
                    case.series[name].note = f"{size} MiB only"
                case.series[name].add(_in_child(name, case.name, size, settings.loop))
            progress(f"memory: {case.name} done")
        said.round_done(number)
    return result


def _in_child(contender: str, case: str, size: int, loop: str) -> Slice:
    command = [sys.executable, "-m", "benchmarks.streams", contender, case, str(size), loop]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * TRANSFER_TIMEOUT, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as exc:
        return Slice(None, failures=1, failure=str(exc))
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Slice(None, failures=1, failure=lines[-1] if lines else f"exit {done.returncode}")
    answer = json.loads(done.stdout)
    if answer["peak"] is None:
        return Slice(None, answers=1)
    return Slice(answer["peak"] / MIB, answers=1)


async def _memory(contender: str, case: str, size: int) -> int | None:
    pause = READER_PAUSE if "slow" in case else 0.0

    def begin(mebibytes: int) -> tuple[Any, Transfer]:
        if case.startswith("down"):
            return downloader(mebibytes, copies=True), download(mebibytes * MIB, pause)
        pieces = fresh(repeated(mebibytes))
        told = str(mebibytes * MIB)
        return slow_uploader if pause else uploader, upload(pieces, mebibytes * MIB, told)

    current: Any = None

    # One adapter for both transfers, so that its threads exist before the baseline is taken.
    def app(environ: Any, start_response: Any) -> Any:
        return current(environ, start_response)

    adapter = contenders.BY_NAME[contender].build(app, None)
    before = None
    for mebibytes in (2, size):
        current, transfer = begin(mebibytes)
        gc.collect()
        before = _reset_peak()
        await transfer.make(adapter)
    return None if before is None else max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _reset_peak() -> int | None:
    """Set the kernel's peak to the present size, and return that; `None` where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return None


def _child() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=list(contenders.BY_NAME))
    parser.add_argument("case", choices=MEMORY_CASES)
    parser.add_argument("size", type=int)
    parser.add_argument("loop")
    arguments = parser.parse_args()
    main = _memory(arguments.contender, arguments.case, arguments.size)
    print(json.dumps({"peak": run(main, arguments.loop)}))


if __name__ == "__main__":
    _child()
