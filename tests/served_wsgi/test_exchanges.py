"""Ordinary requests to each server: status, headers, paths, and what is on the wire around them."""

from __future__ import annotations

import socket
import threading

import pytest
from served.content import PIECE
from served.wire import HTTP1, Response
from served_wsgi.conftest import Served
from served_wsgi.servers import Limit


@pytest.mark.req("A-14", "A-15", "A-16", "A-28")
def test_get_again_and_again(server: Served, client: HTTP1) -> None:
    """Requests follow each other, on one connection if the server keeps it, each answered in full."""
    for _ in range(3):
        response = client.get("/hello")
        assert (response.status, response.body) == (200, b"hello")
        assert response.head.get("content-type") == "text/plain; charset=utf-8"
        assert response.head.get("content-length") == "5"
        if server.spec.lacks(Limit.NO_KEEP_ALIVE):
            client.close()
            client = server.connect()
    server.serves_on(client, client.get("/hello"))


@pytest.mark.req("S-01", "S-02", "S-09", "S-13", "S-15", "S-16", "S-19")
def test_scope_of_each_server(server: Served, client: HTTP1) -> None:
    """Whatever shapes the server puts in its environ, the scope has the same ones."""
    host, port = client.address
    own_host, own_port = client.sock.getsockname()
    scope = client.get("/scope?a=1&b=%20", [("X-One", "1"), ("Accept", "*/*")]).json()
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == "1.1"
    assert (scope["method"], scope["scheme"]) == ("GET", "http")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == ("/scope", "/scope", "")
    assert scope["query_string"] == "a=1&b=%20"
    name, at = scope["server"]
    assert at == port
    assert name == host or server.spec.lacks(Limit.OWN_NAME)
    assert scope["client"] == [own_host, 0 if server.spec.lacks(Limit.NO_REMOTE_PORT) else own_port]
    assert scope["state"] == ["loop", "pool"]
    assert scope["headers"][0] == ["host", f"{host}:{port}"]
    headers = dict(scope["headers"])
    assert (headers["x-one"], headers["accept"]) == ("1", "*/*")
    assert "content-length" not in headers
    assert ("content-type" in headers) == server.spec.lacks(Limit.INVENTED_TYPE)
    assert scope["body"] == ""


@pytest.mark.req("S-04", "S-06", "S-07", "S-08")
def test_non_ascii_and_escaped_paths(server: Served, client: HTTP1) -> None:
    """UTF-8 is decoded once, `raw_path` has the escapes of the client or stands for the same bytes."""
    scope = client.get("/scope/caf%C3%A9/b%20c/%252F?q=%C3%A9&r=1").json()
    assert scope["path"] == "/scope/caf\xe9/b c/%2F"
    assert scope["raw_path"] == "/scope/caf%C3%A9/b%20c/%252F"
    assert scope["query_string"] == "q=%C3%A9&r=1"


@pytest.mark.req("S-04", "S-06", "S-07")
def test_an_escaped_slash(server: Served, client: HTTP1) -> None:
    """Where the server names the raw target, `%2F` survives in `raw_path`; else it is a slash in both."""
    response = client.get("/scope/a%2Fb")
    if server.spec.lacks(Limit.SLASH_REFUSED):
        assert response.status == 404
        return
    scope = response.json()
    assert scope["path"] == ("/scope/a%2Fb" if server.spec.lacks(Limit.SLASH_KEPT) else "/scope/a/b")
    if server.spec.lacks(Limit.NO_RAW_TARGET):
        assert scope["raw_path"] == "/scope/a/b"
    elif server.spec.lacks(Limit.SLASH_KEPT):
        assert scope["raw_path"] == "/scope/a%252Fb"
    else:
        assert scope["raw_path"] == "/scope/a%2Fb"


@pytest.mark.req("S-05", "S-07")
def test_path_bytes_that_are_not_utf_8(server: Served, client: HTTP1) -> None:
    """`path` holds U+FFFD, `raw_path` the byte, unless the server has lost it."""
    scope = client.get("/scope/%FF/%C3%A9").json()
    assert scope["path"] == "/scope/\ufffd/\xe9"
    lost = server.spec.lacks(Limit.PATH_BYTES_LOST)
    assert scope["raw_path"] == ("/scope/%EF%BF%BD/%C3%A9" if lost else "/scope/%FF/%C3%A9")


@pytest.mark.req("S-08")
def test_raw_bytes_in_the_query(server: Served, client: HTTP1) -> None:
    """A raw non-ASCII byte in the query is the server's to refuse; if it passes, the app gets it."""
    response = client.get("/scope?q=\xe9")
    if response.status == 200:
        recoded = server.spec.lacks(Limit.QUERY_RECODED)
        assert response.json()["query_string"] == ("q=\xc3\xa9" if recoded else "q=\xe9")
    else:
        assert response.status == 400


@pytest.mark.req("S-09", "S-10")
def test_request_headers_repeated_large_and_in_latin_1(server: Served, client: HTTP1) -> None:
    large = [(f"X-Large-{number}", "v" * 200) for number in range(25)]
    sent = [("X-Many", "1"), ("X-Many", "2"), ("X-Latin", "caf\xe9"), *large]
    response = client.get("/scope", sent)
    headers = dict(response.json()["headers"])
    assert headers["x-many"].replace(" ", "") == ("2" if server.spec.lacks(Limit.REPEATS_LOST) else "1,2")
    assert headers["x-latin"] == ("" if server.spec.lacks(Limit.LATIN_1_LOST) else "caf\xe9")
    assert all(headers[f"x-large-{number}"] == "v" * 200 for number in range(25))
    server.serves_on(client, response)


@pytest.mark.req("S-09")
def test_cookies_of_a_request(client: HTTP1) -> None:
    headers = dict(client.get("/scope", [("Cookie", "sid=abc; theme=dark")]).json()["headers"])
    assert headers["cookie"] == "sid=abc; theme=dark"


@pytest.mark.req("S-09", "S-11")
def test_headers_cannot_be_forged(server: Served, client: HTTP1) -> None:
    """`Proxy` does not reach the app; an underscore passes for a dash only where the server makes it one."""
    scope = client.get("/scope", [("Proxy", "http://evil"), ("Content_Type", "a/b")]).json()
    headers = dict(scope["headers"])
    assert "proxy" not in headers
    assert (headers.get("content-type") == "a/b") == server.spec.lacks(Limit.UNDERSCORES)


@pytest.mark.req("S-09", "A-07")
def test_a_forged_length(server: Served, client: HTTP1) -> None:
    """`Content_Length` is no length; where the server takes it for one, no body comes out of nothing."""
    client.start("GET", "/scope", [("Content_Length", "99")])
    if server.spec.lacks(Limit.UNDERSCORES):
        client.sock.shutdown(socket.SHUT_WR)  # nothing will come, so it need not be waited for
        assert client.response().status == 400
    else:
        scope = client.response().json()
        assert "content-length" not in dict(scope["headers"])
        assert scope["body"] == ""


@pytest.mark.req("A-20")
@pytest.mark.parametrize(("path", "length"), [("/hello", 5), ("/stream?key=head&count=2&length=1", 131072)])
def test_head(server: Served, client: HTTP1, path: str, length: int) -> None:
    """HEAD has the headers of GET and no body byte, in one piece or streamed."""
    response = client.request("HEAD", path)
    assert (response.status, response.body) == (200, b"")
    assert response.head.get("content-length") == str(length)
    server.serves_on(client, response)


@pytest.mark.req("A-20")
def test_head_of_a_stream_without_length(server: Served, client: HTTP1) -> None:
    """The same where the length is not known; what the server then frames is its own."""
    response = client.request("HEAD", "/stream?key=head&count=2")
    assert (response.status, response.body) == (200, b"")
    assert response.head.get("content-length") == ("0" if server.spec.lacks(Limit.LENGTH_OF_HEAD) else None)
    if server.spec.lacks(Limit.CHUNK_AFTER_HEAD):
        client.expect_response("GET")
        with pytest.raises(AssertionError, match="expected a status line, got b'0'"):
            client.next_head()
    else:
        server.serves_on(client, response)


@pytest.mark.req("A-20")
@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(server: Served, client: HTTP1, status: int) -> None:
    """The body bytes that the app sends with 204 and 304 do not reach the wire."""
    response = client.get(f"/status/{status}")
    assert (response.status, response.body) == (status, b"")
    assert response.head.get("etag") == '"v1"'
    assert response.head.get("transfer-encoding") is None
    if status == 204:
        assert response.head.get("content-length") in (None, "0")
    server.serves_on(client, response)


@pytest.mark.req("A-16")
def test_repeated_set_cookie_stays_repeated(server: Served, client: HTTP1) -> None:
    response = client.get("/cookies")
    assert response.head.all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    server.serves_on(client, response)


@pytest.mark.req("A-16")
def test_response_headers_repeated_large_and_in_latin_1(server: Served, client: HTTP1) -> None:
    """Repeated headers keep their order, a latin-1 value and one of 3 KiB arrive."""
    response = client.get("/headers?size=3072")
    assert ",".join(response.head.all("x-many")).replace(" ", "") == "1,2"
    recoded = server.spec.lacks(Limit.LATIN_1_AS_UTF_8)
    assert response.head.get("x-latin") == ("caf\xc3\xa9" if recoded else "caf\xe9")
    assert response.head.get("x-large") == "v" * 3072
    server.serves_on(client, response)


@pytest.mark.req("A-21")
def test_body_beyond_its_length_is_cut(server: Served, client: HTTP1) -> None:
    """Surplus bytes do not reach the wire, where they would be taken for the next response."""
    response = client.get("/surplus")
    assert (response.status, response.body) == (200, b"0123456789")
    server.serves_on(client, response)


@pytest.mark.req("A-18", "A-19")
@pytest.mark.parametrize("size", [1, 100, 65536])
def test_streams_of_any_grain(server: Served, client: HTTP1, key: str, size: int) -> None:
    """Many pieces, small or large, arrive in order and whole, beyond what may be queued."""
    count = 200
    response = client.get(f"/stream?key={key}&size={size}&count={count}")
    assert response.body == PIECE[:size] * count
    server.serves_on(client, response)
    entry = server.until(key, "the stream is over", lambda entry: "closed" in entry)
    assert entry == {"started": 1, "bytes": size * count, "exhausted": 1, "closed": 1}


@pytest.mark.req("L-04", "L-05")
def test_startup_ran_once_and_first(server: Served) -> None:
    """One process serves, and its startup was over before its first request began."""
    assert server.probe("lifespan") == {"startup": 1}
    assert server.recorded()[:2] == ["startup", "first request"]
    assert server.recorded().count("startup") == 1


@pytest.mark.req("A-01")
def test_all_requests_share_the_loop_of_the_lifespan(server: Served) -> None:
    """Two requests, at once where the server can, run on one loop in one thread: the lifespan's."""
    places = []

    def ask() -> None:
        places.append(server.get("/where").json())

    if server.spec.lacks(Limit.ONE_AT_A_TIME):
        ask()
        ask()
    else:
        threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15.0)
        assert len(places) == 8
    assert all(place == places[0] for place in places)
    assert places[0]["lifespan_loop"] == places[0]["loop"]
    assert [places[0]["pid"]] == server.processes()


@pytest.mark.req("A-30")
def test_a_task_outlives_its_request(server: Served, client: HTTP1, key: str) -> None:
    """`asyncio.create_task` goes on after the request that made the task has been answered and is over."""
    response: Response = client.get(f"/spawn?key={key}")
    assert response.body == b"spawned"
    server.until(key, "both run", lambda entry: entry == {"working": 1, "returned": 1})
    server.release(key)
    server.until(key, "the task has ended", lambda entry: entry.get("done") == 1)


@pytest.mark.req("A-19", "A-30")
def test_a_background_task_does_not_hold_the_client(server: Served, client: HTTP1, key: str) -> None:
    """The response is complete, and further ones are served, while the app still works on the first."""
    response = client.get(f"/background?key={key}")
    assert response.body == b"answered"
    server.serves_on(client, response)
    server.until(key, "the work goes on", lambda entry: entry == {"working": 1})
    server.release(key)
    server.until(key, "the work has ended", lambda entry: entry.get("done") == 1)
