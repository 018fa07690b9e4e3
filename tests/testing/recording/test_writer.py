"""The thread that writes, and the file that is shared."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
from support.leftovers import no_longer_there, own_garbage

from bridge.exceptions import UsageError
from bridge.testing.exchange import Request, Response
from bridge.testing.recording import writer as module
from bridge.testing.recording.recordings import Recorded, load, save
from bridge.testing.recording.writer import Full, RecorderStats, RecordingFile, Writer, check_target

TIMEOUT = 20.0
ITEM = Recorded(Request("GET", "/a", (), b"x" * 50), Response(200), origin="http://a")

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


def nothing() -> None:
    pass


class Stuck:
    """Something to write with that hangs until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.written: list[str] = []

    def __call__(self, thing: str) -> None:
        self.begun.set()
        assert self.go.wait(TIMEOUT)
        self.written.append(thing)


# -- the thread


def test_what_is_offered_is_written_in_order_in_a_thread_of_its_own() -> None:
    seen: list[tuple[int, bool, bool]] = []
    closed = threading.Event()

    def write(number: int) -> None:
        thread = threading.current_thread()
        seen.append((number, thread.daemon, thread is threading.main_thread()))

    writer = Writer(write, closed.set, 100, "x")
    for number in range(10):
        writer.offer(number, 1)
    assert writer.flush(TIMEOUT)
    assert seen == [(number, True, False) for number in range(10)]
    assert writer.stats == RecorderStats(written=10)
    assert not closed.is_set()
    assert writer.close(TIMEOUT)
    assert closed.is_set()


def test_no_thread_before_the_first_offer() -> None:
    before = set(threading.enumerate())
    writer = Writer(print, nothing, 1, "x")
    assert writer.flush(TIMEOUT)
    assert writer.close(TIMEOUT)
    assert set(threading.enumerate()) <= before


def test_beyond_the_bound_things_are_dropped_and_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    stuck = Stuck()
    writer = Writer(stuck, nothing, 2, "x")
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        for name in "abcd":
            writer.offer(name, 1)
    assert stuck.begun.wait(TIMEOUT)
    assert not writer.flush(0.01)
    assert not writer.close(0.01), "the bound on time holds"
    stuck.go.set()
    assert writer.close(TIMEOUT)
    assert stuck.written == ["a", "b"]
    assert writer.stats == RecorderStats(written=2, dropped=2)
    assert len(caplog.records) == 1, "said once"


def test_the_bound_on_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 10)
    stuck = Stuck()
    writer = Writer(stuck, nothing, 100, "x")
    for name, size in (("a", 6), ("b", 6), ("c", 4)):
        writer.offer(name, size)
    stuck.go.set()
    assert writer.close(TIMEOUT)
    assert stuck.written == ["a", "c"]


def test_what_cannot_be_written_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def write(thing: object) -> None:
        raise OSError(28, "No space left on device")

    writer = Writer(write, nothing, 100, "x")
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        for _ in range(3):
            writer.offer("a", 1)
        assert writer.flush(TIMEOUT)
    assert writer.stats == RecorderStats(dropped=3)
    assert [record.getMessage() for record in caplog.records] == [
        "an exchange could not be recorded: [Errno 28] No space left on device; this is said once"
    ]
    writer.close(TIMEOUT)


def test_a_full_file_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    def write(thing: object) -> None:
        raise Full

    writer = Writer(write, nothing, 100, "x")
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        for _ in range(3):
            writer.offer("a", 1)
        assert writer.close(TIMEOUT)
    assert writer.stats == RecorderStats(skipped=3)
    assert len(caplog.records) == 1
    assert "limit" in caplog.text


def test_after_close_things_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(print, nothing, 100, "x")
    assert writer.close(TIMEOUT)
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        writer.offer("a", 1)
    assert writer.stats == RecorderStats(dropped=1)
    assert "closed" in caplog.text


@own_garbage()
def test_what_was_written_is_not_held() -> None:
    class Thing:
        pass

    writer: Writer[Thing] = Writer(lambda thing: None, nothing, 100, "x")
    thing = Thing()
    gone = weakref.ref(thing)
    writer.offer(thing, 1)
    del thing
    assert writer.flush(TIMEOUT)
    no_longer_there(gone)
    writer.close(TIMEOUT)


def test_what_is_left_is_written_at_exit(tmp_path: Path) -> None:
    """Also when nobody closes the recorder."""
    code = (
        "import sys, time\n"
        "from bridge.testing.recording.writer import Writer\n"
        "def write(n):\n"
        "    time.sleep(0.02)\n"
        f"    open({os.fspath(tmp_path / 'out')!r}, 'a').write(str(n))\n"
        "writer = Writer(write, lambda: None, 100, 'x')\n"
        "for n in range(5): writer.offer(n, 1)\n"
    )
    root = Path(module.__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=50, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert (tmp_path / "out").read_text() == "01234"


# -- the file


@pytest.fixture(params=["a.jsonl", "a.har"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / str(request.param))


def test_each_addition_leaves_a_valid_file(path: str) -> None:
    file = RecordingFile(path, None)
    for count in range(1, 4):
        file.add(ITEM)
        assert load(path) == [ITEM] * count
    file.close()
    again = RecordingFile(path, None)
    again.add(ITEM)
    again.close()
    assert load(path) == [ITEM] * 4
    check_target(path)


def test_a_saved_file_can_be_added_to(path: str) -> None:
    for count in (0, 2):
        save(path, [ITEM] * count)
        file = RecordingFile(path, None)
        file.add(ITEM)
        file.close()
        assert load(path) == [ITEM] * (count + 1)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of Unix")
def test_only_its_owner_may_read_it(path: str) -> None:
    file = RecordingFile(path, None)
    file.add(ITEM)
    file.close()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_file_never_exceeds_its_size(path: str) -> None:
    file = RecordingFile(path, 1500)
    for _ in range(2):
        file.add(ITEM)
    with pytest.raises(Full):
        add_many(file)
    file.close()
    assert os.path.getsize(path) <= 1500
    assert load(path)


def add_many(file: RecordingFile) -> None:
    for _ in range(20):
        file.add(ITEM)


@pytest.mark.parametrize("how", ["short", "error"])
def test_a_write_that_fails_leaves_the_file_as_it_was(
    path: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of a line."""
    file = RecordingFile(path, None)
    file.add(ITEM)
    before = Path(path).read_bytes()
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            return write(descriptor, data)
        written = write(descriptor, data[:40])
        if how == "error":
            raise OSError(28, "No space left on device")
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"No space|only 40"):
        file.add(ITEM)
    assert Path(path).read_bytes() == before
    monkeypatch.undo()
    file.add(ITEM)
    file.close()
    assert load(path) == [ITEM] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be removed")
@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_file_that_is_taken_away_is_made_anew(path: str, how: str) -> None:
    file = RecordingFile(path, None)
    file.add(ITEM)
    if how == "removed":
        os.remove(path)
    else:
        os.rename(path, path + ".1")
    file.add(ITEM)
    file.close()
    assert load(path) == [ITEM]


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        RecordingFile(os.fspath(tmp_path / "no" / "a.jsonl"), None).add(ITEM)


def test_a_last_line_that_a_crash_has_cut_is_removed(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "a.jsonl")
    save(path, [ITEM])
    with open(path, "ab") as file:
        file.write(b'{"recording":1,' + b"x" * 100_000)
    recording = RecordingFile(path, None)
    recording.add(ITEM)
    recording.close()
    assert load(path) == [ITEM] * 2


def test_a_har_of_others_is_not_added_to(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "a.har")
    text = json.dumps({"log": {"version": "1.2", "entries": [], "creator": {"name": "x" * 200}}})
    Path(path).write_text(text)
    with pytest.raises(UsageError, match="no recording of bridge"):
        check_target(path)
    with pytest.raises(OSError, match="another end"):
        RecordingFile(path, None).add(ITEM)
    assert Path(path).read_text() == text


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        check_target(os.fspath(tmp_path))
    (tmp_path / "notes.txt").write_text("my notes")
    with pytest.raises(UsageError, match="exists and is no recording"):
        check_target(os.fspath(tmp_path / "notes.txt"))
    (tmp_path / "empty").write_text("")
    check_target(os.fspath(tmp_path / "empty"))
    check_target(os.fspath(tmp_path / "none"))


def test_threads_with_files_of_their_own(path: str) -> None:
    """The lock is one of the open file, so that it holds within a process too."""

    def work(number: int) -> None:
        file = RecordingFile(path, None)
        for _ in range(20):
            file.add(ITEM)
        file.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert load(path) == [ITEM] * 80
