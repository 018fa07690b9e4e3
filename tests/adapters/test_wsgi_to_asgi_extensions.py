"""ASGI extensions under WSGIToASGI: early hints, trailers, files, TLS, and the scope itself."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import IO, Any

import pytest
from support.drive import TIMEOUT, Exchange, Signal, checkpoint, poll, serve
from support.scopes import ABSENT, http_scope
from support.wsgi_apps import Adapt, Environs, Watched, answer, returning

from bridge.exceptions import ApplicationError, InvalidHeader

HINTS = http_scope(extensions={"http.response.early_hint": {}})


def offering(*names: str, **overrides: Any) -> dict[str, Any]:
    """A scope that offers these extensions."""
    return http_scope(extensions={f"http.response.{name}": {} for name in names}, **overrides)


# -- early hints


@pytest.mark.req("X-04")
@pytest.mark.parametrize("extensions", [{}, None, ABSENT, {"http.response.push": {}}])
def test_early_hints_are_absent_where_the_server_does_not_offer_them(adapt: Adapt, extensions: Any) -> None:
    """Apps look for the key."""
    app = Environs()
    serve(adapt(app), http_scope(extensions=extensions)).unwrap()
    assert "wsgi.early_hints" not in app.seen[0]
    assert "bridge.send_trailers" not in app.seen[0]


@pytest.mark.req("X-04")
@pytest.mark.parametrize("before", [True, False], ids=["before start_response", "after start_response"])
@pytest.mark.parametrize("chunks", [[b"one"], [b"one", b"two"], []], ids=repr)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_early_hints_are_sent_before_the_response(
    adapt: Adapt, loop: str, before: bool, chunks: list[bytes], method: str
) -> None:
    """The loop sees nothing before the app is done, so hint and response come to it together."""
    called, done_signal = Signal(), Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        called.set()
        if before:
            environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("link", "</b.js>")])
        start_response("200 OK", [])
        if not before:
            environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("link", "</b.js>")])
        done_signal.set()
        return chunks

    adapter = adapt(app)

    async def beside(exchange: Exchange) -> None:
        await called.come()
        # On the loop's thread on purpose: it stands still until the worker has handed over all.
        done_signal.wait()
        while adapter.pool.stats().completed == 0:
            pass

    done = serve(adapter, offering("early_hint", method=method), loop=loop, beside=beside).unwrap()
    hint, start = done.sent[:2]
    assert hint == {
        "type": "http.response.early_hint",
        "links": [b"</a.css>; rel=preload", b"</b.js>"],
    }
    assert start["type"] == "http.response.start"
    assert done.body == (b"" if method == "HEAD" else b"".join(chunks))
    assert done.complete


@pytest.mark.req("X-04")
def test_early_hints_leave_at_once(adapt: Adapt, loop: str) -> None:
    """While the app still works on the answer: that is what they are for."""
    arrived = Signal()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>")])
        arrived.wait()
        environ["wsgi.early_hints"]([("Link", "</b.css>")])
        start_response("200 OK", [])
        return [b"x"]

    async def beside(exchange: Exchange) -> None:
        await exchange.sending(1)
        arrived.set()

    done = serve(adapt(app), HINTS, loop=loop, beside=beside).unwrap()
    assert [message["type"].rpartition(".")[2] for message in done.sent] == [
        "early_hint",
        "early_hint",
        "start",
        "body",
    ]


@pytest.mark.req("X-04")
def test_other_headers_than_link_are_dropped_with_a_warning(
    adapt: Adapt, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("X-Other", "1"), ("Link", "</a>"), ("X-Evil\r\nFAKE", "1")])
        environ["wsgi.early_hints"]([("X-Other", "1")])
        environ["wsgi.early_hints"]([])
        start_response("200 OK", [])
        return [b"x"]

    done = serve(adapt(app), HINTS).unwrap()
    assert [message.get("links") for message in done.sent] == [[b"</a>"], None, None]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert "\n" not in caplog.records[1].getMessage()


@pytest.mark.req("X-04")
def test_early_hints_after_output_are_ignored(adapt: Adapt, loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"x")
        environ["wsgi.early_hints"]([("Link", "</a>")])
        yield b"y"
        environ["wsgi.early_hints"]([("Link", "</b>")])

    done = serve(adapt(app), HINTS, loop=loop).unwrap()
    assert "http.response.early_hint" not in done.log
    assert done.body == b"xy"


@pytest.mark.req("H-02", "X-04")
@pytest.mark.parametrize("value", ["</a>\r\nX-Inj: 1", "</a>\x00", "</\u20ac>"])
def test_a_wrong_link_raises_in_the_app(adapt: Adapt, value: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises(InvalidHeader):
            environ["wsgi.early_hints"]([("Link", value)])
        start_response("200 OK", [])
        return [b"x"]

    done = serve(adapt(app), HINTS).unwrap()
    assert done.log == ["http.response.start", "http.response.body"]


# -- trailers


def trailing(chunks: list[bytes], headers: Any, trailers: Any) -> Any:
    """An app that names its trailers after the last chunk."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", headers)
        yield from chunks
        if trailers is not None and "bridge.send_trailers" in environ:
            environ["bridge.send_trailers"](trailers)

    return app


@pytest.mark.req("X-05")
@pytest.mark.parametrize("chunks", [[], [b"a"], [b"a", b"b"]], ids=repr)
@pytest.mark.parametrize("length", [False, True])
def test_trailers_follow_the_body(adapt: Adapt, loop: str, chunks: list[bytes], length: bool) -> None:
    headers = [("Trailer", "X-Sum")]
    if length:
        headers.append(("Content-Length", str(len(b"".join(chunks)))))
    adapter = adapt(trailing(chunks, headers, [("X-Sum", "1"), ("Server-Timing", "db;dur=5")]))
    done = serve(adapter, offering("trailers"), loop=loop).unwrap()
    assert done.starts[0]["trailers"] is True
    assert done.body == b"".join(chunks)
    assert done.sent[-1] == {
        "type": "http.response.trailers",
        "headers": [(b"x-sum", b"1"), (b"server-timing", b"db;dur=5")],
        "more_trailers": False,
    }
    assert done.complete


@pytest.mark.req("X-05")
def test_announced_trailers_that_are_never_named_end_the_response(adapt: Adapt, loop: str) -> None:
    adapter = adapt(trailing([b"a"], [("Trailer", "X-Sum")], None))
    done = serve(adapter, offering("trailers"), loop=loop).unwrap()
    assert done.sent[-1]["headers"] == []
    assert done.complete


@pytest.mark.req("X-05")
def test_trailers_that_were_not_announced_are_not_sent(adapt: Adapt, loop: str) -> None:
    adapter = adapt(trailing([b"a"], [], [("X-Sum", "1")]))
    done = serve(adapter, offering("trailers"), loop=loop).unwrap()
    assert "trailers" not in done.starts[0]
    assert "http.response.trailers" not in done.log
    assert done.complete


@pytest.mark.req("X-05")
def test_where_trailers_are_not_offered_the_response_ends_without(adapt: Adapt, loop: str) -> None:
    """The announcement itself is the app's header and stays."""
    adapter = adapt(trailing([b"a"], [("Trailer", "X-Sum")], [("X-Sum", "1")]))
    done = serve(adapter, loop=loop).unwrap()
    assert done.headers == [(b"trailer", b"X-Sum")]
    assert "trailers" not in done.starts[0]
    assert done.complete


@pytest.mark.req("W-22", "X-05")
@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No"), ("GET", "304 No")])
@pytest.mark.parametrize("chunks", [[], [b"a"]], ids=repr)
def test_a_bodiless_response_has_no_trailers(
    adapt: Adapt, loop: str, method: str, status: str, chunks: list[bytes]
) -> None:
    """Announced but missing, they would leave the server waiting."""
    app = answer(*chunks, status=status, headers=[("Trailer", "X-Sum")])
    done = serve(adapt(app), offering("trailers", method=method), loop=loop).unwrap()
    assert done.complete
    assert done.body == b""


@pytest.mark.req("W-20", "X-05")
def test_a_response_with_trailers_is_cut_at_its_content_length(
    adapt: Adapt, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And iteration stops."""
    body = Watched([b"abc", b"def", b"ghi", b"jkl"])
    headers = [("Trailer", "X-Sum"), ("Content-Length", "4")]
    adapter = adapt(returning(lambda environ: body, headers=headers))
    done = serve(adapter, offering("trailers"), loop=loop).unwrap()
    assert done.body == b"abcd"
    assert done.complete
    assert (body.pulled, body.closed) == (2, 1)
    assert len(caplog.records) == 1


@pytest.mark.req("H-01", "X-05")
@pytest.mark.parametrize("trailers", [[(":status", "1")], [("X A", "1")], [("X-A", "1\r\n2")], [("X-A", 1)]])
def test_wrong_trailers_raise_in_the_app(adapt: Adapt, trailers: Any) -> None:
    done = serve(adapt(trailing([b"a"], [("Trailer", "X")], trailers)), offering("trailers"))
    assert isinstance(done.error, InvalidHeader)
    assert not done.complete


# -- files


class File(io.BytesIO):
    """A file without a descriptor that counts how it is used."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int | None] = []
        self.closes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.sizes.append(size)
        return super().read(size)

    def close(self) -> None:
        self.closes += 1


@pytest.mark.req("X-08")
@pytest.mark.parametrize("arguments", [(), (7,)], ids=["default size", "size 7"])
@pytest.mark.parametrize("position", [0, 3])
def test_a_wrapped_file_is_sent_from_its_position_and_closed(
    adapt: Adapt, loop: str, arguments: Any, position: int
) -> None:
    file = File(b"0123456789" * 10)
    file.seek(position)
    adapter = adapt(returning(lambda environ: environ["wsgi.file_wrapper"](file, *arguments)))
    done = serve(adapter, loop=loop).unwrap()
    assert done.body == (b"0123456789" * 10)[position:]
    assert done.complete
    assert set(file.sizes) == set(arguments or (65536,))
    assert file.closes == 1


@pytest.mark.req("X-08")
def test_the_position_is_that_of_the_transmission(adapt: Adapt) -> None:
    """Not that of the wrapping; and nothing is read before the wrapper is returned."""
    file = File(b"0123456789")

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        wrapper = environ["wsgi.file_wrapper"](file)
        assert file.sizes == []
        file.seek(8)
        return wrapper

    assert serve(adapt(app)).unwrap().body == b"89"


@pytest.mark.req("X-08")
def test_nothing_is_sent_by_wrapping(adapt: Adapt) -> None:
    """A wrapper that is not returned is not sent; middleware may take it apart."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        environ["wsgi.file_wrapper"](File(b"not this"))
        return [b"this"]

    assert serve(adapt(app)).unwrap().body == b"this"


@pytest.mark.req("X-08")
def test_an_object_with_only_read_can_be_wrapped(adapt: Adapt) -> None:
    class Reads:
        def __init__(self) -> None:
            self.chunks = [b"a", b"b", b""]

        def read(self, size: int) -> bytes:
            return self.chunks.pop(0)

    done = serve(adapt(returning(lambda environ: environ["wsgi.file_wrapper"](Reads())))).unwrap()
    assert done.body == b"ab"


@pytest.mark.req("X-08")
@pytest.mark.parametrize("extensions", [(), ("pathsend",)])
def test_a_wrapped_file_stops_at_the_content_length(
    adapt: Adapt, loop: str, tmp_path: Path, extensions: Any
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[IO[bytes]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("206 Partial Content", [("Content-Length", "4")])
        files.append(path.open("rb"))
        return environ["wsgi.file_wrapper"](files[0], 3)

    done = serve(adapt(app), offering(*extensions), loop=loop).unwrap()
    assert done.body == b"0123"
    assert done.complete
    assert files[0].closed


@pytest.mark.req("X-08")
def test_a_range_of_a_wrapped_file_is_no_mistake(adapt: Adapt, caplog: pytest.LogCaptureFixture) -> None:
    """PEP 3333 has the length decide how much of the file is sent, so there is nothing to warn of."""
    headers = [("Content-Length", "4")]
    adapter = adapt(
        returning(lambda environ: environ["wsgi.file_wrapper"](File(b"0123456789")), headers=headers)
    )
    assert serve(adapter).unwrap().body == b"0123"
    assert caplog.records == []


def file_app(path: Path, files: list[IO[bytes]], headers: Any = (), seek: int = 0, wrap: Any = None) -> Any:
    """An app that returns a wrapped file on disk."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        file = path.open("rb")
        files.append(file)
        file.seek(seek)
        wrapper = environ["wsgi.file_wrapper"](file)
        return wrapper if wrap is None else wrap(wrapper)

    return app


@pytest.mark.req("X-09")
@pytest.mark.parametrize("headers", [(), (("Content-Length", "10"),)], ids=["no length", "its length"])
def test_a_whole_file_is_sent_by_the_server_where_it_offers_to(
    adapt: Adapt, loop: str, tmp_path: Path, headers: Any
) -> None:
    """It is open until it is sent, and closed then."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[IO[bytes]] = []
    adapter = adapt(file_app(path, files, headers))

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await exchange.sending(1)
        exchange.release()
        exchange.hold()
        await exchange.sending(2)
        await poll(lambda: adapter.pool.stats().streaming == 1)  # its slot is lent meanwhile
        for _ in range(20):
            await checkpoint()
        assert not files[0].closed
        exchange.release()

    done = serve(adapter, offering("pathsend"), loop=loop, beside=beside).unwrap()
    assert done.headers == [(b"content-length", b"10")]
    assert done.sent[1:] == [{"type": "http.response.pathsend", "path": str(path)}]
    assert files[0].closed


def by_middleware(wrapper: Any) -> Any:
    try:
        yield from wrapper
    finally:
        wrapper.close()


@pytest.mark.req("X-09")
@pytest.mark.parametrize(
    "case",
    [
        "not offered",
        "moved position",
        "other length",
        "HEAD",
        "wrapped by middleware",
        "relative name",
        "replaced",
    ],
)
def test_otherwise_a_file_is_sent_in_chunks(
    adapt: Adapt, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[IO[bytes]] = []
    scope = offering("pathsend")
    app = file_app(path, files)
    expected = b"0123456789"
    if case == "not offered":
        scope = http_scope()
    elif case == "moved position":
        app, expected = file_app(path, files, seek=4), b"456789"
    elif case == "other length":
        app, expected = file_app(path, files, headers=[("Content-Length", "3")]), b"012"
    elif case == "HEAD":
        scope["method"], expected = "HEAD", b""
    elif case == "wrapped by middleware":
        app = file_app(path, files, wrap=by_middleware)
    elif case == "relative name":
        monkeypatch.chdir(tmp_path)
        app = file_app(Path("file"), files)
    elif case == "replaced":

        def replaced(wrapper: Any) -> Any:
            path.unlink()
            path.write_bytes(b"another file of that name")
            return wrapper

        app = file_app(path, files, wrap=replaced)
    done = serve(adapt(app), scope, loop=loop).unwrap()
    assert "http.response.pathsend" not in done.log
    assert done.body == expected
    assert done.complete


@pytest.mark.req("X-09")
def test_a_client_that_leaves_while_the_server_sends_a_file_frees_the_thread(
    adapt: Adapt, loop: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[IO[bytes]] = []
    adapter = adapt(file_app(path, files))
    serve(adapter, offering("pathsend"), loop=loop, fail_send={2: OSError("gone")}).unwrap()
    assert adapter.pool.drain(TIMEOUT)
    assert files[0].closed


@pytest.mark.req("X-08")
def test_a_wrapped_file_of_text_is_an_application_error(adapt: Adapt) -> None:
    adapter = adapt(returning(lambda environ: environ["wsgi.file_wrapper"](io.StringIO("text"))))
    assert type(serve(adapter).error) is ApplicationError


@pytest.mark.req("X-08")
def test_a_stalled_client_stops_the_reading_of_a_wrapped_file(adapt: Adapt, loop: str) -> None:
    file = File(b"x" * 10_000)
    adapter = adapt(returning(lambda environ: environ["wsgi.file_wrapper"](file, 100)), write_ahead=1000)

    async def beside(exchange: Exchange) -> None:
        exchange.hold()
        await poll(lambda: adapter.pool.stats().streaming == 1)
        assert file.tell() == 1100
        exchange.release()

    assert len(serve(adapter, loop=loop, beside=beside).unwrap().body) == 10_000


# -- TLS and the scope

TLS = {
    "server_cert": "SERVER PEM",
    "client_cert_chain": ["CLIENT PEM", "ISSUER PEM"],
    "client_cert_name": "CN=client",
    "client_cert_error": None,
    "tls_version": 0x0304,
    "cipher_suite": 0x1301,
}


@pytest.mark.req("X-11")
def test_tls_of_an_https_scope_becomes_ssl_variables(adapt: Adapt) -> None:
    app = Environs()
    serve(adapt(app), http_scope(scheme="https", extensions={"tls": TLS})).unwrap()
    (environ,) = app.seen
    assert environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_CLIENT_CERT"] == "CLIENT PEM"
    assert environ["SSL_CLIENT_S_DN"] == "CN=client"


@pytest.mark.req("X-11")
def test_unknown_tls_values_have_no_key(adapt: Adapt) -> None:
    app = Environs()
    unknown = dict.fromkeys(TLS) | {"client_cert_chain": []}
    serve(adapt(app), http_scope(scheme="https", extensions={"tls": unknown})).unwrap()
    assert [key for key in app.seen[0] if key.startswith("SSL_")] == []


@pytest.mark.req("X-11")
def test_tls_of_a_plain_scope_is_not_believed(adapt: Adapt) -> None:
    app = Environs()
    headers = [(b"host", b"h"), (b"ssl-client-cert", b"forged"), (b"x-forwarded-proto", b"https")]
    serve(adapt(app), http_scope(extensions={"tls": TLS}, headers=headers)).unwrap()
    (environ,) = app.seen
    assert [key for key in environ if key.startswith("SSL_")] == []
    assert "HTTPS" not in environ


@pytest.mark.req("X-12")
def test_the_scope_is_in_the_environ(adapt: Adapt) -> None:
    app = Environs()
    scope = http_scope(state={"database": "pool"})
    serve(adapt(app), scope).unwrap()
    assert app.seen[0]["asgi.scope"] is scope
    assert app.seen[0]["asgi.scope"]["state"]["database"] == "pool"
