"""Two HTTP clients with one interface, exact about what is on the wire: HTTP/1.1 by hand, HTTP/2 by h2.

They pretend nothing: a body counts as complete only if its framing says so. A response that stops
short raises `Truncated`; bytes after a response surface as a broken next response. Both carry one
exchange at a time:

    client.start("POST", "/upload", length=3); client.send(b"abc"); client.end()
    head = client.head(); piece = client.read(); rest = client.rest()

or `client.request(...)` for all of it. Every wait on the socket is bounded by the client's time-out.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

Headers: TypeAlias = Sequence[tuple[str, str]]

TIMEOUT = 15.0
_RECV = 1 << 18

# What the HTTP/2 client lets the server send ahead of its reading: enough to be fast, little enough that
# a client that does not read stalls the server soon.
_H2_WINDOW = 1 << 20
_H2_FRAME = 1 << 18


class Truncated(Exception):
    """The server ended a response, or the connection, before the response was complete."""


@dataclass(frozen=True)
class Head:
    """Status and headers of a response, names in lower case."""

    status: int
    headers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None


@dataclass(frozen=True)
class Response:
    """A complete response, and the interim ones (1xx) before it."""

    head: Head
    body: bytes
    interim: list[Head]

    @property
    def status(self) -> int:
        return self.head.status

    def json(self) -> Any:
        return json.loads(self.body)


class _Exchanges:
    """What both clients do alike, on top of their `start`, `send`, `end`, `head` and `read`."""

    interim: list[Head]

    def start(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        *,
        length: int | None = None,
        stream: bool = False,
    ) -> None:
        raise NotImplementedError

    def send(self, data: bytes, *, last: bool = False) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def head(self) -> Head:
        raise NotImplementedError

    def read(self) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def rest(self) -> bytes:
        """What is left of the body.

        Raises:
            Truncated: it is not complete.
        """
        return b"".join(iter(self.read, b""))

    def rest_checked(self) -> tuple[int, int]:
        """Size and CRC-32 of what is left of the body, which is not kept."""
        size = value = 0
        for piece in iter(self.read, b""):
            size += len(piece)
            value = zlib.crc32(piece, value)
        return size, value

    def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
        pieces: Iterable[bytes] | None = None,
    ) -> Response:
        """One exchange; `pieces` make a body whose length is not announced."""
        self.start(
            method, target, headers, length=None if body is None else len(body), stream=pieces is not None
        )
        if body is not None:
            self.send(body, last=True)
        elif pieces is not None:
            for piece in pieces:
                self.send(piece)
            self.end()
        return self.response()

    def response(self) -> Response:
        head = self.head()
        return Response(head, self.rest(), self.interim)

    def get(self, target: str, headers: Headers = ()) -> Response:
        return self.request("GET", target, headers)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(
    address: tuple[str, int], timeout: float, receive_buffer: int | None, send_buffer: int | None
) -> socket.socket:
    sock = socket.socket()
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        sock.settimeout(timeout)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


class HTTP1(_Exchanges):
    """A connection that speaks HTTP/1.1.

    Args:
        address: of the server.
        timeout: the longest wait for any one thing from the server, in seconds.
        receive_buffer: size of the socket's receive buffer; with a small one, the server soon notices a
            client that does not read.
        send_buffer: size of the socket's send buffer.
    """

    version = "1.1"

    def __init__(
        self,
        address: tuple[str, int],
        timeout: float = TIMEOUT,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
    ) -> None:
        self.address = address
        self.sock = _connect(address, timeout, receive_buffer, send_buffer)
        self._file = cast(io.BufferedReader, self.sock.makefile("rb", buffering=_RECV))
        self.interim: list[Head] = []
        self._method = ""
        self._chunked_request = False
        self._framing = "none"
        self._left = 0

    def start(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        *,
        length: int | None = None,
        stream: bool = False,
    ) -> None:
        """Send the head of a request: with `length`, or with chunked framing if it is a `stream`."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.address[0]}:{self.address[1]}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if stream:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
        self.expect_response(method)
        self._chunked_request = stream
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def expect_response(self, method: str) -> None:
        """A request with this method was sent by other means; its response comes next."""
        self.interim = []
        self._method = method

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send body bytes; `last` says that the body is complete with them."""
        if self._chunked_request and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.sock.sendall(data)
        if last:
            self.end()

    def end(self) -> None:
        """The request body is complete."""
        if self._chunked_request:
            self.sock.sendall(b"0\r\n\r\n")

    def _line(self) -> bytes:
        try:
            line = self._file.readline()
        except ConnectionError as error:
            raise Truncated(str(error)) from error
        if not line.endswith(b"\r\n"):
            raise Truncated(f"the connection ended in a line: {line!r}")
        return line[:-2]

    def next_head(self) -> Head:
        """The next head on the wire, interim or final."""
        status = self._line()
        protocol, _, rest = status.partition(b" ")
        code = rest[:3]
        if not protocol.startswith(b"HTTP/1.") or not code.isdigit():
            raise AssertionError(f"expected a status line, got {status!r}")
        headers = []
        while line := self._line():
            name, _, value = line.partition(b":")
            headers.append((name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")))
        return Head(int(code), headers)

    def head(self) -> Head:
        """The head of the final response; interim ones go to `interim`."""
        while (head := self.next_head()).status < 200:
            self.interim.append(head)
        if self._method == "HEAD" or head.status in (204, 304):
            self._framing = "none"
        elif head.get("transfer-encoding") == "chunked":
            self._framing, self._left = "chunked", 0
        elif (length := head.get("content-length")) is not None:
            self._framing, self._left = "length", int(length)
        else:
            self._framing = "close"
        return head

    def read(self) -> bytes:
        """The next bytes of the body, as soon as there are any; `b""` at its end.

        Raises:
            Truncated: the connection ended before the body did.
        """
        try:
            if self._framing == "chunked":
                return self._read_chunked()
            if self._framing == "close":
                return self._file.read1(_RECV)
            if self._framing == "none" or not self._left:
                return b""
            return self._read_left()
        except ConnectionError as error:
            raise Truncated(str(error)) from error

    def _read_left(self) -> bytes:
        data = self._file.read1(min(self._left, _RECV))
        if not data:
            raise Truncated(f"the connection ended {self._left} bytes too early")
        self._left -= len(data)
        return data

    def _read_chunked(self) -> bytes:
        if not self._left:
            self._left = int(self._line().partition(b";")[0], 16)
            if not self._left:
                while self._line():
                    pass  # trailers
                self._framing = "none"
                return b""
        data = self._read_left()
        if not self._left and self._line():
            raise AssertionError("a chunk is longer than it said")
        return data

    def abort(self) -> None:
        """Vanish as a crashed client does, with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


class HTTP2(_Exchanges):
    """A connection that speaks HTTP/2 in clear text, without an upgrade; one stream at a time.

    The arguments are those of `HTTP1`.
    """

    version = "2"

    def __init__(
        self,
        address: tuple[str, int],
        timeout: float = TIMEOUT,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
    ) -> None:
        self.address = address
        self.sock = _connect(address, timeout, receive_buffer, send_buffer)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self._h2.initiate_connection()
        codes = h2.settings.SettingCodes
        self._h2.update_settings(
            {codes.ENABLE_PUSH: 0, codes.INITIAL_WINDOW_SIZE: _H2_WINDOW, codes.MAX_FRAME_SIZE: _H2_FRAME}
        )
        self._h2.increment_flow_control_window(_H2_WINDOW)
        self._flush()
        self.interim: list[Head] = []
        self._unparsed = bytearray()
        self._stream = 0
        self._head: Head | None = None
        self._pieces: list[tuple[bytes, int]] = []
        self._ended = False
        self._reset = False

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self.sock.sendall(data)

    def start(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        *,
        length: int | None = None,
        stream: bool = False,
    ) -> None:
        """Open a stream with the head of a request; `length` is announced, a `stream` has none."""
        self._stream = self._h2.get_next_available_stream_id()
        self.interim = []
        self._head = None
        self._pieces = []
        self._ended = self._reset = False
        pairs = [
            (":method", method),
            (":scheme", "http"),
            (":authority", f"{self.address[0]}:{self.address[1]}"),
            (":path", target),
            *((name.lower(), value) for name, value in headers),
        ]
        if length is not None:
            pairs.append(("content-length", str(length)))
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        self._h2.send_headers(self._stream, encoded, end_stream=length is None and not stream)
        self._flush()

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send body bytes, as fast as the server's windows allow; `last` ends the stream with them."""
        rest = memoryview(data)
        if last and not rest:
            self.end()
        while rest:
            size = min(
                len(rest),
                self._h2.local_flow_control_window(self._stream),
                self._h2.max_outbound_frame_size,
            )
            if size <= 0:
                self._receive()
                continue
            self._h2.send_data(self._stream, bytes(rest[:size]), end_stream=last and size == len(rest))
            self._flush()
            rest = rest[size:]

    def end(self) -> None:
        """The request body is complete; nothing to say if the server has closed the stream already."""
        try:
            self._h2.end_stream(self._stream)
        except h2.exceptions.StreamClosedError:
            return
        self._flush()

    def _receive(self) -> None:
        """Wait for bytes of the server and note what they say of the current stream."""
        try:
            data = self.sock.recv(_RECV)
        except ConnectionError as error:
            raise Truncated(str(error)) from error
        if not data:
            raise Truncated("the connection ended")
        self._unparsed += data
        while len(self._unparsed) >= 9:
            size = 9 + int.from_bytes(self._unparsed[:3], "big")
            if len(self._unparsed) < size:
                break
            self._receive_frame(bytes(self._unparsed[:size]))
            del self._unparsed[:size]
        self._flush()

    def _receive_frame(self, frame: bytes) -> None:
        for event in self._h2.receive_data(frame):
            if isinstance(event, h2.events.ConnectionTerminated) and event.error_code == 0:
                # The server goes away gracefully: streams that are open go on (RFC 9113 6.8), but h2 would
                # refuse all further frames. That is why frames are fed to it one by one.
                self._h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            if getattr(event, "stream_id", None) != self._stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                self._head = self._as_head(event.headers)
            elif isinstance(event, h2.events.InformationalResponseReceived):
                self.interim.append(self._as_head(event.headers))
            elif isinstance(event, h2.events.DataReceived):
                self._pieces.append((bytes(event.data or b""), event.flow_controlled_length or 0))
            elif isinstance(event, h2.events.StreamEnded):
                self._ended = True
            elif isinstance(event, h2.events.StreamReset):
                # After a whole response it only says that no more of the request is wanted (RFC 9113 8.1).
                self._reset = not self._ended

    @staticmethod
    def _as_head(headers: Any) -> Head:
        pairs = [(str(name), str(value)) for name, value in headers]
        return Head(int(pairs[0][1]), pairs[1:])

    def head(self) -> Head:
        """The head of the final response; interim ones go to `interim`."""
        while self._head is None:
            if self._reset:
                raise Truncated("the stream was reset")
            self._receive()
        return self._head

    def _give_back(self, size: int) -> None:
        """Tell the server that it may send as much again."""
        try:
            if self._ended or self._reset:
                self._h2.increment_flow_control_window(size)
            else:
                self._h2.acknowledge_received_data(size, self._stream)
        except h2.exceptions.ProtocolError:
            return  # it has ended the connection (GOAWAY), and sends nothing more
        try:
            self._flush()
        except OSError:
            pass  # nor does it read: what it has sent before can be read all the same

    def read(self) -> bytes:
        """The next bytes of the body; `b""` at its end. Only what is read here opens the windows again.

        Raises:
            Truncated: the stream was reset, or the connection ended.
        """
        while True:
            while self._pieces:
                data, size = self._pieces.pop(0)
                if size:
                    self._give_back(size)
                if data:
                    return data
            if self._reset:
                raise Truncated("the stream was reset")
            if self._ended:
                return b""
            self._receive()

    def abort(self) -> None:
        """Cancel the stream, as a browser does; the connection can be used on."""
        self._h2.reset_stream(self._stream, error_code=8)
        self._flush()

    def close(self) -> None:
        self.sock.close()


Client: TypeAlias = HTTP1 | HTTP2
