"""Ordinary requests to each server: status, headers, paths, and what is on the wire around them."""

from __future__ import annotations

import threading

import pytest
from served.conftest import Served
from served.servers import Limit
from served.wire import HTTP1, HTTP2, Client, Response, Truncated
from support.watching import processor_seconds


def check_reuse(client: Client, response: Response) -> None:
    """The connection carries a further exchange: nothing was left over on it."""
    assert response.head.get("connection") != "close"
    assert client.get("/hello").body == b"hello"


@pytest.mark.req("W-01", "W-10", "W-31")
def test_get_over_one_connection(client: Client) -> None:
    """Requests follow each other on a connection, each answered in full."""
    for _ in range(3):
        response = client.get("/hello")
        assert (response.status, response.body) == (200, b"hello")
        assert response.head.get("content-type") == "text/plain; charset=utf-8"


@pytest.mark.req("W-19")
def test_length_of_a_one_chunk_body_is_announced(client: Client) -> None:
    response = client.get("/bare/hello")
    assert response.head.get("content-length") == "5"
    check_reuse(client, response)


@pytest.mark.req("W-22")
@pytest.mark.parametrize("path", ["/hello", "/stream?key=head&count=2&length=1", "/flask/hello"])
def test_head(client: Client, path: str) -> None:
    """HEAD has the headers of GET and no body byte, streamed or not.

    Rivals' bug 12 (Hypercorn): every empty body is a 500.
    """
    response = client.request("HEAD", path)
    assert (response.status, response.body) == (200, b"")
    if "length" in path:
        assert response.head.get("content-length") == "131072"
    check_reuse(client, response)


@pytest.mark.req("W-22", "W-18")
@pytest.mark.parametrize(
    ("path", "status"),
    [("/status/204", 204), ("/status/304", 304), ("/flask/empty", 204), ("/status/200", 200)],
)
def test_empty_bodies(client: Client, path: str, status: int) -> None:
    """204, 304 and an empty iterable get their status and no body (rivals' bug 12, as above)."""
    response = client.get(path)
    assert (response.status, response.body) == (status, b"")
    if status != 200:
        assert response.head.get("content-length") in (None, "0")
        assert response.head.get("transfer-encoding") is None
    check_reuse(client, response)


@pytest.mark.req("W-10")
def test_repeated_set_cookie_stays_repeated(client: Client) -> None:
    response = client.get("/cookies")
    assert response.head.all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    check_reuse(client, response)


@pytest.mark.req("W-10", "W-11")
def test_response_headers_repeated_large_and_in_latin_1(client: Client) -> None:
    """Repeated headers keep their order, a latin-1 value and one of 8 KiB arrive.

    Rivals' bug 19 (asgiref, Starlette, Uvicorn): a latin-1 value is a 500.
    """
    response = client.get("/headers?size=8192")
    assert response.head.all("x-many") == ["1", "2"]
    assert response.head.get("x-latin") == "caf\xe9"
    assert response.head.get("x-large") == "v" * 8192
    check_reuse(client, response)


@pytest.mark.req("E-28", "E-32")
def test_request_headers_repeated_and_large(client: Client) -> None:
    large = [(f"X-Large-{number}", "v" * 400) for number in range(25)]
    response = client.get("/env", [("X-Many", "1"), ("X-Many", "2"), *large])
    environ = response.json()
    assert environ["HTTP_X_MANY"] == "1,2"
    assert all(environ[f"HTTP_X_LARGE_{number}"] == "v" * 400 for number in range(25))
    check_reuse(client, response)


@pytest.mark.req("E-13", "E-16", "E-17", "E-19")
def test_non_ascii_and_escaped_paths(client: Client) -> None:
    """UTF-8 is tunnelled in PATH_INFO, %2F is decoded there and survives in RAW_URI."""
    target = "/env/caf%C3%A9/a%2Fb%20c/%252F?q=%C3%A9&r=1"
    response = client.get(target)
    environ = response.json()
    assert environ["PATH_INFO"] == "/env/caf\xc3\xa9/a/b c/%2F"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["QUERY_STRING"] == "q=%C3%A9&r=1"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == target
    check_reuse(client, response)


@pytest.mark.req("E-14")
def test_path_bytes_that_are_not_utf_8(client: Client) -> None:
    """Each server's `path` holds U+FFFD for %FF; PATH_INFO holds the byte all the same."""
    assert client.get("/env/%FF/%C3%A9").json()["PATH_INFO"] == "/env/\xff/\xc3\xa9"


@pytest.mark.req("E-19")
def test_raw_bytes_in_the_query(server: Served) -> None:
    """A raw non-ASCII byte in the query is the server's to refuse; if it passes, the app gets it.

    Rivals' bug 19 (all): a 500, or a 400 that speaks of duplicate headers.
    """
    client = server.connect()
    try:
        response = client.get("/env?q=\xe9")
    except Truncated:
        assert server.spec.http2, "only HTTP/2 may answer by closing the connection"
        return
    if response.status == 200:
        assert response.json()["QUERY_STRING"] == "q=\xe9"
    else:
        assert response.status == 400
        assert b"duplicate" not in response.body


@pytest.mark.req("E-20", "E-22", "E-25", "E-26", "E-43", "E-02", "W-31")
def test_environ_of_each_server(client: Client) -> None:
    """Whatever shapes the server puts in its scope, the environ has the same ones."""
    host, port = client.address
    environ = client.get("/env").json()
    own_host, own_port = client.sock.getsockname()
    assert environ["SERVER_PROTOCOL"] == {"1.1": "HTTP/1.1", "2": "HTTP/2.0"}[client.version]
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (host, str(port))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (own_host, str(own_port))
    assert environ["HTTP_HOST"] == f"{host}:{port}"
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.input_terminated"] is True
    assert "CONTENT_LENGTH" not in environ
    assert "CONTENT_TYPE" not in environ


@pytest.mark.req("E-30", "E-31")
def test_headers_cannot_be_forged(client: Client) -> None:
    """Underscore names and `Proxy` do not reach the app.

    Rivals' bug 14 (all): `alice,admin`, HTTP_PROXY, HTTP_CONTENT_LENGTH.
    """
    forged = [("X-Forwarded-User", "alice"), ("X_Forwarded_User", "admin"), ("Proxy", "http://evil")]
    environ = client.get("/env", [*forged, ("Content_Length", "99"), ("Content_Type", "a/b")]).json()
    assert environ["HTTP_X_FORWARDED_USER"] == "alice"
    for name in ("HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE"):
        assert name not in environ


@pytest.mark.req("E-33")
def test_cookie_crumbs_are_joined_as_cookies(server: Served, client: Client) -> None:
    """Several Cookie headers, as HTTP/2 clients send them, are one cookie string.

    Rivals' bug 15 (a2wsgi, asgiref on Granian): joined by a comma, so that the session is lost.
    """
    crumbs = [("Cookie", "sid=abc"), ("Cookie", "theme=dark")]
    assert client.get("/flask/cookies", crumbs).json() == {"sid": "abc", "theme": "dark"}
    environ = client.get("/env", crumbs).json()
    assert environ["HTTP_COOKIE"] == "sid=abc; theme=dark"


@pytest.mark.req("E-32", "H-07")
def test_a_flood_of_headers_delays_nobody(server: Served) -> None:
    """As many repeated headers as a server accepts are joined in linear time, so the loop stays free.

    Rivals' bug 9 (all but asgiref): 1 MiB of them on Uvicorn held up an unrelated GET for 7 s.
    """
    header = [("X-A", "v" * 20)]
    flooder = server.connect()
    bystander = server.connect()
    bystander.get("/hello")
    pids = server.running.pids()
    slowest = 0.0  # in seconds of the server's own work, so that other processes do not count
    answered = threading.Event()
    outcome: list[object] = []

    def flood() -> None:
        try:
            outcome.append(flooder.get("/env", header * 60_000).status)
        except (Truncated, OSError) as error:  # refused without reading it to the end
            outcome.append(error)
        finally:
            answered.set()

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    while not answered.is_set():
        began = processor_seconds(pids)
        assert bystander.get("/hello").status == 200
        slowest = max(slowest, processor_seconds(pids) - began)
    thread.join()
    assert slowest < 2.0
    assert not isinstance(outcome[0], int) or outcome[0] in (200, 400, 431), outcome
    # The largest number that every server takes.
    environ = server.connect().get("/env", header * 60).json()
    assert environ["HTTP_X_A"] == ",".join(["v" * 20] * 60)


@pytest.mark.req("W-03", "W-13")
def test_write_callable(client: Client) -> None:
    response = client.get("/written")
    assert response.body == b"written and returned"
    check_reuse(client, response)


@pytest.mark.req("W-02")
def test_context_variables_stay_in_their_request(server: Served) -> None:
    """No request finds what an earlier one on its connection has set, however they follow each other.

    A server may keep the context in which a connection was resumed, so `send` from another context
    poisons all later requests of the connection.
    """
    client = server.connect()
    for number in range(3):
        response = client.get(f"/context?name=plain{number}")
        assert response.head.get("x-before") == "nobody"
        # Enough body that the server pauses the socket and resumes it, in both directions.
        response = client.request("POST", f"/context?name=up{number}", body=b"u" * 2_000_000)
        assert response.head.get("x-before") == "nobody"
        response = client.get(f"/context?name=down{number}&pieces=100")
        assert response.head.get("x-before") == "nobody"
        assert len(response.body) == 1 + 100 * 65536


@pytest.mark.req("W-02")
def test_context_variables_of_pipelined_requests(server: Served) -> None:
    """The same for requests sent without waiting for the answers; over HTTP/2 nothing is pipelined."""
    client = server.connect()
    if isinstance(client, HTTP2):
        assert client.get("/context?name=single").head.get("x-before") == "nobody"
        return
    burst = 5
    client.sock.sendall(
        b"".join(
            b"GET /context?name=piped%d&pieces=2 HTTP/1.1\r\nHost: h\r\n\r\n" % number
            for number in range(burst)
        )
    )
    for _ in range(burst):
        client.expect_response("GET")
        assert client.response().head.get("x-before") == "nobody"


@pytest.mark.req("L-01", "L-02", "L-03")
def test_lifespan_startup(server: Served) -> None:
    """The startup hook runs once before the first request, where the server has a lifespan at all."""
    if server.spec.lacks(Limit.NO_LIFESPAN):
        assert server.probe("lifespan") == {}
    else:
        assert server.probe("lifespan") == {"startup": 1}


def test_close_is_honoured(server: Served) -> None:
    """A client that asks for `Connection: close` gets its response whole, then the end."""
    client = server.connect()
    if isinstance(client, HTTP1):
        response = client.get("/stream?key=close&count=3", [("Connection", "close")])
        assert len(response.body) == 3 * 65536
        assert client.sock.recv(1) == b""
    else:
        assert len(client.get("/stream?key=close&count=3").body) == 3 * 65536
