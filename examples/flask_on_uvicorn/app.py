"""A small shop's stock book: an ordinary Flask app that uses what real ones use.

Nothing in this file knows that an ASGI server runs it. `bridge serve app.py` wraps `app` and serves it;
`asgi.py` beside it does the same for those who start their server themselves. README.md is the guide.

Settings, all optional, all environment variables:

    SHOP_INSTANCE       folder for the database and the uploads (default: `instance` beside this file)
    SHOP_SECRET_KEY     signs the session cookie (default: made once and kept in the database)
    SHOP_MAX_UPLOAD     bytes that a request body may have (default: 64 MiB)
    SHOP_TICK           seconds between two server-sent events (default: 1)
    SHOP_SUPPLIER_URL   where suppliers are asked for prices (default: a pretended supplier in this process)
"""

from __future__ import annotations

import asyncio
import csv
import functools
import hashlib
import io
import json
import os
import re
import secrets
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx2
from asgiref.sync import sync_to_async
from flask import (
    Flask,
    Response,
    abort,
    flash,
    g,
    redirect,
    render_template,
    request,
    send_file,
    session,
    url_for,
)
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

HERE = Path(__file__).resolve().parent
INSTANCE = Path(os.environ.get("SHOP_INSTANCE") or HERE / "instance").resolve()
TICK = float(os.environ.get("SHOP_TICK") or 1)

app = Flask(__name__, root_path=str(HERE), instance_path=str(INSTANCE))
app.config.update(
    SECRET_KEY=os.environ.get("SHOP_SECRET_KEY"),
    SESSION_COOKIE_SAMESITE="Lax",
    MAX_CONTENT_LENGTH=int(os.environ.get("SHOP_MAX_UPLOAD") or 64 * 2**20),
)


# --- The database: one SQLite file, made on first use; one connection a request.

SCHEMA = (
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, cents INTEGER NOT NULL,"
    " stock INTEGER NOT NULL)",
    "CREATE TABLE movements (id INTEGER PRIMARY KEY, at TEXT NOT NULL, item TEXT NOT NULL,"
    " change INTEGER NOT NULL, stock INTEGER NOT NULL)",
    "CREATE TABLE files (id INTEGER PRIMARY KEY, at TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,"
    " sha256 TEXT NOT NULL)",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
FIRST_ITEMS = (("Käse", 450, 12), ("Lamp oil", 999, 3), ("Mustard, mild", 219, 30), ("Rope, 10 m", 1250, 7))


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@functools.cache
def database() -> Path:
    """Return the path of the database, and make it if this is its first use.

    Several worker processes may get here at once. Each that finds no database makes one on the side, and the
    first to put it in place wins: a hard link, unlike a rename, never replaces what is there.
    """
    path = INSTANCE / "shop.sqlite3"
    if not path.exists():
        INSTANCE.mkdir(parents=True, exist_ok=True)
        (INSTANCE / ".gitignore").write_text("*\n")  # what the shop writes never gets into a repository
        with tempfile.TemporaryDirectory(dir=INSTANCE) as aside:
            draft = Path(aside, path.name)
            make_database(draft)
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
    return path


def make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        # In this mode readers do not block the writer, so a download as slow as its client stops nobody.
        db.execute("PRAGMA journal_mode = WAL")
        for statement in SCHEMA:
            db.execute(statement)
        for name, cents, stock in FIRST_ITEMS:
            db.execute("INSERT INTO items (name, cents, stock) VALUES (?, ?, ?)", (name, cents, stock))
            record_movement(db, name, stock, stock)
        db.execute("INSERT INTO settings VALUES ('secret key', ?)", (secrets.token_hex(32),))


def connect() -> sqlite3.Connection:
    """Open a connection; it may be used by the thread that opened it only, and sqlite3 checks that."""
    db = sqlite3.connect(database(), timeout=10)
    db.row_factory = sqlite3.Row
    return db


def get_db() -> sqlite3.Connection:
    """Return this request's connection."""
    if "db" not in g:
        g.db = connect()
    db: sqlite3.Connection = g.db
    return db


@app.teardown_appcontext
def close_db(_error: BaseException | None) -> None:
    if "db" in g:
        g.pop("db").close()


def record_movement(db: sqlite3.Connection, item: str, change: int, stock: int) -> None:
    db.execute(
        "INSERT INTO movements (at, item, change, stock) VALUES (?, ?, ?, ?)", (now(), item, change, stock)
    )


# --- What happened in this process, for /stats. With --workers every process counts for itself.


class Happenings:
    """Counters that any thread may raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    @contextmanager
    def stream(self, name: str) -> Iterator[None]:
        """Count a stream as opened now and as closed when the block is left, however it is left.

        In a generator the `finally` below runs at its end or when the server calls `close()` on it, which is
        how a WSGI app learns that the client went away.
        """
        self.count(f"{name} opened")
        try:
            yield
        finally:
            self.count(f"{name} closed")

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]


happenings = Happenings()


# --- Sessions and forms.


class ShopSessions(SecureCookieSessionInterface):
    """Flask's cookie sessions, with a key that is looked up on first use and shared by all processes."""

    def get_signing_serializer(self, app: Flask) -> Any:
        if not app.secret_key:
            with closing(connect()) as db:
                row = db.execute("SELECT value FROM settings WHERE name = 'secret key'").fetchone()
            app.secret_key = row["value"]
        return super().get_signing_serializer(app)


app.session_interface = ShopSessions()


def csrf_token() -> str:
    """Return the token that this session's forms must carry; made when the first form is shown."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    token: str = session["csrf"]
    return token


@app.before_request
def check_csrf() -> None:
    """Refuse a form that was not shown to this very session.

    Only POST needs it, since only POST can be sent by a form on somebody else's page.
    """
    if request.method == "POST":
        sent = request.form.get("csrf", "").encode()
        if not secrets.compare_digest(sent, session.get("csrf", "").encode()) or not sent:
            abort(400, "This form is too old, or it was not made by this shop. Go back, reload, try again.")


@app.after_request
def add_security_headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


app.jinja_env.globals["csrf_token"] = csrf_token


@app.template_filter()
def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


# --- The stock.

PRICE = re.compile(r"([0-9]{1,6})(?:[.,]([0-9]{1,2}))?")
STOCK = re.compile(r"[0-9]{1,6}")


def is_plain(name: str) -> bool:
    """Tell whether `name` can stand in a URL as one segment, and in a header."""
    return 0 < len(name) <= 80 and name.isprintable() and "/" not in name and name not in {".", ".."}


@app.get("/")
def index() -> str:
    items = get_db().execute("SELECT * FROM items ORDER BY name").fetchall()
    return render_template("index.html", items=items, typed={})


@app.post("/items")
def add_item() -> ResponseReturnValue:
    name = request.form.get("name", "").strip()
    price = PRICE.fullmatch(request.form.get("price", "").strip())
    stock = STOCK.fullmatch(request.form.get("stock", "").strip())
    if not is_plain(name):
        return refuse_item("A name has 1 to 80 characters, and no slash among them.")
    if price is None or stock is None:
        return refuse_item("A price looks like 4.50, a stock like 12.")
    cents = int(price[1]) * 100 + int((price[2] or "").ljust(2, "0"))
    db = get_db()
    try:
        with db:
            db.execute("INSERT INTO items (name, cents, stock) VALUES (?, ?, ?)", (name, cents, stock[0]))
            record_movement(db, name, int(stock[0]), int(stock[0]))
    except sqlite3.IntegrityError:
        return refuse_item(f"There is already an item called {name}.")
    flash(f"{name} is now in the book.")
    return redirect(url_for("show_item", name=name), 303)


def refuse_item(problem: str) -> ResponseReturnValue:
    """Show the form again, filled in as it came, with what is wrong with it."""
    flash(problem, "problem")
    items = get_db().execute("SELECT * FROM items ORDER BY name").fetchall()
    return render_template("index.html", items=items, typed=request.form), 422


@app.get("/items/<name>")
def show_item(name: str) -> str:
    item = get_db().execute("SELECT * FROM items WHERE name = ?", (name,)).fetchone()
    if item is None:
        abort(404, f"There is no item called {name}.")
    newest = "SELECT * FROM movements WHERE item = ? ORDER BY id DESC LIMIT 20"
    movements = get_db().execute(newest, (name,)).fetchall()
    return render_template("item.html", item=item, movements=movements)


@app.post("/sell/<int:number>")
def sell(number: int) -> ResponseReturnValue:
    db = get_db()
    with db:
        sold = db.execute("UPDATE items SET stock = stock - 1 WHERE id = ? AND stock > 0", (number,)).rowcount
        item = db.execute("SELECT * FROM items WHERE id = ?", (number,)).fetchone()
        if item is None:
            abort(404, "There is no such item.")
        if sold:
            record_movement(db, item["name"], -1, item["stock"])
    if sold:
        session["sold"] = session.get("sold", 0) + 1
        flash(f"Sold: {item['name']}.")
    else:
        flash(f"{item['name']} is sold out.", "problem")
    return redirect(url_for("index"), 303)


# --- A download made row by row: the table is never in memory as a whole.


@app.get("/movements.csv")
def movements_csv() -> Response:
    return Response(
        movement_lines(),
        mimetype="text/csv",
        headers={"Content-Disposition": "attachment; filename=movements.csv"},
    )


def movement_lines() -> Iterator[str]:
    """Yield every movement as CSV, a hundred rows at a time, as fast as the client takes them.

    A generator outlives the view that made it, so it opens its own connection, and keeps it to the end: all
    of it runs in one thread. When the client leaves, the `with` block ends and the connection is closed.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)

    def take() -> str:
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text

    with happenings.stream("csv"), closing(connect()) as db:
        cursor = db.execute("SELECT id, at, item, change, stock FROM movements ORDER BY id")
        writer.writerow(column[0] for column in cursor.description)
        yield take()
        while rows := cursor.fetchmany(100):
            writer.writerows(rows)
            happenings.count("csv rows", len(rows))
            yield take()


# --- Uploads: from a form, or with `curl -T`. The body goes to disk while it arrives.


class Kept(NamedTuple):
    """An upload that is complete and on disk, under its hash."""

    size: int
    sha256: str


def uploads() -> Path:
    folder = INSTANCE / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(stream: IO[bytes]) -> Kept:
    """Copy `stream` to the upload folder in pieces of 64 KiB, and hash it on the way.

    The file is named after its hash, never after what the client said. If the client leaves half-way, reading
    raises and nothing is kept.
    """
    digest = hashlib.sha256()
    size = 0
    handle, unfinished = tempfile.mkstemp(prefix="unfinished-", dir=uploads())
    try:
        with open(handle, "wb") as file:
            while piece := stream.read(64 * 1024):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        os.replace(unfinished, uploads() / digest.hexdigest())
    except BaseException:
        os.unlink(unfinished)
        raise
    return Kept(size, digest.hexdigest())


def enter_file(name: str, kept: Kept) -> int:
    """Write an upload into the book and return its number."""
    db = get_db()
    with db:
        number = db.execute(
            "INSERT INTO files (at, name, size, sha256) VALUES (?, ?, ?, ?)", (now(), name, *kept)
        ).lastrowid
    assert number is not None  # an INSERT into a table with a key has one
    return number


@app.get("/files")
def list_files() -> str:
    files = get_db().execute("SELECT * FROM files ORDER BY id DESC LIMIT 50").fetchall()
    return render_template("files.html", files=files)


@app.post("/files")
def upload_form() -> ResponseReturnValue:
    file = request.files.get("file")
    name = file.filename if file is not None else None
    if file is None or not name:
        flash("Choose a file first.", "problem")
    elif not is_plain(name):
        flash("Give the file a shorter and simpler name first.", "problem")
    else:
        kept = keep(file.stream)
        enter_file(name, kept)
        flash(f"{name}: {kept.size} bytes, SHA-256 {kept.sha256}")
    return redirect(url_for("list_files"), 303)


@app.put("/files/<name>")
def upload_raw(name: str) -> ResponseReturnValue:
    if not is_plain(name):
        abort(400, "Give the file a shorter and simpler name.")
    kept = keep(request.stream)
    url = url_for("download", number=enter_file(name, kept))
    return {"name": name, "size": kept.size, "sha256": kept.sha256, "url": url}, 201, {"Location": url}


@app.get("/files/<int:number>")
def download(number: int) -> Response:
    row = get_db().execute("SELECT * FROM files WHERE id = ?", (number,)).fetchone()
    if row is None:
        abort(404, "There is no such file.")
    # As an attachment of no particular type: what a visitor uploaded must not run as a page of this shop.
    return send_file(
        uploads() / row["sha256"],
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=row["name"],
        etag=row["sha256"],
    )


# --- Server-sent events: a stream without end.


@app.get("/live")
def live() -> str:
    return render_template("live.html")


@app.get("/live/events")
def live_events() -> Response:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the latter asks nginx not to collect
    return Response(ticks(), mimetype="text/event-stream", headers=headers)


def ticks() -> Iterator[str]:
    """Yield the time and the stock, for ever: only the client, or the server's stop, ends it."""
    with happenings.stream("events"), closing(connect()) as db:
        while True:
            stock = int(db.execute("SELECT total(stock) FROM items").fetchone()[0])
            watching = happenings["events opened"] - happenings["events closed"]
            news = {"time": now(), "stock": stock, "watching": watching}
            yield f"event: tick\ndata: {json.dumps(news)}\n\n"
            time.sleep(TICK)


# --- An async view: it awaits on the loop that also runs the server.

SUPPLIERS = ("Harbour", "Mill", "North gate")


async def pretend_supplier(asked: httpx2.Request) -> httpx2.Response:
    """Answer like a supplier that thinks for 0.2 s; used when SHOP_SUPPLIER_URL is not set."""
    await asyncio.sleep(0.2)
    noise = hashlib.sha256(asked.url.raw_path).digest()
    return httpx2.Response(200, json={"cents": 100 + int.from_bytes(noise[:2], "big") % 900})


class Purchasing:
    """Asks suppliers for prices through one HTTP client.

    A client's connections belong to the event loop that opened them. Under bridge every async view runs on
    the server's own loop, so one client serves all requests and its connections are used again. Where each
    call gets a new loop (as Flask does under a WSGI server), a new client is made for each.
    """

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            happenings.count("supplier clients")
            url = os.environ.get("SHOP_SUPPLIER_URL")
            if url:
                self._client = httpx2.AsyncClient(
                    base_url=url, timeout=3, limits=httpx2.Limits(keepalive_expiry=60)
                )
            else:
                pretended = httpx2.MockTransport(pretend_supplier)
                self._client = httpx2.AsyncClient(base_url="http://supplier.invalid", transport=pretended)
            self._loop = loop
        return self._client

    async def ask(self, supplier: str, item: str) -> int | None:
        """Return the supplier's price in cents, or None if there was no sensible answer."""
        happenings.count("supplier calls")
        try:
            answer = await self.client().get("/price", params={"supplier": supplier, "item": item})
            return int(answer.raise_for_status().json()["cents"])
        except (httpx2.HTTPError, ValueError, TypeError, KeyError):
            return None

    async def close(self) -> None:
        """Close the client; `asgi.py` has the server call this when it stops, on its own loop."""
        if self._client is not None and self._loop is not None and self._loop.is_running():
            await self._client.aclose()
        self._client = self._loop = None


purchasing = Purchasing()


def scarcest_item() -> tuple[str, str]:
    """Return the item of which least is left, and the name of the thread that looked it up."""
    row = get_db().execute("SELECT name FROM items ORDER BY stock, name LIMIT 1").fetchone()
    return row["name"], threading.current_thread().name


@app.get("/suppliers")
async def suppliers() -> str:
    # This function runs on the event loop, where nothing may block: the database is left to the thread that
    # serves this request. sync_to_async goes back to exactly that thread, and its connection.
    item, worker_thread = await sync_to_async(scarcest_item)()
    item = request.args.get("item") or item
    started = time.perf_counter()
    prices = await asyncio.gather(*(purchasing.ask(supplier, item) for supplier in SUPPLIERS))
    took = time.perf_counter() - started
    return render_template(
        "suppliers.html",
        item=item,
        prices=dict(zip(SUPPLIERS, prices, strict=True)),
        best=min((price for price in prices if price is not None), default=None),
        took=took,
        loop=f"{type(asyncio.get_running_loop()).__module__} {id(asyncio.get_running_loop()):#x}",
        loop_thread=threading.current_thread().name,
        worker_thread=worker_thread,
        clients=happenings["supplier clients"],
        calls=happenings["supplier calls"],
    )


# --- What happened, and errors.


def stats_now() -> dict[str, str | int]:
    scope = request.environ.get("asgi.scope")
    return {
        "process": os.getpid(),
        "thread": threading.current_thread().name,
        "threads": threading.active_count(),
        "server software": request.environ.get("SERVER_SOFTWARE", "unknown"),
        "protocol": f"ASGI {scope['asgi']['version']}" if scope else "WSGI",
        "http": request.environ["SERVER_PROTOCOL"],
        "root path": request.root_path,
        "csv opened": happenings["csv opened"],
        "csv closed": happenings["csv closed"],
        "csv rows": happenings["csv rows"],
        "events opened": happenings["events opened"],
        "events closed": happenings["events closed"],
        "supplier clients": happenings["supplier clients"],
        "supplier calls": happenings["supplier calls"],
    }


@app.get("/stats")
def stats() -> str:
    return render_template("stats.html", stats=stats_now())


@app.get("/stats.json")
def stats_json() -> dict[str, str | int]:
    return stats_now()


@app.get("/broken")
def broken() -> str:
    raise RuntimeError("this page is broken on purpose")


@app.errorhandler(HTTPException)
def show_error(error: HTTPException) -> ResponseReturnValue:
    """Show any error as a page of the shop, with its own headers; the cause of a 500 goes to the log only."""
    response = error.get_response(request.environ)
    response.set_data(render_template("error.html", error=error))
    return response
