"""A stand-in for the carrier's web service: when does a parcel arrive? It takes its time to answer.

python carrier.py        listens on port 8300, answers after 0.2 seconds
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Carrier(ThreadingHTTPServer):
    """The service.

    Attributes:
        connections: how many there were.
        together: for tests: answers wait for each other, and so many come at a time.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, delay: float = 0.2) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.delay = delay
        self.connections = 0
        self.lock = threading.Lock()
        self.together = threading.Barrier(1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections open
    server: Carrier

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1  # each handler serves one

    def do_GET(self) -> None:
        self.server.together.wait(20)
        time.sleep(self.server.delay)
        number = int(self.path.rpartition("/")[2])
        answer = json.dumps({"day": ["Monday", "Tuesday", "Friday"][number % 3]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    Carrier(8300).serve_forever()
