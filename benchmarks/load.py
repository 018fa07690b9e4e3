"""HTTP load: wrk where it is installed, else a client of our own.

Both keep a fixed number of connections busy, each asking again as soon as it is answered, and both look
at every answer: status, Content-Type and body.
"""

from __future__ import annotations

import asyncio
import functools
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.answers import HELLO, WrongAnswer
from benchmarks.clients import reason
from benchmarks.measure import Slice
from benchmarks.serve import HOST

# wrk counts statuses by itself; content type and body are looked at here. The reports of wrk's threads
# are read in done(), which runs in another Lua state than response().
_SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) right = 0; wrong = 0; first = "" end
function response(status, headers, body)
  local kind = headers["Content-Type"] or headers["content-type"] or ""
  if status == 200 and body == "%(body)s" and kind:sub(1, 5) == "text/" then
    right = right + 1
  else
    wrong = wrong + 1
    if first == "" then first = "status " .. status .. ", " .. #body .. " bytes" end
  end
end
function done(summary, latency, requests)
  local right, wrong, first = 0, 0, ""
  for _, thread in ipairs(threads) do
    right = right + thread:get("right")
    wrong = wrong + thread:get("wrong")
    if first == "" then first = thread:get("first") end
  end
  local e = summary.errors
  io.write(string.format("checked %%d %%d %%d %%d %%d %%d %%d %%s\\n", right, wrong,
    e.connect, e.read, e.write, e.timeout, summary.duration, first))
end
"""

WRK_SECONDS = 1.0
"""wrk knows whole seconds only; shorter slices, as in smoke runs, are left to the client of our own."""

_LINE = re.compile(r"^checked (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) ?(.*)$", re.MULTILINE)


@functools.cache
def wrk() -> str | None:
    """Where wrk is, if it is installed."""
    return shutil.which("wrk")


def generator(seconds: float) -> str:
    """What makes the load of slices this long, in words."""
    if wrk() is not None:
        if seconds >= WRK_SECONDS:
            return "wrk, with a script that checks every answer"
        return "a client in Python, since wrk knows whole seconds only"
    return "wrk is not installed: the load comes from a client in Python, which is slower than some servers"


def put_load(port: int, connections: int, seconds: float) -> Slice:
    """Right answers per second of the server at this port."""
    program = wrk()
    if program is None or seconds < WRK_SECONDS:
        return asyncio.run(_own_load(port, connections, seconds))
    return _wrk_load(program, port, connections, seconds)


def _wrk_load(program: str, port: int, connections: int, seconds: float) -> Slice:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "check.lua")
        script.write_text(_SCRIPT % {"body": HELLO.decode()})
        command = [program, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "5s"]
        command += ["-s", str(script), f"http://{HOST}:{port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    return parse_wrk(done.stdout, done.stderr)


def parse_wrk(output: str, errors: str = "") -> Slice:
    """What wrk with our script printed, as a slice."""
    found = _LINE.search(output)
    if found is None:
        lines = (errors or output).strip().splitlines()
        return Slice(None, failures=1, failure=f"wrk: {lines[-1] if lines else 'no output'}")
    right, wrong, connect, read, write, timeout, microseconds = map(int, found.groups()[:7])
    broken = {"connect": connect, "read": read, "write": write, "time-out": timeout}
    failure = found.group(8)
    if not failure:
        failure = ", ".join(f"{count} {kind} errors" for kind, count in broken.items() if count)
    value = right / (microseconds / 1e6) if microseconds else None
    return Slice(value, right, wrong + sum(broken.values()), failure)


FAILURES = (OSError, ValueError, EOFError, LookupError, asyncio.TimeoutError, WrongAnswer)
"""What a request raises that was answered wrongly, or not at all."""
ANSWER_TIMEOUT = 30.0


class Connection:
    """One keep-alive connection of our own client."""

    def __init__(self, port: int, path: str = "/") -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self) -> None:
        """Make one request; raises one of `FAILURES` unless the answer is the right one."""
        try:
            await asyncio.wait_for(self._ask(), ANSWER_TIMEOUT)
        except BaseException:
            # What is left of a broken answer must not be taken for the next one.
            self.close()
            raise

    async def _ask(self) -> None:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length, closing = check_head(head)
        if await self._reader.readexactly(length) != HELLO:
            raise WrongAnswer("not the expected body")
        if closing:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def check_head(head: bytes) -> tuple[int, bool]:
    """The body's length and whether the server closes after it; `WrongAnswer` for a wrong one."""
    status_line, *lines = head.decode("latin-1").strip().split("\r\n")
    if status_line.split(" ")[1] != "200":
        raise WrongAnswer(status_line)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not headers.get("content-type", "").startswith("text/"):
        raise WrongAnswer(f"Content-Type {headers.get('content-type')!r}")
    return int(headers["content-length"]), headers.get("connection", "").lower() == "close"


async def _own_load(port: int, connections: int, seconds: float) -> Slice:
    answers = failures = 0
    failure = ""
    clock = time.perf_counter
    begun = clock()
    deadline = begun + seconds

    async def client() -> None:
        nonlocal answers, failures, failure
        connection = Connection(port)
        while True:
            try:
                await connection.ask()
                answers += 1
            except FAILURES as exc:
                failures += 1
                failure = failure or reason(exc)
            if clock() >= deadline:
                break
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return Slice(answers / (clock() - begun), answers, failures, failure)
