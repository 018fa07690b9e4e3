"""The benchmark command: everything in it runs, wrong answers do not count, and its arithmetic is right."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bridge

SOURCE = Path(__file__).parent.parent / "benchmarks"

# A run of the command takes up to ten seconds of an idle core; nobody says when it gets one.
RUN_TIMEOUT = 200
pytestmark = pytest.mark.timeout(RUN_TIMEOUT + 40)

IN_PROCESS = ("hello", "environ", "flask", "django", "sleep", "mixed")
STREAMS = ("chunks", "down", "up", "readline", "memory")
SERVED = ("convoy", "http-convoy", "http-flask", "http-django")
REVERSE = ("asgi-hello", "asgi-starlette", "asgi-chunks", "asgi-down", "asgi-up", "asgi-memory", "import")
REVERSE_SERVED = ("http-starlette", "http-fastapi")
SHIM = ("to-async", "to-sync", "to-sync-worker", "iterate-in-thread", "iterate-on-loop", "facade")
TESTING = ("client",)
ALL = (*IN_PROCESS, *STREAMS, *SERVED, *REVERSE, *REVERSE_SERVED, *SHIM, *TESTING)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds a copy of `benchmarks/` alone, importable.

    Run from the checkout, the command would import the checkout's `bridge` and not the installed one.
    """
    folder = tmp_path_factory.mktemp("benchmarks")
    shutil.copytree(SOURCE, folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _children_find_the_same_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bridge.__file__ is not None
    monkeypatch.setenv("PYTHONPATH", str(Path(bridge.__file__).parent.parent))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


def module(home: Path, name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def run_command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    with subprocess.Popen(
        command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            # Asked politely it ends the servers that it started.
            process.terminate()
            out, err = process.communicate(timeout=30)
            pytest.fail(f"not done within {RUN_TIMEOUT} s\n{out}\n{err}")
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize(
    "names",
    [IN_PROCESS, STREAMS, SERVED, REVERSE, REVERSE_SERVED, SHIM, TESTING],
    ids=["in-process", "streams", "served", "reverse", "reverse-served", "shim", "testing"],
)
def test_every_scenario_runs_and_every_answer_of_bridge_is_right(
    home: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    results = tmp_path / "results.json"
    only = [argument for name in names for argument in ("--only", name)]
    done = run_command(home, "--smoke", "--json", str(results), *only)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    run = json.loads(results.read_text(encoding="utf-8"))
    assert [scenario["name"] for scenario in run["scenarios"]] == list(names)
    assert run["notes"] == [], "a contender is missing"
    for scenario in run["scenarios"]:
        assert not [note for note in scenario["notes"] if "did not start" in note]
        for case in scenario["cases"]:
            is_own = module(home, "contenders").is_own
            own = {name: c for name, c in case["contenders"].items() if is_own(name)}
            assert "bridge" in own
            for contender in own.values():
                assert contender["answers"] > 0, f"{scenario['name']}, {case['name']}"
                assert contender["failures"] == 0, contender["failure"]
            assert f"\n {case['name']}\n" in done.stdout
    assert ("\nBudgets\n" in done.stdout) is bool(run["budgets"])


def test_the_scenarios_tried_here_are_all_that_there_are_and_each_is_explained(home: Path) -> None:
    scenarios, prose = module(home, "scenarios"), module(home, "prose")
    assert sorted(scenarios.BY_NAME) == sorted(ALL)
    assert prose.SECTIONS.keys() == scenarios.BY_NAME.keys()
    assert prose.DIRECTIONS.keys() == scenarios.DIRECTIONS.keys()
    headings = [section.heading for section in (*prose.SECTIONS.values(), *prose.DIRECTIONS.values())]
    assert len(set(headings)) == len(headings)


def test_a_direction_stands_for_its_scenarios(home: Path) -> None:
    scenarios = module(home, "scenarios")
    chosen = scenarios.chosen(["hello", "asgi-under-wsgi", "asgi-up"])
    assert list(chosen) == ["hello", *scenarios.DIRECTIONS["asgi-under-wsgi"]]
    assert list(scenarios.chosen(None)) == list(scenarios.BY_NAME)


def test_every_budget_is_of_a_scenario_and_contender_that_exist(home: Path) -> None:
    known = module(home, "scenarios").BY_NAME
    labels = module(home, "contenders").LABELS
    for budget in module(home, "budgets").BUDGETS:
        assert budget.scenario in known
        assert budget.reference is None or budget.reference in labels


def test_the_page_of_the_docs_is_refused_for_a_part_of_a_run(home: Path) -> None:
    done = run_command(home, "--smoke", "--write-docs")
    assert done.returncode == 2
    assert "whole run" in done.stderr


def _loop(home: Path, request: Any, concurrency: int = 3) -> Any:
    clients, eventloop = module(home, "clients"), module(home, "eventloop")
    return eventloop.run(clients.closed_loop(request, concurrency, 0.01), "asyncio")


@pytest.mark.parametrize(
    ("status", "headers", "messages", "reason"),
    [
        (500, [(b"x", b"1")], [(b"right", False)], "status 500"),
        (200, [(b"x", b"2")], [(b"right", False)], "headers"),
        (200, [(b"x", b"1")], [(b"wrong", False)], "body"),
        (200, [(b"x", b"1")], [(b"right", True)], "does not end"),
        (200, [(b"x", b"1")], [(b"right", False), (b"", False)], "outside of a response"),
    ],
)
def test_a_wrong_answer_does_not_count(
    home: Path, status: int, headers: list[Any], messages: list[tuple[bytes, bool]], reason: str
) -> None:
    expected = module(home, "answers").Expected(200, [(b"x", b"1")], b"right")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body, more in messages:
            await send({"type": "http.response.body", "body": body, "more_body": more})

    request = module(home, "wsgi_under_asgi.inprocess").asgi_request(app, {}, expected)
    slice_ = _loop(home, request)
    assert (slice_.answers, slice_.value) == (0, 0)
    assert slice_.failures >= 3
    assert reason in slice_.failure


def test_a_right_answer_counts_whatever_the_case_of_its_header_names(home: Path) -> None:
    expected = module(home, "answers").Expected(200, [(b"x", b"1"), (b"y", b"2")], b"right")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": [[b"Y", b"2"], [b"X", b"1"]]})
        await send({"type": "http.response.body", "body": b"ri", "more_body": True})
        await send({"type": "http.response.body", "body": b"ght"})

    slice_ = _loop(home, module(home, "wsgi_under_asgi.inprocess").asgi_request(app, {}, expected))
    assert slice_.failures == 0, slice_.failure
    assert slice_.answers >= 3
    assert slice_.value > 0


def test_a_second_receive_waits_for_the_end_of_the_answer(home: Path) -> None:
    async def main() -> str:
        exchange = module(home, "wsgi_under_asgi.exchange").Exchange()
        await exchange.receive()
        watcher = asyncio.create_task(exchange.receive())
        await asyncio.sleep(0)
        assert not watcher.done()
        await exchange.send({"type": "http.response.start", "status": 200})
        await exchange.send({"type": "http.response.body"})
        message = await asyncio.wait_for(watcher, 5)
        kind: str = message["type"]
        return kind

    assert asyncio.run(main()) == "http.disconnect"


@pytest.mark.parametrize(
    ("status", "headers", "pieces", "reason"),
    [
        ("500 Oh", [("X", "1")], [b"right"], "status 500"),
        ("200 OK", [("X", "2")], [b"right"], "headers"),
        ("200 OK", [("X", "1")], [b"wrong"], "body"),
        ("", [], [b"right"], "before the start"),
        ("", [], [], "body"),
    ],
)
def test_a_wrong_answer_of_a_wsgi_app_does_not_count(
    home: Path, status: str, headers: list[Any], pieces: list[bytes], reason: str
) -> None:
    expected = module(home, "answers").Expected(200, [(b"x", b"1")], b"right")

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if status:
            start_response(status, headers)
        return pieces

    slice_ = _threads(home, module(home, "asgi_under_wsgi.exchange").wsgi_call(app, expected))
    assert (slice_.answers, slice_.value) == (0, 0)
    assert slice_.failures >= 3
    assert reason in slice_.failure


def _threads(home: Path, call: Any, threads: int = 3) -> Any:
    return module(home, "clients").threaded_loop(call, threads, 0.01)


def test_a_right_answer_of_a_wsgi_app_counts_and_is_closed(home: Path) -> None:
    expected = module(home, "answers").Expected(200, [(b"x", b"1"), (b"y", b"2")], b"right")
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"ri"
            yield b"ght"

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Body:
        assert environ["wsgi.input"].read() == b""
        start_response("200 OK", [("Y", "2"), ("X", "1")])
        return Body()

    slice_ = _threads(home, module(home, "asgi_under_wsgi.exchange").wsgi_call(app, expected))
    assert slice_.failures == 0, slice_.failure
    assert slice_.answers >= 3
    # Each thread's first call is not timed.
    assert len(closed) == slice_.answers + 3


def test_a_call_that_never_returns_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module(home, "clients"), "STUCK", 0.1)
    stuck = threading.Event()
    first = threading.Lock()

    def call() -> None:
        if first.acquire(blocking=False):
            stuck.wait(30)

    try:
        slice_ = _threads(home, call)
    finally:
        stuck.set()
    assert slice_.value is None
    assert "no answer" in slice_.failure


def test_calls_of_async_functions_count_if_they_return_what_they_should(home: Path) -> None:
    to_sync = module(home, "shim.to_sync")
    answers = iter([b"Hello, world!", b"Hello, world!", b"wrong"])
    done = to_sync.client(to_sync._call(lambda: next(answers)), 0.0)  # the first call is not timed
    assert (done.right, done.failures) == (1, [])
    done = to_sync.client(to_sync._call(lambda: b"Hello, world!"), 0.01)
    assert done.right >= 1
    answers = iter([b"Hello, world!", b"wrong"])
    done = to_sync.client(to_sync._call(lambda: next(answers)), 0.0)
    assert (done.right, len(done.failures)) == (0, 1)
    assert "WrongAnswer" in done.failures[0]


def test_an_iteration_counts_by_its_items_and_only_if_all_have_come(home: Path) -> None:
    iterators, measure = module(home, "shim.iterators"), module(home, "measure")
    with pytest.raises(module(home, "answers").WrongAnswer, match="199 items of 200"):
        iterators._for(lambda: iter(range(199)))()
    slice_ = iterators._as_items(measure.Slice(3.0, answers=3, cpu=1.0))
    assert (slice_.value, slice_.answers, slice_.cpu) == (600.0, 3, 0.005)


def test_a_loop_that_never_answers_gives_no_figure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = module(home, "shim.loops")
    monkeypatch.setattr(loops, "STUCK", 0.05)
    with loops.runners(("asyncio",)) as (runner,):
        slice_ = runner.measure(asyncio.sleep(30), 0.0)
    assert slice_.value is None
    assert "not done within" in slice_.failure


def test_an_app_is_stepped_in_the_calling_thread_unless_it_waits(home: Path) -> None:
    expected = module(home, "answers").Expected(200, [(b"x", b"1")], b"right")
    stepped = module(home, "asgi_under_wsgi.exchange").stepped

    def app(body: bytes, waits: bool = False) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if waits:
                await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"1")]})
            await send({"type": "http.response.body", "body": body})

        return app

    stepped(app(b"right"), {}, expected)()
    wrong_answer = module(home, "answers").WrongAnswer
    with pytest.raises(wrong_answer, match="waits"):
        stepped(app(b"right", waits=True), {}, expected)()
    with pytest.raises(wrong_answer, match="expected"):
        stepped(app(b"wrong"), {}, expected)()


@pytest.mark.parametrize("sizes", [[1 << 16], [1 << 18], [1000], [-1], [1, 1 << 16, 1 << 17]])
def test_the_body_of_an_upload_is_read_whole_in_whatever_pieces(home: Path, sizes: list[int]) -> None:
    bodies = module(home, "bodies")
    body = module(home, "asgi_under_wsgi.streams").Input(bodies.repeated(2))
    pattern = bodies.Pattern()
    for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
        piece = body.read(size)
        if not piece:
            break
        assert size < 0 or len(piece) <= size
        pattern.take(piece)
    pattern.check(2 << 20)
    assert pattern.told() == str(2 << 20)


@pytest.mark.parametrize("cut", [1 << 16, 1000, 3 << 19])
def test_the_pattern_of_large_bodies_is_checked_however_it_is_cut(home: Path, cut: int) -> None:
    bodies = module(home, "bodies")
    wrong_answer = module(home, "answers").WrongAnswer
    whole = b"".join(bodies.repeated(2))

    def take(body: bytes) -> Any:
        pattern = bodies.Pattern()
        for start in range(0, len(body), cut):
            pattern.take(body[start : start + cut])
        return pattern

    take(whole).check(len(whole))
    block = 1 << 16
    for wrong in (
        whole[:-1],
        whole + b"x",
        whole[: 5 * block] + whole[6 * block : 7 * block] + whole[5 * block : 6 * block] + whole[7 * block :],
        whole[:70_000] + b"\x00\x01\x02" + whole[70_003:],
    ):
        with pytest.raises(wrong_answer):
            take(wrong).check(len(whole))


def test_work_of_others_is_told_apart_from_our_own(home: Path) -> None:
    others = module(home, "report").Others()
    begun = time.process_time()
    while time.process_time() - begun < 0.2:
        pass
    share = others.share()
    # None where the system does not tell. One CPU was ours, so others cannot have had all.
    assert share is None or 0 <= share < 1


def test_ratios_are_taken_within_rounds(home: Path) -> None:
    measure = module(home, "measure")
    own = measure.Series([10.0, 200.0, 30.0, None])
    other = measure.Series([5.0, 50.0, 10.0, 1.0])
    assert own.ratio_to(other) == 3.0
    assert own.median == 30.0
    assert measure.Series().ratio_to(other) is None


def test_a_contender_is_related_to_the_reference_on_its_own_loop(home: Path) -> None:
    measure = module(home, "measure")
    figures = {"bridge": 6.0, "floor": 2.0, "bridge/uvloop": 20.0, "floor/uvloop": 5.0, "limit": 100.0}
    case = measure.Case("c", {name: measure.Series([value]) for name, value in figures.items()})
    result = measure.Result("hello", "", "requests/s", "floor", cases=[case])
    ratios = {name: result.ratio(case, name) for name in figures}
    assert ratios == {"bridge": 3, "floor": 1, "bridge/uvloop": 4, "floor/uvloop": 1, "limit": 50}
    assert result.own_ratio(case, "floor/uvloop") == 4
    assert result.own_ratio(case, "limit") == 0.06
    assert result.label("floor/uvloop") == "floor (run_in_executor), uvloop"
    assert result.by_reference == "\u00f7 floor, same loop"
    budgets = module(home, "budgets")
    words = [
        verdict.word
        for verdict in budgets.judge(
            [result],
            [budgets.Budget("hello", "c", "floor", 3.5, loop=loop) for loop in ("", "uvloop", "trio")],
        )
    ]
    assert words == ["missed", "met", "not measured"]


def test_a_budget_is_met_missed_or_not_measured(home: Path) -> None:
    measure, budgets = module(home, "measure"), module(home, "budgets")
    series = {"bridge": measure.Series([8.0]), "a2wsgi": measure.Series([2.0])}
    result = measure.Result("hello", "", "requests/s", "a2wsgi", cases=[measure.Case("c", series)])

    def word(bound: float, reference: str | None = "a2wsgi", at_most: bool = False, case: str = "c") -> Any:
        budget = budgets.Budget("hello", case, reference, bound, at_most=at_most)
        (verdict,) = budgets.judge([result], [budget])
        return verdict.word

    assert word(4) == "met"
    assert word(4.1) == "missed"
    assert word(4, at_most=True) == "met"
    assert word(3.9, at_most=True) == "missed"
    assert word(8, reference=None, at_most=True) == "met"
    assert word(4, reference="nobody") == "not measured"
    assert word(4, case="another") == "not measured"
    assert budgets.judge([], budgets.BUDGETS) == []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        counter = self.server.counter  # type: ignore[attr-defined]
        with counter["lock"]:
            counter["asked"] += 1
            wrong = counter["asked"] % 2 == 0
        body = b"Hello, wrong!" if wrong else b"Hello, world!"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: wrk resets its connections at the end."""


@pytest.fixture
def half_wrong_server() -> Iterator[int]:
    """A server of which every second answer is wrong."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.counter = {"asked": 0, "lock": threading.Lock()}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_the_load_generators_count_right_answers_only(
    home: Path, half_wrong_server: int, seconds: float
) -> None:
    """A slice of a second is wrk's where wrk is installed."""
    load = module(home, "load")
    slice_ = load.put_load(half_wrong_server, 2, seconds)
    while slice_.answers <= 1:  # the machine did something else for the whole slice
        slice_ = load.put_load(half_wrong_server, 2, seconds)
    assert abs(slice_.answers - slice_.failures) <= 3
    assert slice_.failure


def test_the_output_of_wrk_is_read(home: Path) -> None:
    load = module(home, "load")
    slice_ = load.parse_wrk("Requests/sec: 9\nchecked 300 4 0 1 0 2 1500000 status 500, 21 bytes\n")
    assert slice_.value == 200
    assert (slice_.answers, slice_.failures) == (300, 7)
    assert slice_.failure == "status 500, 21 bytes"
    assert "1 read errors" in load.parse_wrk("checked 300 0 0 1 0 0 1500000 \n").failure
    assert load.parse_wrk("", "unable to connect").failure == "wrk: unable to connect"


def test_a_server_that_does_not_start_is_named_with_its_reason(home: Path) -> None:
    """And none of those that did start outlives the block."""
    servers = module(home, "servers")
    with servers.running(["bridge", "nobody"], "flask", "asyncio") as (up, failed):
        assert list(up) == ["bridge"]
        assert list(failed) == ["nobody"]
        assert "nobody" in failed["nobody"]
        process = up["bridge"].process
        assert process.poll() is None
    assert process.poll() is not None


def test_an_asgi_app_is_served_by_gunicorn_through_an_adapter_on_the_loop_that_is_named(home: Path) -> None:
    servers = module(home, "servers")
    names = ["bridge", "bridge/uvloop", "a2wsgi", "gunicorn", "native"]
    with servers.running(names, "starlette", "asyncio") as (up, failed):
        assert not failed
        for server in up.values():
            slice_ = module(home, "load").put_load(server.port, 1, 0.05)
            assert slice_.answers > 0
            assert slice_.failures == 0, slice_.failure


def test_a_server_ends_when_the_command_that_started_it_is_gone(home: Path) -> None:
    servers = module(home, "servers")
    with servers.running(["gunicorn"], "flask", "asyncio") as (up, failed):
        assert not failed
        process = up["gunicorn"].process
        process.stdin.close()
        assert process.wait(60) != 0


def _children(pid: int) -> list[int]:
    """The processes that this one started, where `/proc` tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_a_run_that_is_terminated_ends_its_servers(home: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "http-django", "--rounds", "1000"]
    with subprocess.Popen(
        command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "http-django: 1000 rounds" in process.stderr.readline()
        children = _children(process.pid)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert children or not Path("/proc/self").exists()
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_the_page_holds_each_scenario_its_figures_and_the_budgets(home: Path, tmp_path: Path) -> None:
    measure, budgets = module(home, "measure"), module(home, "budgets")

    def case(name: str, *names: str) -> Any:
        return measure.Case(name, {n: measure.Series([1000.0 + len(n), 2000.0]) for n in names})

    adapters = ("bridge", "a2wsgi", "starlette")
    hello = measure.Result("hello", "Hello", "requests/s", "floor")
    hello.cases = [case(f"concurrency {n}", *adapters, "floor", "native") for n in (1, 10)]
    flask = measure.Result("http-flask", "Flask", "requests/s", "gunicorn")
    flask.cases = [case("32 connections", *adapters, "gunicorn")]
    flask.cases[0].series["asgiref"] = measure.Series([None], failures=3, failure="status 500")
    memory = measure.Result("memory", "Memory", "MiB", None, higher_is_better=False)
    memory.cases = [case("down", *adapters)]
    memory.cases[0].series["starlette"].note = "16 MiB only"
    asgi = measure.Result("asgi-hello", "Bare", "requests/s", "crossing")
    asgi.cases = [case("1 thread", "bridge", "bridge/uvloop", "crossing", "crossing/uvloop", "limit")]
    results = [hello, flask, memory, asgi]
    run = module(home, "report").Report(
        command="python -m benchmarks --write-docs",
        settings=measure.Settings(),
        results=results,
        verdicts=budgets.judge(results),
        notes=["something is not measured"],
        seconds=600.0,
        others=0.25,
        date=datetime.datetime(2024, 2, 3, tzinfo=datetime.timezone.utc),
    )
    written = module(home, "docs_page").write(run, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    figures = {path.name for path in written if path.suffix == ".svg"}
    assert figures == {"hello.svg", "http-flask.svg", "asgi-hello.svg"}
    for name in figures:
        assert f"(assets/benchmarks/{name})" in page
        assert (tmp_path / "assets" / "benchmarks" / name).read_text(encoding="utf-8").startswith("<?xml")
    for text in (
        "`python -m benchmarks --write-docs`",
        "2024-02-03",
        "something is not measured",
        "CPUs",
        "3 of 3 answers were wrong (the first: status 500)",
        "| Starlette | 1 504 (16 MiB only) |",
        "Other work took 25% of the CPU time",
        "\n## WSGI apps under ASGI servers\n",
        "\n### Peak memory\n",
        "\n## ASGI apps under WSGI servers\n",
        "| bridge, uvloop | 1 506 | 1.00 |",
        "| hello, concurrency 1 |",
        "not measured |",
    ):
        assert text in page
