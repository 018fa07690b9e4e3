"""Requests made from descriptions; those of FastAPI are sent to the app, which must accept them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from fastapi import Body, Cookie, FastAPI, Form, Header, Query
from fastapi import Path as InPath
from pydantic import BaseModel, Field

from bridge.exceptions import MissingDependency, UsageError
from bridge.testing.client import Client
from bridge.testing.exchange import Request
from bridge.testing.sources.openapi import VARIANTS, from_openapi


def described(paths: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths, **further}


def getting(path: str, *parameters: dict[str, Any], **operation: Any) -> dict[str, Any]:
    return described({path: {"get": {"parameters": list(parameters), **operation}}})


def parameter(name: str, place: str = "query", **given: Any) -> dict[str, Any]:
    return {"name": name, "in": place, **given}


def targets(document: Any, **options: Any) -> list[str]:
    return [request.target for request in from_openapi(document, **options)]


def posting(kind: str, **media: Any) -> dict[str, Any]:
    return described({"/x": {"post": {"requestBody": {"content": {kind: media}}}}})


# --- which requests there are


def test_each_operation_has_its_requests_in_the_order_of_the_description() -> None:
    document = described(
        {"/b": {"post": {}, "get": {}, "head": {}}, "/a": {"get": {}, "x-own": {}}, "x-y": {}}
    )
    assert from_openapi(document) == [Request("GET", "/b"), Request("HEAD", "/b"), Request("GET", "/a")]
    assert [each.method for each in from_openapi(document, safe_only=False)] == ["POST", "GET", "HEAD", "GET"]


def test_required_parameters_alone_then_all_then_one_other_value_at_a_time() -> None:
    document = getting(
        "/items/{id}",
        parameter("id", "path", required=True, schema={"type": "integer", "examples": [3, 4]}),
        parameter("q", required=True, schema={"type": "string"}),
        parameter("sort", schema={"enum": ["up", "down"]}),
    )
    requests = from_openapi(document)
    assert [(each.target, each.name) for each in requests] == [
        ("/items/3?q=string", ""),
        ("/items/3?q=string&sort=up", ""),
        ("/items/4?q=string&sort=up", "GET /items/4?q=string&sort=up (id=4)"),
        ("/items/3?q=string&sort=down", "GET /items/3?q=string&sort=down (sort=down)"),
    ]


def test_there_is_no_request_twice_and_not_more_than_wanted() -> None:
    many = getting("/", parameter("n", schema={"enum": list(range(50))}))
    assert len(from_openapi(many)) == VARIANTS
    assert targets(many, variants=3) == ["/", "/?n=0", "/?n=1"]
    assert targets(getting("/", parameter("n", schema={"enum": [1, 1, 1]}))) == ["/", "/?n=1"]


def test_an_operations_parameter_replaces_that_of_its_path() -> None:
    item = {
        "parameters": [parameter("a", schema={"const": 1}), parameter("b", schema={"const": 2})],
        "get": {"parameters": [parameter("a", schema={"const": 3})]},
    }
    assert targets(described({"/": item})) == ["/", "/?a=3&b=2"]


def test_references_are_followed_everywhere() -> None:
    document = described(
        {"/": {"$ref": "#/components/pathItems/root"}},
        components={
            "pathItems": {"root": {"get": {"parameters": [{"$ref": "#/components/parameters/page"}]}}},
            "parameters": {"page": parameter("page", examples={"x": {"$ref": "#/components/examples/two"}})},
            "examples": {"two": {"value": 2}},
        },
    )
    assert targets(document) == ["/", "/?page=2"]


def test_examples_come_before_what_is_made_up() -> None:
    given: dict[str, Any] = {"example": "mine", "schema": {"type": "string", "default": "no", "minLength": 2}}
    assert targets(getting("/", parameter("q", **given))) == ["/", "/?q=mine"]


def test_an_operation_that_no_value_fits_is_left_out_and_so_is_an_option() -> None:
    assert from_openapi(getting("/{x}", parameter("x", "path", schema=False))) == []
    assert from_openapi(getting("/{x}", parameter("x", "path", schema={"const": ""}))) == []
    assert targets(getting("/", parameter("x", schema=False))) == ["/"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"include": ["/a/*"]}, ["/a/1"]),
        ({"include": ["listB"]}, ["/b"]),
        ({"exclude": ["GET /a*"]}, ["/b"]),
        ({"include": ["*"], "exclude": ["listB"]}, ["/a/1"]),
    ],
)
def test_patterns_choose_operations(options: dict[str, Any], found: list[str]) -> None:
    one = {"get": {"parameters": [parameter("id", "path", schema={"type": "integer"})]}}
    document = described({"/a/{id}": one, "/b": {"get": {"operationId": "listB"}}})
    assert targets(document, **options) == found


def test_headers_are_sent_with_every_request() -> None:
    (request,) = from_openapi(getting("/"), headers=(("Authorization", "Bearer x"),))
    assert request.headers == (("Authorization", "Bearer x"),)


# --- where they go


@pytest.mark.parametrize(
    ("further", "target"),
    [
        ({}, "/x"),
        ({"servers": []}, "/x"),
        ({"servers": [{"url": "/"}]}, "/x"),
        ({"servers": [{"url": "/api/v1/"}, {"url": "/no"}]}, "/api/v1/x"),
        ({"servers": [{"url": "https://shop.example/api"}]}, "/api/x"),
        ({"servers": [{"url": "/{v}", "variables": {"v": {"default": "v2"}}}]}, "/v2/x"),
        ({"servers": [{"url": "api"}]}, "/api/x"),
    ],
)
def test_the_first_server_says_what_stands_before_the_paths(further: Any, target: str) -> None:
    document = {**getting("/x"), **further}
    assert targets(document) == [target]
    assert targets(document, base_path="/mine") == ["/mine/x"]
    assert targets(document, base_path="") == ["/x"]


# --- how values are written


ARRAY = {"schema": {"const": ["a b", "ü"]}}
OBJECT = {"schema": {"const": {"x": 1, "y": "&"}}}


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ({"schema": {"const": "a/b&c=d é"}}, "p=a%2Fb%26c%3Dd%20%C3%A9"),
        ({"schema": {"const": True}}, "p=true"),
        ({"schema": {"const": 1.5}}, "p=1.5"),
        (ARRAY, "p=a%20b&p=%C3%BC"),
        ({**ARRAY, "explode": False}, "p=a%20b,%C3%BC"),
        ({**ARRAY, "explode": False, "style": "spaceDelimited"}, "p=a%20b%20%C3%BC"),
        ({**ARRAY, "explode": False, "style": "pipeDelimited"}, "p=a%20b%7C%C3%BC"),
        (OBJECT, "x=1&y=%26"),
        ({**OBJECT, "explode": False}, "p=x,1,y,%26"),
        ({**OBJECT, "style": "deepObject", "explode": True}, "p%5Bx%5D=1&p%5By%5D=%26"),
        ({"content": {"application/json": OBJECT}}, "p=%7B%22x%22%3A%201%2C%20%22y%22%3A%20%22%26%22%7D"),
    ],
)
def test_a_parameter_in_the_query(given: dict[str, Any], query: str) -> None:
    assert targets(getting("/", parameter("p", required=True, **given))) == [f"/?{query}"]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"schema": {"const": "a/b"}}, "a%2Fb"),
        (ARRAY, "a%20b,%C3%BC"),
        (OBJECT, "x,1,y,%26"),
        ({**OBJECT, "explode": True}, "x=1,y=%26"),
        ({"schema": {"const": 5}, "style": "label"}, ".5"),
        ({**ARRAY, "style": "label"}, ".a%20b,%C3%BC"),
        ({**ARRAY, "style": "label", "explode": True}, ".a%20b.%C3%BC"),
        ({"schema": {"const": 5}, "style": "matrix"}, ";p=5"),
        ({**ARRAY, "style": "matrix"}, ";p=a%20b,%C3%BC"),
        ({**ARRAY, "style": "matrix", "explode": True}, ";p=a%20b;p=%C3%BC"),
        ({**OBJECT, "style": "matrix", "explode": True}, ";x=1;y=%26"),
        ({"content": {"application/json": {"schema": {"const": [1]}}}}, "%5B1%5D"),
    ],
)
def test_a_parameter_in_the_path(given: dict[str, Any], path: str) -> None:
    assert targets(getting("/v/{p}/w", parameter("p", "path", **given))) == [f"/v/{path}/w"]


@pytest.mark.parametrize(
    ("given", "header"),
    [
        (parameter("X-P", "header", required=True, schema={"const": 5}), ("X-P", "5")),
        (parameter("X-P", "header", required=True, schema={"const": "ü\n"}), ("X-P", "%C3%BC%0A")),
        (parameter("X-P", "header", required=True, schema={"const": ["a", "b"]}), ("X-P", "a,b")),
        (parameter("X-P", "header", required=True, **OBJECT), ("X-P", "x,1,y,&")),
        (parameter("c", "cookie", required=True, schema={"const": "a;b"}), ("Cookie", "c=a%3Bb")),
    ],
)
def test_a_parameter_in_a_header(given: dict[str, Any], header: tuple[str, str]) -> None:
    (request,) = from_openapi(getting("/", given))
    assert request.headers == (header,)


def test_cookies_are_one_header_and_reserved_headers_are_left_out() -> None:
    document = getting(
        "/",
        *(parameter(name, "cookie", required=True, schema={"const": 1}) for name in "ab"),
        *(
            parameter(name, "header", required=True, schema={})
            for name in ("Accept", "Content-Type", "Authorization")
        ),
    )
    (request,) = from_openapi(document)
    assert request.headers == (("Cookie", "a=1; b=1"),)


@pytest.mark.parametrize(
    ("kind", "media", "sent", "body"),
    [
        ("application/json", {"example": {"a": "ü"}}, "application/json", '{"a":"ü"}'),
        ("application/json", {"schema": {"type": "integer"}}, "application/json", "1"),
        ("application/merge-patch+json", {"example": [1]}, "application/merge-patch+json", "[1]"),
        ("*/*", {"example": 1}, "application/json", "1"),
        ("text/plain; charset=utf-8", {"example": "é"}, "text/plain; charset=utf-8", "é"),
        ("text/*", {"example": 5}, "text/plain", "5"),
        ("application/xml", {"example": "<a/>"}, "application/xml", "<a/>"),
        (
            "application/x-www-form-urlencoded",
            {"example": {"a": "b c", "d": [1, 2], "e": {"f": None}, "g": True}},
            "application/x-www-form-urlencoded",
            "a=b+c&d=1&d=2&e=%7B%22f%22%3A+null%7D&g=true",
        ),
        (
            "multipart/form-data",
            {"example": {'a"': "b"}},
            "multipart/form-data; boundary=bridge-7MA4YWxkTrZu0gW",
            '--bridge-7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name="a\\""\r\n\r\nb\r\n'
            "--bridge-7MA4YWxkTrZu0gW--\r\n",
        ),
    ],
)
def test_a_body(kind: str, media: dict[str, Any], sent: str, body: str) -> None:
    (request,) = from_openapi(posting(kind, **media), safe_only=False)
    assert request == Request("POST", "/x", (("Content-Type", sent),), body.encode())


def test_each_example_of_a_body_is_sent() -> None:
    document = posting("application/json", examples={"one": {"value": 1}, "two": {"value": 2}})
    first, second = from_openapi(document, safe_only=False)
    assert (first.content, first.name) == (b"1", "")
    assert (second.content, second.name) == (b"2", "POST /x (body 2)")


def test_json_comes_first_and_what_cannot_be_written_is_left_out() -> None:
    content = {"application/xml": {"schema": {"type": "object"}}, "application/json": {"example": 1}}
    document = described({"/x": {"post": {"requestBody": {"content": content}}}})
    (request,) = from_openapi(document, safe_only=False)
    assert request.content == b"1"
    (bare,) = from_openapi(posting("application/xml", schema={"type": "object"}), safe_only=False)
    assert bare == Request("POST", "/x")


# --- Swagger 2.0


def test_swagger() -> None:
    document = {
        "swagger": "2.0",
        "basePath": "/v1",
        "paths": {
            "/pets": {
                "get": {
                    "parameters": [
                        parameter("tags", type="array", items={"enum": ["a", "b"]}, collectionFormat="multi"),
                        parameter("ids", type="array", items={"type": "integer"}, minItems=2),
                        parameter(
                            "bars", type="array", items={"const": "x"}, minItems=2, collectionFormat="pipes"
                        ),
                    ]
                },
                "post": {"parameters": [parameter("pet", "body", schema={"$ref": "#/definitions/Pet"})]},
                "put": {
                    "parameters": [
                        parameter("name", "formData", type="string", default="Rex"),
                        parameter("age", "formData", type="integer", required=True),
                    ]
                },
            }
        },
        "definitions": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    requests = from_openapi(document, safe_only=False)
    assert [request.target for request in requests][:3] == [
        "/v1/pets",
        "/v1/pets?tags=a&ids=1,1&bars=x%7Cx",
        "/v1/pets?tags=b&ids=1,1&bars=x%7Cx",
    ]
    bodies = {request.method: (request.header("Content-Type"), request.content) for request in requests}
    assert bodies["POST"] == ("application/json", b'{"name":"string"}')
    assert bodies["PUT"] == ("application/x-www-form-urlencoded", b"name=Rex&age=1")


# --- an app that checks what it gets


class Node(BaseModel):
    name: Annotated[str, Field(min_length=3, max_length=10, pattern="^[A-Z]+$")]
    children: list[Node] = []
    parent: Node | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    price: Annotated[float, Field(gt=0, lt=1)]


def api() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item}")
    def read(
        item: Annotated[int, InPath(ge=5, multiple_of=4)],
        colour: Literal["red", "blue"] = "red",
        tags: Annotated[list[str] | None, Query(max_length=3)] = None,
        x_token: Annotated[str | None, Header(min_length=9)] = None,
        seen: Annotated[bool | None, Cookie()] = None,
    ) -> Any:
        return [item, colour, tags, x_token, seen]

    @app.post("/nodes")
    def nodes(node: Node) -> Node:
        return node

    @app.put("/pets")
    def pets(pet: Annotated[Cat | Dog, Body(discriminator="kind")]) -> Any:
        return pet

    @app.post("/form")
    def form(name: Annotated[str, Form()], age: Annotated[int, Form(gt=3)]) -> Any:
        return [name, age]

    return app


def test_an_app_accepts_what_is_made_from_its_own_description() -> None:
    app = api()
    with Client(app) as client:
        requests = from_openapi(client, safe_only=False)
        answers = [(request.label, client.exchange(request).status) for request in requests]
    assert [answer for answer in answers if answer[1] != 200] == []
    methods = [request.method for request in requests]
    assert {each: methods.count(each) for each in methods} == {"GET": 5, "POST": 2, "PUT": 2}


def test_an_app_is_asked_for_its_description() -> None:
    assert from_openapi(api()) == from_openapi(api().openapi())


def test_the_description_may_be_elsewhere() -> None:
    app = FastAPI(openapi_url="/api/schema.json")
    app.get("/hello")(lambda: 1)
    assert targets(app, url="/api/schema.json") == ["/hello"]
    with pytest.raises(UsageError, match=r"GET /openapi.json answered 404, so there is no OpenAPI"):
        from_openapi(app)


def test_an_app_that_fails_is_said_to_fail() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise RuntimeError("no database")

    with pytest.raises(UsageError, match=r"GET /openapi.json raised RuntimeError\('no database'\)"):
        from_openapi(app)


# --- files


YAML = """
openapi: 3.0.3
paths:
  /on/{day}:
    get:
      parameters:
        - {name: day, in: path, schema: {type: string, example: 2024-01-02}}
"""


def test_files(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(getting("/a")), encoding="utf-8")
    (tmp_path / "a.yaml").write_text(YAML)
    assert targets(tmp_path / "a.json") == ["/a"]
    assert targets(str(tmp_path / "a.yaml")) == ["/on/2024-01-02"]


def test_yaml_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.yaml").write_text(YAML)
    with pytest.raises(MissingDependency, match="pip install pyyaml"):
        from_openapi(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "is no JSON"),
        ("a.yml", "a: [", "is no YAML"),
        ("a.json", "[]", "it holds list"),
        ("a.json", "{}", "this has the keys none"),
        ("a.json", '{"title": 1}', "this has the keys title"),
        ("a.json", '{"openapi": "4.0"}', "this one says '4.0'"),
        ("a.json", '{"openapi": "3.0.0", "paths": []}', None),
        ("a.json", '{"openapi": "3.0.0", "paths": [1]}', "are a mapping, not list"),
        ("missing.json", None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_description_is_named(
    tmp_path: Path, name: str, text: str | None, said: str | None
) -> None:
    if name.endswith(".yml"):
        pytest.importorskip("yaml")
    if text is not None:
        (tmp_path / name).write_text(text)
    if said is None:
        assert from_openapi(tmp_path / name) == []
        return
    with pytest.raises(UsageError, match=said):
        from_openapi(tmp_path / name)


def test_what_is_no_source_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="is a mapping, the path of a file, an app or a client; got int"):
        from_openapi(5)
    with pytest.raises(UsageError, match="variants is at least 1"):
        from_openapi({}, variants=0)
    with pytest.raises(UsageError, match='begins with "/"'):
        from_openapi(getting("/"), base_path="api")
