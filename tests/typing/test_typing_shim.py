"""The shim keeps the types of what it wraps: mypy strict and pyright take right code and refuse wrong."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.type_checkers import mypy, pyright

SAMPLE = Path(__file__).with_name("sample_shim.py")

# Each tool reads the package and the standard library first.
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("mypy")]

# What must be refused: every line that says so, and no other.
WRONG = """\
from typing import Protocol
from bridge import async_to_sync, sync_to_async
from bridge.shim import async_facade, iterate_in_thread, iterate_on_loop, open_facade, sync_facade

def blocking(number: int) -> str:
    return ""

async def fetch(number: int) -> str:
    return ""

class Repository:
    @sync_to_async
    def get(self, number: int) -> str:
        return ""

    @async_to_sync
    async def fetch(self, number: int) -> str:
        return ""

class AsyncRepository(Protocol):
    async def get(self, number: int) -> str: ...

class BlockingRepository(Protocol):
    def get(self, number: int) -> str: ...

async def main(repository: Repository) -> None:
    await sync_to_async(blocking)("3")  # wrong
    await sync_to_async(blocking)()  # wrong
    await sync_to_async(blocking)(number=3, text="")  # wrong
    sync_to_async(blocking, thread_sensitive="no")  # wrong
    sync_to_async(blocking, False)  # wrong
    sync_to_async(3)  # wrong
    text: str = sync_to_async(blocking)(3)  # wrong
    number: int = await sync_to_async(blocking)(3)  # wrong
    async_to_sync(fetch)("3")  # wrong
    async_to_sync(blocking)  # wrong
    async_to_sync(fetch, force_new_loop=3)  # wrong
    number = async_to_sync(fetch)(3)  # wrong
    await repository.get("3")  # wrong
    await repository.get(repository, 3)  # wrong
    await Repository.get(3)  # wrong
    repository.get(3).upper()  # wrong
    repository.fetch("3")  # wrong
    repository.fetch(repository, 3)  # wrong
    number = repository.fetch(3)  # wrong
    iterate_on_loop([3])  # wrong
    iterate_on_loop(fetch(3))  # wrong
    iterate_on_loop(iterate_in_thread([3]), read_ahead="3")  # wrong
    for word in iterate_on_loop(iterate_in_thread([3])):
        word.upper()  # wrong
    iterate_in_thread(3)  # wrong
    async for item in iterate_in_thread([3]):
        item.upper()  # wrong
    users = async_facade(repository, AsyncRepository)
    await users.get("3")  # wrong
    await users.put(3)  # wrong
    users.get(3).upper()  # wrong
    async_facade(repository, AsyncRepository, affinity="thread")  # wrong
    async_facade(repository, 3)  # wrong
    async with open_facade(Repository, protocol=AsyncRepository) as opened:
        await opened.get("3")  # wrong
    open_facade(3)  # wrong
    plain = sync_facade(repository, BlockingRepository)
    plain.get("3")  # wrong
    plain.put(3)  # wrong
    number = plain.get(3)  # wrong
    sync_facade(repository, 3)  # wrong
    sync_facade(repository, BlockingRepository, wrap=3)  # wrong
    sync_facade(repository, BlockingRepository, affinity="call")  # wrong
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without settings, with the wrong code and a copy of the right."""
    folder = tmp_path_factory.mktemp("typing")
    folder.joinpath("wrong_shim.py").write_text(WRONG, encoding="utf-8")
    folder.joinpath(SAMPLE.name).write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def lines_with_errors(done: subprocess.CompletedProcess[str]) -> dict[str, set[int]]:
    """By the name of the file."""
    found: dict[str, set[int]] = {"sample_shim.py": set(), "wrong_shim.py": set()}
    for name, line in re.findall(r"(\w+\.py):(\d+)(?::\d+)?(?: -|:) error", done.stdout):
        found.setdefault(name, set()).add(int(line))
    assert found["wrong_shim.py"], f"it did not run: {done.stdout}{done.stderr}"
    return found


@pytest.mark.parametrize("tool", [mypy, pyright])
def test_types_are_kept(tool: Any, place: Path) -> None:
    """The sample passes as it stands, and every line that is wrong is an error, where it stands."""
    pytest.importorskip(tool.__name__)
    found = lines_with_errors(tool(["sample_shim.py", "wrong_shim.py"], place))
    wanted = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    assert found["sample_shim.py"] == set()
    assert found["wrong_shim.py"] == wanted


def test_the_sample_has_no_ignores() -> None:
    assert "type: " + "ignore" not in SAMPLE.read_text(encoding="utf-8")
