"""No secret gets through, however it is written; and everything else stays as it was."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import zlib
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exceptions import UsageError
from bridge.testing.exchange import Request, Response
from bridge.testing.recording import codings
from bridge.testing.recording.json_text import unescaped
from bridge.testing.recording.marks import MARK
from bridge.testing.recording.recordings import Recorded, RecordedError, line
from bridge.testing.recording.redaction import Redaction

SECRET = "Hunter2xyzzy"
REDACTION = Redaction(key=b"the key of the tests")
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def exchange(
    target: str = "/",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    answer: tuple[tuple[str, str], ...] = (),
    content: bytes = b"",
    **more: Any,
) -> Recorded:
    chunks = (content,) if content else ()
    return Recorded(Request("POST", target, headers, body), Response(200, "OK", answer, chunks), **more)


def said(item: Recorded) -> str:
    """All that a line of a recording says to someone who knows every way to hide a text."""
    layers = [line(item).decode("utf-8", "surrogateescape")]
    for headers, body in (
        (item.request.headers, item.request.content),
        (item.response.headers, item.response.body),
    ):
        try:
            body = codings.decode(body, codings.codings_of(headers))[0]
        except codings.CannotDecode:
            pass
        layers += [body.decode("latin-1"), body.replace(b"\0", b"").decode("latin-1")]
    for _ in range(6):
        text = layers[-1] if len(layers) > 5 else "\n".join(layers)
        layers.append(html.unescape(unquote(unescaped(text))))
    whole = "\n".join(layers)
    for run in re.findall(r"[A-Za-z0-9+/_-]{12,}", whole):
        padded = run.replace("-", "+").replace("_", "/")
        whole += base64.b64decode(padded[: len(padded) // 4 * 4]).decode("latin-1")
    return whole.lower()


def assert_hidden(item: Recorded, secret: str = SECRET) -> Recorded:
    assert secret.lower() in said(item), "the test hides the secret from itself"
    clean = REDACTION.exchange(item)
    assert secret.lower() not in said(clean), clean
    assert clean.redacted
    return clean


TARGETS = [
    "/?password={}",
    "/?a=1&%70assword={}",
    "/?%2570assword={}",
    "/?PASSWORD={}",
    "/?user[password]={}",
    "/?user%5Bpassword%5D={}",
    "/?pass+word={}",
    "/?token={}&token={}",
    "/?a=1;token={}",
    "/?next=/cb%3Ftoken%3D{}",
    "/?next=%252Fcb%253Ftoken%253D{}",
    "/?next=https%3A%2F%2Fuser%3A{}%40host%2F",
    "/?data=%7B%22password%22%3A%22{}%22%7D",
    "/?key={}",
    "/?x=Bearer%20{}0",
    "/?%7B%22token%22%3A%22{}%22%7D",
    "/?access_token={}#x",
    "/a;jsessionid={}/b",
    "/a/token={}",
    "/a/token%3D{}",
    "/?X-Amz-Signature={}",
    "/cb?state=1&code={}",
    "/cb?SAMLResponse={}",
    "/reset-token/{}0",
    "/password/{}0/confirm",
    "/proxy/https://me:{}@host/",
    "/?url=http://me:{}@host",
]


@pytest.mark.parametrize("target", TARGETS)
def test_targets(target: str) -> None:
    assert_hidden(exchange(target.replace("{}", SECRET)))


HEADERS = [
    ("Cookie", "a=1; session={}"),
    ("COOKIE", "{}"),
    ("cookie", "a={}; b"),
    ("Cookie", 'a="{}"'),
    ("Set-Cookie", "id={}; Path=/; HttpOnly"),
    ("set-cookie", "{}; Path=/"),
    ("Set-Cookie", "a=b; leak={}"),
    ("Authorization", "Bearer {}"),
    ("authorization", "{}"),
    ("AUTHORIZATION", "Digest username=x, response={}"),
    ("Proxy-Authorization", "Basic {}"),
    ("X-Api-Key", "{}"),
    ("x_api_key", "{}"),
    ("X-CSRFToken", "{}"),
    ("X-Auth-Token", "{}"),
    ("Referer", "https://shop.example/reset?token={}&a=1"),
    ("Referer", "https://shop.example/reset?a=1&%74oken={}"),
    ("Referer", "https://me:{}@shop.example/"),
    ("Location", "/cb?access_token={}"),
    ("Location", "/cb#access_token={}"),
    ("Location", "/cb?next=%2Fx%3Ftoken%3D{}"),
    ("Link", '</next?token={}>; rel="next"'),
    ("Refresh", "0; url=/x?token={}"),
    ("X-Original-Url", "/x?password={}"),
    ("X-Data", '{"token": "{}"}'),
    ("X-Debug", "auth=Bearer {}0"),
    ("Content-Type", "text/plain; token={}"),
    ("X-Forwarded-Authorization", "{}"),
    ("Cookie2", "$Version=1; a={}"),
    ("X-Goog-Iap-Jwt-Assertion", "{}"),
]


@pytest.mark.parametrize(("name", "value"), HEADERS, ids=[f"{name}: {value}" for name, value in HEADERS])
def test_headers(name: str, value: str) -> None:
    pair = (name, value.replace("{}", SECRET))
    assert_hidden(exchange(headers=(pair,)))
    assert_hidden(exchange(answer=(pair,)))
    item = exchange()
    assert_hidden(replace(item, response=replace(item.response, trailers=(pair,))))


def utf(text: str, codec: str) -> bytes:
    return text.encode(codec)


ESCAPED = "".join(f"\\u{ord(each):04x}" for each in SECRET)
JSON_IN_JSON = json.dumps({"inner": json.dumps({"deep": json.dumps({"token": SECRET})})})
BODIES: list[tuple[str, bytes]] = [
    (FORM, f"user=me&password={SECRET}".encode()),
    (FORM, f"user=me&%70assword={SECRET}".encode()),
    (FORM, f"password={SECRET}&password=x{SECRET}".encode()),
    (FORM, f"password=a,b'{SECRET};c".encode()),
    (FORM, f"a=1&next=%2Fcb%3Ftoken%3D{SECRET}".encode()),
    (FORM, json.dumps({"password": SECRET}).encode()),
    ("", f"user=me&password={SECRET}".encode()),
    ("text/plain", f"user=me\r\npassword=a b c {SECRET}\r\n".encode()),
    ("text/plain", f"password: my long {SECRET}".encode()),
    ("text/plain", f'log: password="{SECRET}" ok'.encode()),
    ("text/plain", f"see https://me:{SECRET}@host/ there".encode()),
    ("text/plain", f"curl -H 'Authorization: Bearer {SECRET}'".encode()),
    ("text/plain", f"export API_KEY={SECRET}".encode()),
    ("text/plain", f"{{'password': '{SECRET}'}}".encode()),
    (JSON, json.dumps({"password": SECRET}).encode()),
    (JSON, f'{{"pass\\u0077ord": "{SECRET}"}}'.encode()),
    (JSON, f'{{"password": "{ESCAPED}"}}'.encode()),
    (JSON, f'{{"password": "x", "password": "{SECRET}"}}'.encode()),
    (JSON, json.dumps({"a": [{"credentials": {"deep": [SECRET]}}]}).encode()),
    (JSON, json.dumps([{"value": SECRET, "name": "password"}]).encode()),
    (JSON, JSON_IN_JSON.encode()),
    (JSON, json.dumps({"next": f"/cb?token={SECRET}"}).encode()),
    (JSON, json.dumps({"query": f'mutation {{ login(password: "{SECRET}") }}'}).encode()),
    (JSON, f'{{"password": "{SECRET}'.encode()),
    (JSON, f'{{"a": 1, "pass\\u0077ord": "{ESCAPED}'.encode()),
    (JSON, f'{{"token": {{"a": "{SECRET}'.encode()),
    (JSON, f'{{"inner": "{{\\"password\\": \\"{SECRET}'.encode()),
    (JSON, f"{{password: '{SECRET}'}}".encode()),
    (JSON, f"password={SECRET}".encode()),
    (JSON, b"\xef\xbb\xbf" + json.dumps({"password": SECRET}).encode()),
    (JSON, utf(json.dumps({"password": SECRET}), "utf-16")),
    (JSON, utf(json.dumps({"password": SECRET}), "utf-16-le")),
    (JSON, utf(json.dumps({"password": SECRET}), "utf-32-be")),
    ("application/json; charset=utf-16", json.dumps({"password": SECRET}).encode()),
    ("application/json; charset=utf-7", b'{"+AHAAYQBz-sword": "' + SECRET.encode() + b'"}'),
    ("application/json; charset=no-such", json.dumps({"password": SECRET}).encode()),
    ("application/x-ndjson", f'{{"a": 1}}\n{{"password": "{SECRET}"}}\n'.encode()),
    ("", json.dumps({"password": SECRET}).encode()),
    ("text/html", json.dumps({"password": SECRET}).encode()),
    ("text/html", f'<input type="hidden" name="csrf_token" value="{SECRET}">'.encode()),
    ("text/html", f"<input value='{SECRET}' type=hidden name=csrfmiddlewaretoken>".encode()),
    ("text/html", f'<input data-x="a>b" name="csrf" value="{SECRET}"'.encode()),
    ("text/html", f'<input type="password" name="p" value="{SECRET}">'.encode()),
    ("text/html", f'<meta name="csrf-token" content="{SECRET}">'.encode()),
    ("text/html", f'<body data-csrf-token="{SECRET}">'.encode()),
    ("text/html", f'<a href="/x?a=1&amp;token={SECRET}">'.encode()),
    ("text/html", f'<div data-props="{{&quot;token&quot;:&quot;{SECRET}&quot;}}">'.encode()),
    ("text/html", f"<script>window.csrfToken = '{SECRET}';</script>".encode()),
    ("text/html", f'<script>x = "{{\\"token\\":\\"{SECRET}\\"}}"</script>'.encode()),
    ("text/html", f"<a href='/login?next=%2Fcb%3Ftoken%3D{SECRET}'>".encode()),
    ("text/html", f"<input name=&#112;assword value={SECRET}>".encode()),
    ("text/html", f"<textarea name='secret'>{SECRET}</textarea>".encode()),
    ("application/xml", f"<a><Password>{SECRET}</Password></a>".encode()),
    ("application/xml", f'<wsse:Password Type="x"><![CDATA[{SECRET}]]></wsse:Password>'.encode()),
    ("application/xml", f'<user password="{SECRET}"/>'.encode()),
    ("application/xml", f"<password>{SECRET}".encode()),
    ("application/xml", f"<password><value>{SECRET}</value></password>".encode()),
    ("application/xml", f'<entry key="password">{SECRET}</entry>'.encode()),
    ("application/xml", f"<dict><key>password</key><string>{SECRET}</string></dict>".encode()),
    ("application/xml", f"<name>password</name><value><string>{SECRET}</string></value>".encode()),
    ("text/html", f"<tr><td>Password</td><td>{SECRET}</td></tr>".encode()),
    ("text/html", f'<script>headers.set("X-CSRF-Token", "{SECRET}")</script>'.encode()),
    ("text/html", f'<script>setToken("{SECRET}")</script>'.encode()),
    ("text/html", f"<!-- token: {SECRET} -->".encode()),
    ("application/yaml", f"user: x\npassword: >-\n  {SECRET}\n".encode()),
    ("application/yaml", f"a:\n  credentials:\n    x: {SECRET}\n  b: 1\n".encode()),
    ("text/csv", f"user,password\nme,{SECRET}\n".encode()),
    ("text/event-stream", f'event: x\ndata: {{"token": "{SECRET}"}}\n\n'.encode()),
    ("application/json-seq", f'\x1e{{"token":"{SECRET}"}}\n'.encode()),
    ("application/javascript", f'cb({{"token":"{SECRET}"}});'.encode()),
    (JSON, json.dumps({"headers": [["X-Api-Key", SECRET]]}).encode()),
    (JSON, json.dumps([{"op": "replace", "path": "/password", "value": SECRET}]).encode()),
    (JSON, json.dumps(["API_KEY=" + SECRET]).encode()),
    ("text/plain", f"[('Authorization', 'Bearer {SECRET}')]".encode()),
    ("text/plain", f"GET / HTTP/1.1\r\nCookie: a={SECRET}; b=c\r\n\r\n".encode()),
    ("", f'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n{SECRET}\r\n--x--'.encode()),
    ("application/octet-stream", b"\x00\x01\xfe" + SECRET.encode()),
    ("application/zip", b"PK\x03\x04\xff" + SECRET.encode()),
    ("application/x-protobuf", b"\x0a\x0c" + SECRET.encode() + b"\xff"),
    ("image/png", b"\x89PNG\x00\xff password=" + SECRET.encode() + b"\x00"),
]


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=[f"{kind} {body[:60]!r}" for kind, body in BODIES])
def test_bodies(kind: str, body: bytes) -> None:
    headers = (("Content-Type", kind),) if kind else ()
    for state in ("whole", "cut"):
        assert_hidden(exchange(headers=headers, body=body, request_state=state))
        assert_hidden(exchange(answer=headers, content=body, response_state=state))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip", "GZIP", "identity"])
@pytest.mark.parametrize("kind", [JSON, FORM])
def test_compressed_bodies(kind: str, coding: str) -> None:
    plain = json.dumps({"password": SECRET}) if kind == JSON else f"a=1&password={SECRET}"
    headers = (("content-type", kind), ("Content-Encoding", coding))
    body = codings.encode(plain.encode(), codings.codings_of(headers))
    clean = assert_hidden(exchange(headers=headers, body=body))
    decoded, whole = codings.decode(clean.request.content, codings.codings_of(headers))
    assert whole, "what is written can still be decoded"
    assert b"password" in decoded
    assert MARK.search(decoded.decode())


def test_a_compressed_body_that_was_cut() -> None:
    body = gzip.compress(json.dumps({"password": SECRET, "more": list(range(2000))}).encode())[:200]
    headers = (("Content-Type", JSON), ("Content-Encoding", "gzip"))
    clean = assert_hidden(exchange(headers=headers, body=body, request_state="cut"))
    assert clean.request_state == "cut"


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip", "deflate", "gzip, br"])
def test_what_cannot_be_decoded_is_dropped(coding: str) -> None:
    """The body is in no coding, or in one that is not known here."""
    headers = (("Content-Type", JSON), ("Content-Encoding", coding))
    clean = assert_hidden(exchange(headers=headers, body=json.dumps({"password": SECRET}).encode()))
    assert (clean.request.content, clean.request_state) == (b"", "dropped")


def test_what_decodes_to_too_much_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end could not be searched."""
    monkeypatch.setattr(codings, "MAX_DECODED", 100)
    body = gzip.compress(b" " * 200 + json.dumps({"password": SECRET}).encode())
    clean = REDACTION.exchange(exchange(headers=(("Content-Encoding", "gzip"),), body=body))
    assert clean.request_state == "dropped"


def multipart(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


FIELD = b'Content-Disposition: form-data; name="%s"\r\n\r\n%s'
MULTIPART = [
    multipart(FIELD % (b"a", b"1"), FIELD % (b"password", SECRET.encode())),
    multipart(b"content-disposition: FORM-DATA; NAME=password\r\n\r\n" + SECRET.encode()),
    multipart(b"Content-Disposition: form-data; name*=utf-8''%70assword\r\n\r\n" + SECRET.encode()),
    multipart(b'Content-Disposition: form-data;\r\n name="pass\\word"\r\n\r\n' + SECRET.encode()),
    multipart(FIELD % (b"a", f"https://me:{SECRET}@host".encode())),
    multipart(FIELD % (b"a", json.dumps({"token": SECRET}).encode())),
    multipart(FIELD % (b"a", b"\x00\xff" + SECRET.encode())),
    multipart(FIELD % (f"token={SECRET}".encode(), b"1")),
    multipart(
        b'Content-Disposition: form-data; name="a"\r\nContent-Type: application/json\r\n\r\n{"token": "'
        + SECRET.encode()
    ),
    multipart(
        b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + base64.b64encode(b'{"password": "' + SECRET.encode() + b'"}')
    ),
    multipart(FIELD % (b"password", SECRET.encode()), end=b""),
    b"preamble token=" + SECRET.encode() + b"\r\n" + multipart(FIELD % (b"a", b"1")),
    multipart(FIELD % (b"a", b"1")) + b"epilogue token=" + SECRET.encode(),
    b"no boundary, password=" + SECRET.encode(),
]


@pytest.mark.parametrize("body", MULTIPART, ids=range(len(MULTIPART)))
def test_multipart_bodies(body: bytes) -> None:
    assert_hidden(exchange(headers=(("Content-Type", "multipart/form-data; boundary=x"),), body=body))


def test_a_multipart_body_keeps_what_is_no_secret() -> None:
    body = multipart(FIELD % (b"a", b"1"), FIELD % (b"password", SECRET.encode()), FIELD % (b"f", b"x\r\ny"))
    headers = (("Content-Type", "multipart/form-data; boundary=x"),)
    clean = REDACTION.exchange(exchange(headers=headers, body=body)).request.content
    assert MARK.sub("*", clean.decode()) == body.decode().replace(SECRET, "*")


@pytest.mark.parametrize(
    ("kind", "whole"),
    [
        (JSON, json.dumps({"a": [1, 2], "password": SECRET, "inner": json.dumps({"token": SECRET})})),
        (FORM, f"a=1&password={SECRET}&b=2&next=%2F%3Ftoken%3D{SECRET}"),
        ("text/html", f'<input name="csrf" value="{SECRET}"><a href="/?token={SECRET}">'),
        ("multipart/form-data; boundary=x", MULTIPART[0].decode()),
        ("text/plain", f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----\n"),
    ],
)
def test_a_body_may_be_cut_anywhere(kind: str, whole: str) -> None:
    """The first letters of a secret are part of it: four of them never stand in what is written."""
    for end in range(len(whole)):
        item = exchange(answer=(("Content-Type", kind),), content=whole[:end].encode(), response_state="cut")
        clean = REDACTION.exchange(item)
        assert SECRET[:4] not in clean.response.body.decode(), whole[:end]


def test_a_found_secret_is_marked_wherever_it_stands() -> None:
    """The password of the request comes back in a page, a header and an error, with no name beside it."""
    item = exchange(
        headers=(("Content-Type", FORM),),
        body=f"password={SECRET}%21".encode(),
        answer=(("X-Echo", f"you said {SECRET}!"), ("Content-Type", "text/html")),
        content=f"<p>you said {SECRET}! or {quote(SECRET + '!', safe='')}</p>".encode(),
    )
    item = replace(item, response=replace(item.response, error=RecordedError("ValueError", f"bad {SECRET}!")))
    clean = assert_hidden(item)
    mark = MARK.findall(clean.request.content.decode())[0]
    assert f"you said {mark}" in clean.response.body.decode()
    assert dict(clean.response.headers)["X-Echo"] == f"you said {mark}"
    assert str(clean.response.error) == f"ValueError: bad {mark}"


def test_the_password_in_basic_credentials_is_found_elsewhere() -> None:
    credentials = base64.b64encode(f"me:{SECRET}".encode()).decode()
    item = exchange(headers=(("Authorization", f"Basic {credentials}"),), content=f"hello {SECRET}".encode())
    assert_hidden(item)


def test_a_found_secret_at_the_cut_end_of_a_body() -> None:
    item = exchange(
        headers=(("Authorization", f"Bearer {SECRET}"),),
        content=f"echo: {SECRET[:7]}".encode(),
        response_state="cut",
    )
    clean = REDACTION.exchange(item)
    assert SECRET[:4] not in clean.response.body.decode()


def test_equal_secrets_have_equal_marks_in_every_coding() -> None:
    secret = "a b/c+d&=\u00e9xyz"
    item = exchange(
        f"/?token={quote(secret, safe='')}",
        (("Content-Type", FORM),),
        f"token={quote(secret, safe='')}".encode(),
        (("Content-Type", JSON),),
        json.dumps({"token": secret}).encode(),
    )
    clean = REDACTION.exchange(item)
    marks = [
        MARK.findall(text)
        for text in (clean.request.target, clean.request.content.decode(), clean.response.body.decode())
    ]
    assert marks[0] == marks[1] == marks[2]
    assert len(marks[0]) == 1


def test_json_keeps_its_structure() -> None:
    body = (
        '{"id": 1, "token": "abc", "pin": 1234, "items": [1.50, {"password": null}], "session": {"a": true}}'
    )
    clean = REDACTION.exchange(
        exchange(answer=(("Content-Type", JSON),), content=body.encode())
    ).response.body
    value = json.loads(clean)
    assert list(value) == ["id", "token", "pin", "items", "session"]
    assert MARK.fullmatch(value["token"])
    assert MARK.fullmatch(value["pin"])
    assert value["items"] == [1.5, {"password": None}]
    assert value["session"] == {"a": True}


def test_the_scheme_of_credentials_and_the_names_of_cookies_stay() -> None:
    headers = (
        ("Authorization", f"Basic {SECRET}"),
        ("Cookie", f"a={SECRET}; b=2"),
        ("Set-Cookie", "c=3; Path=/x; Secure"),
    )
    shown = [(name, MARK.sub("*", value)) for name, value in REDACTION.headers(headers)]
    assert shown == [
        ("Authorization", "Basic *"),
        ("Cookie", "a=*; b=*"),
        ("Set-Cookie", "c=*; Path=/x; Secure"),
    ]


PLAIN = [
    exchange("/notes/1?page=2&q=a%20b&empty=&flag", (("Accept", "*/*"), ("Host", "shop.example"))),
    exchange(body=b"title=hello+world&text=a%26b", headers=(("Content-Type", FORM),)),
    exchange(
        content=b'{"a": [1.0, "x\\u0041", null], "b": {"c": "http://host/x?y=z"}}',
        answer=(("Content-Type", JSON),),
    ),
    exchange(content=b"<html><body class='a &amp; b'>100% \\o/ &lt;p&gt; basic information</body></html>"),
    exchange(content=b"\x89PNG\r\n\x1a\n\x00\x01\xff", answer=(("Content-Type", "image/png"),)),
    exchange(content=gzip.compress(b"hello"), answer=(("Content-Encoding", "gzip"),)),
    exchange(
        content="caf\u00e9".encode("latin-1"), answer=(("Content-Type", "text/plain; charset=latin-1"),)
    ),
    exchange(content=b"\xe2\x82", response_state="cut", answer=(("Content-Type", "text/plain"),)),
    exchange(
        content=b"C:\\users\\new 50%41 &amp; {not json} [nor this", answer=(("Content-Type", "text/plain"),)
    ),
    exchange(
        body=multipart(FIELD % (b"a", b"1"), FIELD % (b"f", b"{}")),
        headers=(("Content-Type", "multipart/form-data; boundary=x"),),
    ),
    exchange(answer=(("ETag", '"abc"'), ("Date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("Vary", "Cookie"))),
]


@pytest.mark.parametrize("item", PLAIN, ids=range(len(PLAIN)))
def test_what_has_no_secret_is_not_changed(item: Recorded) -> None:
    assert REDACTION.exchange(item) == item


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=[f"{kind} {body[:60]!r}" for kind, body in BODIES])
def test_what_is_redacted_stays_as_it_is(kind: str, body: bytes) -> None:
    """Redacting twice is redacting once."""
    once = REDACTION.exchange(exchange(headers=(("Content-Type", kind),) if kind else (), body=body))
    assert REDACTION.exchange(once) == once


_texts = st.text(alphabet="ab=&?%7B\\\"'{}[]:,;<> \n\u00e9", max_size=40)


@given(
    _texts,
    _texts,
    st.sampled_from([JSON, FORM, "text/html", "text/plain", "multipart/form-data; boundary=ab", ""]),
)
def test_any_text_around_a_named_secret(before: str, after: str, kind: str) -> None:
    """In any surroundings, a JSON member with a secret name does not show its value whole."""
    body = f'{before}{{"password":"{SECRET}"}}{after}'.encode()
    clean = REDACTION.exchange(exchange(headers=(("Content-Type", kind),), body=body))
    assert SECRET not in clean.request.content.decode("utf-8", "replace")


@given(st.binary(max_size=60), st.sampled_from([JSON, FORM, "text/html; charset=utf-16", "image/png", "x"]))
def test_any_bytes_are_survived(body: bytes, kind: str) -> None:
    for state in ("whole", "cut"):
        item = exchange(headers=(("Content-Type", kind),), body=body, request_state=state)
        line(REDACTION.exchange(item))


def test_names_headers_and_patterns_can_be_added_and_taken_away() -> None:
    redaction = Redaction(
        fields=["iban"], headers=["X-Customer"], patterns=[r"acct-\d+", r"ssn (\d{3})"], keep=["page_token"]
    )
    item = exchange(
        "/acct-12?IBAN=DE1&page_token=7",
        (("x-customer", "ann"), ("X-Iban", "DE2")),
        b"my ssn 123, of acct-99",
    )
    clean = redaction.exchange(item)
    assert MARK.sub("*", clean.request.target) == "/*?IBAN=*&page_token=7"
    assert [MARK.sub("*", value) for _, value in clean.request.headers] == ["*", "*"]
    assert MARK.sub("*", clean.request.content.decode()) == "my ssn *, of *"


def test_binary_bodies_are_kept_if_asked_for() -> None:
    item = exchange(content=b"\x00\x01\xff", answer=(("Content-Type", "application/octet-stream"),))
    assert REDACTION.exchange(item).response_state == "dropped"
    assert Redaction(binary="keep").exchange(item) == item


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patterns": ["("]}, "regular expressions"),
        ({"key": b"short"}, "16 bytes"),
        ({"binary": "maybe"}, "binary must be"),
        ({"fields": [1]}, "a name is text"),
        ({"headers": [1]}, "headers must be texts"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Redaction(**options)


@pytest.mark.parametrize(
    "token",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWI",
        "ghp_" + "a1" * 18,
        "xoxb-123456789012-abcdef",
        "sk_live_abcdefgh1234",
        "AKIA" + "ABCD1234EFGH5678",
        "AIza" + "Sy" * 16,
    ],
)
def test_keys_that_are_known_by_their_looks(token: str) -> None:
    for body in (f"a {token} b", json.dumps({"a": [token]}), f"x={token}&y=1"):
        clean = REDACTION.exchange(exchange(body=body.encode()))
        assert token[:12] not in clean.request.content.decode()


def test_a_charset_in_which_no_letter_is_that_of_ascii() -> None:
    headers = (("Content-Type", "application/json; charset=cp037"),)
    clean = REDACTION.exchange(
        exchange(headers=headers, body=json.dumps({"password": SECRET}).encode("cp037"))
    )
    assert MARK.fullmatch(json.loads(clean.request.content.decode("cp037"))["password"])


def test_raw_deflate() -> None:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = compressor.compress(json.dumps({"password": SECRET}).encode()) + compressor.flush()
    assert_hidden(exchange(headers=(("Content-Encoding", "deflate"),), body=body))


NASTY = [
    "<td>" + " " * 30000,
    "<token>" + " " * 30000,
    "<td>token</td><td>" + " " * 30000,
    "<a '\"" * 8000,
    "<token>" + "<![CDATA[" * 3000,
    "a:\n" + " \n" * 15000,
    "token" + "\\" * 20000,
    '["' * 5000,
    "--a\n" * 8000,
    "token'" * 4000,
    "-----BEGIN " * 3000,
]


@pytest.mark.timeout(40)
@pytest.mark.parametrize("text", NASTY, ids=[each[:12] for each in NASTY])
def test_the_cost_is_linear(text: str) -> None:
    """Bodies made to keep a regular expression busy, for minutes if their cost were quadratic."""
    REDACTION.exchange(exchange(body=text.encode(), headers=(("Content-Type", "text/html"),)))
