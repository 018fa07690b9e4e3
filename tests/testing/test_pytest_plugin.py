"""The pytest plugin: ways, fixtures, reports, and that it costs a run of pytest next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import bridge
from bridge.testing.pytest_plugin import WAYS

PACKAGE = Path(str(bridge.__file__)).resolve().parent.parent
PLUGIN = ("-p", "bridge.testing.pytest_plugin")

APP = """
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello " + environ["PATH_INFO"].encode()]

    def other(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"goodbye " + environ["PATH_INFO"].encode()]

    async def native(scope, receive, send):
        assert scope["type"] == "http"
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello " + scope["path"].encode()})
"""


class Runs:
    """Runs of pytest on files of their own, with the plugin loaded by hand and no other plugin."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
        for name in ("PYTEST_ADDOPTS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS"):
            monkeypatch.delenv(name, raising=False)

    def write(self, test: str, **files: str) -> None:
        """A module of tests after the apps, and further files."""
        source = textwrap.dedent(APP) + textwrap.dedent(test)
        self._pytester.makepyfile(**{"test_it": source, **files})

    def ini(self, text: str) -> None:
        """Settings of pytest."""
        self._pytester.makeini("[pytest]\n" + text)

    def __call__(self, *arguments: str, plugin: tuple[str, ...] = PLUGIN) -> pytest.RunResult:
        """Run in this process, or elsewhere where that is needed."""
        return self._pytester.runpytest_inprocess("-p", "no:cacheprovider", *plugin, *arguments)

    def elsewhere(self, *arguments: str, plugin: tuple[str, ...] = PLUGIN) -> pytest.RunResult:
        """Run in a process of its own."""
        return self._pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugin, *arguments, timeout=50)


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(pytester, monkeypatch)


def ids(result: pytest.RunResult) -> list[str]:
    """The tests that ran, by what follows the file's name, with their outcomes if they failed."""
    return [
        line.split("::", 1)[1].partition(" ")[0]
        for line in result.outlines
        if "::" in line and (" PASSED" in line or " FAILED" in line)
    ]


HELLO = """
    def test_hello(bridge_client):
        client = bridge_client(app)
        assert client.get("/there").text == "hello /there"
"""
MARKED = """
    import pytest

    @pytest.mark.bridge_via({})
    def test_hello(bridge_client):
        assert bridge_client(native).get("/").text == "hello /"
"""


def test_a_client_is_made_of_either_kind_of_app(run: Runs) -> None:
    run.write(
        """
        def test_both(bridge_client):
            for each in (app, native):
                assert bridge_client(each).get("/a").text == "hello /a"
        """
    )
    run("-v").assert_outcomes(passed=1)


def test_clients_are_closed_at_the_end_of_the_test(run: Runs) -> None:
    run.write(
        """
        kept, log = [], []

        async def lively(scope, receive, send):
            if scope["type"] == "lifespan":
                for event in ("startup", "shutdown"):
                    await receive()
                    log.append(event)
                    await send({"type": f"lifespan.{event}.complete"})
                return
            await native(scope, receive, send)

        def test_first(bridge_client):
            kept.extend([bridge_client(app), bridge_client(lively)])
            assert kept[1].get("/").text == "hello /"
            assert log == ["startup"]
            assert not any(client.is_closed for client in kept)

        def test_second():
            assert all(client.is_closed for client in kept)
            assert log == ["startup", "shutdown"]
        """
    )
    run().assert_outcomes(passed=2)


def test_options_are_those_of_the_client_and_its_own_way_stands(run: Runs) -> None:
    run.write(
        """
        import pytest

        @pytest.mark.bridge_via("roundtrip")
        def test_it(bridge_client):
            client = bridge_client(app, base_url="http://example.org", via="asgi")
            assert (client.via, client.interface) == ("asgi", "asgi")
            assert client.get("/").url.host == "example.org"
            assert bridge_client(app).via == bridge_client.via == "roundtrip"
        """
    )
    run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("test", "ini", "arguments", "expected"),
    [
        (HELLO, "", (), [""]),
        (HELLO, "", ("--bridge-via", "roundtrip"), ["[roundtrip]"]),
        (HELLO, "", ("--bridge-via=asgi, wsgi",), ["[asgi]", "[wsgi]"]),
        (HELLO, "", ("--bridge-via", "wsgi,wsgi,asgi"), ["[wsgi]", "[asgi]"]),
        (HELLO, "", ("--bridge-via", "all"), [f"[{way}]" for way in WAYS]),
        (HELLO, "", ("--bridge-via", "wsgi,all"), ["[wsgi]", "[native]", "[asgi]", "[roundtrip]"]),
        (HELLO, "bridge_via = native, roundtrip\n", (), ["[native]", "[roundtrip]"]),
        (HELLO, "bridge_via = native asgi\n", (), ["[native]", "[asgi]"]),
        (HELLO, "bridge_via = native roundtrip\n", ("--bridge-via", "asgi"), ["[asgi]"]),
        (MARKED.format("'native', 'wsgi'"), "", (), ["[native]", "[wsgi]"]),
        (MARKED.format("'all'"), "", (), [f"[{way}]" for way in WAYS]),
        (
            MARKED.format("'native', 'wsgi'"),
            "bridge_via = asgi\n",
            ("--bridge-via", "roundtrip"),
            ["[native]", "[wsgi]"],
        ),
    ],
    ids=[
        "plain",
        "one",
        "two",
        "once-each",
        "all",
        "some-and-all",
        "ini",
        "ini-blanks",
        "option-over-ini",
        "marker",
        "marker-all",
        "marker-over-option",
    ],
)
def test_a_test_runs_once_for_each_way(
    run: Runs, test: str, ini: str, arguments: tuple[str, ...], expected: list[str]
) -> None:
    """The marker wins over the option, which wins over the ini option; without any, the name stays plain."""
    run.write(test)
    run.ini(ini + "addopts = --strict-markers\n")
    result = run("-v", *arguments)
    assert ids(result) == [f"test_hello{suffix}" for suffix in expected]
    result.assert_outcomes(passed=len(expected))


def test_the_nearest_marker_counts(run: Runs) -> None:
    run.write(
        """
        import pytest
        pytestmark = pytest.mark.bridge_via("wsgi")

        def test_of_module(bridge_via): pass

        @pytest.mark.bridge_via("asgi")
        class TestIt:
            def test_of_class(self, bridge_via): pass

            @pytest.mark.bridge_via("native")
            def test_of_function(self, bridge_via): pass

        def test_without(): pass
        """
    )
    assert ids(run("-v")) == [
        "test_of_module[wsgi]",
        "TestIt::test_of_class[asgi]",
        "TestIt::test_of_function[native]",
        "test_without",
    ]


def test_a_marker_may_hold_functions_that_wrap_the_app(run: Runs) -> None:
    run.write(
        """
        import pytest

        def shouting(app):
            def wrapped(environ, start_response):
                return [chunk.upper() for chunk in app(environ, start_response)]
            return wrapped

        class Whispering:
            def __call__(self, app):
                return app

        @pytest.mark.bridge_via(shouting, Whispering(), "native")
        def test_it(bridge_client, request):
            text = bridge_client(app).get("/").text
            assert text == ("HELLO /" if "shouting" in request.node.name else "hello /")
        """
    )
    result = run("-v")
    assert ids(result) == ["test_it[shouting]", "test_it[Whispering]", "test_it[native]"]
    result.assert_outcomes(passed=3)


def test_a_test_may_name_its_ways_by_parametrize(run: Runs) -> None:
    run.write(
        """
        import pytest

        @pytest.mark.parametrize("bridge_via", ["wsgi"], indirect=True)
        def test_indirect(bridge_client):
            assert bridge_client.via == "wsgi"

        @pytest.mark.parametrize("path, bridge_via", [("/a", "asgi")])
        def test_direct(bridge_client, path):
            assert bridge_client.via == "asgi"

        @pytest.mark.parametrize(("path",), [("/a",), ("/b",)])
        def test_other(bridge_client, path):
            assert bridge_client.via == "roundtrip"
        """
    )
    result = run("-v", "--bridge-via", "roundtrip")
    result.assert_outcomes(passed=4)
    assert ids(result)[:2] == ["test_indirect[wsgi]", "test_direct[/a-asgi]"]


@pytest.mark.parametrize(
    ("ini", "arguments", "message"),
    [
        (
            "",
            ("--bridge-via", "sideways"),
            "--bridge-via takes native, asgi, wsgi, roundtrip or all; got 'sideways'",
        ),
        ("", ("--bridge-via", "native,Roundtrip"), "got 'Roundtrip'"),
        ("", ("--bridge-via", ""), "--bridge-via takes *; got none"),
        ("", ("--bridge-via", " , "), "got none"),
        ("bridge_via = native up\n", (), "the ini option bridge_via takes *; got 'up'"),
        ("", ("--bridge-report", "test_it.py"), "--bridge-report takes a folder to write to; *test_it.py"),
    ],
    ids=["unknown", "case", "empty", "blank", "ini", "no-folder"],
)
def test_options_that_make_no_sense_are_usage_errors(
    run: Runs, ini: str, arguments: tuple[str, ...], message: str
) -> None:
    run.write(HELLO)
    run.ini(ini)
    result = run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize(
    ("marker", "message"),
    [("'up'", "got 'up'"), ("", "got none"), ("ways=['asgi']", "got {'ways': ['asgi']}"), ("3", "got 3")],
    ids=["unknown", "empty", "keyword", "number"],
)
def test_a_marker_that_makes_no_sense_is_an_error_of_its_test(run: Runs, marker: str, message: str) -> None:
    run.write(MARKED.format(marker))
    result = run()
    result.assert_outcomes(errors=1)
    assert (
        "test_it.py::test_hello: the marker bridge_via takes native, asgi, wsgi, roundtrip, all or"
        in result.stdout.str()
    )
    assert message in result.stdout.str()
    assert "pytest_plugin.py" not in result.stdout.str()


def test_the_marker_and_the_options_are_told_of(run: Runs) -> None:
    run.write(HELLO)
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.bridge_via([*]ways): *"])
    run("--help").stdout.fnmatch_lines(
        ["*--bridge-via=WAYS*", "*--bridge-report=DIR*", "*bridge_via (args)*"]
    )
    run("--bridge-via=asgi").stdout.fnmatch_lines(["bridge: via asgi"])
    assert "bridge: via" not in run().stdout.str()
    fixtures = run("--fixtures").stdout
    fixtures.fnmatch_lines(["bridge_client*", "*makes a `bridge.testing.Client`*", "same_behaviour*"])


COMPARES = """
    def test_moved(same_behaviour):
        same_behaviour(app, other, ["/", "/notes"])
"""


def test_same_behaviour_passes(run: Runs) -> None:
    run.write(
        """
        from bridge.testing import Rules

        def test_one(same_behaviour):
            assert len(same_behaviour(app, app)) == 1

        def test_both_kinds(same_behaviour):
            assert len(same_behaviour(app, native, ["/", "/b"])) == 2

        def test_rules(same_behaviour):
            same_behaviour(app, other, rules=Rules().ignore_text("hello|goodbye"))

        def test_ways(same_behaviour):
            same_behaviour(app, app, via=("native", "roundtrip"))
            same_behaviour(app, app, stop_after=1)
        """
    )
    run().assert_outcomes(passed=4)


def test_same_behaviour_fails_with_the_difference(run: Runs) -> None:
    """The caller's line and the report; nothing of what is inside."""
    run.write(COMPARES)
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>       same_behaviour(app, other, [[]"/", "/notes"[]])',
            "E       bridge.exceptions.BehaviourDiffers: GET /",
            "E *- old *hello /*",
            "E *+ new *goodbye /*",
            "E *GET /notes",
            "E *old and new: 2 differences in 2 of 2 requests",
            "test_it.py:*: BehaviourDiffers",
        ]
    )
    assert "pytest_plugin.py" not in result.stdout.str()
    assert "compare.py" not in result.stdout.str()
    assert "\x1b" not in result.stdout.str()
    assert "report:" not in result.stdout.str()


def test_same_behaviour_takes_the_way_of_the_test(run: Runs) -> None:
    run.write(
        """
        def test_it(same_behaviour, bridge_via):
            assert same_behaviour.via == bridge_via == "asgi"
            called = []

            def tells(environ, start_response):
                called.append("asgi.scope" in environ)
                return app(environ, start_response)

            same_behaviour(tells, native)
            same_behaviour(tells, native, via="native")
            assert called == [True, False]
        """
    )
    run("--bridge-via", "asgi").assert_outcomes(passed=1)


COLOURED = "\x1b[1m\x1b[31mE  "


def test_the_difference_is_coloured_where_pytest_colours(run: Runs) -> None:
    pytest.importorskip("rich")
    run.write(COMPARES)
    plain = [line for line in run().outlines if "goodbye" in line and line.startswith("E")]
    coloured = [
        line for line in run("--color=yes").outlines if "goodbye" in line and line.startswith(COLOURED)
    ]
    assert len(plain) == len(coloured) == 2
    assert all("\x1b" in line.removeprefix(COLOURED).removesuffix("\x1b[0m") for line in coloured)


def test_the_difference_is_plain_without_rich(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    run.write(COMPARES)
    (line, _) = [line for line in run("--color=yes").outlines if "goodbye" in line and COLOURED in line]
    assert "\x1b" not in line.removeprefix(COLOURED).removesuffix("\x1b[0m")


def test_a_junit_file_has_no_colours_but_the_name_of_the_report(run: Runs, tmp_path: Path) -> None:
    run.write(COMPARES)
    xml = tmp_path / "junit.xml"
    run("--color=yes", f"--junitxml={xml}", "--bridge-report", str(tmp_path / "reports"))
    text = xml.read_text()
    assert "goodbye" in text
    assert "#x1B" not in text
    (report,) = (tmp_path / "reports").iterdir()
    assert f'<property name="bridge_report" value="{report}"' in text


def test_reports_are_written_for_each_failure(run: Runs, pytester: pytest.Pytester) -> None:
    run.write(
        """
        import os, pytest

        def test_alike(same_behaviour):
            same_behaviour(app, app)

        @pytest.mark.parametrize("name", ["a/b", "a:b", "x" * 300])
        def test_moved(same_behaviour, name, monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)
            same_behaviour(app, other)

        def test_twice(same_behaviour):
            for path in ("/one", "/two"):
                try:
                    same_behaviour(app, other, [path])
                except AssertionError as error:
                    assert "report: " in str(error)
        """
    )
    result = run("--bridge-report", "out/reports")
    result.assert_outcomes(passed=2, failed=3)
    reports = sorted(path.name for path in (pytester.path / "out" / "reports").iterdir())
    assert len(reports) == 5
    assert all(name.endswith(".html") and len(name) < 150 for name in reports)
    twice = [name for name in reports if name.startswith("test_it.py-test_twice-")]
    assert [name.rpartition("-")[2] for name in twice] == ["1.html", "2.html"]
    for name in reports:
        page = (pytester.path / "out" / "reports" / name).read_text()
        assert "goodbye" in page
        assert "test_it.py::" in page
    told = [line for line in result.outlines if line.startswith("E") and "report: " in line]
    assert len(told) == 3
    assert all(Path(line.partition("report: ")[2]).is_file() for line in told)


def test_it_works_in_a_process_of_its_own(run: Runs) -> None:
    run.write(HELLO + COMPARES)
    result = run.elsewhere("-v", "--bridge-via", "native,roundtrip", "-W", "error")
    result.assert_outcomes(passed=2, failed=2)


def test_it_works_with_xdist(run: Runs, tmp_path: Path) -> None:
    """Workers know the ways, agree on the tests, write reports, and send no colours."""
    pytest.importorskip("xdist")
    run.write(
        HELLO
        + COMPARES
        + """
    import pytest

    @pytest.mark.bridge_via("native", lambda app: app)
    def test_wrapped(bridge_client):
        assert bridge_client(app).get("/").status_code == 200
"""
    )
    result = run.elsewhere(
        "-n2",
        "-v",
        "--color=yes",
        "--bridge-via",
        "native,roundtrip",
        "--bridge-report",
        "reports",
        plugin=("-p", "xdist", *PLUGIN),
    )
    result.assert_outcomes(passed=4, failed=2)
    assert len(list((Path(result_path(result)) / "reports").iterdir())) == 2


def result_path(result: pytest.RunResult) -> str:
    """Where a run was."""
    line = next(line for line in result.outlines if line.startswith("rootdir: ") or "rootdir: " in line)
    return line.partition("rootdir: ")[2].strip()


def test_the_entry_point_is_this_module(
    run: Runs, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an installed distribution has it: loaded by itself, and left out by `-p no:bridge`."""
    installed = pytester.mkdir("site") / "bridge_entry-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: bridge-entry\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[pytest11]\nbridge = bridge.testing.pytest_plugin\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGE), str(installed.parent)]))
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    run.write(HELLO)
    without = [
        option
        for name in ("hypothesispytest", "anyio", "xdist", "timeout", "asyncio", "trio", "django", "cov")
        for option in ("-p", f"no:{name}")
    ]
    run.elsewhere(*without, plugin=()).assert_outcomes(passed=1)
    run.elsewhere(*without, "-p", "no:bridge", plugin=()).assert_outcomes(errors=1)


HEAVY = (
    "asyncio", "httpx2", "hypothesis", "rich", "click", "wsproto", "http.client", "email", "ssl", "html",
    "concurrent.futures", "bridge.testing.client", "bridge.testing.comparison", "bridge.testing.exchange",
)  # fmt: skip


def test_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    """Beyond what pytest itself has loaded, by import and by a whole run without tests that use it."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    code = f"""
        import json, sys
        import pytest
        before = set(sys.modules)
        import bridge.testing.pytest_plugin
        imported = set(sys.modules) - before
        code = pytest.main(["-q", "-pno:cacheprovider", "-pbridge.testing.pytest_plugin", "--bridge-via=all"])
        assert code == 0, code
        run = set(sys.modules) - before
        heavy = {HEAVY!r}
        print(json.dumps([[name for name in heavy if name in each] for each in (imported, run)]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    imported, ran = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    # pytest loads these itself in the course of a run.
    assert set(ran) <= {"email", "html", "concurrent.futures"}
