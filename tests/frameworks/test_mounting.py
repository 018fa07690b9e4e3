"""Old apps mounted in new ones and the reverse, behind proxies and servers that know a root path.

A public URL goes through a proxy and a server to the app, and every link and redirect that the app
makes must be a public URL that leads back to it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urljoin

import httpx2
import pytest
from frameworks.asgi_mounted_site import BRIDGED, in_dispatcher
from frameworks.asgi_mounted_site import MOUNTINGS as WSGI_MOUNTINGS
from frameworks.mounted_site import ADAPTERS, MOUNTINGS, App, in_starlette
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support.frameworks import Site, request_id, serve
from support.wsgi_client import client_for
from support.wsgi_drive import drive

from bridge import ASGIToWSGI

pytestmark = pytest.mark.xdist_group("mounting")

HOST = "http://testserver"


class Deployment(NamedTuple):
    """How a public URL comes to an app.

    Attributes:
        prefix: what the proxy serves the app at.
        strips: the proxy removes the prefix.
        root: what the server is told about it (`--root-path`).
        prepends: the server puts the root before the path that it received, as Uvicorn does; others
            pass on what they received.
    """

    prefix: str = ""
    strips: bool = False
    root: str = ""
    prepends: bool = False

    def put_before(self, app: App) -> App:
        """An ASGI app that is to be asked for public URLs."""

        async def proxy_and_server(scope: Any, receive: Any, send: Any) -> None:
            path, raw_path = scope["path"], scope["raw_path"]
            assert path.startswith(self.prefix), "a link leads out of the site"
            if self.strips:
                path, raw_path = path[len(self.prefix) :], raw_path[len(self.prefix) :]
            if self.prepends:
                path, raw_path = self.root + path, self.root.encode() + raw_path
            await app({**scope, "path": path, "raw_path": raw_path, "root_path": self.root}, receive, send)

        return proxy_and_server


DEPLOYMENTS = {
    "no proxy": Deployment(),
    "a proxy that strips, and Uvicorn": Deployment("/proxy", strips=True, root="/proxy", prepends=True),
    "a proxy that strips, and a server that passes on": Deployment("/proxy", strips=True, root="/proxy"),
    "a proxy that keeps, and a server that passes on": Deployment("/proxy", root="/proxy"),
    "a root path of two segments": Deployment("/a/b", strips=True, root="/a/b", prepends=True),
}
STRIPPED_AND_PASSED_ON = "a proxy that strips, and a server that passes on"

Fetch: TypeAlias = Callable[[App, str], httpx2.Response]
"""Asks an app for a public URL; follows no redirect."""


def fetch_by_transport(app: App, url: str) -> httpx2.Response:
    async def main() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=HOST) as client:
            response: httpx2.Response = await client.get(url)
            return response

    return asyncio.run(main())


@pytest.fixture(params=list(ADAPTERS))
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def places() -> list[Any]:
    """Every mounting in every deployment that can reach it."""
    found = []
    for mounting in MOUNTINGS:
        for deployment in DEPLOYMENTS:
            # A Mount finds what is left of the path by `root_path`. Where the path does not contain
            # that, a Mount within a Mount finds nothing, and no request comes to the adapter. Nor can
            # a plain dispatcher tell what it has taken from the path; Starlette says `app_root_path`.
            lost = " in " in mounting or mounting == "dispatcher"
            if not (lost and deployment == STRIPPED_AND_PASSED_ON):
                found.append(pytest.param(mounting, deployment, id=f"{mounting}-{deployment}"))
    return found


def location_of(response: httpx2.Response, url: str) -> str:
    """Where a redirect leads, as a path of the public site."""
    assert response.is_redirect, (response.status_code, response.text)
    target = urljoin(HOST + url, response.headers["location"])
    assert target.startswith(HOST + "/")
    return quote(unquote(target.removeprefix(HOST)))


@pytest.mark.req("E-07", "E-08", "E-11", "E-13")
@pytest.mark.parametrize(("mounting", "deployment"), places())
def test_links_and_redirects_are_public_urls(mounting: str, deployment: str, framework: str) -> None:
    check_links_and_redirects(fetch_by_transport, framework, *MOUNTINGS[mounting], DEPLOYMENTS[deployment])


@pytest.mark.req("W-30")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("mounting", ["bare", "Starlette", "FastAPI"])
def test_links_and_redirects_are_public_urls_in_starlettes_client(
    mounting: str, backend: Any, framework: str
) -> None:
    """Each request has an event loop of its own, and the adapter is one."""
    deployed = DEPLOYMENTS["a proxy that strips, and Uvicorn"]

    def fetch_by_testclient(app: App, url: str) -> httpx2.Response:
        return TestClient(app, base_url=HOST, follow_redirects=False, backend=backend).get(url)

    check_links_and_redirects(fetch_by_testclient, framework, *MOUNTINGS[mounting], deployed)


def check_links_and_redirects(
    fetch: Fetch, framework: str, mount: str, build: Callable[[App], App], deployed: Deployment
) -> None:
    app = deployed.put_before(build(ADAPTERS[framework]))
    base = deployed.prefix + mount
    link = f"{base}/item/3/"

    answer = fetch(app, f"{base}/where").json()
    # Browsers quote what a framework has not quoted.
    assert {name: quote(unquote(path), ":/") for name, path in answer.items()} == {
        "root": base,
        "path": "/where",
        "full_path": f"{base}/where",
        "link": link,
        "external": HOST + link,
    }
    assert fetch(app, link).text == "item 3"
    assert location_of(fetch(app, f"{base}/go"), f"{base}/go") == link
    # The framework's own redirect to the address with the slash.
    assert location_of(fetch(app, link[:-1]), link[:-1]) == link
    assert fetch(app, f"{base}/").text == "index"


@pytest.mark.req("E-08", "E-10")
@pytest.mark.parametrize("deployment", [name for name in DEPLOYMENTS if name != STRIPPED_AND_PASSED_ON])
@pytest.mark.parametrize("mounting", [name for name, (mount, _) in MOUNTINGS.items() if mount])
def test_the_mount_point_without_its_slash_leads_to_the_front_page(
    mounting: str, deployment: str, framework: str
) -> None:
    """Starlette redirects itself; below a dispatcher Flask redirects, and Django answers at once."""
    mount, build = MOUNTINGS[mounting]
    deployed = DEPLOYMENTS[deployment]
    app = deployed.put_before(build(ADAPTERS[framework]))
    base = deployed.prefix + mount
    response = fetch_by_transport(app, base)
    if response.is_redirect:
        assert location_of(response, base) == f"{base}/"
        response = fetch_by_transport(app, f"{base}/")
    else:
        assert framework == "django"
        assert "dispatcher" in mounting
    assert response.text == "index"


@pytest.mark.req("E-10")
@pytest.mark.parametrize("deployment", ["a proxy that strips, and Uvicorn", "a root path of two segments"])
def test_the_root_path_itself_leads_to_the_front_page(deployment: str, framework: str) -> None:
    """No mount at all: what the server calls the root path is asked for without its slash."""
    deployed = DEPLOYMENTS[deployment]
    app = deployed.put_before(ADAPTERS[framework])
    response = fetch_by_transport(app, deployed.prefix)
    if framework == "flask":
        assert location_of(response, deployed.prefix) == f"{deployed.prefix}/"
        response = fetch_by_transport(app, f"{deployed.prefix}/")
    assert response.text == "index"


@pytest.mark.req("E-09")
def test_a_path_that_only_begins_like_the_root_path_is_not_below_it() -> None:
    """`/proxyitem/3/`, unstripped: not `item/3/` of the app at `/proxy`."""
    app = Deployment(root="/proxy").put_before(ADAPTERS["flask"])
    assert fetch_by_transport(app, "/proxyitem/3/").text == "no /proxyitem/3/ here"
    assert fetch_by_transport(app, "/proxy/item/3/").text == "item 3"


def test_the_new_app_keeps_its_own_routes() -> None:
    app = in_starlette("/legacy", ADAPTERS["flask"])
    assert fetch_by_transport(app, "/native").text == "native"
    assert fetch_by_transport(app, "/legacyx").status_code == 404


# -- the same on a real Uvicorn


@pytest.fixture(scope="module", params=["", "/proxy"], ids=["no root path", "--root-path"])
def root_and_site(request: pytest.FixtureRequest) -> Iterator[tuple[str, Site]]:
    root: str = request.param
    with serve("frameworks.mounted_site:app", root_path=root, lifespan="on") as site:
        yield root, site


@pytest.mark.req("E-07", "E-08")
@pytest.mark.parametrize(
    "mount",
    ["/flask", "/django", "/fast/flask", "/fast-django/django", "/kept/flask", "/kept/django"],
)
def test_links_and_redirects_are_public_urls_on_uvicorn(root_and_site: tuple[str, Site], mount: str) -> None:
    """The test is the proxy: it strips the root path, if there is one, from what it asks for."""
    root, site = root_and_site
    base = root + mount
    link = f"{base}/item/3/"

    def fetch(public: str) -> httpx2.Response:
        assert public.startswith(f"{root}/"), "a link leads out of the site"
        return site.client.get(public.removeprefix(root))

    assert fetch(f"{base}/where").json() == {
        "root": base,
        "path": "/where",
        "full_path": f"{base}/where",
        "link": link,
        "external": site.url + link,
    }
    assert fetch(link).text == "item 3"
    for origin in (f"{base}/go", link[:-1]):
        response = fetch(origin)
        assert urljoin(site.url + origin, response.headers["location"]) == site.url + link
    response = fetch(base)
    assert urljoin(site.url + base, response.headers["location"]) == f"{site.url}{base}/"
    assert fetch(f"{base}/").text == "index"


@pytest.mark.req("W-17", "W-24", "W-26")
def test_a_stream_and_its_end_go_through_starlettes_base_middleware(root_and_site: tuple[str, Site]) -> None:
    _, site = root_and_site
    name = request_id()
    with site.client.stream("GET", "/behind/stream?name=x", headers={"X-Request-Id": name}) as response:
        assert response.headers["x-middleware"] == "passed"
        chunks = response.iter_raw()
        assert next(chunks) == b"first of x and 0\n"
        site.open_gate(name)
        assert b"".join(chunks) == b"last"

    name = request_id()
    with (
        site.new_client() as visitor,
        visitor.stream("GET", "/behind/endless", headers={"X-Request-Id": name}) as response,
    ):
        next(response.iter_raw())
    kinds = [fact["what"] for fact in site.facts(name, await_="closed")]
    assert kinds.count("generator closed") == kinds.count("closed") == 1


# -- the other way round: new apps below old ones, served by a WSGI server

ROOTS = {
    "no root": "",
    "a root": "/proxy",
    "a root of two segments": "/a/b",
    "a non-ASCII root": "/gr%C3%BCn",
}
"""What a WSGI server may have as `SCRIPT_NAME`."""


@pytest.fixture(scope="module", params=list(BRIDGED))
def new_framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def wsgi_client(app: App, root: str) -> httpx2.Client:
    """A client whose paths are below the root, as they are for the server's app."""
    # Werkzeug's dispatcher changes the environ, and Flask returns what it likes.
    return client_for(app, root=root, strict=False)


def public(location: str, asked: str) -> str:
    """Where a redirect leads, as a quoted path of the public site."""
    target = urljoin(HOST + asked, location)
    assert target.startswith(HOST + "/"), location
    path = target.removeprefix(HOST)
    try:
        # Quart sends UTF-8 as it is.
        path = path.encode("latin-1").decode()
    except UnicodeError:
        pass
    return quote(unquote(path))


@pytest.mark.req("S-03", "S-04", "S-07")
@pytest.mark.parametrize("root", ROOTS.values(), ids=list(ROOTS))
@pytest.mark.parametrize("mounting", list(WSGI_MOUNTINGS))
def test_links_and_redirects_of_a_new_app_are_public_urls(
    mounting: str, root: str, new_framework: str
) -> None:
    mount, build = WSGI_MOUNTINGS[mounting]
    base = root + mount
    link = f"{base}/item/3/"
    with wsgi_client(build(BRIDGED[new_framework]), root) as client:
        answer = client.get(f"{mount}/where").json()
        # Litestar takes the root off the path in the scope.
        path = "/where" if new_framework == "litestar" else f"{base}/where"
        assert {name: quote(unquote(value), ":/") for name, value in answer.items()} == {
            "root": base,
            "path": path,
            "link": link,
            "external": HOST + link,
        }
        assert client.get(f"{mount}/item/3/").text == "item 3"
        response = client.get(f"{mount}/go")
        assert response.is_redirect
        assert public(response.headers["location"], f"{base}/go") == link
        assert client.get(f"{mount}/").text == "index"
        # The framework's own redirect to the address with the slash; Litestar knows no difference.
        response = client.get(f"{mount}/item/3")
        if new_framework == "litestar":
            assert response.text == "item 3"
        else:
            assert response.is_redirect
            assert public(response.headers["location"], link[:-1]) == link


@pytest.mark.req("S-04")
@pytest.mark.parametrize("mounting", ["dispatcher", "Flask", "dispatcher in dispatcher"])
def test_the_mount_point_of_a_new_app_without_its_slash(mounting: str, new_framework: str) -> None:
    """`PATH_INFO` is empty: path and root path are equal, and what that means is the framework's affair."""
    mount, build = WSGI_MOUNTINGS[mounting]
    with wsgi_client(build(BRIDGED[new_framework]), "/proxy") as client:
        response = client.get(mount)
        if new_framework == "quart":
            assert response.status_code == 404
            return
        if new_framework != "litestar":
            assert public(response.headers["location"], f"/proxy{mount}") == f"/proxy{mount}/"
            response = client.get(f"{mount}/")
        assert response.text == "index"


@pytest.mark.req("S-02", "S-09")
def test_the_links_of_a_new_app_have_the_scheme_and_host_of_the_request(new_framework: str) -> None:
    mount, build = WSGI_MOUNTINGS["dispatcher"]
    app = build(BRIDGED[new_framework])
    environ: dict[str, Any] = {"wsgi.url_scheme": "https", "HTTP_HOST": "example.org:8443"}
    # Not the adapter's affair: a proxy that is trusted has a middleware of its own.
    environ["HTTP_X_FORWARDED_PROTO"] = "http"
    answer = drive(app, path=f"{mount}/where", strict=False, **environ).unwrap()
    assert json.loads(answer.body)["external"] == f"https://example.org:8443{mount}/item/3/"


@pytest.mark.req("S-06", "S-07")
@pytest.mark.parametrize("key", ["RAW_URI", "REQUEST_URI"])
def test_the_raw_path_below_a_dispatcher_is_that_of_the_whole_request(key: str) -> None:
    """The dispatcher divides the decoded path and leaves the raw one, which is used if the two agree."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await PlainTextResponse("seen")(scope, receive, send)

    with ASGIToWSGI(app, lifespan="off") as adapter:
        dispatcher = in_dispatcher("/v2", adapter)
        path: dict[str, Any] = {"SCRIPT_NAME": "/proxy", "PATH_INFO": "/v2/a/b c"}
        drive(dispatcher, strict=False, **path | {key: "/proxy/v2/a%2Fb%20c?x=1"}).unwrap()
        drive(dispatcher, strict=False, **path | {key: "/somewhere/else"}).unwrap()
        drive(dispatcher, strict=False, **path).unwrap()
    assert seen == [
        ("/proxy/v2", "/proxy/v2/a/b c", b"/proxy/v2/a%2Fb%20c"),
        ("/proxy/v2", "/proxy/v2/a/b c", b"/proxy/v2/a/b%20c"),
        ("/proxy/v2", "/proxy/v2/a/b c", b"/proxy/v2/a/b%20c"),
    ]


def test_the_old_app_keeps_its_own_routes() -> None:
    app = in_dispatcher("/v2", BRIDGED["starlette"])
    with wsgi_client(app, "") as client:
        assert client.get("/where").json()["link"] == "/item/3/"
        assert client.get("/v2/where").json()["link"] == "/v2/item/3/"
        # Not below /v2: only its name begins alike.
        assert client.get("/v2x/item/3/").text == "no /v2x/item/3/ here"


@pytest.mark.req("A-01", "L-04")
def test_two_new_apps_in_one_old_site_have_one_loop_and_a_lifespan_each() -> None:
    """They may await each other's locks; each has its own state."""
    events: list[tuple[str, str, int]] = []

    def new_app(name: str) -> App:
        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
            events.append((name, "startup", id(asyncio.get_running_loop())))
            yield {"name": name}
            events.append((name, "shutdown", id(asyncio.get_running_loop())))

        def answer(request: Request) -> PlainTextResponse:
            return PlainTextResponse(request.state.name)

        return Starlette(routes=[Route("/", answer)], lifespan=lifespan)

    with ASGIToWSGI(new_app("first")) as first, ASGIToWSGI(new_app("second")) as second:
        site = in_dispatcher("/1", first, {"/2": second})
        with wsgi_client(site, "") as client:
            assert [client.get(f"/{number}/").text for number in (1, 2, 1)] == ["first", "second", "first"]
    assert [event[:2] for event in events] == [
        ("first", "startup"),
        ("second", "startup"),
        ("second", "shutdown"),
        ("first", "shutdown"),
    ]
    assert len({loop for _, _, loop in events}) == 1
