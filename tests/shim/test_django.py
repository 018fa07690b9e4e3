"""Django with our functions beside its own use of asgiref: served in four ways, and under its test runner.

Django calls views, middleware and the ORM by way of asgiref, so each request mixes the two.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from frameworks.asgi_servers import Command, gunicorn, served, uvicorn, waitress
from support.frameworks import Site, request_id
from support.served import TESTS, wait_until

import bridge

pytestmark = pytest.mark.xdist_group("shim_django")

SETTINGS = "support.shim_django.settings"


def uvicorn_without_lifespan(target: str, port: int) -> list[str]:
    """Django knows no lifespan."""
    command = [*uvicorn(target, port)]
    command[command.index("--lifespan") + 1] = "auto"
    return command


class Way(NamedTuple):
    """A way of serving the project."""

    server: str
    command: Command
    target: str


WAYS = {
    "wsgi": Way("gunicorn", gunicorn, "wsgi"),
    "wsgi-on-asgi": Way("uvicorn", uvicorn_without_lifespan, "wsgi_on_asgi"),
    "asgi": Way("uvicorn", uvicorn_without_lifespan, "asgi"),
    "asgi-on-wsgi": Way("waitress", waitress, "asgi_on_wsgi"),
}


class Served(NamedTuple):
    """The project as it is being served."""

    way: str
    site: Site

    def ask(self, path: str, **params: str) -> Any:
        """What a view answers."""
        response = self.site.client.get(path, params=params)
        assert response.status_code == 200, (response.text, self.site.log())
        return response.json()


@pytest.fixture(scope="module", params=WAYS)
def project(request: pytest.FixtureRequest) -> Iterator[Served]:
    way = WAYS[request.param]
    if importlib.util.find_spec(way.server) is None:
        pytest.skip(f"{way.server} is not installed")
    with tempfile.TemporaryDirectory() as directory:
        environ = {"DJANGO_SITE_DIR": directory, "DJANGO_SETTINGS_MODULE": SETTINGS}
        environ["CONN_MAX_AGE"] = "0" if request.param == "asgi" else "600"
        with served(way.command, f"support.shim_django.served:{way.target}", **environ) as site:
            yield Served(request.param, site)
            assert "Traceback" not in site.log(), site.log()


# -- threads and loops


def test_in_a_blocking_view_everything_below_is_on_one_loop_and_comes_back_to_its_thread(
    project: Served,
) -> None:
    answer = project.ask("/blocking/")
    thread = answer["here"]["thread"]
    for how in ("ours", "theirs"):
        loop, below_ours, below_theirs = answer[how]
        assert below_ours == below_theirs == {"thread": thread, "loops": [loop, loop]}, how


def test_in_an_async_view_everything_below_is_on_its_loop_and_in_one_thread(project: Served) -> None:
    answer = project.ask("/async/")
    loop, thread = answer["loop"], answer["ours"][0]
    expected = {"thread": thread, "loops": [loop, loop]}
    assert answer["ours"] == answer["theirs"] == [thread, *[[loop, expected, expected]] * 2]
    assert answer["pool"]["loops"] == [loop, loop]
    assert len({thread, answer["pool"]["thread"], answer["loop_thread"]}) == 3


def test_middleware_of_all_kinds_stays_in_one_thread_and_on_one_loop(project: Served) -> None:
    """Five layers around a view of either kind, adapted to each other by Django with asgiref."""
    for path in ("/blocking/", "/async/"):
        response = project.site.client.get(path)
        assert len(set(response.headers["x-threads"].split())) == 1
        assert len(response.headers["x-threads"].split()) >= 3
        loops = response.headers["x-loops"].split()
        assert len(loops) >= 5
        if project.way != "wsgi":  # where Django's own calls of async code have a loop each
            assert len(set(loops)) == 1


def test_loops_last_from_request_to_request(project: Served) -> None:
    """On a plain WSGI server that is so where no async function of Django's own is around the call."""
    if project.way == "wsgi":
        answers = [project.site.client.get("/blocking/") for _ in range(3)]
        loops = {answer.headers["x-loops"].split()[-1] for answer in answers}  # the outermost middleware's
    else:
        loops = {project.ask(path)["ours"][0] for path in ("/blocking/", "/blocking/")}
        loops |= {project.ask("/async/")["loop"] for _ in range(3)}
    assert len(loops) == 1


def test_two_requests_are_in_their_threads_at_a_time(project: Served) -> None:
    def visit(_: int) -> int:
        with project.site.new_client() as visitor:
            return int(visitor.get("/meet/").json()["thread"])

    with ThreadPoolExecutor(2) as visitors:
        assert len(set(visitors.map(visit, range(2)))) == 2


def test_thread_sensitive_code_runs_in_the_thread_of_its_request(project: Served) -> None:
    """That is the server's, or the adapter's, where Django is a WSGI application."""
    response = project.site.client.get("/async/")
    thread = response.json()["ours"][0]
    assert set(response.headers["x-threads"].split()) == {str(thread)}
    if project.way.startswith("wsgi"):
        assert str(thread) == response.headers["x-server-thread"]


@pytest.mark.parametrize(
    ("path", "text"), [("/class/", "0"), ("/made-async/", "blocking 0"), ("/made-blocking/", "async 0")]
)
def test_what_our_functions_return_can_be_a_view(project: Served, path: str, text: str) -> None:
    assert project.site.client.get(path).text == text


# -- the database


def test_the_async_orm_and_our_functions_use_one_connection(project: Served) -> None:
    text = request_id()
    answer = project.ask("/orm/", text=text)
    assert answer == {"found": text, "texts": [text] * 2, "list": [text] * 2, "connections": 1}


def test_the_async_orm_in_a_blocking_view_is_in_the_view_s_transaction(project: Served) -> None:
    assert project.ask("/orm-blocking/", text=request_id()) == {"inside": 2, "same": True, "left": 0}


def test_a_transaction_is_kept_or_rolled_back_with_all_that_async_code_did_in_it(project: Served) -> None:
    assert project.ask("/transactions/", text=request_id()) == {"counts": [0, 3]}


def test_connections_are_one_a_thread_and_do_not_grow_with_requests(project: Served) -> None:
    with ThreadPoolExecutor(4) as visitors:
        threads = set(visitors.map(lambda _: project.ask("/touch/")["thread"], range(100)))
    if project.way == "asgi":
        assert len(threads) > 1  # threads come and go with requests, so Django has to close them each time
        wait_until(lambda: project.ask("/descriptors/")["open"] <= 1, 10, "all others closed")
    else:
        # Of the threads that were there, and of the one that answers now.
        assert 1 <= project.ask("/descriptors/")["open"] <= len(threads) + 1


# -- the rest of Django


def test_the_active_language_goes_along_and_comes_back(project: Served) -> None:
    assert project.ask("/language/") == {"seen": ["de", "fr", "fr", "fr"]}
    assert project.ask("/language-blocking/") == {"seen": ["de", "fr"]}


def test_signals_have_receivers_of_both_kinds(project: Served) -> None:
    expected = [["async", "blocking", "made async"], True]
    assert project.ask("/signals/") == {"answers": [expected, expected]}


def test_work_after_the_response_still_has_a_thread(project: Served) -> None:
    if project.way == "wsgi":
        pytest.skip("Django ends the loop with the view, and what runs on it")
    name = request_id()
    assert project.site.client.get("/afterwards/", params={"name": name}).text == "soon"
    assert project.ask("/release/", name=name) == {"found": name}


# -- Django's test runner


@pytest.fixture(scope="module")
def cases() -> str:
    """What the test runner prints about each test."""
    paths = [str(TESTS), str(Path(str(bridge.__file__)).parent.parent)]
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error", "-m", "django", "test", "support.shim_django"),
                *("--pattern", "cases.py", "--verbosity", "2"),
            ],
            cwd=TESTS,
            env={
                **os.environ,
                "DJANGO_SITE_DIR": directory,
                "DJANGO_SETTINGS_MODULE": SETTINGS,
                "PYTHONPATH": os.pathsep.join(paths),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("..."), done.stdout  # nothing went wrong at exit
    return done.stdout


def names_of_cases() -> list[str]:
    source = ast.parse(TESTS.joinpath("support", "shim_django", "cases.py").read_text(encoding="utf-8"))
    return [
        f"{each.name}.{test.name}"
        for each in source.body
        if isinstance(each, ast.ClassDef)
        for test in each.body
        if isinstance(test, (ast.FunctionDef, ast.AsyncFunctionDef)) and test.name.startswith("test_")
    ]


@pytest.mark.parametrize("name", names_of_cases())
def test_under_djangos_test_runner(cases: str, name: str) -> None:
    line = rf"^{name.partition('.')[2]} \(support\.shim_django\.cases\.[\w.]+\) \.\.\. ok$"
    assert re.search(line, cases, re.M), cases
