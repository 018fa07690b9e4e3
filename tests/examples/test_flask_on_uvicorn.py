"""The Flask example, served by real servers and used over HTTP as its visitors do."""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from support.served import wait_until
from support.servers_uvicorn_example import EXAMPLE, PATIENCE, Page, Served, serve

pytestmark = pytest.mark.xdist_group("flask_on_uvicorn")

MIB = 2**20


class Supplier(ThreadingHTTPServer):
    """A supplier of the shop. It answers only when three questions are before it at the same time."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SupplierHandler)
        self.three_at_once = threading.Barrier(3)
        self.connections = 0


class SupplierHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections open
    server: Supplier

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1  # each handler serves one connection

    def do_GET(self) -> None:
        self.server.three_at_once.wait(PATIENCE)
        asked = parse_qs(urlsplit(self.path).query)
        answer = json.dumps({"cents": 100 * len(asked["supplier"][0])}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def supplier() -> Iterator[Supplier]:
    with Supplier() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="supplier")
        thread.start()
        yield server
        server.shutdown()
        thread.join(PATIENCE)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop") / "instance"


@pytest.fixture(scope="module")
def shop(supplier: Supplier, instance: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop as README.md says to start it, from a folder that has nothing to do with it."""
    env = {
        "SHOP_INSTANCE": str(instance),
        "SHOP_TICK": "0.05",
        "SHOP_SUPPLIER_URL": f"http://127.0.0.1:{supplier.server_port}",
    }
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with serve("bridge", "serve", str(EXAMPLE / "app.py"), "--port", "0", cwd=elsewhere, env=env) as served:
        yield served


def browsing(served: Served, cookies: dict[str, str] | None = None) -> httpx2.Client:
    """Return a visitor with cookies of their own, who follows no redirect unasked."""
    # There is no TLS here, and to load the certificates would take longer than most of the tests.
    return httpx2.Client(
        base_url=served.url, cookies=cookies, timeout=PATIENCE, trust_env=False, verify=False
    )


@pytest.fixture
def visitor(shop: Served) -> Iterator[httpx2.Client]:
    with browsing(shop) as client:
        yield client


def stats(visitor: httpx2.Client) -> dict[str, int]:
    counted: dict[str, int] = visitor.get("/stats.json").json()
    return counted


@contextmanager
def rows(instance: Path, sql: str) -> Iterator[list[tuple[object, ...]]]:
    """Read from the shop's database behind its back."""
    with closing(sqlite3.connect(instance / "shop.sqlite3", timeout=PATIENCE)) as db:
        yield db.execute(sql).fetchall()


# --- Templates, forms, session, database


def test_the_first_page_shows_the_stock_and_its_style_sheet_exists(visitor: httpx2.Client) -> None:
    answer = visitor.get("/")
    assert answer.status_code == 200
    page = Page(answer.text)
    assert "Lamp oil" in page.text
    assert "Käse" in page.text
    sheet = next(address for address in page.addresses if address.endswith(".css"))
    assert visitor.get(sheet).headers["content-type"].startswith("text/css")


def test_every_page_that_the_menu_leads_to_is_there(visitor: httpx2.Client) -> None:
    addresses = set(Page(visitor.get("/").text).addresses)
    assert {"/", "/files", "/suppliers", "/live", "/stats"} <= addresses
    forms_only = {address for address in addresses if address.startswith("/sell/")} | {"/items"}
    for address in sorted(addresses - forms_only - {"/suppliers"}):  # which is asked in a test of its own
        assert visitor.get(address).status_code == 200, address


def test_a_form_changes_the_database_redirects_and_speaks_once(visitor: httpx2.Client) -> None:
    form = Page(visitor.get("/").text).form("/items")
    sent = {**form.fields, "name": "Öl & Essig 50 %", "price": "3,5", "stock": "8"}
    answer = visitor.post(form.action, data=sent)
    assert answer.status_code == 303
    # the browser is sent to an address that is ASCII, percent-encoded once
    assert answer.headers["location"] == "/items/%C3%96l%20&%20Essig%2050%20%25"

    first = Page(visitor.get(answer.headers["location"]).text)
    assert "Öl & Essig 50 % is now in the book." in first.text
    assert "8 in stock at 3.50 each" in first.text
    assert "is now in the book" not in Page(visitor.get(answer.headers["location"]).text).text

    again = visitor.post(form.action, data=sent)
    assert again.status_code == 422
    page = Page(again.text)
    assert "There is already an item called Öl & Essig 50 %." in page.text
    assert page.form("/items").fields["name"] == "Öl & Essig 50 %"


@pytest.mark.parametrize(
    "typed",
    [
        {"name": "", "price": "1", "stock": "1"},
        {"name": "a/b", "price": "1", "stock": "1"},
        {"name": "x" * 81, "price": "1", "stock": "1"},
        {"name": "cheap", "price": "-1", "stock": "1"},
        {"name": "dear", "price": "1e999999", "stock": "1"},
        {"name": "many", "price": "1", "stock": "1" * 5000},
    ],
    ids=lambda typed: typed["name"][:8] or "empty",
)
def test_nonsense_in_a_form_is_explained(visitor: httpx2.Client, typed: dict[str, str]) -> None:
    form = Page(visitor.get("/").text).form("/items")
    answer = visitor.post(form.action, data={**form.fields, **typed})
    assert answer.status_code == 422
    assert re.search(r"A name has|A price looks", Page(answer.text).text)


def test_a_session_counts_what_its_visitor_sold_and_nobody_elses(
    shop: Served, visitor: httpx2.Client
) -> None:
    page = Page(visitor.get("/").text)
    form = next(form for form in page.forms if "/sell/" in form.action)
    for _ in range(2):
        assert visitor.post(form.action, data=form.fields).headers["location"] == "/"
    assert "You sold 2 in this session" in Page(visitor.get("/").text).text
    with browsing(shop) as other:
        assert "You sold 0 in this session" in Page(other.get("/").text).text


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(visitor: httpx2.Client) -> None:
    cookie = visitor.get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("token", [None, "", "guessed", "gefälscht"])
def test_a_form_without_the_sessions_token_is_refused(
    visitor: httpx2.Client, instance: Path, token: str | None
) -> None:
    visitor.get("/")  # so that there is a session with a token
    name = f"forged {token}"
    sent = {"name": name, "price": "1", "stock": "1"}
    answer = visitor.post("/items", data=sent if token is None else {**sent, "csrf": token})
    assert answer.status_code == 400
    assert "not made by this shop" in Page(answer.text).text
    with rows(instance, f"SELECT 1 FROM items WHERE name = '{name}'") as found:
        assert found == []


def test_a_token_of_another_session_is_refused(shop: Served, visitor: httpx2.Client) -> None:
    visitor.get("/")
    with browsing(shop) as other:
        form = Page(other.get("/").text).form("/items")
    answer = visitor.post(form.action, data={**form.fields, "name": "x", "price": "1", "stock": "1"})
    assert answer.status_code == 400


# --- Uploads


def test_an_upload_of_several_mib_comes_through_whole_and_comes_back(visitor: httpx2.Client) -> None:
    content = os.urandom(7 * MIB + 13)
    sha256 = hashlib.sha256(content).hexdigest()
    form = Page(visitor.get("/files").text).form("/files")
    answer = visitor.post(
        form.action,
        data={"csrf": form.fields["csrf"]},
        files={"file": ("Lieferschein März.pdf", content)},
        follow_redirects=True,
    )
    page = Page(answer.text)
    assert f"Lieferschein März.pdf: {len(content)} bytes, SHA-256 {sha256}" in page.text

    newest = next(address for address in page.addresses if re.fullmatch(r"/files/[0-9]+", address))
    back = visitor.get(newest)
    assert back.content == content
    assert back.headers["content-length"] == str(len(content))
    assert "M%C3%A4rz.pdf" in back.headers["content-disposition"]
    part = visitor.get(newest, headers={"Range": "bytes=1000000-1000099"})
    assert part.status_code == 206
    assert part.content == content[1_000_000:1_000_100]
    assert visitor.get(newest, headers={"If-None-Match": back.headers["etag"]}).status_code == 304


@pytest.mark.req("E-43")
def test_a_chunked_upload_arrives_whole(visitor: httpx2.Client) -> None:
    piece = bytes(range(256)) * 401  # about 100 KiB, no power of two
    answer = visitor.put("/files/chunked.bin", content=(piece for _ in range(50)))
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 201
    assert answer.json()["size"] == 50 * len(piece)
    assert answer.json()["sha256"] == hashlib.sha256(piece * 50).hexdigest()
    assert visitor.get(answer.headers["location"]).content == piece * 50


def test_a_chunked_form_arrives_whole(visitor: httpx2.Client) -> None:
    form = Page(visitor.get("/files").text).form("/files")
    content = os.urandom(MIB)
    whole = httpx2.Request(
        "POST", "http://shop/", data={"csrf": form.fields["csrf"]}, files={"file": ("form.bin", content)}
    )
    body = whole.read()
    pieces = (body[start : start + 9999] for start in range(0, len(body), 9999))
    answer = visitor.post(
        form.action,
        content=pieces,
        headers={"Content-Type": whole.headers["content-type"]},
        follow_redirects=True,
    )
    assert f"form.bin: {MIB} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}" in Page(answer.text).text


@pytest.mark.req("E-40")
def test_half_an_upload_is_not_kept(shop: Served, visitor: httpx2.Client, instance: Path) -> None:
    uploads = instance / "uploads"
    visitor.put("/files/first.txt", content=b"so that the folder is there")
    before = {file.name for file in uploads.iterdir()}
    with rows(instance, "SELECT count(*) FROM files") as entries_before:
        pass

    def unfinished() -> list[Path]:
        return list(uploads.glob("unfinished-*"))

    with socket.create_connection(("127.0.0.1", shop.port), PATIENCE) as half:
        head = f"PUT /files/half.bin HTTP/1.1\r\nHost: shop\r\nContent-Length: {10 * MIB}\r\n\r\n"
        half.sendall(head.encode() + bytes(2 * MIB))
        # The upload is on its way to the disk while most of it has not been sent.
        wait_until(
            lambda: any(file.stat().st_size > MIB for file in unfinished()), PATIENCE, "the upload is written"
        )
    wait_until(lambda: not unfinished(), PATIENCE, "what came of the upload is removed")
    assert {file.name for file in uploads.iterdir()} == before
    with rows(instance, "SELECT count(*) FROM files") as entries:
        assert entries == entries_before


def test_too_large_an_upload_is_refused_before_it_is_sent(shop: Served) -> None:
    with socket.create_connection(("127.0.0.1", shop.port), PATIENCE) as connection:
        connection.sendall(
            b"PUT /files/huge.bin HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        with closing(http.client.HTTPResponse(connection)) as answer:
            answer.begin()  # which skips a 100, after which nothing would come
            assert answer.status == 413
            assert b"Request Entity Too Large" in answer.read()


# --- Streams


def test_the_csv_download_has_every_row_of_the_table(visitor: httpx2.Client, instance: Path) -> None:
    answer = visitor.get("/movements.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "content-length" not in answer.headers
    with rows(instance, "SELECT id, at, item, change, stock FROM movements ORDER BY id") as stored:
        table = [[str(value) for value in row] for row in stored]
    assert list(csv.reader(answer.text.splitlines())) == [["id", "at", "item", "change", "stock"], *table]


@pytest.fixture
def long_table(instance: Path, visitor: httpx2.Client) -> Iterator[int]:
    """Some 14 MB of movements: more than the adapter, the server and the sockets hold between them."""
    visitor.get("/")  # makes the database
    count = 60_000
    with closing(sqlite3.connect(instance / "shop.sqlite3", timeout=PATIENCE)) as db:
        with db:
            db.execute(
                "INSERT INTO movements (at, item, change, stock)"
                " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " SELECT 'long ago', 'long ' || hex(zeroblob(100)), 0, 0 FROM n",
                (count,),
            )
        yield count
        with db:
            db.execute("DELETE FROM movements WHERE at = 'long ago'")


@pytest.mark.req("W-17", "W-24", "W-26")
def test_the_first_csv_row_arrives_before_the_last_is_made(
    shop: Served, visitor: httpx2.Client, long_table: int
) -> None:
    before = stats(visitor)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        slow.settimeout(PATIENCE)
        slow.connect(("127.0.0.1", shop.port))
        slow.sendall(b"GET /movements.csv HTTP/1.1\r\nHost: shop\r\n\r\n")
        got = b""
        while b"Lamp oil" not in got:
            piece = slow.recv(1000)
            assert piece, got
            got += piece
        now = stats(visitor)
        assert now["csv opened"] == before["csv opened"] + 1
        assert now["csv closed"] == before["csv closed"]
        assert now["csv rows"] - before["csv rows"] < long_table
    wait_until(
        lambda: stats(visitor)["csv closed"] == before["csv closed"] + 1, PATIENCE, "the generator is closed"
    )
    # It never got to the end: the client was too slow for that, and then it left.
    assert stats(visitor)["csv rows"] - before["csv rows"] < long_table


@pytest.mark.req("W-17", "W-24", "W-26")
def test_events_arrive_while_the_stream_is_open_and_leaving_stops_it(visitor: httpx2.Client) -> None:
    before = stats(visitor)
    with visitor.stream("GET", "/live/events") as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = stream.iter_lines()
        news: list[dict[str, str | int]] = []
        while len(news) < 3:
            line = next(lines)
            if line.startswith("data: "):
                news.append(json.loads(line.removeprefix("data: ")))
        assert [set(one) for one in news] == [{"time", "stock", "watching"}] * 3
        assert int(news[-1]["watching"]) >= 1
        now = stats(visitor)
        assert now["events opened"] == before["events opened"] + 1
        assert now["events closed"] == before["events closed"]
    wait_until(
        lambda: stats(visitor)["events closed"] == before["events closed"] + 1,
        PATIENCE,
        "the generator's `finally` ran",
    )


# --- The async view


def test_an_async_view_asks_all_suppliers_at_once_on_one_loop_with_one_client(
    visitor: httpx2.Client, supplier: Supplier
) -> None:
    # The supplier answers only when three are asking at the same time: one after the other would fail.
    pages = [Page(visitor.get("/suppliers", params={"item": "Käse"}).text) for _ in range(4)]
    for page in pages:
        assert "Prices for Käse" in page.text
        assert "Harbour 7.00 Mill 4.00 North gate 10.00" in page.text
        assert page.ids["loop"] == pages[0].ids["loop"]
        # Uvicorn's loop runs in the main thread; the database was asked in a thread of the pool.
        assert page.ids["loop-thread"] == "MainThread"
        assert page.ids["worker-thread"] != "MainThread"
        assert page.ids["clients"] == "1"
    assert int(pages[3].ids["calls"]) - int(pages[0].ids["calls"]) == 9
    # Twelve questions, three connections: those of the first page served the others.
    assert supplier.connections == 3


# --- Errors, methods, addresses


def test_what_is_not_there_is_answered_by_a_page_of_the_shop(visitor: httpx2.Client) -> None:
    for address in ("/nowhere", "/items/unheard of", "/files/999999"):
        answer = visitor.get(address)
        assert answer.status_code == 404
        assert "404 · Not Found" in Page(answer.text).text
        assert answer.headers["content-length"] == str(len(answer.content))


def test_an_error_page_keeps_the_headers_of_its_error(visitor: httpx2.Client) -> None:
    answer = visitor.delete("/files")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


def test_an_exception_shows_a_page_to_the_visitor_and_its_cause_to_the_log(
    shop: Served, visitor: httpx2.Client
) -> None:
    answer = visitor.get("/broken")
    assert answer.status_code == 500
    page = Page(answer.text)
    assert "500 · Internal Server Error" in page.text
    assert "on purpose" not in answer.text
    assert "Stock" in page.text
    shop.wait_for_output(re.compile("RuntimeError: this page is broken on purpose"))


@pytest.mark.req("W-22")
def test_head_sends_no_body_and_starts_no_stream(shop: Served, visitor: httpx2.Client) -> None:
    size = visitor.get("/live").headers["content-length"]
    before = stats(visitor)
    with closing(http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE)) as connection:
        used = set()
        for address in ("/live", "/live/events", "/movements.csv", "/nowhere", "/static/live.js"):
            connection.request("HEAD", address)
            answer = connection.getresponse()
            assert answer.status == (404 if address == "/nowhere" else 200)
            assert answer.read() == b""
            if address == "/live":
                assert answer.headers["content-length"] == size
            used.add(connection.sock)
        # Had a body been sent, the next answer on this connection would have begun with it.
        connection.request("GET", "/stats.json")
        after = json.loads(connection.getresponse().read())
        assert used == {connection.sock}
    assert after["events opened"] == before["events opened"]
    assert after["csv opened"] == before["csv opened"]


@pytest.mark.req("E-13")
def test_an_address_that_is_not_ascii_finds_its_item(visitor: httpx2.Client) -> None:
    assert "/items/K%C3%A4se" in Page(visitor.get("/").text).addresses
    page = Page(visitor.get("/items/K%C3%A4se").text)
    assert "in stock at 4.50 each" in page.text
    assert "Käse" in page.text


# --- Other ways to start it


@contextmanager
def behind_a_proxy(served: Served, root: str) -> Iterator[httpx2.Client]:
    """A visitor on the far side of a proxy that takes `root` off each address, and has nothing else."""

    def strip(request: httpx2.Request) -> None:
        path = request.url.raw_path.decode()
        assert path.startswith(f"{root}/"), f"{path} does not belong to the shop"
        request.url = request.url.copy_with(raw_path=path.removeprefix(root).encode())

    with browsing(served) as client:
        client.event_hooks = {"request": [strip]}
        yield client


@pytest.mark.req("E-08")
def test_everything_stays_below_the_root_path(tmp_path: Path) -> None:
    command = ("bridge", "serve", str(EXAMPLE / "app.py"), "--port", "0", "--root-path", "/shop")
    env = {"SHOP_INSTANCE": str(tmp_path / "instance"), "SHOP_TICK": "0.05"}
    with serve(*command, cwd=tmp_path, env=env) as served, behind_a_proxy(served, "/shop") as visitor:
        page = Page(visitor.get("/shop/").text)
        assert all(address.startswith("/shop/") for address in page.addresses)
        assert "/shop/items/K%C3%A4se" in page.addresses
        for address in ("/shop/items/K%C3%A4se", "/shop/live", "/shop/static/style.css", "/shop/suppliers"):
            assert visitor.get(address).status_code == 200
        assert Page(visitor.get("/shop/live").text).addresses.count("/shop/live/events") == 1

        form = page.form("/items")
        sent = {**form.fields, "name": "Bäckerhefe", "price": "1", "stock": "1"}
        answer = visitor.post(form.action, data=sent)
        assert answer.headers["location"] == "/shop/items/B%C3%A4ckerhefe"
        assert "is now in the book" in Page(visitor.get(answer.headers["location"]).text).text
        assert stats_below(visitor, "/shop")["root path"] == "/shop"


def stats_below(visitor: httpx2.Client, root: str) -> dict[str, object]:
    counted: dict[str, object] = visitor.get(f"{root}/stats.json").json()
    return counted


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder that holds the example and nothing else."""
    project = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "instance")
    shutil.copytree(EXAMPLE, project / "examples" / EXAMPLE.name, ignore=ignored)
    return project


FOLDER = Path("examples", EXAMPLE.name)


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        (Path(), ("bridge", "serve", "examples.flask_on_uvicorn.app:app", "--port", "0")),
        (Path(), ("bridge", "serve", "examples.flask_on_uvicorn.asgi:application", "--port", "0")),
        (FOLDER, ("bridge", "serve", "app.py", "--port", "0")),
        (Path(), ("uvicorn", "examples.flask_on_uvicorn.asgi:application", "--port", "0")),
        (FOLDER, ("uvicorn", "asgi:application", "--port", "0")),
        (FOLDER, ("hypercorn", "asgi:application", "--bind", "127.0.0.1:0")),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else str(value),
)
def test_it_runs_however_it_is_started(copied: Path, folder: Path, command: tuple[str, ...]) -> None:
    with (
        serve(*command, cwd=copied / folder, env={"SHOP_TICK": "0.05"}) as served,
        browsing(served) as visitor,
    ):
        form = next(form for form in Page(visitor.get("/").text).forms if "/sell/" in form.action)
        answer = visitor.post(form.action, data=form.fields)
        assert answer.headers["location"] == "/"
        assert "You sold 1 in this session" in Page(visitor.get("/").text).text
        for _ in range(2):
            page = Page(visitor.get("/suppliers").text)
            assert "no answer" not in page.text
            assert page.ids["clients"] == "1"
        assert visitor.get("/stats.json").json()["protocol"] == "ASGI 3.0"
    # What it wrote is beside the app, and git would not see it.
    wrote = copied / FOLDER / "instance"
    assert (wrote / "shop.sqlite3").is_file()
    assert (wrote / ".gitignore").read_text() == "*\n"


def test_a_session_outlives_the_server(tmp_path: Path) -> None:
    command = ("bridge", "serve", str(EXAMPLE / "app.py"), "--port", "0")
    env = {"SHOP_INSTANCE": str(tmp_path / "instance")}
    with serve(*command, cwd=tmp_path, env=env) as served, browsing(served) as visitor:
        form = next(form for form in Page(visitor.get("/").text).forms if "/sell/" in form.action)
        visitor.post(form.action, data=form.fields)
        cookies = dict(visitor.cookies)
    with serve(*command, cwd=tmp_path, env=env) as served, browsing(served, cookies) as visitor:
        page = Page(visitor.get("/").text)
        assert "You sold 1 in this session" in page.text
        # … and its forms are still good.
        form = next(form for form in page.forms if "/sell/" in form.action)
        assert visitor.post(form.action, data=form.fields).status_code == 303
