"""Crawls of sites that are a table of pages, and of a Flask site."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.testing.exchange import Request, RequestLike, Response
from bridge.testing.sources.crawl import LIMIT, VARIANTS, crawl, links

HTML = (("Content-Type", "text/html; charset=utf-8"),)
HOME = "http://testserver/a/b"


class Site:
    """Answers from a table: text is a page of HTML; a response is given as it is; what is missing is 404."""

    base_url = "http://testserver"

    def __init__(self, pages: Mapping[str, str | Response]) -> None:
        self.pages = pages
        self.asked: list[Request] = []

    def exchange(self, request: RequestLike) -> Response:
        assert isinstance(request, Request)
        self.asked.append(request)
        page = self.pages.get(request.target)
        if page is None:
            return Response(404, headers=HTML, chunks=(b"no such page",))
        return Response(200, headers=HTML, chunks=(page.encode(),)) if isinstance(page, str) else page


def targets(pages: Mapping[str, str | Response], start: str = "/", **options: Any) -> list[str]:
    return [request.target for request in crawl(Site(pages), start, **options)]


def page(kind: str, text: str, *headers: tuple[str, str], status: int = 200) -> Response:
    return Response(status, headers=(("Content-Type", kind), *headers), chunks=(text.encode(),))


def test_links_are_followed_in_breadth_and_each_is_asked_for_once() -> None:
    pages = {
        "/": '<a href="/b">b</a><a href="/a">a</a><a href="/b#part">b again</a>',
        "/a": '<a href="c/">c</a><a href="/">home</a>',
        "/b": '<a href="/d">d</a>',
    }
    site = Site(pages)
    found = list(crawl(site, sitemap=False))
    assert [each.target for each in found] == ["/", "/b", "/a", "/d", "/c/"]
    assert site.asked == found
    assert {each.method for each in found} == {"GET"}


def test_a_request_is_sent_before_it_is_given_and_no_sooner() -> None:
    site = Site({"/": '<a href="/a">', "/a": ""})
    assert [each.target for each in islice(crawl(site, sitemap=False), 1)] == ["/"]
    assert [each.target for each in site.asked] == ["/"]


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<a href="c">', ["/a/c"]),
        ("<A HREF=c>", ["/a/c"]),
        ('<a href="../c?x=1&amp;y=2#z">', ["/c?x=1&y=2"]),
        ('<a href="//testserver/c">', ["/c"]),
        ('<a href="?page=2">', ["/a/b?page=2"]),
        ('<a href=" c\n ">', ["/a/c"]),
        ('<a href="/é?q=ü b">', ["/%C3%A9?q=%C3%BC%20b"]),
        ('<a href="#top">', []),
        ('<a href="">', []),
        ("<a>", []),
        ('<a href="mailto:a@b.example">', []),
        ('<a href="javascript:alert(1)">', []),
        ('<a href="data:text/html,x">', []),
        ('<a href="http://[broken">', []),
        ('<a href="http://testserver:port/">', []),
        ('<a href="/x" data-method="delete">', []),
        ('<area href="c">', ["/a/c"]),
        ('<link rel="stylesheet" href="/s.css">', ["/s.css"]),
        ('<link rel="preconnect" href="/">', []),
        ('<script src="/s.js"></script>', ["/s.js"]),
        ("<script>'<a href=\"/no\">'</script>", []),
        ('<!-- <a href="/no"> -->', []),
        ('<img src="/1.png" srcset="/2.png 2x, /3.png 3x">', ["/1.png", "/2.png", "/3.png"]),
        ('<video poster="/p.png" src="/v.mp4"><track src="/t.vtt"></video>', ["/v.mp4", "/p.png", "/t.vtt"]),
        ('<iframe src="/f"></iframe><object data="/o"></object>', ["/f", "/o"]),
        ('<meta http-equiv="Refresh" content="0; URL=\'/next\'">', ["/next"]),
        ('<base href="/other/"><base href="/no/"><a href="c">', ["/other/c"]),
        ('<a href="http://elsewhere.example/">', []),
        ('<a href="https://testserver/secure">', ["/secure"]),
        ('<a href="http://testserver:8080/">', []),
        ('<a href="/broken"', []),
    ],
)
def test_what_is_a_link_of_a_page(html: str, found: list[str]) -> None:
    """Relative to the page, which is /a/b, and of the same site only."""
    assert targets({"/a/b": html}, "/a/b", sitemap=False)[1:] == found


@pytest.mark.parametrize(
    ("html", "found"),
    [
        (
            '<form action="/find"><input name=q value=x><input name=n type=hidden value=1></form>',
            ["/find?q=x&n=1"],
        ),
        ('<form method=GET action="/find?old=1"><input name=q></form>', ["/find?q="]),
        ("<form><input name=q></form>", ["/a/b?q="]),
        ('<form action="/all"></form>', ["/all"]),
        ('<form method=post action="/no"><input name=q></form>', []),
        ('<form action="/no"><input name=user><input type=password name=p></form>', []),
        ('<form action="/f"><input type=submit name=s value=1><input name=q disabled></form>', ["/f"]),
        (
            '<form action="/f"><input type=checkbox name=a><input type=checkbox name=b checked>'
            "<input type=radio name=c value=1><input type=radio name=c value=2 checked></form>",
            ["/f?b=on&c=2"],
        ),
        (
            '<form action="/f"><select name=a><option>one  two<option value=2>three</select>'
            "<select name=b><option value=1>x</option><option value=2 selected>y</option></select></form>",
            ["/f?a=one+two&b=2"],
        ),
        ('<form action="/f"><textarea name=t>a b</textarea></form>', ["/f?t=a+b"]),
        ('<form action="/1"><form action="/2"></form>', ["/1", "/2"]),
    ],
)
def test_what_a_form_sends_as_it_stands(html: str, found: list[str]) -> None:
    assert targets({"/a/b": html}, "/a/b", sitemap=False)[1:] == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Response(302, headers=(("Location", "/new"),)), ["/new"]),
        (Response(302, headers=(("Location", "http://elsewhere.example/"),)), []),
        (page("text/plain", '<a href="/no">', ("Link", '</2>; rel="next", <3>; rel=last')), ["/2", "/a/3"]),
        (page("text/css", "@import 'x.css'; a { background: url( \"/i.png\" ) }"), ["/a/x.css", "/i.png"]),
        (
            page("application/json", '{"items": [{"url": "/i/1", "name": "/no"}], "next": "/?p=2"}'),
            ["/?p=2", "/i/1"],
        ),
        (page("application/hal+json", '{"_links": {"self": {"href": "/me"}}}'), ["/me"]),
        (page("application/json", '{"url": "no path", "next": null}'), []),
        (page("application/json", "{"), []),
        (page("application/json", "[" * 100_000), []),
        (page("application/xml", "<urlset><url><loc> /x?a=1&amp;b=2 </loc></url></urlset>"), ["/x?a=1&b=2"]),
        (page("text/html; charset=latin-1", '<a href="/x">'), ["/x"]),
        (page("text/html; charset=no-such", '<a href="/x">'), ["/x"]),
        (Response(0, error=RuntimeError("boom")), []),
        (Response(200, chunks=(b'<a href="/x">',)), []),
    ],
)
def test_what_is_a_link_of_another_response(answer: Response, found: list[str]) -> None:
    assert targets({"/a/b": answer}, "/a/b", sitemap=False)[1:] == found


def test_links_of_a_response_are_absolute_and_without_fragments() -> None:
    assert links(page("text/html", '<a href="c#d"><a href="c"><a href="//x/y">'), HOME) == [
        "http://testserver/a/c",
        "http://x/y",
    ]


@pytest.mark.parametrize(
    ("link", "followed"),
    [
        ("/logout", False),
        ("/accounts/Log-Out/", False),
        ("/signout?next=/", False),
        ("/notes/1/delete", False),
        ("/notes?action=delete&id=1", False),
        ("/delete_all", False),
        ("/password/reset", False),
        ("/unsubscribe/abc", False),
        ("/deleted-scenes", True),
        ("/undelete", True),
        ("/blogoutline", True),
        ("/presets", True),
    ],
)
def test_what_may_change_something_is_left_alone(link: str, followed: bool) -> None:
    pages = {"/": f'<a href="{link}">', link: ""}
    assert (link in targets(pages)) is followed
    assert link in targets(pages, unsafe=None)
    assert link not in targets(pages, unsafe=re.compile(re.escape(link)))


def test_the_start_may_have_any_name() -> None:
    assert targets({"/logout": ""}, "/logout", sitemap=False) == ["/logout"]


def test_the_sitemap_is_asked_for_after_the_start_and_given_if_it_is_there() -> None:
    sitemap = page("text/xml", "<urlset><url><loc>http://testserver/hidden</loc></url></urlset>")
    assert targets({"/": '<a href="/a">', "/sitemap.xml": sitemap}) == ["/", "/sitemap.xml", "/a", "/hidden"]
    assert targets({"/": '<a href="/a">'}) == ["/", "/a"]
    assert targets({"/": '<a href="/sitemap.xml">'}, sitemap=False) == ["/", "/sitemap.xml"]


def test_a_limit_ends_a_crawl_of_a_site_without_an_end() -> None:
    class Endless(Site):
        def exchange(self, request: RequestLike) -> Response:
            assert isinstance(request, Request)
            return page("text/html", f'<a href="{request.target.rstrip("/")}/x">')

    assert len(list(crawl(Endless({})))) == LIMIT
    assert len(list(crawl(Endless({}), limit=3))) == 3


def test_queries_of_one_path_are_bounded_and_other_paths_are_not_held_back() -> None:
    queries = "".join(f'<a href="/list?page={number}">' for number in range(VARIANTS + 5))
    found = targets({"/": f'{queries}<a href="/list"><a href="/other?page=1">'}, sitemap=False)
    assert found[1:] == [*(f"/list?page={number}" for number in range(VARIANTS)), "/list", "/other?page=1"]
    assert len(targets({"/": queries}, sitemap=False, variants=2)) == 3


@pytest.mark.parametrize(("depth", "found"), [(0, ["/"]), (1, ["/", "/a"]), (None, ["/", "/a", "/b", "/c"])])
def test_depth_is_counted_in_links_from_the_start(depth: int | None, found: list[str]) -> None:
    pages = {"/": '<a href="/a">', "/a": '<a href="/b">', "/b": '<a href="/c">'}
    assert targets(pages, depth=depth) == found


def test_patterns_choose_what_is_asked_for() -> None:
    pages = {"/": "".join(f'<a href="{each}">' for each in ("/blog/1", "/blog/2?x=1", "/shop/1"))}
    assert targets(pages, include=["/blog/*"]) == ["/", "/blog/1", "/blog/2?x=1"]
    assert targets(pages, include=["/blog/2"]) == ["/", "/blog/2?x=1"]
    assert targets(pages, exclude=["/blog/*"]) == ["/", "/shop/1"]
    assert targets(pages, exclude=["*x=1"]) == ["/", "/blog/1", "/shop/1"]
    assert targets(pages, include=[re.compile("^/blog"), re.compile("p/1$")], exclude=[re.compile("x")]) == [
        "/",
        "/blog/1",
        "/shop/1",
    ]


def test_further_hosts_belong_to_the_site() -> None:
    pages = {"/": '<a href="https://www.shop.example/a"><a href="http://shop.example:8080/b">'}
    assert targets(pages) == ["/"]
    assert targets(pages, hosts=["www.shop.example", "shop.example:8080"]) == ["/", "/a", "/b"]


def test_headers_go_with_every_request() -> None:
    site = Site({"/": '<a href="/a">', "/a": ""})
    found = list(crawl(site, headers=(("Authorization", "Bearer x"),)))
    assert {request.headers for request in site.asked} == {(("Authorization", "Bearer x"),)}
    assert {request.headers for request in found} == {(("Authorization", "Bearer x"),)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "limit is at least 1"),
        ({"variants": 0}, "variants is at least 1"),
        ({"depth": -1}, "depth is at least 0"),
        ({"start": "http://elsewhere/"}, 'a target begins with "/"'),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        crawl(Site({}), **options)


def test_a_large_page_is_read_to_a_bound_only() -> None:
    text = f'<a href="/near">{"x" * 3_000_000}<a href="/far">'
    assert targets({"/": text}, sitemap=False) == ["/", "/near"]


def test_a_crawl_of_the_same_site_is_the_same() -> None:
    pages = {"/": json.dumps({"url": "/a"}), "/a": '<a href="/b"><a href="/c">'}
    assert targets(pages) == targets(pages)
