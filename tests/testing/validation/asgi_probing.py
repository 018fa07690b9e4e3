"""What real servers are asked, so that they show how they fill scopes and messages."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from served.wire import HTTP1, HTTP2, TIMEOUT, Client
from support.served import START_TIMEOUT, STOP_TIMEOUT, TESTS, RunningServer, die_with_parent, wait_until
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    RejectConnection,
    Request,
    TextMessage,
)


@dataclass(frozen=True)
class Probe:
    """A running server with `asgi_probe.app`.

    Attributes:
        running: the server.
        client: makes a connection to it.
        calls_late: it calls the app only when the whole body of a request has come.
    """

    running: RunningServer
    client: Callable[..., Client]
    calls_late: bool = False

    def connect(self) -> Client:
        return self.client(self.running.address)

    def found(self) -> list[list[str]]:
        """The violations since the last call, once no call of the app is under way."""
        found: dict[str, Any] = {}

        def idle() -> bool:
            with HTTP1(self.running.address) as client:
                found.update(client.get("/violations").json())
            return not found["active"]

        wait_until(idle, TIMEOUT, "the end of all calls of the app")
        violations: list[list[str]] = found["violations"]
        return violations

    def calls(self) -> int:
        """How often the app was called."""
        with HTTP1(self.running.address) as client:
            return int(client.get("/calls").body)

    def raw(self, data: bytes) -> bytes:
        """Send bytes over HTTP/1.1 and read until the server closes."""
        with socket.create_connection(self.running.address, TIMEOUT) as sock:
            sock.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionError):
                while piece := sock.recv(65536):
                    received += piece
            return received


def _get(probe: Probe) -> None:
    with probe.connect() as client:
        assert client.get("/plain?a=%20b").body == b"0"


def _paths(probe: Probe) -> None:
    with probe.connect() as client:
        for target in ("/caf%C3%A9", "/a%2Fb%20c", "/%FFx", "/a//../b", "/?", "/x?y=/z?w"):
            client.get(target)


def _headers(probe: Probe) -> None:
    with probe.connect() as client:
        sent = [("x-one", "1"), ("x-one", "2"), ("x_low", "3"), ("x-empty", ""), ("cookie", "a=1; b=2")]
        client.get("/plain", sent)


def _bodies(probe: Probe) -> None:
    with probe.connect() as client:
        assert client.request("POST", "/p", body=b"abc").body == b"3"
        assert client.request("POST", "/p", body=b"").body == b"0"
        assert client.request("POST", "/p", body=b"x" * 200_000).body == b"200000"
        assert client.request("POST", "/p", pieces=[b"ab", b"cde"]).body == b"5"


def _unread(probe: Probe) -> None:
    with probe.connect() as client:
        client.request("POST", "/unread", body=b"abc")


def _head(probe: Probe) -> None:
    with probe.connect() as client:
        assert client.request("HEAD", "/plain").body == b""


def _after_response(probe: Probe) -> None:
    with probe.connect() as client:
        assert client.request("POST", "/after", body=b"abc").body == b"3"


def _cut_upload(probe: Probe) -> None:
    before = probe.calls()
    client = probe.connect()
    client.start("POST", "/p", length=10)
    client.send(b"abc")
    if not probe.calls_late:
        wait_until(lambda: probe.calls() > before, TIMEOUT, "the call of the app")
    client.close()


def _departure(probe: Probe) -> None:
    client = probe.connect()
    client.start("GET", "/stream")
    client.head()
    client.read()
    client.close()


def _lower_case_method(probe: Probe) -> None:
    probe.raw(b"get /plain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")


def _http_1_0(probe: Probe) -> None:
    assert b"200" in probe.raw(b"GET /plain HTTP/1.0\r\nhost: a\r\n\r\n")


def _absolute_form(probe: Probe) -> None:
    assert b"200" in probe.raw(b"GET http://a/plain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")


def _asterisk(probe: Probe) -> None:
    probe.raw(b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")


class _Socket:
    """The client's end of a WebSocket."""

    def __init__(self, address: tuple[str, int], path: str, protocols: list[str]) -> None:
        host, port = address
        self._sock = socket.create_connection((host, port), TIMEOUT)
        self._ws = WSConnection(ConnectionType.CLIENT)
        self.send(Request(host=f"{host}:{port}", target=path, subprotocols=protocols))

    def send(self, event: Any) -> None:
        self._sock.sendall(self._ws.send(event))

    def next(self) -> Any:
        """The next event of interest."""
        while True:
            for event in self._ws.events():
                return event
            data = self._sock.recv(65536)
            self._ws.receive_data(data or None)
            if not data and self._ws.state is ConnectionState.CLOSED:
                return CloseConnection(code=1006)

    def exchange(self, data: bytes) -> bytes:
        """Send bytes as they are; what comes next."""
        self._sock.sendall(data)
        return self._sock.recv(65536)

    def close(self) -> None:
        self._sock.close()


def _conversation(probe: Probe, last: Callable[[_Socket], object]) -> None:
    client = _Socket(probe.running.address, "/talk", ["one", "two"])
    answer = client.next()
    assert isinstance(answer, AcceptConnection), answer
    assert answer.subprotocol == "two"
    client.send(TextMessage("héllo"))
    assert client.next().data == "héllo"
    client.send(BytesMessage(b"\x00"))
    assert bytes(client.next().data) == b"\x00"
    last(client)
    client.close()


def _socket_closed(probe: Probe) -> None:
    def last(client: _Socket) -> None:
        client.send(CloseConnection(1001, "going"))
        client.next()

    _conversation(probe, last)


def _socket_closed_without_code(probe: Probe) -> None:
    # An empty Close frame, masked with zeros.
    _conversation(probe, lambda client: client.exchange(b"\x88\x80\0\0\0\0"))


def _socket_lost(probe: Probe) -> None:
    _conversation(probe, lambda client: None)


def _socket_closed_by_app(probe: Probe) -> None:
    def last(client: _Socket) -> None:
        client.send(TextMessage("close"))
        closed = client.next()
        assert closed.code == 4000
        client.send(closed.response())

    _conversation(probe, last)


def _socket_refused(probe: Probe) -> None:
    client = _Socket(probe.running.address, "/refuse", [])
    assert isinstance(client.next(), RejectConnection)
    client.close()


QUESTIONS: dict[str, Callable[[Probe], None]] = {
    "a GET": _get,
    "paths": _paths,
    "headers": _headers,
    "request bodies": _bodies,
    "a body that is not read": _unread,
    "HEAD": _head,
    "receive() after the response": _after_response,
    "an upload cut short": _cut_upload,
    "a client that leaves": _departure,
}
HTTP1_QUESTIONS: dict[str, Callable[[Probe], None]] = {
    "a method in lower case": _lower_case_method,
    "HTTP/1.0": _http_1_0,
    "an absolute target": _absolute_form,
    "OPTIONS *": _asterisk,
    "a WebSocket closed by the client": _socket_closed,
    "a WebSocket closed without a code": _socket_closed_without_code,
    "a WebSocket whose client vanishes": _socket_lost,
    "a WebSocket closed by the app": _socket_closed_by_app,
    "a WebSocket refused": _socket_refused,
}


STARTED = "the start"


def ask(probe: Probe) -> dict[str, list[list[str]]]:
    """Ask all questions; the violations, by the question that brought them up."""
    questions = {**QUESTIONS, **({} if probe.client is HTTP2 else HTTP1_QUESTIONS)}
    answers = {STARTED: probe.found()}
    for name, question in questions.items():
        question(probe)
        answers[name] = probe.found()
    return answers


def _get_over(path: Path, target: str) -> bytes:
    """The body of the answer to one GET over a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(path))
        sock.sendall(b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % target.encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        return answer.read()


def found_on_unix_socket(argv: Callable[[Path], Sequence[str]], directory: Path) -> list[list[str]]:
    """Serve `asgi_probe.app` on a unix socket, ask for one page, and tell the violations."""
    path = directory / "socket"
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(argv(path)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *map(os.path.abspath, sys.path)])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return _get_over(path, "/plain") == b"0"
        except (ConnectionError, FileNotFoundError):
            return False

    try:
        wait_until(answers, START_TIMEOUT, "an answer over the unix socket")
        found: list[list[str]] = json.loads(_get_over(path, "/violations"))["violations"]
        return found
    finally:
        # The group, since Gunicorn and Granian have workers; SIGKILL, since nothing is left to be done.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT)


def converse_with_socket(address: tuple[str, int], path: str) -> None:
    """Open a WebSocket, have a text echoed, and close it in order."""
    client = _Socket(address, path, [])
    assert isinstance(client.next(), AcceptConnection)
    client.send(TextMessage("héllo"))
    assert client.next().data == "héllo"
    client.send(CloseConnection(1000))
    assert client.next().code == 1000
    client.close()
