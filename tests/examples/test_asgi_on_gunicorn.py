"""The FastAPI example, served by real Gunicorn in every way that README.md names, and used over HTTP."""

from __future__ import annotations

import csv
import json
import os
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.served import RunningServer, run_server, wait_until
from support.servers_uvicorn_example import Page

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "asgi_on_gunicorn"
CONFIG = ("--config", str(EXAMPLE / "gunicorn.conf.py"), "--chdir", str(EXAMPLE))

#: Seconds that anything here may take before the test fails. Generous: a loaded machine is no bug.
PATIENCE = 30.0
MIB = 2**20


# --- Servers


class Webhook(ThreadingHTTPServer):
    """Where warnings go. It answers each when the test says so."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WebhookHandler)
        self.warnings: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answers: queue.Queue[int] = queue.Queue()


class WebhookHandler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        self.server.warnings.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.answers.get(timeout=PATIENCE))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="webhook")
        thread.start()
        yield server
        server.shutdown()
        thread.join(PATIENCE)


class Garden:
    """Frost watch on a Gunicorn of one kind, started when it is needed and does not run."""

    def __init__(self, worker_class: str, preload: bool, folder: Path, webhook: Webhook) -> None:
        self.worker_class = worker_class
        self.instance = folder / "instance"
        self._options = ("--workers=1", "--preload") if preload else ("--workers=1",)
        self._folder = folder
        self._webhook = webhook
        self._running = ExitStack()
        self._server: RunningServer | None = None

    @property
    def several_at_once(self) -> bool:
        return self.worker_class != "sync"

    @property
    def server(self) -> RunningServer:
        if self._server is None or self._server.process.poll() is not None:
            self.close()
            address = f"http://127.0.0.1:{self._webhook.server_port}/warnings"
            self._server = self._running.enter_context(
                gunicorn(
                    *CONFIG,
                    *self._options,
                    "wsgi",
                    folder=self._folder,
                    instance=self.instance,
                    environment={
                        "FROST_WORKER": self.worker_class,
                        "FROST_WEBHOOK": address,
                        "FROST_BEAT": "0.1",
                    },
                )
            )
        return self._server

    def close(self) -> None:
        self._running.close()

    def visitor(self) -> httpx2.Client:
        """Return somebody who follows no redirect unasked."""
        return browsing(self.server)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from the database behind the app's back."""
        return rows(self.instance, sql, *values)


@contextmanager
def gunicorn(
    *arguments: str, folder: Path, instance: Path, environment: dict[str, str] | None = None
) -> Iterator[RunningServer]:
    settings = {"FROST_INSTANCE": str(instance), "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
    with run_server(
        lambda port: [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", *arguments],
        folder,
        settings,
    ) as server:
        yield server


def browsing(server: RunningServer) -> httpx2.Client:
    host, port = server.address
    # There is no TLS here, and to load the certificates would take longer than most of the tests.
    return httpx2.Client(base_url=f"http://{host}:{port}", timeout=PATIENCE, trust_env=False, verify=False)


def rows(instance: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(instance / "frost.sqlite3", timeout=PATIENCE)) as db:
        return db.execute(sql, values).fetchall()


WAYS = [
    pytest.param((worker_class, preload), id=name, marks=pytest.mark.xdist_group(f"gunicorn {worker_class}"))
    for worker_class in ("sync", "gthread", "gevent")
    for preload, name in ((False, worker_class), (True, f"{worker_class}, preload"))
]


@pytest.fixture(scope="module", params=WAYS)
def garden(
    request: pytest.FixtureRequest, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Garden]:
    worker_class, preload = request.param
    garden = Garden(worker_class, preload, tmp_path_factory.mktemp("garden"), webhook)
    yield garden
    garden.close()


@pytest.fixture
def visitor(garden: Garden) -> Iterator[httpx2.Client]:
    with garden.visitor() as client:
        yield client


def served(visitor: httpx2.Client) -> dict[str, Any]:
    facts: dict[str, Any] = visitor.get("/served").json()
    return facts


def new_place() -> str:
    """Return a place where nothing was measured yet: the book is not emptied between tests."""
    return f"Beet {uuid.uuid4().hex[:12]}"


# --- The page


def test_the_page_shows_the_readings_and_every_address_on_it_answers(visitor: httpx2.Client) -> None:
    answer = visitor.get("/")
    assert answer.status_code == 200
    page = Page(answer.text)
    assert "Greenhouse" in page.text
    assert "Kräuterbeet" in page.text
    asked = {address for address in page.addresses if address not in {"/import", "/events"}}
    assert {"/", "/static/style.css", "/static/live.js", "/readings.csv", "/places/Pond"} <= asked
    for address in asked:
        assert visitor.get(address).status_code == 200, address


def test_the_page_opens_a_stream_only_where_that_stops_nobody_else(
    garden: Garden, visitor: httpx2.Client
) -> None:
    assert ("/events" in Page(visitor.get("/").text).addresses) is garden.several_at_once


def test_a_form_writes_a_reading_down_and_leads_back_to_the_page(visitor: httpx2.Client) -> None:
    place = new_place()
    form = Page(visitor.get("/").text).form("/")
    answer = visitor.post(form.action, data={**form.fields, "place": place, "celsius": "7,5"})
    assert answer.status_code == 303
    shown = Page(visitor.get(answer.headers["location"]).text).text
    assert "is in the book" in shown
    assert f"{place} 7.5 °C" in shown


# --- Validation


def test_a_reading_that_does_not_fit_is_refused_with_reasons(garden: Garden, visitor: httpx2.Client) -> None:
    before = garden.rows("SELECT count(*) FROM readings")
    answer = visitor.post("/readings", json={"place": " ", "celsius": "warm", "at": "2999-01-01T00:00:00Z"})
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [
        ["body", "place"],
        ["body", "celsius"],
        ["body", "at"],
    ]
    assert visitor.get("/readings", params={"limit": "0"}).status_code == 422
    assert visitor.get("/chart.svg", params={"hours": "1000"}).status_code == 422
    assert garden.rows("SELECT count(*) FROM readings") == before


def test_a_form_that_does_not_fit_comes_back_filled_in(visitor: httpx2.Client) -> None:
    answer = visitor.post("/", data={"place": "<Pond>", "celsius": "warm"})
    assert answer.status_code == 422
    page = Page(answer.text)
    assert "celsius: Input should be a valid number" in page.text
    assert page.form("/").fields == {"place": "<Pond>", "celsius": "warm"}


# --- Dependencies, endpoints of both kinds, the middleware


@pytest.mark.req("S-04")
def test_a_dependency_finds_the_place_of_the_address_or_answers_404(visitor: httpx2.Client) -> None:
    answer = visitor.get("/places/Kräuterbeet")
    assert answer.json()["place"] == "Kräuterbeet"
    assert answer.json()["coldest"] < 0 < answer.json()["warmest"]
    nowhere = visitor.get("/places/Nowhere")
    assert nowhere.status_code == 404
    assert nowhere.json() == {"detail": "Nothing was ever measured at 'Nowhere'."}


def test_a_dependency_refuses_what_another_site_sends(visitor: httpx2.Client) -> None:
    reading = {"place": new_place(), "celsius": 1}
    answer = visitor.post("/readings", json=reading, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert visitor.get(f"/places/{reading['place']}").status_code == 404


@pytest.mark.req("A-01")
def test_all_requests_share_one_loop_and_blocking_functions_run_beside_it(visitor: httpx2.Client) -> None:
    first, second = served(visitor), served(visitor)
    assert first["interface"] == "WSGI"
    assert first["server"].startswith("gunicorn")
    assert first["loop"] == second["loop"]
    assert first["loop thread"] == second["loop thread"]
    assert first["loop thread"] not in {first["def thread"], first["dependency thread"], "MainThread"}


def test_a_blocking_endpoint_draws_the_chart(visitor: httpx2.Client) -> None:
    answer = visitor.get("/chart.svg", params={"hours": 24, "width": 400})
    assert answer.headers["content-type"] == "image/svg+xml"
    assert 'viewBox="0 0 400 ' in answer.text
    assert ">Kräuterbeet</text>" in answer.text


@pytest.mark.parametrize(
    ("address", "status"),
    [("/", 200), ("/static/style.css", 200), ("/readings.csv", 200), ("/nowhere", 404)],
)
def test_the_middleware_numbers_every_request(visitor: httpx2.Client, address: str, status: int) -> None:
    answers = [visitor.get(address) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert re.fullmatch(r"[0-9a-f]{12}", answers[0].headers["x-request-id"])
    assert answers[0].headers["x-request-id"] != answers[1].headers["x-request-id"]
    assert re.fullmatch(r"app;dur=[0-9.]+", answers[0].headers["server-timing"])
    named = visitor.get(address, headers={"X-Request-ID": "from-the-proxy_1"})
    assert named.headers["x-request-id"] == "from-the-proxy_1"


# --- Uploads


def lines_of(place: str, count: int) -> str:
    """Return a CSV file of so many lines, of 150 bytes each, with a column that the app has no use for."""
    lines = (f"2024-01-01T00:00:00Z,{place},{number % 100 / 10},{'x' * 108}" for number in range(count))
    return "\n".join(["at,place,celsius,note", *lines, ""])


@pytest.mark.req("A-08")
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_an_upload_is_imported_whole(garden: Garden, visitor: httpx2.Client, chunked: bool) -> None:
    place = new_place()
    content = lines_of(place, 5000).encode()
    pieces = (content[start : start + 9999] for start in range(0, len(content), 9999))
    answer = visitor.put("/readings.csv", content=pieces if chunked else content)
    assert ("content-length" in answer.request.headers) is not chunked
    assert answer.json() == {"imported": 5000}
    assert garden.rows("SELECT count(*) FROM readings WHERE place = ?", place) == [(5000,)]


def test_an_upload_by_form_is_imported_and_reported(garden: Garden, visitor: httpx2.Client) -> None:
    place = new_place()
    form = Page(visitor.get("/").text).form("/import")
    # More than 1 MiB, from where on Starlette keeps it on disk.
    content = lines_of(place, 8000).encode()
    answer = visitor.post(
        form.action, files={"file": ("März.csv", content, "text/csv")}, follow_redirects=True
    )
    assert len(content) > MIB
    assert "8000 readings were imported" in Page(answer.text).text
    assert garden.rows("SELECT count(*) FROM readings WHERE place = ?", place) == [(8000,)]


def test_one_wrong_line_and_none_is_kept(garden: Garden, visitor: httpx2.Client) -> None:
    place = new_place()
    content = lines_of(place, 10) + f"2024-01-01T00:00:00Z,{place},hot,\n"
    answer = visitor.put("/readings.csv", content=content.encode())
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["file", "line 12", "celsius"]
    assert garden.rows("SELECT count(*) FROM readings WHERE place = ?", place) == [(0,)]


@pytest.mark.req("A-10")
def test_half_an_upload_is_not_kept(garden: Garden, visitor: httpx2.Client) -> None:
    place = new_place()
    half = lines_of(place, 20_000).encode()

    def unfinished() -> list[Path]:
        return list(garden.instance.glob("import-*"))

    with socket.create_connection(garden.server.address, PATIENCE) as connection:
        head = f"PUT /readings.csv HTTP/1.1\r\nHost: garden\r\nContent-Length: {2 * len(half)}\r\n\r\n"
        connection.sendall(head.encode() + half)
        # It is on its way to the disk while the rest of it has not been sent.
        wait_until(
            lambda: any(file.stat().st_size > MIB for file in unfinished()), PATIENCE, "the upload is written"
        )
    wait_until(lambda: not unfinished(), PATIENCE, "what came of the upload is removed")
    assert visitor.get(f"/places/{place}").status_code == 404


@pytest.mark.req("A-07")
def test_too_large_an_upload_is_refused(garden: Garden) -> None:
    with socket.create_connection(garden.server.address, PATIENCE) as connection:
        connection.sendall(b"PUT /readings.csv HTTP/1.1\r\nHost: garden\r\nContent-Length: 100000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


# --- Downloads


def test_the_book_comes_out_as_csv(garden: Garden, visitor: httpx2.Client) -> None:
    answer = visitor.get("/readings.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "content-length" not in answer.headers
    table = [[str(value) for value in row] for row in garden.rows("SELECT at, place, celsius FROM readings")]
    assert list(csv.reader(answer.text.splitlines())) == [["at", "place", "celsius"], *table]


@pytest.fixture
def long_book(garden: Garden, visitor: httpx2.Client) -> Iterator[int]:
    """Some 15 MB of readings: more than the adapter, the server and the sockets hold between them."""
    visitor.get("/")  # makes the database
    count = 60_000
    with closing(sqlite3.connect(garden.instance / "frost.sqlite3", timeout=PATIENCE)) as db:
        with db:
            db.execute(
                "INSERT INTO readings (at, place, celsius)"
                " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " SELECT '2001-01-01T00:00:00+00:00', 'long ' || hex(zeroblob(100)), 1 FROM n",
                (count,),
            )
        yield count
        with db:
            db.execute("DELETE FROM readings WHERE place LIKE 'long %'")


@pytest.mark.req("A-18", "A-29")
def test_the_first_rows_arrive_before_the_last_are_read(
    garden: Garden, visitor: httpx2.Client, long_book: int
) -> None:
    before = served(visitor)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        slow.settimeout(PATIENCE)
        slow.connect(garden.server.address)
        slow.sendall(b"GET /readings.csv HTTP/1.1\r\nHost: garden\r\n\r\n")
        got = b""
        while b"Greenhouse" not in got:
            piece = slow.recv(1000)
            assert piece, got
            got += piece
        if garden.several_at_once:
            now = served(visitor)
            assert now["exports opened"] == before["exports opened"] + 1
            assert now["exports closed"] == before["exports closed"]
            assert now["rows exported"] - before["rows exported"] < long_book
    wait_until(
        lambda: served(visitor)["exports closed"] == before["exports closed"] + 1,
        PATIENCE,
        "the generator is closed",
    )
    # It never got to the end: the client was too slow for that, and then it left.
    assert served(visitor)["rows exported"] - before["rows exported"] < long_book


# --- Events


class Event:
    """One event of a stream: its name, its data, its id."""

    def __init__(self, lines: list[str]) -> None:
        fields = dict(line.split(": ", 1) for line in lines)
        self.name = fields["event"]
        self.data = json.loads(fields["data"])
        self.id = fields.get("id")


def events_of(stream: httpx2.Response) -> Iterator[Event]:
    lines: list[str] = []
    for line in stream.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            lines.append(line)
        elif lines:
            yield Event(lines)
            lines = []


@pytest.mark.req("A-18", "A-29")
def test_events_arrive_while_the_stream_is_open_and_leaving_ends_it(
    garden: Garden, visitor: httpx2.Client
) -> None:
    before = served(visitor)
    with garden.visitor() as watcher, watcher.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = events_of(stream)
        assert next(events).name == "hello"
        if garden.several_at_once:
            for celsius in (3.5, 4.5):
                reading = visitor.post("/readings", json={"place": "Pond", "celsius": celsius}).json()
                event = next(events)
                assert (event.name, event.id, event.data) == ("reading", str(reading["id"]), reading)
            assert served(visitor)["streams closed"] == before["streams closed"]
    wait_until(
        lambda: served(visitor)["streams closed"] == before["streams closed"] + 1,
        PATIENCE,
        "what follows the dependency's `yield` has run",
    )


def test_a_stream_that_was_cut_off_goes_on_where_it_was(garden: Garden, visitor: httpx2.Client) -> None:
    sent = [visitor.post("/readings", json={"place": "Pond", "celsius": number}).json() for number in (3, 4)]
    last_seen = {"Last-Event-ID": str(sent[0]["id"] - 1)}
    with garden.visitor() as watcher, watcher.stream("GET", "/events", headers=last_seen) as stream:
        events = events_of(stream)
        assert next(events).name == "hello"
        assert [next(events).data for _ in range(2)] == sent


@pytest.mark.req("A-24")
def test_clients_that_leave_are_no_errors_in_the_log(garden: Garden, visitor: httpx2.Client) -> None:
    written = len(garden.server.output())
    before = served(visitor)
    with garden.visitor() as watcher, watcher.stream("GET", "/events") as stream:
        next(stream.iter_lines())
    wait_until(
        lambda: served(visitor)["streams closed"] == before["streams opened"] + 1,
        PATIENCE,
        "the stream ended",
    )
    assert garden.server.output()[written:] == ""


# --- Background tasks


@pytest.mark.req("A-19", "A-30")
def test_the_answer_does_not_wait_for_the_warning(
    garden: Garden, visitor: httpx2.Client, webhook: Webhook
) -> None:
    place = new_place()
    answer = visitor.post(
        "/readings", json={"place": place, "celsius": -2}, headers={"X-Request-ID": f"of-{place[5:]}"}
    )
    assert answer.status_code == 201
    # The answer is here, and the warning has not been accepted: only now the webhook is told to.
    assert state_of(visitor, place) == "pending"
    assert webhook.warnings.get(timeout=PATIENCE) == answer.json()
    assert state_of(visitor, place) == "pending"
    webhook.answers.put(204)
    wait_until(lambda: state_of(visitor, place) == "delivered", PATIENCE, "the warning is delivered")
    # The background task runs in the context of its request.
    assert f"frost: -2.0 °C, {place} (request of-{place[5:]})" in garden.server.output()


def state_of(visitor: httpx2.Client, place: str) -> str:
    states = [warning["state"] for warning in visitor.get("/warnings").json() if warning["place"] == place]
    assert len(states) == 1
    return str(states[0])


def test_a_warning_that_could_not_be_delivered_is_marked(visitor: httpx2.Client, webhook: Webhook) -> None:
    place = new_place()
    webhook.answers.put(500)
    visitor.post("/readings", json={"place": place, "celsius": -2})
    assert webhook.warnings.get(timeout=PATIENCE)["place"] == place
    wait_until(lambda: state_of(visitor, place) == "failed", PATIENCE, "the warning is marked")


# --- Start and stop


@pytest.mark.req("A-02", "A-30", "L-04", "L-10")
def test_the_app_starts_once_in_its_worker_and_ends_with_it(
    garden: Garden, visitor: httpx2.Client, webhook: Webhook
) -> None:
    place = new_place()
    server = garden.server
    worker = int(served(visitor)["process"])
    assert worker != server.process.pid
    assert processes(garden.instance)[-1] == (worker, False)
    # A background task is at work and an event stream is open when the signal comes.
    visitor.post("/readings", json={"place": place, "celsius": -3})
    assert webhook.warnings.get(timeout=PATIENCE)["place"] == place
    with garden.visitor() as watcher, watcher.stream("GET", "/events") as stream:
        events = events_of(stream)
        assert next(events).name == "hello"
        server.terminate()
        assert list(events) == []  # the stream ended; had it been broken off, this would raise
    webhook.answers.put(204)
    assert server.wait(PATIENCE) == 0
    assert processes(garden.instance).count((worker, True)) == 1
    assert all(ended for _, ended in processes(garden.instance))
    assert garden.rows("SELECT state FROM warnings WHERE place = ?", place) == [("delivered",)]
    assert f"Using worker: {garden.worker_class}" in server.output()


def processes(instance: Path) -> list[tuple[int, bool]]:
    """The processes in which the app was started, and whether it has ended there."""
    return [
        (pid, ended) for pid, ended in rows(instance, "SELECT pid, ended NOT NULL FROM processes ORDER BY id")
    ]


@pytest.mark.xdist_group("gunicorn others")
@pytest.mark.req("A-02", "L-04", "S-03")
def test_two_workers_below_a_path_as_the_configuration_file_says(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    with gunicorn(
        *CONFIG,
        "--preload",
        "wsgi",
        folder=tmp_path,
        instance=instance,
        environment={"SCRIPT_NAME": "/garden"},
    ) as server:
        # Nobody has asked for anything.
        wait_until(lambda: len(started(instance)) == 2, PATIENCE, "the app has started in both workers")
        with browsing(server) as visitor:
            page = Page(visitor.get("/garden/").text)
            assert all(address.startswith("/garden/") for address in page.addresses)
            assert {"/garden/chart.svg", "/garden/events"} <= {
                one.partition("?")[0] for one in page.addresses
            }
            for address in ("/garden/places/Kr%C3%A4uterbeet", "/garden/static/style.css", "/garden/docs"):
                assert visitor.get(address).status_code == 200, address
            form = page.form("/garden/")
            answer = visitor.post(form.action, data={**form.fields, "place": "Pond", "celsius": "2"})
            assert answer.headers["location"].startswith("/garden/?noted=")
            answering = {int(visitor.get("/garden/served").json()["process"]) for _ in range(5)}
            assert answering <= set(started(instance))
    assert all(ended for _, ended in processes(instance))
    assert len(processes(instance)) == 2


def started(instance: Path) -> list[int]:
    try:
        return [pid for pid, _ in processes(instance)]
    except sqlite3.OperationalError:  # there is no database yet, or it has no tables
        return []


@pytest.mark.xdist_group("gunicorn others")
@pytest.mark.req("L-04", "L-10")
def test_without_the_configuration_file_the_first_request_starts_the_app(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    with gunicorn(
        "--threads=4", "--chdir", str(EXAMPLE), "wsgi", folder=tmp_path, instance=instance
    ) as server:
        wait_until(lambda: "Booting worker" in server.output(), PATIENCE, "the worker is there")
        assert not instance.exists()
        with browsing(server) as visitor:
            worker = int(served(visitor)["process"])
            assert processes(instance) == [(worker, False)]
    assert processes(instance) == [(worker, True)]


@pytest.mark.xdist_group("gunicorn others")
def test_an_app_that_cannot_start_keeps_its_worker_from_booting(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    instance.write_text("a file, where the app wants to have a folder")
    run = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", *CONFIG, "--workers=1", "wsgi"],
        env={**os.environ, "FROST_INSTANCE": str(instance), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode != 0
    assert "StartupFailed" in run.stderr
    assert "Worker failed to boot" in run.stderr
