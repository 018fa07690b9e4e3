"""Flask and Django mounted in Starlette and FastAPI, behind proxies and servers that know a root path.

A public URL goes through a proxy and a server to the app, and every link and redirect that the app
makes must be a public URL that leads back to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urljoin

import httpx2
import pytest
from frameworks.mounted_site import ADAPTERS, MOUNTINGS, App, in_starlette
from starlette.testclient import TestClient
from support.frameworks import Site, request_id, serve

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
