"""Crossings between bytes and str: paths, percent escapes, absolute forms, status lines."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.exceptions import InvalidHeader
from bridge.translate import text

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates as well


@given(st.binary())
def test_latin1_keeps_every_byte(data: bytes) -> None:
    assert text.latin1(data).encode("latin-1") == data


@pytest.mark.req("E-13", "E-15")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/a", b"/a", id="ascii"),
        pytest.param("/\u00e9", b"/\xc3\xa9", id="two bytes"),
        pytest.param("/\u65e5", b"/\xe6\x97\xa5", id="three bytes"),
        pytest.param("/\U0001f600", b"/\xf0\x9f\x98\x80", id="four bytes"),
        pytest.param("/\udcff\udc80", b"/\xff\x80", id="surrogate escapes give back their byte"),
        pytest.param("/\ufffd", b"/\xef\xbf\xbd", id="the replacement character itself"),
        pytest.param("/a\x00\r\n%2f", b"/a\x00\r\n%2f", id="controls and a literal percent pass"),
        pytest.param("", b"", id="empty"),
    ],
)
def test_a_path_becomes_its_utf8_bytes(path: str, expected: bytes) -> None:
    assert text.path_bytes(path) == expected
    assert text.tunnel(path) == expected.decode("latin-1")


@pytest.mark.req("E-15")
@pytest.mark.parametrize("path", ["/\ud800x", "/\udfff", "/\udcff\ud800"])
def test_a_path_that_cannot_be_encoded_does_not_raise(path: str) -> None:
    assert text.path_bytes(path).startswith(b"/")
    assert all(ord(character) < 256 for character in text.tunnel(path))


@pytest.mark.req("E-13")
@given(ANY_TEXT)
@example("\ud800")
def test_no_path_raises_and_all_become_latin1(path: str) -> None:
    tunnelled = text.tunnel(path)
    assert tunnelled.encode("latin-1") == text.path_bytes(path)


@given(st.binary())
def test_bytes_decoded_with_surrogate_escapes_come_back(data: bytes) -> None:
    assert text.path_bytes(data.decode("utf-8", "surrogateescape")) == data


@pytest.mark.req("S-08")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", b""),
        ("abc", b"abc"),
        ("\u00e9\u00ff", b"\xe9\xff"),
        ("\u20ac", b"\xe2\x82\xac"),
        ("\u00e9\u20ac", b"\xc3\xa9\xe2\x82\xac"),
        ("\udcff", b"\xff"),
        ("\ud800", b"?"),
    ],
)
def test_a_wsgi_str_becomes_its_bytes_and_any_other_utf8(value: str, expected: bytes) -> None:
    assert text.wsgi_bytes(value) == expected


@given(st.binary())
def test_bytes_come_back_from_their_wsgi_form(data: bytes) -> None:
    assert text.wsgi_bytes(text.latin1(data)) == data


@pytest.mark.req("S-12")
@given(ANY_TEXT)
@example("\u010d\u010a")
def test_no_control_character_comes_into_being(value: str) -> None:
    """Taking the low byte of each character would turn U+010D U+010A into CR LF."""
    encoded = text.wsgi_bytes(value)
    assert [each for each in encoded if each < 32] == [ord(each) for each in value if each < " "]


@pytest.mark.req("S-03", "S-05")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/a", "/a"),
        ("/\u00c3\u00a9", "/\u00e9"),
        ("/\u00ff", "/\ufffd"),
        ("/\u00e6\u0097", "/\ufffd"),
        ("/\u65e5", "/\u65e5"),
        ("/\ud800", "/?"),
    ],
)
def test_a_wsgi_path_is_decoded_as_utf8(path: str, expected: str) -> None:
    assert text.untunnel(path) == expected


@pytest.mark.req("S-20")
@given(st.text())
def test_a_path_comes_back_from_its_tunnel(path: str) -> None:
    assert text.untunnel(text.tunnel(path)) == path


@pytest.mark.req("S-06")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/a", b"/a"),
        (b"/a%2Fb%20", b"/a/b "),
        (b"/%c3%A9\xff", b"/\xc3\xa9\xff"),
        (b"/%252F", b"/%2F"),
        (b"/%", b"/%"),
        (b"/%z%4", b"/%z%4"),
        (b"/a+b", b"/a+b"),
    ],
)
def test_escapes_are_decoded_once(path: bytes, expected: bytes) -> None:
    assert text.unquote_path(path) == expected


@pytest.mark.req("S-06", "S-07")
@given(st.binary())
def test_what_is_quoted_is_found_again(path: bytes) -> None:
    assert text.unquote_path(text.quote_path(path).encode("ascii")) == path


@pytest.mark.req("E-14", "E-15")
@pytest.mark.parametrize(
    ("path", "raw_path", "expected"),
    [
        pytest.param("/\ufffd/\u00e9", b"/%FF/%C3%A9", b"/\xff/\xc3\xa9", id="invalid UTF-8 survives"),
        pytest.param("/\ufffd", b"/\xff", b"/\xff", id="a raw byte that was never escaped"),
        pytest.param("/\ufffd", b"/%EF%BF%BD", b"/\xef\xbf\xbd", id="a replacement character that was sent"),
        pytest.param("/\ufffd", b"/%FF?x=%FF", b"/\xff", id="a query in the raw path is not the path"),
        pytest.param("/\ufffd%2F", b"/%ff%252F", b"/\xff%2F", id="decoded once only"),
        pytest.param("/\ufffd\ufffd", b"/%FF", b"/\xef\xbf\xbd\xef\xbf\xbd", id="inconsistent: path wins"),
        pytest.param("/new", b"/old", b"/new", id="rewritten: path wins"),
        pytest.param("/new\ufffd", b"/old%FF", b"/new\xef\xbf\xbd", id="rewritten with a replacement"),
        pytest.param("/\ufffd", b"", b"/\xef\xbf\xbd", id="empty raw path"),
        pytest.param("/\ufffd", None, b"/\xef\xbf\xbd", id="no raw path"),
        pytest.param("/a", None, b"/a", id="plain"),
        pytest.param("/a/b", b"/a%2Fb", b"/a/b", id="an escaped slash is a slash"),
        pytest.param("/%", b"/%", b"/%", id="a lone percent"),
        pytest.param("/%zz\ufffd", b"/%zz%FF", b"/%zz\xff", id="a bad escape stays"),
    ],
)
def test_raw_path_is_believed_only_where_it_agrees(
    path: str, raw_path: bytes | None, expected: bytes
) -> None:
    assert text.faithful_path_bytes(path, raw_path) == expected


@pytest.mark.req("E-14")
@given(st.binary())
def test_what_a_server_decoded_is_found_again(data: bytes) -> None:
    """Servers escape nothing and decode with U+FFFD; the bytes come back from the raw path."""
    raw = text.quote_path(data).encode("ascii")
    assert text.faithful_path_bytes(data.decode("utf-8", "replace"), raw) == data


@pytest.mark.req("E-17")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/a b", "/a%20b"),
        (b"/\xff\xc3\xa9", "/%FF%C3%A9"),
        (b"/100%", "/100%25"),
        (b"/a?b#c", "/a%3Fb%23c"),
        (b"/~u/;p=1,2/@x:y!$&'()*+", "/~u/;p=1,2/@x:y!$&'()*+"),
        (b"/a\r\n\x00", "/a%0D%0A%00"),
    ],
)
def test_a_rebuilt_target_is_a_valid_one(path: bytes, expected: str) -> None:
    assert text.quote_path(path) == expected


@pytest.mark.req("E-18")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://h:99/p", ("h:99", "/p")),
        ("https://h/p/q//r", ("h", "/p/q//r")),
        ("HTTP://H/", ("H", "/")),
        ("http://h", ("h", "/")),
        ("http://u:p@h:1/x", ("h:1", "/x")),
        ("http://[::1]:8/x", ("[::1]:8", "/x")),
        ("http:///x", ("", "/x")),
        ("a+b.c-d://h/x", ("h", "/x")),
        ("/http://h/p", None),
        ("*", None),
        ("", None),
        ("h:443", None),
        ("//h/p", None),
        ("1ttp://h/p", None),
    ],
)
def test_an_absolute_form_is_split_into_authority_and_path(
    target: str, expected: tuple[str, str] | None
) -> None:
    assert text.split_absolute_form(target) == expected


@pytest.mark.req("E-18")
def test_splitting_is_linear_in_the_target() -> None:
    """A million characters that nearly match: a backtracking pattern would not come to an end."""
    assert text.split_absolute_form("a" * 1_000_000) is None
    assert text.split_absolute_form("a:/" * 300_000) is None
    assert text.split_absolute_form("http://" + "@" * 1_000_000) == ("", "/")


@pytest.mark.req("W-08", "W-09")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("200 OK", 200),
        ("204", 204),
        ("299 ", 299),
        ("404 Not  Found!", 404),
        ("500 \u00e9t\u00e9", 500),
        ("599 x", 599),
        ("200  two spaces", 200),
    ],
)
def test_a_status_is_three_digits_and_perhaps_a_reason(status: str, code: int) -> None:
    assert text.status_code(status) == code
    assert text.status_code(status) == code  # the second answer may come from a cache


@pytest.mark.req("W-08")
@pytest.mark.parametrize(
    "status", [f"{each.value} {each.phrase}" for each in HTTPStatus if each.value >= 200]
)
def test_every_registered_final_status_is_accepted(status: str) -> None:
    assert text.status_code(status) == int(status[:3])


@pytest.mark.req("W-08", "H-02")
@pytest.mark.parametrize(
    "status",
    [
        "2000 x",
        "OK",
        "200 OK\r\n",
        "200 OK\r\nX-Inj: 1",
        "200 a\nb",
        "200 a\x00",
        "200 a\tb",
        "200 \x7f",
        "200 \x1b[31m",
        "",
        "20",
        " 200 OK",
        "200OK",
        "200-OK",
        "200\tOK",
        "\u0662\u0660\u0660 OK",
        "\u00b200 OK",
        "+20 OK",
        "2 0 OK",
        "20 OK",
        "-200 OK",
    ],
)
def test_any_other_status_raises_at_once(status: str) -> None:
    with pytest.raises(InvalidHeader, match="three digits"):
        text.status_code(status)


@pytest.mark.req("W-08")
@pytest.mark.parametrize("status", [200, b"200 OK", None, HTTPStatus.OK, ["200 OK"], 2.0])
def test_a_status_that_is_no_str_raises(status: object) -> None:
    with pytest.raises(InvalidHeader, match=type(status).__name__):
        text.status_code(status)


@pytest.mark.req("W-09")
@pytest.mark.parametrize(
    "status", ["100 Continue", "101 Switching Protocols", "103 Early Hints", "199 x", "000 x"]
)
def test_a_status_that_is_not_final_raises(status: str) -> None:
    with pytest.raises(InvalidHeader, match="200 to 599"):
        text.status_code(status)


@pytest.mark.req("W-09")
@pytest.mark.parametrize("status", ["600 x", "799 x", "999 Request denied"])
def test_a_status_beyond_http_raises(status: str) -> None:
    with pytest.raises(InvalidHeader, match="200 to 599"):
        text.status_code(status)


class StatusText(str):
    """A str subclass, as lazily translated reasons are."""


@pytest.mark.req("W-08")
def test_a_status_of_a_str_subclass_is_a_status() -> None:
    assert text.status_code(StatusText("418 I'm a teapot")) == 418


@pytest.mark.req("H-02", "H-06")
def test_the_error_shows_control_characters_escaped() -> None:
    with pytest.raises(InvalidHeader) as caught:
        text.status_code("200 a\r\nSet-Cookie: x=1")
    assert str(caught.value).isprintable()


@pytest.mark.req("W-08", "W-09")
@given(st.one_of(ANY_TEXT, st.from_regex(r"[0-9]{3} ?.*")))
def test_any_text_is_a_final_code_or_refused(status: str) -> None:
    try:
        code = text.status_code(status)
    except InvalidHeader:
        return
    assert 200 <= code <= 599
    assert status.startswith(str(code))
    assert not any(ord(character) < 32 or ord(character) == 127 for character in status)


def test_generated_status_lines_do_not_grow_the_cache_without_end() -> None:
    for number in range(10_000):
        assert text.status_code(f"200 reason {number}") == 200
    assert len(text._status_cache) <= text._STATUS_CACHE_LIMIT
