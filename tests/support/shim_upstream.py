"""A tiny HTTP/1.1 server for async clients that are to be kept: it counts the connections made to it."""

from __future__ import annotations

import asyncio
import threading

_START = 10.0  # seconds that it may take to listen, or to end


class Upstream:
    """Serves on a loop and thread of its own within a `with` block. Each path is answered by its own name.

    Attributes:
        url: its root, without a slash at the end.
        connections: how many were made so far.
        requests: the paths that were asked for, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.requests: list[str] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="upstream")

    def __enter__(self) -> Upstream:
        self._thread.start()
        assert self._ready.wait(_START), "the upstream server does not listen"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START)
        assert not self._thread.is_alive()

    def reset(self) -> None:
        """Count from zero again."""
        self.connections = 0
        self.requests.clear()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in self._open:
            writer.close()
        while self._open:
            await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                self.requests.append(path)
                body = path.strip("/").encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed its connection
        finally:
            writer.close()
            self._open.discard(writer)
