"""The pytest plugin: clients and comparisons as fixtures, one test for several ways to the same app.

    def test_hello(bridge_client):
        client = bridge_client(app)                   # closed at the end of the test
        assert client.get("/").text == "hello"

    @pytest.mark.bridge_via("native", "roundtrip")    # runs twice: test_wide[native], test_wide[roundtrip]
    def test_wide(bridge_client): ...

    def test_moved(same_behaviour):
        same_behaviour(old, new, ["/", "/notes?page=2"])

A test that uses `bridge_client`, `same_behaviour` or `bridge_via` runs once for each way to its app. The
ways are those of

1. the marker `bridge_via` nearest to the test (function, class, module), since it says what the test is
   made for;
2. else the option `--bridge-via native,roundtrip`;
3. else the ini option `bridge_via`;
4. else `native` alone, and the test keeps its plain name.

`all` stands for all four. A marker may also hold functions that wrap the app. A way that is named in the
test itself (`bridge_client(app, via="asgi")`) stands, whatever the test was called for.

This module is loaded at the start of every run of pytest in an environment with bridge, and imports
nothing that takes time: what a fixture needs is loaded when a test asks for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..exceptions import BehaviourDiffers

if TYPE_CHECKING:
    from .client import Client
    from .comparison.result import Comparison
    from .comparison.rules import Rules
    from .exchange import RequestLike
    from .ways import Via

WAYS = ("native", "asgi", "wsgi", "roundtrip")
"""The ways that have names; `all` stands for them."""

_ALL = "all"
# How much of a test's id is in the name of its report: file systems allow 255 bytes.
_LONGEST_NAME = 120

_ways_key: pytest.StashKey[list[str]] = pytest.StashKey()


class ClientFactory:
    """What the fixture `bridge_client` gives: makes clients, and closes them at the end of the test.

    Attributes:
        via: the way that its clients take unless told otherwise.
    """

    def __init__(self, via: Via, stack: contextlib.ExitStack) -> None:
        self.via = via
        self._stack = stack

    def __call__(self, app: Any, **options: Any) -> Client:
        """A client of an app.

        Args:
            app: an app of either interface.
            options: those of `bridge.testing.Client`; `via` replaces the test's way.

        Raises:
            UsageError: `app` is none, or an option is not usable.
            MissingDependency: httpx2 is not installed.
        """
        from .client import Client

        client = Client(app, **{"via": self.via, **options})
        self._stack.callback(client.close)
        return client


class SameBehaviour:
    """What the fixture `same_behaviour` gives: an assertion that two apps answer alike.

    Attributes:
        via: the way to both apps unless told otherwise.
    """

    def __init__(self, via: Via, node: pytest.Item) -> None:
        self.via = via
        self._node = node
        self._reports = 0

    def __call__(
        self,
        old: Any,
        new: Any,
        requests: Iterable[RequestLike] = ("/",),
        *,
        via: Via | tuple[Via, Via] | None = None,
        rules: Rules | None = None,
        **options: Any,
    ) -> Comparison:
        """Send the requests to both, and fail the test with what differs.

        Args:
            old, new: an app of either interface, or a client.
            requests: what to send; see `Request.of` for the short forms.
            via: the way to both apps, or a pair of ways, the old app's first; by default the test's way.
            rules: what does not count as a difference.
            options: the further ones of `bridge.testing.compare`.

        Returns:
            The comparison, in which nothing differs.

        Raises:
            BehaviourDiffers: something does; the message is the report.
            UsageError: an argument is not usable.
            MissingDependency: httpx2 is not installed.
        """
        __tracebackhide__ = True
        from .comparison.compare import compare

        comparison = compare(old, new, requests, via=self.via if via is None else via, rules=rules, **options)
        if comparison.same:
            return comparison
        text = comparison.text(color=_shows_colours(self._node.config)).rstrip()
        report = self._write_report(comparison)
        raise BehaviourDiffers(f"{text}\nreport: {report}" if report else text)

    def _write_report(self, comparison: Comparison) -> Path | None:
        """The HTML report, where `--bridge-report` wants it."""
        folder = self._node.config.getoption("bridge_report")
        if not folder:
            return None
        self._reports += 1
        path = Path(folder, f"{_file_name(self._node.nodeid)}-{self._reports}.html")
        comparison.write_html(path, title=self._node.nodeid)
        self._node.user_properties.append(("bridge_report", str(path)))
        return path


def _file_name(nodeid: str) -> str:
    """A file name for a test, that tells which one it is and is no other one's."""
    readable = re.sub(r"[^\w.-]+", "-", nodeid, flags=re.ASCII).strip("-")[-_LONGEST_NAME:]
    return f"{readable}-{hashlib.sha256(nodeid.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def _shows_colours(config: pytest.Config) -> bool:
    """Whether what a test fails with is shown on a terminal with colours, and nowhere else.

    A worker of pytest-xdist does not know the terminal; a JUnit file is no place for escape sequences.
    """
    if not config.pluginmanager.has_plugin("terminalreporter") or config.getoption("xmlpath", None):
        return False
    return config.get_terminal_writer().hasmarkup and importlib.util.find_spec("rich") is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("bridge", "bridge (WSGI and ASGI)")
    group.addoption(
        "--bridge-via",
        metavar="WAYS",
        default=None,
        help="the ways to the apps of tests that use bridge's fixtures and have no marker bridge_via: "
        f"{', '.join(WAYS)}, several with commas, or {_ALL}",
    )
    group.addoption(
        "--bridge-report",
        metavar="DIR",
        default=None,
        help="write an HTML report to this folder for each same_behaviour() that fails",
    )
    parser.addini(
        "bridge_via", f"the ways to the apps, as with --bridge-via (or {_ALL})", type="args", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse options that make no sense."""
    config.addinivalue_line(
        "markers",
        f"bridge_via(*ways): run the test once for each way to its app ({', '.join(WAYS)}, {_ALL}, or "
        "functions that wrap the app), instead of those of --bridge-via",
    )
    option = config.getoption("bridge_via")
    source, words = (
        ("the ini option bridge_via", config.getini("bridge_via"))
        if option is None
        else ("--bridge-via", [option])
    )
    names = [name.strip() for word in words for name in word.split(",")]
    try:
        if option is not None and not any(names):
            raise ValueError("got none")
        config.stash[_ways_key] = list(_ways([name for name in names if name]))
    except ValueError as error:
        raise pytest.UsageError(f"{source} takes {', '.join(WAYS)} or {_ALL}; {error}") from None
    folder = config.getoption("bridge_report")
    if folder is not None:
        # Absolute, for the workers of pytest-xdist and for tests that change the directory.
        config.option.bridge_report = str(config.invocation_params.dir.joinpath(folder).absolute())
        try:
            Path(config.option.bridge_report).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--bridge-report takes a folder to write to; {error}") from None


def pytest_report_header(config: pytest.Config) -> str | None:
    """Tell of the ways, if any were chosen."""
    ways = config.stash[_ways_key]
    return f"bridge: via {', '.join(ways)}" if ways else None


def _ways(given: Iterable[Any]) -> Iterator[Any]:
    """Each way once, `all` replaced by those that it stands for."""
    seen: list[Any] = []
    for each in given:
        for way in WAYS if each == _ALL else (each,):
            if not callable(way) and way not in WAYS:
                raise ValueError(f"got {way!r}")
            if way not in seen:
                seen.append(way)
                yield way


def _name_of(way: Any) -> str:
    """A way as it stands in the id of a test; never an address, which differs among xdist's workers."""
    return way if isinstance(way, str) else getattr(way, "__name__", type(way).__name__)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses the fixtures once for each way."""
    if "bridge_via" not in metafunc.fixturenames or _is_parametrized(metafunc):
        return
    marker = metafunc.definition.get_closest_marker("bridge_via")
    ways: list[Any] = metafunc.config.stash[_ways_key]
    if marker is not None:
        try:
            if marker.kwargs or not marker.args:
                raise ValueError(f"got {marker.kwargs or 'none'}")
            ways = list(_ways(marker.args))
        except ValueError as error:
            pytest.fail(
                f"{metafunc.definition.nodeid}: the marker bridge_via takes {', '.join(WAYS)}, {_ALL} or "
                f"functions that wrap an app; {error}",
                pytrace=False,
            )
    if ways:
        metafunc.parametrize("bridge_via", ways, ids=list(map(_name_of, ways)), indirect=True)


def _is_parametrized(metafunc: pytest.Metafunc) -> bool:
    """Whether the test names its ways itself, by `@pytest.mark.parametrize("bridge_via", ...)`."""
    for marker in metafunc.definition.iter_markers("parametrize"):
        names = marker.args[0] if marker.args else marker.kwargs.get("argnames", ())
        if "bridge_via" in (re.split(r"[,\s]+", names) if isinstance(names, str) else names):
            return True
    return False


@pytest.fixture
def bridge_via(request: pytest.FixtureRequest) -> Via:
    """The way to the app of this run of the test: "native", "asgi", "wsgi", "roundtrip" or a function.

    For what `bridge_client` does not make, such as `AsyncClient(app, via=bridge_via)`.
    """
    via: Via = getattr(request, "param", "native")
    return via


@pytest.fixture
def bridge_client(bridge_via: Via) -> Iterator[ClientFactory]:
    """A function that makes a `bridge.testing.Client` of an app of either interface.

    `client = bridge_client(app)`; further arguments are those of `Client`. It takes the way of this run of
    the test, and is closed at the end of the test, the last one first.
    """
    with contextlib.ExitStack() as stack:
        yield ClientFactory(bridge_via, stack)


@pytest.fixture
def same_behaviour(bridge_via: Via, request: pytest.FixtureRequest) -> SameBehaviour:
    """An assertion that two apps answer alike: `same_behaviour(old, new, ["/", "/notes?page=2"])`.

    What it fails with is the difference; with `--bridge-report DIR` there is an HTML report as well.
    """
    return SameBehaviour(bridge_via, request.node)
