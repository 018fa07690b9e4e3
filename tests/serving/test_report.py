"""What processes say of the app that they serve, and who of them says it."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from support.serve_apps import ASGI, WSGI, write

from bridge.serving.report import (
    ENVIRONMENT,
    FAILURE,
    MISUSE,
    OK,
    CannotServe,
    Report,
    count,
    say,
    shared_folder,
    summary,
)
from bridge.serving.worker import Order, load

FAILING = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Of several processes."""
    (tmp_path / "shared").mkdir()
    return Report("Server", "http://here:80", " with 2 workers", str(tmp_path / "shared"))


def test_one_process_reports_each_outcome(report: Report) -> None:
    assert report.exit_code() == OK
    assert report.claim(MISUSE)
    assert not report.claim(MISUSE)
    assert not report.claim(FAILURE)
    assert report.exit_code() == MISUSE
    assert report.claim(OK)
    assert not report.claim(OK)
    assert report.exit_code() == OK  # what failed works now
    assert report.claim(FAILURE)
    assert report.exit_code() == FAILURE
    assert sorted(os.listdir(report.folder)) == ["failure", "success"]


def test_the_only_process_always_reports(report: Report) -> None:
    for alone in (Report("Server"), replace(report, always=True)):
        assert [alone.claim(code) for code in (OK, OK, FAILURE, FAILURE)] == [True] * 4
    assert replace(report, always=True).exit_code() == FAILURE
    assert Report("Server").exit_code() == OK


def test_a_report_travels_to_other_processes(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    report.to_environment()
    assert Report.from_environment() == report
    assert pickle.loads(pickle.dumps(report)) == report


def test_what_is_served_is_said_once(folder: Path, capfd: pytest.CaptureFixture[str], report: Report) -> None:
    write(folder / "rep_a.py")
    order = Order("rep_a:app", speaks="wsgi")
    loaded = report.load(order)
    report.start(loaded)
    report.at("http://there:81").served(loaded, order)
    report.served(loaded, order)
    assert capfd.readouterr().err == (
        "bridge: rep_a:app is a WSGI app (function); serving it on Server at http://there:81 with 2 workers\n"
    )


@pytest.mark.parametrize(("text", "code"), [(WSGI.format(name="other"), MISUSE), ("1 / 0", FAILURE)])
def test_why_nothing_is_served_is_said_once(
    folder: Path, capfd: pytest.CaptureFixture[str], report: Report, text: str, code: int
) -> None:
    write(folder / "rep_b.py", text)
    firsts = []
    for _ in range(2):
        with pytest.raises(CannotServe) as caught:
            report.load(Order("rep_b:app"))
        assert caught.value.code == code
        firsts.append(caught.value.first)
    assert firsts == [True, False]
    assert capfd.readouterr().err.count("bridge: ") == 1
    assert report.exit_code() == code


@pytest.mark.req("L-07")
def test_an_app_that_does_not_start(folder: Path, capfd: pytest.CaptureFixture[str], report: Report) -> None:
    write(folder / "rep_c.py", FAILING)
    loaded = report.load(Order("rep_c:app", speaks="wsgi"))
    with pytest.raises(CannotServe) as caught:
        report.start(loaded)
    assert caught.value.code == FAILURE
    assert "bridge: the app's lifespan startup failed: no database\n" in capfd.readouterr().err
    loaded.close()


def test_a_lifespan_that_the_server_runs(
    folder: Path, capfd: pytest.CaptureFixture[str], report: Report
) -> None:
    write(folder / "rep_d.py", FAILING)
    loaded = report.load(Order("rep_d:app"))
    watched = report.watched(loaded, lambda: None)
    watched._failed("no database")
    watched._failed("no database")
    assert capfd.readouterr().err == "bridge: the lifespan startup of rep_d:app failed: no database\n"
    assert report.exit_code() == FAILURE


@pytest.mark.parametrize(
    ("text", "speaks", "threads", "expected"),
    [
        (ASGI, "asgi", 3, "serving it on S at a (--threads has no effect on an ASGI app) etc"),
        (ASGI, "asgi", None, "serving it on S at a etc"),
        (ASGI, "wsgi", 3, "serving it through ASGIToWSGI on S at a etc"),
        (WSGI, "asgi", 3, "serving it through WSGIToASGI (3 threads) on S at a etc"),
        (WSGI, "wsgi", 3, "serving it on S at a etc"),
        (ASGI, "both", 3, "serving it on S at a (--threads has no effect on an ASGI app) etc"),
        (WSGI, "both", 3, "serving it on S at a etc"),
    ],
)
def test_the_summary(folder: Path, text: str, speaks: str, threads: int | None, expected: str) -> None:
    write(folder / "rep_e.py", text.format(name="app"))
    order = Order("rep_e:app", speaks=speaks, threads=threads)
    assert summary(load(order), order, Report("S", "a", " etc")).endswith(expected)


def test_the_shared_folder_is_removed_where_it_belongs() -> None:
    """Not by a forked process that leaves the block as well."""
    with shared_folder() as folder:
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)
    with shared_folder(lambda: False) as folder:
        pass
    assert os.path.isdir(folder)
    os.rmdir(folder)


def test_words() -> None:
    assert (count(1, "worker"), count(2, "worker")) == ("1 worker", "2 workers")


def test_a_line_is_written_whole(capfd: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert capfd.readouterr().err == "bridge: hello\n"
