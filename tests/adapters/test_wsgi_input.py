"""The files of a WSGI request on their own: the streamed body, the spool, wsgi.errors, the file wrapper."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.drive import serve
from support.engines import Thread
from support.wsgi_apps import Adapt

from bridge.adapters.wsgi_input import Errors, FileWrapper, StreamedBody, spooled, streamed_input
from bridge.engines.handoff import Inbound
from bridge.exceptions import ClientDisconnected


class NoPort:
    """A port that nobody needs: all chunks are there before they are read."""

    loop = None

    def flag(self) -> Any:
        raise AssertionError("the task waits")

    def wake(self, flag: Any) -> None:
        raise AssertionError("the task is woken")

    raise_flag = wake

    def alive(self) -> bool:
        return True


def inbound(*chunks: bytes, error: Exception | None = None) -> Inbound:
    """A body that has come, in these pieces, whole or cut short by `error`."""
    source = Inbound(NoPort(), 1 << 20)  # type: ignore[arg-type]
    for chunk in chunks:
        source.put(chunk)
    if error is None:
        source.end()
    else:
        source.fail(error)
    return source


def nothing() -> None:
    pass


def stream(*chunks: bytes, error: Exception | None = None) -> Any:
    return streamed_input(inbound(*chunks, error=error), nothing)


# -- the streamed body


@pytest.mark.req("E-36", "E-38")
def test_a_chunk_is_handed_out_as_it_came() -> None:
    """A read as large as a message takes that message and no more."""
    raw = StreamedBody(inbound(b"abc", b"de"), nothing)
    buffer = bytearray(10)
    assert [raw.readinto(buffer), bytes(buffer[:3])] == [3, b"abc"]
    assert [raw.readinto(buffer), bytes(buffer[:2])] == [2, b"de"]
    assert [raw.readinto(buffer), raw.readinto(buffer), raw.readall()] == [0, 0, b""]


@pytest.mark.req("E-36")
def test_a_chunk_larger_than_the_read_is_kept() -> None:
    raw = StreamedBody(inbound(b"abcdef", b"g"), nothing)
    buffer = bytearray(4)
    raw.readinto(buffer)
    assert bytes(buffer) == b"abcd"
    assert raw.readall() == b"efg"


def test_it_is_a_readable_stream_and_nothing_else() -> None:
    body = stream(b"abc")
    assert (body.readable(), body.writable(), body.seekable()) == (True, False, False)
    assert body.read1(100) == b"abc"


def test_readinto_fills_views_of_other_items() -> None:
    """As `io.RawIOBase` demands: `array.array` and the like."""
    buffer = memoryview(bytearray(4)).cast("H")
    assert StreamedBody(inbound(b"abcd"), nothing).readinto(buffer) == 4
    assert buffer.tobytes() == b"abcd"


@pytest.mark.req("E-37")
@pytest.mark.parametrize(
    ("hint", "lines"),
    [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (100, 3), (0, 3), (-1, 3), (None, 3)],
)
def test_readlines_takes_its_hint_as_bytesio_does(hint: int | None, lines: int) -> None:
    data = b"cd\nef\ngh"
    assert stream(data[:1], data[1:]).readlines(hint) == data.splitlines(keepends=True)[:lines]
    assert io.BytesIO(data).readlines(hint) == data.splitlines(keepends=True)[:lines]


@pytest.mark.req("E-40")
@pytest.mark.parametrize(
    "read",
    [
        lambda body: body.read(),
        lambda body: body.read(4),
        lambda body: body.readline(),
        lambda body: body.readlines(),
        lambda body: list(body),
        lambda body: body.readinto(bytearray(4)),
    ],
)
def test_a_body_that_was_cut_short_raises_in_every_read(read: Callable[[Any], Any]) -> None:
    body = stream(b"abc", error=ClientDisconnected("gone"))
    for _ in range(3):
        with pytest.raises(ClientDisconnected, match="gone"):
            read(body)


@pytest.mark.req("E-40")
def test_what_came_before_the_cut_can_be_read() -> None:
    body = stream(b"abc", error=ClientDisconnected("gone"))
    assert body.read(3) == b"abc"
    with pytest.raises(ClientDisconnected):
        body.read(1)


def test_the_worker_says_that_it_waits_before_it_does() -> None:
    """Once for a wait; not for what is there."""
    source = Inbound(NoPort(), 100)  # type: ignore[arg-type]
    waits: list[int] = []

    def meanwhile() -> None:  # what the task does, in its thread
        source.put(b"b")

    def before_wait() -> None:
        waits.append(1)
        Thread(meanwhile)

    source.put(b"a")
    body = StreamedBody(source, before_wait)
    buffer = bytearray(1)
    body.readinto(buffer)
    assert waits == []
    body.readinto(buffer)
    assert bytes(buffer) == b"b"
    assert waits == [1]
    source.put(b"c")
    source.end()
    assert body.readall() == b"c"
    assert waits == [1]


# -- the spool


@pytest.mark.req("E-42")
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 2_000_000])
def test_a_spool_holds_the_whole_body_rewound(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    file, found = spooled(io.BytesIO(data))
    with file:
        assert found == size
        assert file.read() == data


@pytest.mark.req("E-42")
def test_a_spool_can_be_used_like_any_input() -> None:
    file, _ = spooled(io.BytesIO(b"li\nne"))
    with file:
        assert [file.read(1), file.readline(), list(file), file.read()] == [b"l", b"i\n", [b"ne"], b""]


@pytest.mark.req("E-40", "E-42")
def test_a_spool_of_a_cut_body_raises_and_leaves_no_file() -> None:
    """A file left open would be a ResourceWarning, and so an error here."""
    with pytest.raises(ClientDisconnected):
        spooled(stream(b"x" * 2_000_000, error=ClientDisconnected()))


# -- wsgi.errors


@pytest.mark.req("E-44")
def test_errors_go_to_stderr_as_it_is_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Errors()
    for _ in range(2):
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        assert errors.write("a\n") == 2
        errors.writelines(["b", "c"])
        errors.flush()
        assert stderr.getvalue() == "a\nbc"


@pytest.mark.req("E-44")
def test_errors_do_not_go_to_stdout(adapt: Adapt, capsys: pytest.CaptureFixture[str], loop: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        print("told", file=environ["wsgi.errors"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", [])
        return []

    serve(adapt(app), loop=loop).unwrap()
    assert capsys.readouterr() == ("", "told\n")


@pytest.mark.req("E-44")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_any_str_can_be_written_to_errors(encoding: str) -> None:
    """What the stream cannot encode is escaped, and the rest is as it was."""
    raw = io.BytesIO()
    errors = Errors(io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="\n"))
    text = "caf\u00e9 \u20ac \udcff \U0001f600 end\n"
    assert errors.write(text) == len(text)
    errors.flush()
    written = raw.getvalue().decode(encoding)
    assert written.startswith("caf")
    assert "\\udcff" in written
    assert written.endswith(" end\n")


@pytest.mark.req("E-44")
def test_a_stream_without_a_known_encoding_gets_escapes() -> None:
    class Picky:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> int:
            text.encode("ascii")
            self.text += text
            return len(text)

        def flush(self) -> None:
            pass

    stream = Picky()
    Errors(stream).write("\u20ac")
    assert stream.text == "\\u20ac"


@pytest.mark.req("E-44")
def test_errors_without_a_stderr_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw and some services."""
    monkeypatch.setattr(sys, "stderr", None)
    errors = Errors()
    assert errors.write("lost") == 4
    errors.writelines(["lost"])
    errors.flush()


@pytest.mark.req("E-44")
def test_an_error_of_the_stream_itself_is_not_hidden() -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError("disk full")

        def flush(self) -> None:
            raise OSError("disk full")

    errors = Errors(Full())
    for call in (lambda: errors.write("x"), errors.flush):
        with pytest.raises(OSError, match="disk full"):
            call()


# -- the file wrapper


@pytest.mark.req("X-08")
def test_a_wrapper_is_iterated_in_blocks_from_the_position() -> None:
    file = io.BytesIO(b"0123456789")
    file.seek(1)
    assert list(FileWrapper(file, 4)) == [b"1234", b"5678", b"9"]


@pytest.mark.req("X-08")
def test_a_wrapper_closes_its_file_if_that_can_be_closed() -> None:
    file = io.BytesIO()
    FileWrapper(file).close()
    assert file.closed

    class OnlyReads:
        def read(self, size: int) -> bytes:
            return b""

    wrapper = FileWrapper(OnlyReads())
    assert not hasattr(wrapper, "close")
    assert list(wrapper) == []


@pytest.mark.req("X-08")
def test_its_iterator_closes_the_file_as_well() -> None:
    """Werkzeug's ranges keep nothing else of it."""
    file = io.BytesIO(b"abc")
    pieces: Any = iter(FileWrapper(file, 2))
    assert next(pieces) == b"ab"
    pieces.close()
    assert file.closed


@pytest.mark.req("X-08")
def test_a_range_of_a_file_that_flask_sends_leaves_it_closed(tmp_path: Path) -> None:
    from flask import Flask, send_file

    from bridge.testing import Client

    (tmp_path / "digits").write_bytes(b"0123456789")
    opened: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        """Flask's, with an eye on the files that it opens."""
        wrap = environ["wsgi.file_wrapper"]

        def watched(file: Any, size: int = 8192) -> Any:
            opened.append(file)
            return wrap(file, size)

        return site({**environ, "wsgi.file_wrapper": watched}, start_response)

    site = Flask("digits")
    site.add_url_rule("/", view_func=lambda: send_file(tmp_path / "digits"))
    with Client(app, via="asgi") as client:
        answer = client.get("/", headers={"Range": "bytes=2-5"})
    assert (answer.status_code, answer.content) == (206, b"2345")
    assert [file.closed for file in opened] == [True]


@pytest.mark.req("X-08")
def test_a_wrapper_reads_when_it_is_iterated() -> None:
    def reads() -> Iterator[bytes]:
        yield from [b"a", b""]

    class File:
        def __init__(self) -> None:
            self.chunks = reads()

        def read(self, size: int) -> bytes:
            return next(self.chunks)

    pieces = iter(FileWrapper(File()))
    assert next(pieces) == b"a"
    assert list(pieces) == []
