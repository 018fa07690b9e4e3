"""Requests found by following a site's own links, so that a comparison has something to ask for.

Looked at are HTML (`a`, `area`, `link`, `script`, `img`, `source`, `iframe`, media, `object`, forms with
the method GET), the headers `Location` and `Link`, `sitemap.xml`, style sheets (`url(…)`), and in JSON
the values under keys such as `href` and `next`. Scripts are not run.

A crawl sends GET only, which by RFC 9110 section 9.2.1 changes nothing. Sites do not always keep to
that, so links that look as if they end a session or take something away are left alone: see `UNSAFE`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from typing import Any, Protocol, TypeAlias
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from ...exceptions import UsageError
from ..exchange import Headers, Request, RequestLike, Response

Pattern: TypeAlias = "str | re.Pattern[str]"
"""Which addresses: a shell pattern such as "/blog/*", compared with the path, and with path and query; or
a regular expression, searched for in path and query."""

LIMIT = 200
"""How many requests a crawl finds at most: enough for most sites' kinds of pages, and soon done."""

VARIANTS = 20
"""How many queries of one path are asked for: filters and calendars combine without an end."""

UNSAFE = re.compile(
    r"(?<![a-z])(?:log[-_]?(?:out|off)|sign[-_]?(?:out|off)|delete|remove|destroy|purge|unsubscribe"
    r"|deactivate|revoke|cancel|reset|uninstall|shutdown)(?![a-z])",
    re.IGNORECASE,
)
"""What a link must not have as a word of its path or query. `/logout` and `?action=delete` have,
`/deleted-scenes` has not."""

# Of a larger page only the beginning is looked at, in bytes; the links of a site are there.
_LARGEST = 2 * 1024 * 1024

# Where the attribute of an element is the address of something that a browser asks for or goes to.
_LINKS = {
    "a": ("href",),
    "area": ("href",),
    "audio": ("src",),
    "embed": ("src",),
    "frame": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "video": ("src", "poster"),
}

# `<link>`s that name a host to get ready for, not something to ask for.
_HINTS = frozenset({"preconnect", "dns-prefetch"})

# Inputs that send nothing unless they are clicked or chosen, or hold what is not to be made up.
_SILENT = frozenset({"submit", "button", "image", "reset", "file"})

# Keys under which APIs keep the address of something else.
_JSON_KEYS = frozenset(
    {"href", "url", "uri", "link", "self", "next", "prev", "previous", "first", "last", "location", "@id"}
)

_CSS_ADDRESS = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
_LOCATION_IN_SITEMAP = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*([^<\]\s]+)", re.IGNORECASE)
_LINK_HEADER = re.compile(r"<([^>]*)>")
_REFRESH = re.compile(r"^\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?['\"]?([^'\"]+)", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class Asks(Protocol):
    """Whatever sends a request and gives the response, such as `bridge.testing.Client`."""

    def exchange(self, request: RequestLike, /) -> Response:
        """The response; it does not raise for what an app did."""


def crawl(
    client: Asks,
    start: str = "/",
    *,
    limit: int = LIMIT,
    depth: int | None = None,
    variants: int = VARIANTS,
    include: Iterable[Pattern] = (),
    exclude: Iterable[Pattern] = (),
    unsafe: re.Pattern[str] | None = UNSAFE,
    hosts: Iterable[str] = (),
    headers: Headers = (),
    sitemap: bool = True,
) -> Iterator[Request]:
    """Every address that can be reached from `start`, each once, as a GET request.

    The order is that of the distance from the start, and among the links of a page that in which they
    stand there; two crawls of a site that has not changed are the same. Addresses that do not answer
    are given too. Nothing leaves the site: a link counts if it is relative, or names the client's
    `base_url` or one of `hosts`. Runs in the calling thread, one request at a time, and as it goes:
    the request is sent before it is given.

    Args:
        client: what is asked; its cookies are those of one visitor.
        start: path and query to begin with.
        limit: how many requests there are at most.
        depth: how many links away from the start they are at most; `None` for no limit.
        variants: how many queries of one path there are at most.
        include: only addresses that one of these matches are asked for, and the start; see `Pattern`.
        exclude: addresses that one of these matches are not asked for.
        unsafe: a link in whose path or query it is found is left alone; `None` takes them all.
        hosts: further names of the site, such as "www.example.com" or "example.com:8080".
        headers: sent with every request.
        sitemap: ask for `/sitemap.xml` too. It is given if it is there.

    Raises:
        UsageError: a bound is below 1, or `start` is no path.
    """
    for name, bound in (("limit", limit), ("variants", variants)):
        if bound < 1:
            raise UsageError(f"{name} is at least 1; got {bound}")
    if depth is not None and depth < 0:
        raise UsageError(f"depth is at least 0, or None for no limit; got {depth}")
    first = Request("GET", start, tuple(headers))
    site = _Site(client, hosts)
    chosen = _Choice(tuple(include), tuple(exclude), unsafe, variants)
    return _walk(client, first, site, chosen, limit, depth, sitemap)


def _walk(
    client: Asks, first: Request, site: _Site, chosen: _Choice, limit: int, depth: int | None, sitemap: bool
) -> Iterator[Request]:
    # A target waits here once, with its distance. What is optional is given only if it is there.
    waiting: deque[tuple[Request, int, bool]] = deque([(first, 0, False)])
    known = {first.target}
    if sitemap and first.target != "/sitemap.xml" and chosen.takes("/sitemap.xml"):
        known.add("/sitemap.xml")
        waiting.append((Request("GET", "/sitemap.xml", first.headers), 0, True))
    given = 0
    while waiting and given < limit:
        request, distance, optional = waiting.popleft()
        response = client.exchange(request)
        if not optional or response.status == 200:
            given += 1
            yield request
        elif not 300 <= response.status < 400:
            continue
        if depth is not None and distance >= depth:
            continue
        for link in links(response, site.base + request.target):
            target = site.target_of(link)
            if target is None or target in known or not chosen.takes(target):
                continue
            known.add(target)
            waiting.append((Request("GET", target, first.headers), distance + 1, False))


class _Site:
    """What belongs to the site, by host and port."""

    def __init__(self, client: Asks, hosts: Iterable[str]) -> None:
        own = urlsplit(str(getattr(client, "base_url", "") or "http://testserver"))
        self.base = f"{own.scheme}://{own.netloc.rpartition('@')[2]}"
        self._places = {_place(own)}
        for host in hosts:
            self._places |= {_place(urlsplit(f"{scheme}://{host}")) for scheme in _PORTS}

    def target_of(self, link: str) -> str | None:
        """Path and query of an absolute address; `None` if it is not of this site."""
        try:
            parts = urlsplit(link)
            if parts.scheme not in _PORTS or _place(parts) not in self._places:
                return None
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            return Request("GET", target).target  # escaped as it will be sent
        except ValueError:  # [ without ], a port that is none
            return None


def _place(parts: SplitResult) -> tuple[str, int | None]:
    """Host and port. The ports of http and https are one place: sites send people from one to the other."""
    port = parts.port
    return (parts.hostname or "").lower(), None if port in (None, *_PORTS.values()) else port


class _Choice:
    """Which links are followed."""

    def __init__(
        self,
        include: Sequence[Pattern],
        exclude: Sequence[Pattern],
        unsafe: re.Pattern[str] | None,
        variants: int,
    ) -> None:
        self._include = include
        self._exclude = exclude
        self._unsafe = unsafe
        self._variants = variants
        self._queries: Counter[str] = Counter()

    def takes(self, target: str) -> bool:
        """Whether a target that was not seen before is to be asked for; it is counted if so."""
        path, _, query = target.partition("?")
        if self._unsafe is not None and self._unsafe.search(target):
            return False
        if self._include and not _matches(target, path, self._include):
            return False
        if _matches(target, path, self._exclude) or (query and self._queries[path] >= self._variants):
            return False
        self._queries[path] += bool(query)
        return True


def _matches(target: str, path: str, patterns: Sequence[Pattern]) -> bool:
    return any(
        fnmatchcase(target, pattern) or fnmatchcase(path, pattern)
        if isinstance(pattern, str)
        else pattern.search(target) is not None
        for pattern in patterns
    )


# --- what a response links to


def links(response: Response, address: str) -> list[str]:
    """The absolute addresses that a response names, in order, without fragments, each once.

    Args:
        response: of any type; what cannot be read has no links.
        address: where it came from.
    """
    kind, charset = _type_of(response)
    base, found = address, _in_headers(response)
    text = response.body[:_LARGEST].decode(charset, "replace")
    if kind in ("text/html", "application/xhtml+xml"):
        page = _Page(address)
        page.read(text)
        base, found = page.base, [*found, *page.found]
    elif kind == "text/css":
        found += [one or other for one, other in _CSS_ADDRESS.findall(text)]
    elif kind in ("text/xml", "application/xml"):
        found += [_unescaped(each) for each in _LOCATION_IN_SITEMAP.findall(text)]
    elif kind == "application/json" or kind.endswith("+json"):
        found += _in_json(text)
    return list(dict.fromkeys(each for each in (_joined(base, link) for link in found) if each))


def _type_of(response: Response) -> tuple[str, str]:
    """The type of the body in lower case, and its encoding as far as Python knows it."""
    kind, *parameters = (response.header("Content-Type") or "").split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            try:
                "".encode(charset := value.strip(" \"'"))
                return kind.strip().lower(), charset
            except LookupError:
                break
    return kind.strip().lower(), "utf-8"


def _in_headers(response: Response) -> list[str]:
    found = response.all("Location") + response.all("Content-Location")
    return found + [link for value in response.all("Link") for link in _LINK_HEADER.findall(value)]


def _in_json(text: str) -> list[str]:
    """Strings under `_JSON_KEYS` that are an address or a path from the root."""
    try:
        waiting: deque[tuple[bool, Any]] = deque([(False, json.loads(text))])
    except (ValueError, RecursionError):
        return []
    found = []
    while waiting:
        named, value = waiting.popleft()
        if isinstance(value, dict):
            waiting.extend((str(key).lower() in _JSON_KEYS, each) for key, each in value.items())
        elif isinstance(value, list):
            waiting.extend((named, each) for each in value)
        elif named and isinstance(value, str) and value.startswith(("/", "http://", "https://")):
            found.append(value)
    return found


def _joined(base: str, link: str) -> str:
    """The absolute address of a link, without its fragment; empty if it is none."""
    # Browsers drop these inside and around an address (WHATWG URL, basic URL parser).
    link = re.sub(r"[\t\r\n]", "", link).strip(" \f").partition("#")[0]
    try:
        return urljoin(base, link) if link else ""
    except ValueError:
        return ""


def _unescaped(text: str) -> str:
    return text.replace("&amp;", "&")


class _Page(HTMLParser):
    """Collects what a page links to, as it stands there, and the address that it is relative to."""

    def __init__(self, address: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = address
        self.found: list[str] = []
        self._has_base = False
        self._form: _Form | None = None

    def read(self, text: str) -> None:
        """Take in a page, however badly it is written."""
        self.feed(text)
        self.close()
        self._end_form()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each start tag; names are in lower case, character references resolved."""
        given = {name: value or "" for name, value in reversed(attrs)}  # of two alike the first one counts
        if tag == "base" and not self._has_base and "href" in given:
            self._has_base = True
            self.base = _joined(self.base, given["href"]) or self.base
        elif tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.found += _REFRESH.findall(given.get("content", ""))
        elif tag == "form":
            self._end_form()
            self._form = _Form(given)
        elif self._form is not None and tag in ("input", "select", "option", "textarea"):
            self._form.add(tag, given)
        if tag in _LINKS and not _leads_nowhere(tag, given):
            for name in _LINKS[tag]:
                if name in given:
                    self.found += _srcset(given[name]) if name == "srcset" else [given[name]]

    def handle_endtag(self, tag: str) -> None:
        """Called for each end tag."""
        if tag == "form":
            self._end_form()
        elif self._form is not None:
            self._form.end(tag)

    def handle_data(self, data: str) -> None:
        """Called for the text between tags."""
        if self._form is not None:
            self._form.text(data)

    def _end_form(self) -> None:
        if self._form is not None:
            self.found += self._form.address()
            self._form = None


def _leads_nowhere(tag: str, given: dict[str, str]) -> bool:
    if tag == "link":
        return bool(_HINTS & set(given.get("rel", "").lower().split()))
    # Frameworks' scripts send such a link by the method that it names.
    return tag == "a" and given.get("data-method", "get").lower() != "get"


def _srcset(value: str) -> list[str]:
    """The addresses of `image.png 1x, image2.png 2x`."""
    return [words[0] for words in (each.split() for each in re.split(r",\s+", value)) if words]


class _Form:
    """What a form would send if it were submitted as it stands."""

    def __init__(self, given: dict[str, str]) -> None:
        # A form that asks for a password is none to be sent as it stands; see `add`.
        self._wanted = given.get("method", "get").strip().lower() in ("get", "")
        self._action = given.get("action", "")
        self._pairs: list[tuple[str, str]] = []
        self._area: list[str] | None = None
        self._select: tuple[str, list[tuple[str, bool]]] | None = None
        self._option: list[str] | None = None

    def add(self, tag: str, given: dict[str, str]) -> None:
        """A control of it."""
        name, kind = given.get("name", ""), given.get("type", "text").lower()
        if tag == "option":
            self._end_option()
            if self._select is not None and "disabled" not in given:
                value = given.get("value")
                self._select[1].append((value or "", "selected" in given))
                self._option = [] if value is None else None
        elif kind == "password":
            self._wanted = False
        elif not name or "disabled" in given:
            return
        elif tag == "textarea":
            self._area = []
            self._pairs.append((name, ""))
        elif tag == "select":
            self._select = (name, [])
        elif kind in ("checkbox", "radio"):
            if "checked" in given:
                self._pairs.append((name, given.get("value", "on")))
        elif kind not in _SILENT:
            self._pairs.append((name, given.get("value", "")))

    def text(self, data: str) -> None:
        """Text in it."""
        for place in (self._area, self._option):
            if place is not None:
                place.append(data)

    def end(self, tag: str) -> None:
        """The end of an element in it."""
        if tag == "textarea" and self._area is not None:
            self._pairs[-1] = (self._pairs[-1][0], "".join(self._area))
            self._area = None
        elif tag == "option":
            self._end_option()
        elif tag == "select" and self._select is not None:
            self._end_option()
            name, options = self._select
            chosen = [value for value, selected in options if selected] or [value for value, _ in options[:1]]
            self._pairs += [(name, value) for value in chosen[-1:]]
            self._select = None

    def _end_option(self) -> None:
        if self._option is not None and self._select is not None:
            options = self._select[1]
            options[-1] = (" ".join("".join(self._option).split()), options[-1][1])
        self._option = None

    def address(self) -> list[str]:
        """Where it leads; none if it is not to be sent."""
        if not self._wanted:
            return []
        # The query of the action is replaced by the controls (HTML, form submission).
        path = self._action.partition("#")[0].partition("?")[0]
        return [f"{path}?{urlencode(self._pairs)}" if self._pairs else path or "?"]
