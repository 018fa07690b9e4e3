"""Run Uvicorn on a port of the system's choice: `python -m support.frameworks_server module:app '{…}'`.

The second argument holds further options of `uvicorn.Config` as JSON. The port is the only line on
standard output, and is printed once the app has started.
"""

from __future__ import annotations

import json
import socket
import sys

import uvicorn


class Server(uvicorn.Server):
    """Tells its port when it has started."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(sockets[0].getsockname()[1], flush=True)


def main(target: str, options: str = "{}") -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        settings = {"log_level": "warning", "timeout_graceful_shutdown": 5} | json.loads(options)
        server = Server(uvicorn.Config(target, **settings))
        server.run(sockets=[listener])
        if not server.started:
            raise SystemExit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
