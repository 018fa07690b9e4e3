"""Header pairs to environ keys, and WSGI response headers to ASGI ones."""

from __future__ import annotations

import gc
import string
import sys
import threading
import time
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.counting import calls_of

from bridge.exceptions import BadRequest, InvalidHeader
from bridge.translate import headers

Pairs = list[tuple[bytes, bytes]]


def translated(pairs: Any, keep_underscores: bool = False) -> dict[str, object]:
    """The environ keys that these request headers make."""
    environ: dict[str, object] = {}
    headers.add_request_headers(environ, pairs, keep_underscores)
    return environ


@pytest.fixture
def empty_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of names that start empty and leave nothing behind."""
    for name in ("_key_cache", "_key_cache_keeping_underscores", "_name_cache", "_pair_cache"):
        monkeypatch.setattr(headers, name, {})


# -- requests: one header


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        pytest.param(
            (b"content-type", b"text/plain"),
            {"CONTENT_TYPE": "text/plain"},
            marks=pytest.mark.req("E-27"),
            id="content-type",
        ),
        pytest.param(
            (b"Content-Length", b"12"),
            {"CONTENT_LENGTH": "12"},
            marks=pytest.mark.req("E-27"),
            id="content-length of a scope that preserves case",
        ),
        pytest.param(
            (b"CONTENT-TYPE", b"a/b"),
            {"CONTENT_TYPE": "a/b"},
            marks=pytest.mark.req("E-27"),
            id="content-type in capitals",
        ),
        pytest.param(
            (b"content-length", b"0"),
            {"CONTENT_LENGTH": "0"},
            marks=pytest.mark.req("E-27"),
            id="a length of zero is a length",
        ),
        pytest.param(
            (b"content-encoding", b"gzip"),
            {"HTTP_CONTENT_ENCODING": "gzip"},
            marks=pytest.mark.req("E-27", "E-28"),
            id="other content headers are ordinary",
        ),
        pytest.param(
            (b"X-Lat", b" caf\xe9 "),
            {"HTTP_X_LAT": "caf\u00e9"},
            marks=pytest.mark.req("E-28"),
            id="latin-1, trimmed",
        ),
        pytest.param(
            (b"x-a", b"\t \ta\tb \t"), {"HTTP_X_A": "a\tb"}, marks=pytest.mark.req("E-28"), id="inner tab"
        ),
        pytest.param(
            (b"x-a", b"\xa0a\xa0"),
            {"HTTP_X_A": "\u00a0a\u00a0"},
            marks=pytest.mark.req("E-28"),
            id="only SP and HTAB are trimmed",
        ),
        pytest.param(
            (b"x-a", b"\xe2\x82\xac"),
            {"HTTP_X_A": "\u00e2\u0082\u00ac"},
            marks=pytest.mark.req("E-28"),
            id="UTF-8 bytes stay bytes",
        ),
        pytest.param(
            (b"authorization", b"Basic dTpw"),
            {"HTTP_AUTHORIZATION": "Basic dTpw"},
            marks=pytest.mark.req("E-28"),
            id="authorization",
        ),
        pytest.param(
            (b"host", b"ex.org:8000"),
            {"HTTP_HOST": "ex.org:8000"},
            marks=pytest.mark.req("E-28"),
            id="host",
        ),
        pytest.param(
            (b"x!#$%&'*+.^`|~1", b"v"),
            {"HTTP_X!#$%&'*+.^`|~1": "v"},
            marks=pytest.mark.req("E-28"),
            id="every token character",
        ),
        pytest.param((b"x-a", b""), {"HTTP_X_A": ""}, marks=pytest.mark.req("E-29"), id="empty value"),
        pytest.param(
            (b"x-a", b" \t "), {"HTTP_X_A": ""}, marks=pytest.mark.req("E-28", "E-29"), id="blank value"
        ),
        pytest.param((b"x_a", b"evil"), {}, marks=pytest.mark.req("E-30"), id="underscore"),
        pytest.param((b"_", b"evil"), {}, marks=pytest.mark.req("E-30"), id="underscore alone"),
        pytest.param(
            (b"content_length", b"99"), {}, marks=pytest.mark.req("E-27", "E-30"), id="content_length"
        ),
        pytest.param((b"Content_Type", b"a/b"), {}, marks=pytest.mark.req("E-27", "E-30"), id="content_type"),
        pytest.param((b"proxy", b"http://evil"), {}, marks=pytest.mark.req("E-31"), id="proxy"),
        pytest.param((b"Proxy", b"http://evil"), {}, marks=pytest.mark.req("E-31"), id="Proxy"),
        pytest.param(
            (b"proxy-authorization", b"x"),
            {"HTTP_PROXY_AUTHORIZATION": "x"},
            marks=pytest.mark.req("E-31", "E-35"),
            id="proxy-authorization is another header",
        ),
        pytest.param((b"transfer-encoding", b"chunked"), {}, marks=pytest.mark.req("E-35"), id="te"),
        pytest.param((b"Transfer-Encoding", b"gzip"), {}, marks=pytest.mark.req("E-35"), id="TE"),
        *(
            pytest.param(
                (name, b"v"),
                {"HTTP_" + name.decode().upper().replace("-", "_"): "v"},
                marks=pytest.mark.req("E-35"),
                id=f"hop-by-hop {name.decode()}",
            )
            for name in (b"connection", b"keep-alive", b"te", b"upgrade", b"trailer", b"proxy-connection")
        ),
    ],
)
def test_one_request_header(pair: tuple[bytes, bytes], expected: dict[str, str]) -> None:
    assert translated([pair]) == expected
    assert translated([pair]) == expected  # the second time, its name may be cached


@pytest.mark.req("E-02", "E-28")
@pytest.mark.parametrize(
    "name",
    [b"", b"x a", b"x:", b":authority", b"x\xe9", b"x\r\nx-b", b"x\x00", b"x\t", b"(x)", b"x,", b"/", b'"x"'],
)
def test_a_request_header_whose_name_is_no_token_has_no_key(name: bytes) -> None:
    """No server passes one on; if one did, no key could hold it faithfully."""
    assert translated([(name, b"v"), (b"x-ok", b"v")]) == {"HTTP_X_OK": "v"}


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\x00"])
def test_a_request_value_that_could_split_a_header_is_refused(byte: bytes) -> None:
    for value in (byte, b"a" + byte + b"b", b"a" + byte, byte + b"a"):
        with pytest.raises(BadRequest, match="HTTP_X_SECRET") as caught:
            translated([(b"x-secret", value)])
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("pair_type", [tuple, list])
def test_pairs_may_be_lists(pair_type: Any) -> None:
    """daphne and JSON-made scopes have lists."""
    assert translated([pair_type((b"x-a", b"1"))]) == {"HTTP_X_A": "1"}
    assert translated(iter([pair_type((b"x-a", b"1"))])) == {"HTTP_X_A": "1"}


# -- requests: names that could be mistaken


@pytest.mark.req("E-30")
@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(b"x-a", b"good"), (b"x_a", b"evil")], {"HTTP_X_A": "good"}),
        ([(b"x_a", b"evil"), (b"x-a", b"good")], {"HTTP_X_A": "good"}),
        (
            [(b"x-forwarded-user", b"alice"), (b"x_forwarded_user", b"admin")],
            {"HTTP_X_FORWARDED_USER": "alice"},
        ),
        ([(b"x-forwarded_for", b"6.6.6.6"), (b"X_FORWARDED-FOR", b"6.6.6.6")], {}),
    ],
)
def test_underscore_names_never_merge_with_hyphen_names(pairs: Pairs, expected: dict[str, str]) -> None:
    assert translated(pairs) == expected


@pytest.mark.req("E-30")
def test_underscore_names_are_kept_if_asked_for() -> None:
    assert translated([(b"x_a", b"1"), (b"X_B-c", b"2")], keep_underscores=True) == {
        "HTTP_X_A": "1",
        "HTTP_X_B_C": "2",
    }
    # What one adapter asked for does not reach another.
    assert translated([(b"x_a", b"1")]) == {}


@pytest.mark.req("E-27", "E-30", "E-35")
@pytest.mark.parametrize(
    "name", [b"content_length", b"Content_Type", b"transfer_encoding", b"TRANSFER_ENCODING"]
)
def test_names_that_imitate_framing_are_dropped_even_then(name: bytes) -> None:
    assert translated([(name, b"99")], keep_underscores=True) == {}


@pytest.mark.req("E-31")
def test_proxy_is_dropped_even_then() -> None:
    assert translated([(b"proxy", b"http://evil")], keep_underscores=True) == {}


@pytest.mark.req("E-35")
@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding"])
def test_a_transfer_encoding_is_reported_every_time(name: bytes) -> None:
    for _ in range(3):
        assert headers.add_request_headers({}, [(name, b"chunked")], False)
        assert not headers.add_request_headers({}, [(b"te", b"chunked")], False)


# -- requests: repeats


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param(
            [(b"x-d", b"1"), (b"x-d", b"2")],
            {"HTTP_X_D": "1,2"},
            marks=pytest.mark.req("E-32"),
            id="in order of arrival",
        ),
        pytest.param(
            [(b"x-d", b"1"), (b"x-e", b"a"), (b"X-D", b"2"), (b"x-e", b"b"), (b"x-d", b"3")],
            {"HTTP_X_D": "1,2,3", "HTTP_X_E": "a,b"},
            marks=pytest.mark.req("E-32"),
            id="interleaved, in any letter case",
        ),
        pytest.param(
            [(b"x-d", b""), (b"x-d", b" 2 "), (b"x-d", b"")],
            {"HTTP_X_D": ",2,"},
            marks=pytest.mark.req("E-29", "E-32"),
            id="empty and untrimmed ones",
        ),
        pytest.param(
            [(b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"x-forwarded-for", b"3.3.3.3")],
            {"HTTP_X_FORWARDED_FOR": "1.1.1.1, 2.2.2.2,3.3.3.3"},
            marks=pytest.mark.req("E-32"),
            id="lists",
        ),
        pytest.param(
            [(b"cookie", b"a=1"), (b"cookie", b"b=2")],
            {"HTTP_COOKIE": "a=1; b=2"},
            marks=pytest.mark.req("E-33"),
            id="cookie crumbs",
        ),
        pytest.param(
            [(b"cookie", b"sid=abc"), (b"Cookie", b"theme=dark; x=1"), (b"COOKIE", b"y=2")],
            {"HTTP_COOKIE": "sid=abc; theme=dark; x=1; y=2"},
            marks=pytest.mark.req("E-33"),
            id="more cookie crumbs",
        ),
        pytest.param(
            [(b"content-length", b"5"), (b"Content-Length", b" 5 ")],
            {"CONTENT_LENGTH": "5"},
            marks=pytest.mark.req("E-34"),
            id="equal lengths collapse",
        ),
        pytest.param(
            [(b"content-length", b"5")] * 50,
            {"CONTENT_LENGTH": "5"},
            marks=pytest.mark.req("E-34"),
            id="many equal lengths collapse",
        ),
    ],
)
def test_repeated_request_headers(pairs: Pairs, expected: dict[str, str]) -> None:
    assert translated(pairs) == expected


@pytest.mark.req("E-34")
@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(b"host", b"a"), (b"host", b"b")], id="two hosts"),
        pytest.param([(b"host", b"a"), (b"Host", b"a")], id="two equal hosts"),
        pytest.param([(b"content-type", b"a/b"), (b"content-type", b"c/d")], id="two content types"),
        pytest.param([(b"content-type", b"a/b"), (b"Content-Type", b"a/b")], id="two equal content types"),
        pytest.param([(b"content-length", b"5"), (b"content-length", b"6")], id="two lengths"),
        pytest.param(
            [(b"content-length", b"5"), (b"content-length", b"5"), (b"content-length", b"6")],
            id="the last differs",
        ),
        pytest.param([(b"content-length", b"5"), (b"content-length", b"")], id="one length is empty"),
    ],
)
def test_ambiguous_request_headers_are_refused(pairs: Pairs) -> None:
    with pytest.raises(BadRequest):
        translated(pairs)


# -- requests: cost


@pytest.mark.req("E-32", "H-07")
@pytest.mark.parametrize("name", [b"x-d", b"cookie", b"content-length"])
def test_many_repeats_are_joined_once(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """Joining at each repeat would copy what came before it: quadratic, and on the event loop."""
    joins = []
    joined = headers._joined

    def counting(key: str, first: str, others: list[str]) -> str:
        joins.append(len(others))
        return joined(key, first, others)

    monkeypatch.setattr(headers, "_joined", counting)
    environ = translated([(name, b"7")] * 100_000)
    assert joins == [99_999]
    ((_, value),) = environ.items()
    assert isinstance(value, str)
    assert value.count("7") == (1 if name == b"content-length" else 100_000)


@pytest.mark.req("E-32", "H-07")
def test_a_megabyte_of_repeats_takes_no_time_worth_mentioning() -> None:
    """Adapters that join at each repeat need 5 to 40 seconds for this, on the event loop."""
    began = time.process_time()
    environ = translated([(b"x-a", b"v" * 20)] * 80_000)
    assert time.process_time() - began < 2
    assert environ == {"HTTP_X_A": ",".join(["v" * 20] * 80_000)}


class CountingBytes(bytes):
    """Counts how often a value is looked into."""

    decoded = 0

    def decode(self, *arguments: Any, **options: Any) -> str:
        CountingBytes.decoded += 1
        return super().decode(*arguments, **options)


def calls_during(pairs: Pairs) -> int:
    """How many calls, of Python or C functions, the translation of `pairs` makes."""
    return calls_of(lambda: translated(pairs))


@pytest.mark.req("E-32", "H-07")
@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(b"x-a", b"v" * 20)], id="one name"),
        pytest.param(
            [(b"cookie", b"a=1"), (b"x-b", b" v "), (b"x_c", b"v"), (b"x-d", b"\xff")], id="several"
        ),
    ],
)
def test_twice_the_headers_take_twice_the_calls(pairs: Pairs) -> None:
    small, large = calls_during(pairs * 1_000), calls_during(pairs * 10_000)
    assert large <= 10 * small


@pytest.mark.req("H-07")
def test_each_value_is_looked_into_once() -> None:
    CountingBytes.decoded = 0
    translated([(b"x-a", CountingBytes(b"v"))] * 1_000)
    assert CountingBytes.decoded == 1_000


@pytest.mark.req("H-07")
def test_no_number_of_headers_is_too_many(empty_caches: None) -> None:
    """A limit is the server's business; one here would turn a valid request into an error."""
    environ = translated([(b"x-%d" % number, b"v") for number in range(50_000)])
    assert len(environ) == 50_000
    assert len(headers._key_cache) <= headers.CACHE_LIMIT


@pytest.mark.req("H-07")
def test_names_that_clients_invent_cannot_fill_the_memory(empty_caches: None) -> None:
    """The cache is bounded in bytes, not only in entries."""
    for number in range(3_000):
        translated([(b"x-%d-" % number + b"a" * 6_000, b"v")])
    assert sum(map(len, headers._key_cache)) < 1_000_000


def test_names_that_clients_invent_do_not_displace_ordinary_ones_for_good(empty_caches: None) -> None:
    """After a flood of strange names, an ordinary one is cached again."""
    translated([(b"x-%d" % number, b"v") for number in range(3 * headers.CACHE_LIMIT)])
    translated([(b"accept", b"*/*")])
    assert b"accept" in headers._key_cache


def test_names_that_apps_invent_cannot_fill_the_memory(empty_caches: None) -> None:
    for number in range(3_000):
        name = f"X-{number}-" + "a" * 6_000
        assert headers.response_headers([(name, "v")]) == [(name.lower().encode(), b"v")]
    assert sum(map(len, headers._name_cache)) < 1_000_000


def test_values_that_apps_echo_cannot_fill_the_memory(empty_caches: None) -> None:
    """An origin that the client sent may come back in a header whose pairs are remembered."""
    for number in range(3_000):
        value = f"http://{number}." + "a" * 6_000
        pair = ("Access-Control-Allow-Origin", value)
        assert headers.response_headers([pair]) == [(b"access-control-allow-origin", value.encode())]
    assert len(headers._pair_cache) <= headers.CACHE_LIMIT
    assert sum(len(value) for _, value in headers._pair_cache) < 4_000_000


class HeavyText(str):
    """A str that holds on to something."""


def test_remembered_pairs_do_not_keep_objects_of_the_app(empty_caches: None) -> None:
    name, value = HeavyText("Content-Type"), HeavyText("text/plain")
    references = [weakref.ref(name), weakref.ref(value)]
    assert headers.response_headers([(name, value)]) == [(b"content-type", b"text/plain")]
    del name, value
    gc.collect()
    assert [reference() for reference in references] == [None, None]


# -- requests: anything at all


@pytest.mark.req("E-02", "E-30", "E-31")
@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=8), st.booleans())
def test_any_bytes_make_an_environ_or_a_bad_request(pairs: Pairs, keep_underscores: bool) -> None:
    try:
        environ = translated(pairs, keep_underscores)
    except BadRequest:
        return
    for key, value in environ.items():
        assert key in ("CONTENT_TYPE", "CONTENT_LENGTH") or key.startswith("HTTP_")
        assert key.isascii()
        assert type(key) is str
        assert type(value) is str
        assert value.encode("latin-1").strip(b" \t") == value.encode("latin-1")
    assert "HTTP_PROXY" not in environ
    assert not environ.keys() & {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"}


TOKEN = st.text(string.ascii_letters + string.digits + "-!#$%&'*+.^`|~", min_size=1, max_size=8)
FIELD_VALUE = st.binary(max_size=12).filter(lambda value: not {0, 10, 13} & set(value))


@pytest.mark.req("E-28", "E-32")
@given(st.lists(st.tuples(TOKEN.map(str.encode), FIELD_VALUE), max_size=8))
def test_ordinary_headers_are_all_there_in_order(pairs: Pairs) -> None:
    special = {b"content-type", b"content-length", b"host", b"cookie", b"proxy", b"transfer-encoding"}
    pairs = [pair for pair in pairs if pair[0].lower() not in special]
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        key = "HTTP_" + name.decode().upper().replace("-", "_")
        expected.setdefault(key, []).append(value.decode("latin-1").strip(" \t"))
    assert translated(pairs) == {key: ",".join(values) for key, values in expected.items()}


# -- requests: environ keys to pairs


@pytest.fixture
def known_headers(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, tuple[bytes, bytes]]]:
    """What is remembered of keys and values, empty; what a test leaves in it is forgotten."""
    empty: dict[str, dict[str, tuple[bytes, bytes]]] = {}
    monkeypatch.setattr(headers, "_known_headers", empty)
    singles = {key: {"": known[""]} for key, known in headers._known_single.items()}
    monkeypatch.setattr(headers, "_known_single", singles)
    return empty


@pytest.mark.req("S-09", "S-11", "S-12")
@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("HTTP_ACCEPT", b"accept"),
        ("HTTP_X_Y", b"x-y"),
        ("HTTP_X-Y", b"x-y"),
        ("HTTP__", b"-"),
        ("HTTP_HTTP_X", b"http-x"),
        ("HTTP_TRANSFER_ENCODING", b"transfer-encoding"),
        ("HTTP_PROXY_CONNECTION", b"proxy-connection"),
        ("HTTP_PROXY", b""),
        ("HTTP_HOST", b""),
        ("HTTP_CONTENT_TYPE", b""),
        ("HTTP_CONTENT_LENGTH", b""),
        ("HTTP_CONTENT-length", b""),
        ("HTTP_", b""),
        ("HTTP_X Y", b""),
        ("HTTP_X\n", b""),
        ("HTTP_\u212a", b""),
        ("CONTENT_TYPE", b""),
        ("PATH", b""),
        ("wsgi.input", b""),
        ("", b""),
    ],
)
def test_the_name_of_an_environ_key(key: str, name: bytes) -> None:
    """U+212A would become an ASCII k in lower case."""
    assert headers.scope_name(key) == name


@pytest.mark.req("S-09", "S-10", "S-12")
@given(st.dictionaries(st.text(max_size=8).map("HTTP_{}".format), st.text(max_size=8), max_size=4))
def test_remembering_changes_nothing(environ: dict[str, str]) -> None:
    first = headers.scope_headers(environ)
    assert headers.scope_headers(environ) == first
    assert headers.scope_headers({**environ, "wsgi.input": object(), "x": [1]}) == first


@pytest.mark.req("S-09")
def test_headers_keep_the_order_of_the_environ_between_host_and_content_type(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]],
) -> None:
    environ = {"CONTENT_TYPE": "a/b", "HTTP_B": "1", "HTTP_A": "2", "HTTP_HOST": "h", "HTTP_C": "3"}
    for _ in range(2):
        assert headers.scope_headers(environ) == [
            (b"host", b"h"),
            (b"b", b"1"),
            (b"a", b"2"),
            (b"c", b"3"),
            (b"content-type", b"a/b"),
        ]


def remembered(known: dict[str, dict[str, tuple[bytes, bytes]]]) -> set[str]:
    """Every value that is remembered for any key."""
    return {value for each in (*known.values(), *headers._known_single.values()) for value in each}


def test_only_values_that_repeat_are_remembered(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]],
) -> None:
    """Credentials and tokens must not linger in the process, nor one-time values fill it."""
    headers.scope_headers(
        {
            "HTTP_HOST": "h",
            "HTTP_ACCEPT": "*/*",
            "HTTP_USER_AGENT": "curl",
            "HTTP_COOKIE": "secret=1",
            "HTTP_AUTHORIZATION": "Basic secret",
            "HTTP_PROXY_AUTHORIZATION": "Basic secret",
            "HTTP_X_API_KEY": "secret",
            "HTTP_X_CSRFTOKEN": "secret",
            "HTTP_REFERER": "http://h/?secret",
            "CONTENT_TYPE": "text/plain",
        }
    )
    assert remembered(known_headers) == {"", "h", "*/*", "curl", "text/plain"}


@pytest.mark.parametrize("key", ["HTTP_ACCEPT", "HTTP_HOST", "CONTENT_TYPE"])
def test_values_that_clients_invent_cannot_fill_the_memory(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]], key: str
) -> None:
    name = key.removeprefix("HTTP_").lower().replace("_", "-").encode()
    for number in range(2_000):
        for value in (f"v{number}", f"v{number}" + "a" * 6_000):
            assert headers.scope_headers({key: value}) == [(name, value.encode())]
    assert len(remembered(known_headers)) <= headers._KNOWN_VALUES_LIMIT + 1
    assert sum(map(len, remembered(known_headers))) < 50_000


def test_values_that_clients_invent_do_not_displace_ordinary_ones_for_good(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]],
) -> None:
    for number in range(3 * headers._KNOWN_VALUES_LIMIT):
        headers.scope_headers({"HTTP_ACCEPT": f"v{number}"})
    headers.scope_headers({"HTTP_ACCEPT": "*/*"})
    assert "*/*" in known_headers["HTTP_ACCEPT"]


def test_keys_that_clients_invent_cannot_fill_the_memory(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]],
) -> None:
    for number in range(3_000):
        for key in (f"HTTP_X{number}", f"HTTP_X{number}_" + "A" * 6_000):
            ((name, value),) = headers.scope_headers({key: "v"})
            assert (name, value) == (key[5:].lower().replace("_", "-").encode(), b"v")
    assert len(known_headers) <= headers.CACHE_LIMIT
    assert sum(map(len, known_headers)) < 1_000_000


def test_remembered_values_do_not_keep_objects_of_a_middleware(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]],
) -> None:
    accept, content_type = HeavyText("*/*"), HeavyText("text/plain")
    references = [weakref.ref(accept), weakref.ref(content_type)]
    assert headers.scope_headers({"HTTP_ACCEPT": accept, "CONTENT_TYPE": content_type}) == [
        (b"accept", b"*/*"),
        (b"content-type", b"text/plain"),
    ]
    del accept, content_type
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_threads_that_fill_and_empty_what_is_remembered_do_not_disturb_each_other(
    known_headers: dict[str, dict[str, tuple[bytes, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds so small that nearly every request empties something that another is reading."""
    monkeypatch.setattr(headers, "CACHE_LIMIT", 3)
    monkeypatch.setattr(headers, "_KNOWN_VALUES_LIMIT", 2)
    wrong: list[object] = []

    def serve(thread: int) -> None:
        try:
            for number in range(1_500):
                value = f"{thread}.{number % 5}"
                environ = {"HTTP_HOST": value, "HTTP_ACCEPT": value, f"HTTP_X{number % 7}": value}
                found = headers.scope_headers(environ)
                expected = [(b"host", value), (b"accept", value), (b"x%d" % (number % 7), value)]
                if found != [(name, each.encode()) for name, each in expected]:
                    wrong.append(found)
        except BaseException as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(50)
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


@pytest.mark.req("A-07", "E-34")
@pytest.mark.parametrize(("digits", "number"), [("0", 0), ("3", 3), ("007", 7), ("1" * 30, int("1" * 30))])
def test_a_length_is_ascii_digits(digits: str, number: int) -> None:
    assert headers.content_length(digits) == number


@pytest.mark.req("A-07", "E-34")
@pytest.mark.parametrize("digits", ["", "+3", "-3", "1_0", " 3", "3 ", "3,3", "\u0663", "\u00b2", "3" * 5000])
def test_any_other_length_is_refused(digits: str) -> None:
    with pytest.raises(BadRequest, match="Content-Length") as caught:
        headers.content_length(digits)
    assert len(str(caught.value)) < 100


# -- responses


@pytest.mark.req("W-10")
@pytest.mark.parametrize(
    ("given_headers", "expected"),
    [
        ([], []),
        ([("Content-Type", "text/html")], [(b"content-type", b"text/html")]),
        (
            [("Set-Cookie", "a=1"), ("X-A", "1"), ("Set-Cookie", "b=2"), ("set-cookie", "a=1")],
            [(b"set-cookie", b"a=1"), (b"x-a", b"1"), (b"set-cookie", b"b=2"), (b"set-cookie", b"a=1")],
        ),
        ([("X-A", " \tv\t ")], [(b"x-a", b"v")]),
        ([("X-A", "")], [(b"x-a", b"")]),
        ([("X-A", "   ")], [(b"x-a", b"")]),
        ([("X-A", "a\tb")], [(b"x-a", b"a\tb")]),
        ([("X-A", "caf\u00e9")], [(b"x-a", b"caf\xe9")]),
        ([("X-A", "\u00ff\u0080\u00a0")], [(b"x-a", b"\xff\x80\xa0")]),
        ([("X-A", "\u00a0v\u00a0")], [(b"x-a", b"\xa0v\xa0")]),
        ([["X-A", "list"]], [(b"x-a", b"list")]),
        ([("x!#$%&'*+-.^_`|~9", "v")], [(b"x!#$%&'*+-.^_`|~9", b"v")]),
    ],
)
def test_response_headers_become_bytes_in_order(given_headers: object, expected: Pairs) -> None:
    for _ in range(2):  # the second time, names may be cached
        encoded = headers.response_headers(given_headers)
        assert encoded == expected
        assert type(encoded) is list
        assert all(type(pair) is tuple for pair in encoded)
        assert all(type(item) is bytes for pair in encoded for item in pair)


class Text(str):
    """A str subclass, such as the translated or "safe" strings of frameworks."""


@pytest.mark.req("W-10")
def test_response_headers_of_str_subclasses_become_exact_bytes() -> None:
    for pair in ((Text("X-Sub"), Text("v")), ("X-Sub", Text(" v ")), (Text("X-Sub"), "v")):
        encoded = headers.response_headers([pair])
        assert encoded == [(b"x-sub", b"v")]
        assert all(type(item) is bytes for item in encoded[0])


@pytest.mark.req("H-08")
def test_date_and_server_pass_and_are_not_added() -> None:
    pairs = [("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "app")]
    assert headers.response_headers(pairs) == [
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"server", b"app"),
    ]
    assert headers.response_headers([]) == []


@pytest.mark.req("H-01", "W-11")
@pytest.mark.parametrize(
    "name",
    [
        "X A",
        "X:",
        "",
        ":status",
        " X",
        "X ",
        "X\t",
        "X\r\nY",
        "X\n",
        "X\x00",
        "X\x7f",
        "X\u00e9",
        "X\u20ac",
        "(X)",
        "X,Y",
    ],
)
def test_a_response_name_that_is_no_token_raises(name: str) -> None:
    with pytest.raises(InvalidHeader, match="is no header name") as caught:
        headers.response_headers([("X-Ok", "v"), (name, "v")])
    assert repr(name) in str(caught.value)


@pytest.mark.req("H-02", "W-11")
@pytest.mark.parametrize(
    "character",
    [chr(code) for code in [*range(32), 127] if code != 9],
    ids=lambda character: f"{ord(character):02x}",
)
def test_a_response_value_with_a_control_character_raises(character: str) -> None:
    for value in (f"secret{character}", f"{character}secret", f"sec{character}ret", character):
        with pytest.raises(InvalidHeader, match="'X-Named'") as caught:
            headers.response_headers([("X-Named", value)])
        assert "secret" not in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.req("H-02")
def test_an_injected_header_raises() -> None:
    with pytest.raises(InvalidHeader):
        headers.response_headers([("X-A", "1\r\nX-Inj: 1")])


@pytest.mark.req("W-11")
@pytest.mark.parametrize("value", ["\u0100", "caf\u00e9 \u20ac", "\U0001f600", "\ud800"])
def test_a_response_value_above_latin1_raises(value: str) -> None:
    with pytest.raises(InvalidHeader, match="'X-Named'") as caught:
        headers.response_headers([("X-Named", value)])
    assert value not in str(caught.value)


@pytest.mark.req("W-11")
@pytest.mark.parametrize("value", [b"v", 1, None, 1.5, ["v"]])
def test_a_response_value_that_is_no_str_raises(value: object) -> None:
    with pytest.raises(InvalidHeader, match=f"'X-Named'.*{type(value).__name__}"):
        headers.response_headers([("X-Named", value)])


@pytest.mark.req("W-11")
@pytest.mark.parametrize("name", [b"X-A", 1, None, ("X", "A")])
def test_a_response_name_that_is_no_str_raises(name: object) -> None:
    with pytest.raises(InvalidHeader, match=type(name).__name__):
        headers.response_headers([(name, "v")])


@pytest.mark.req("W-11")
@pytest.mark.parametrize("pair", [("X-A",), ("X-A", "1", "2"), None, 1, "X-A: 1", ()])
def test_a_response_header_that_is_no_pair_raises(pair: object) -> None:
    with pytest.raises(InvalidHeader, match=r"\(name, value\)"):
        headers.response_headers([pair])


@pytest.mark.req("W-11")
@pytest.mark.parametrize("pair", ["ab", {"a": 1, "b": 2}, {"a", "b"}])
def test_a_response_header_that_only_unpacks_like_a_pair_raises(pair: object) -> None:
    """A forgotten comma or bracket must not become a header."""
    with pytest.raises(InvalidHeader, match=r"\(name, value\)"):
        headers.response_headers([pair])


@pytest.mark.req("W-11")
@pytest.mark.parametrize(
    "given_headers",
    [None, (("X-A", "1"),), {"X-A": "1"}, "X-A: 1", iter([("X-A", "1")]), 1],
    ids=lambda value: type(value).__name__,
)
def test_response_headers_that_are_no_list_raise(given_headers: object) -> None:
    """PEP 3333 asks for a list, because servers and middleware change and repeat it."""
    with pytest.raises(InvalidHeader, match=type(given_headers).__name__):
        headers.response_headers(given_headers)


@pytest.mark.req("H-03")
def test_the_hop_by_hop_headers() -> None:
    assert {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
        "trailers",
    } == headers.HOP_BY_HOP


@pytest.mark.req("H-01", "H-02", "W-10", "W-11")
@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=8)), max_size=4))
def test_any_response_headers_are_encoded_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        encoded = headers.response_headers(pairs)
    except InvalidHeader:
        return
    assert [name for name, _ in encoded] == [name.lower().encode("ascii") for name, _ in pairs]
    assert [value for _, value in encoded] == [value.encode("latin-1").strip(b" \t") for _, value in pairs]
    for name, value in encoded:
        assert name
        assert not set(name) & set(b' ()<>@,;:\\"/[]?={}\t')
        assert all(32 < byte < 127 for byte in name)
        assert all((byte >= 32 and byte != 127) or byte == 9 for byte in value)


@pytest.mark.req("H-07")
def test_many_response_headers_are_linear() -> None:
    """A hundred thousand cookies are encoded, each on its own."""
    encoded = headers.response_headers([("Set-Cookie", "a=1")] * 100_000)
    assert encoded == [(b"set-cookie", b"a=1")] * 100_000
