"""Requests made up from an OpenAPI description: each operation, with values that its schemas allow.

A description is OpenAPI 3.0 or 3.1, or Swagger 2.0. Values are taken from `example`, `examples`,
`const`, `default` and `enum` where there are any, and made up from type, format and bounds otherwise,
always the same ones. What a schema cannot tell (which ids exist, which token is valid) is for examples
in the description, or for `headers`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ...exceptions import MissingDependency, UsageError
from ..exchange import Headers, Request
from .schema_values import NoValue, Resolver, values_of

SAFE = ("get", "head", "options", "trace")
"""The methods that change nothing (RFC 9110 section 9.2.1)."""

METHODS = (*SAFE, "post", "put", "patch", "delete")

VARIANTS = 10
"""How many requests there are for an operation at most."""

DOCUMENT = "/openapi.json"
"""Where an app is asked for its description; FastAPI and others have it there."""

_BOUNDARY = "bridge-7MA4YWxkTrZu0gW"
_FORM = "application/x-www-form-urlencoded"

# Headers that belong to other parts of a description, which says to ignore them (Parameter Object).
_NOT_PARAMETERS = frozenset({"accept", "content-type", "authorization"})


def from_openapi(
    source: Any,
    *,
    safe_only: bool = True,
    variants: int = VARIANTS,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    headers: Headers = (),
    base_path: str | None = None,
    url: str = DOCUMENT,
) -> list[Request]:
    """Requests for the operations of a description, in its order.

    For each operation there is one with the required parameters, one with all of them, and then one
    for each further value of one of them: other examples, members of an enumeration, the ends of a
    range.

    Args:
        source: the description as a mapping; the path of a file, JSON or YAML; an app of either
            interface, or a client, which is asked for it.
        safe_only: leave out operations that may change something; see `SAFE`.
        variants: how many requests for an operation there are at most.
        include: shell patterns such as "/items/*"; only operations whose path as the description
            writes it, operationId or "METHOD /path" matches one of them.
        exclude: shell patterns of operations to leave out.
        headers: sent with every request, such as `(("Authorization", "Bearer …"),)`.
        base_path: what goes in front of each path; by default what the description's first server
            says.
        url: where an app or client has the description.

    Raises:
        UsageError: the description cannot be had, or is none; or it refers to another file.
        MissingDependency: it is YAML, and PyYAML is not installed.
    """
    if variants < 1:
        raise UsageError(f"variants is at least 1; got {variants}")
    document = _load(source, url)
    description = _Description(document, base_path)
    found: dict[tuple[Any, ...], Request] = {}
    for operation in description.operations():
        if safe_only and operation.method not in SAFE:
            continue
        names = (operation.path, operation.identity, f"{operation.method.upper()} {operation.path}")
        if (include and not _matches(names, include)) or _matches(names, exclude):
            continue
        own: dict[tuple[Any, ...], Request] = {}
        for request in operation.requests(headers):
            own.setdefault((request.method, request.target, request.headers, request.body), request)
            if len(own) == variants:
                break
        found.update({key: request for key, request in own.items() if key not in found})
    return list(found.values())


def _matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    wanted = tuple(patterns)
    return any(name and fnmatchcase(name, pattern) for name in names for pattern in wanted)


# --- getting hold of a description


def _load(source: Any, url: str) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _read(Path(source))
    if hasattr(source, "exchange"):
        return _ask(source, url)
    if callable(source):
        from ..client import Client

        with Client(source) as client:
            return _ask(client, url)
    raise UsageError(
        "an OpenAPI description is a mapping, the path of a file, an app or a client; "
        f"got {type(source).__name__}"
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as an OpenAPI description: {error}") from None
    return _parse(text, str(path), path.suffix.lower() in (".yaml", ".yml"))


def _ask(client: Any, url: str) -> Mapping[str, Any]:
    response = client.exchange(Request("GET", url), follow_redirects=True)
    if not response.complete or response.status != 200:
        outcome = (
            f"raised {response.error!r}" if response.error is not None else f"answered {response.status}"
        )
        raise UsageError(
            f"GET {url} {outcome}, so there is no OpenAPI description: give the path that has it, or a file"
        )
    kind = response.header("Content-Type") or ""
    return _parse(response.body.decode("utf-8", "replace"), f"GET {url}", "yaml" in kind or "yml" in kind)


def _parse(text: str, origin: str, is_yaml: bool) -> Mapping[str, Any]:
    try:
        document = _parse_yaml(text, origin) if is_yaml else json.loads(text)
    except ValueError as error:
        kind = "YAML" if is_yaml else "JSON"
        raise UsageError(f"{origin} is no {kind}, so no OpenAPI description: {error}") from None
    if not isinstance(document, Mapping):
        raise UsageError(f"{origin} is no OpenAPI description: it holds {type(document).__name__}")
    return document


def _parse_yaml(text: str, origin: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingDependency(
            f"{origin} is YAML, which needs PyYAML, which is not installed: pip install pyyaml; "
            "or convert it to JSON"
        ) from None
    try:
        return yaml.load(text, Loader=_loader(yaml))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _loader(yaml: Any) -> Any:
    """YAML's types as far as JSON has them: dates stay text."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


# --- from a description to operations


class _Description:
    """A whole description, of any version."""

    def __init__(self, document: Mapping[str, Any], base_path: str | None) -> None:
        version = str(document.get("openapi") or document.get("swagger") or "")
        if not version.startswith(("2.", "3.")) and version != "2":
            raise UsageError(
                "an OpenAPI description begins with openapi: 3.x or swagger: 2.0; "
                + (f"this one says {version!r}" if version else f"this has the keys {_listed(document)}")
            )
        self._document = document
        self.resolver = Resolver(document)
        self.is_swagger = version.startswith("2")
        self.base = (self._own_base() if base_path is None else base_path).rstrip("/")
        if self.base and not self.base.startswith("/"):
            raise UsageError(f'the base path begins with "/", as in "/api"; got {self.base!r}')

    def _own_base(self) -> str:
        if self.is_swagger:
            return str(self._document.get("basePath") or "")
        servers = self._document.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else {}
        url = str(first.get("url") or "") if isinstance(first, Mapping) else ""
        variables = first.get("variables") if isinstance(first, Mapping) else None
        for name, variable in (variables or {}).items():
            url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
        path = urlsplit(url).path
        return path if path.startswith("/") else f"/{path}" if path else ""

    def operations(self) -> Iterator[_Operation]:
        """All of them, in the order in which they stand there."""
        paths = self._document.get("paths") or {}
        if not isinstance(paths, Mapping):
            raise UsageError(f"the paths of an OpenAPI description are a mapping, not {type(paths).__name__}")
        for path, item in paths.items():
            item = self.resolver.resolve(item)
            if not isinstance(item, Mapping) or not str(path).startswith("/"):
                continue  # an extension: x-…
            for method, operation in item.items():
                if method in METHODS and isinstance(operation, Mapping):
                    yield _Operation(self, str(path), method, operation, item.get("parameters") or ())


def _listed(document: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in list(document)[:5]) or "none"


class _Operation:
    """One method of one path."""

    def __init__(
        self,
        description: _Description,
        path: str,
        method: str,
        operation: Mapping[str, Any],
        common: Sequence[Any],
    ) -> None:
        self._description = description
        self._resolver = description.resolver
        self._operation = operation
        self.path = path
        self.method = method
        self.identity = str(operation.get("operationId") or "")
        # An operation's own parameter replaces the one of its path of that name and place.
        parameters: dict[tuple[str, str], Mapping[str, Any]] = {}
        for each in (*common, *(operation.get("parameters") or ())):
            parameter = self._resolver.resolve(each)
            if isinstance(parameter, Mapping):
                parameters[str(parameter.get("name")), str(parameter.get("in"))] = parameter
        self._parameters = [
            _Parameter(name, place, given, self._resolver, description.is_swagger)
            for (name, place), given in parameters.items()
            if place in ("path", "query", "header", "cookie")
            and not (place == "header" and name.lower() in _NOT_PARAMETERS)
        ]
        self._in_body = [each for each in parameters.values() if each.get("in") in ("body", "formData")]

    def requests(self, headers: Headers) -> Iterator[Request]:
        """Several requests, the simplest first; some may be the same."""
        bodies = self._bodies()
        required = [each for each in self._parameters if each.required]
        usable = [each for each in self._parameters if each.values]
        if any(not each.values for each in required):
            return  # no value is allowed there, so no request is
        simple = dict.fromkeys(required, 0)
        full = dict.fromkeys(usable, 0)
        yield self._request(simple, bodies[0], headers, "")
        yield self._request(full, bodies[0], headers, "")
        for body in bodies[1:]:
            yield self._request(full, body, headers, body.note)
        for parameter in usable:
            for place, value in enumerate(parameter.values[1:], start=1):
                note = f"{parameter.name}={value if isinstance(value, str) else json.dumps(value)}"
                yield self._request({**full, parameter: place}, bodies[0], headers, note)

    def _request(self, chosen: Mapping[_Parameter, int], body: _Body, headers: Headers, note: str) -> Request:
        path, query, cookies, own = self.path, [], [], []
        for parameter, place in chosen.items():
            value = parameter.values[place]
            if parameter.place == "path":
                path = path.replace(f"{{{parameter.name}}}", parameter.in_path(value))
            elif parameter.place == "query":
                query += parameter.in_query(value)
            elif parameter.place == "header":
                own.append((parameter.name, parameter.in_header(value)))
            else:
                cookies += parameter.in_cookie(value)
        target = self._description.base + path + (f"?{'&'.join(query)}" if query else "")
        if cookies:
            own.append(("Cookie", "; ".join(cookies)))
        if body.kind:
            own.append(("Content-Type", body.kind))
        method = self.method.upper()
        shown = f"{method} {target} ({note[:60]})" if note else ""
        return Request(method, target, (*headers, *own), body.content, shown)

    # --- bodies

    def _bodies(self) -> list[_Body]:
        """What may be sent, in the first media type that can be written first."""
        if self._description.is_swagger:
            content = self._content_of_swagger()
        else:
            given = self._resolver.resolve(self._operation.get("requestBody") or {})
            content = given.get("content") if isinstance(given, Mapping) else None
        if not isinstance(content, Mapping) or self.method == "trace":
            return [_NOTHING]
        found: list[_Body] = []
        for kind, media in sorted(content.items(), key=lambda pair: "json" not in pair[0]):
            kind = kind.replace("*/*", "application/json").replace("/*", "/plain")
            for place, value in enumerate(
                _values(media if isinstance(media, Mapping) else {}, self._resolver)
            ):
                note = kind.partition(";")[0] if not place else f"body {json.dumps(value, default=str)}"
                body = _body(kind, value, note)
                if body is not None:
                    found.append(body)
        return found or [_NOTHING]

    def _content_of_swagger(self) -> Mapping[str, Any] | None:
        kinds = self._operation.get("consumes") or self._description._document.get("consumes") or []
        for parameter in self._in_body:
            if parameter.get("in") == "body":
                return {
                    kind: {"schema": parameter.get("schema") or {}} for kind in kinds or ["application/json"]
                }
        if not self._in_body:
            return None
        schema = {
            "type": "object",
            "properties": {
                str(each.get("name")): {**each, "type": "string", "format": "binary"}
                if each.get("type") == "file"
                else {key: value for key, value in each.items() if key != "required"}
                for each in self._in_body
            },
            "required": [str(each.get("name")) for each in self._in_body if each.get("required")],
        }
        wanted = [kind for kind in kinds if kind in (_FORM, "multipart/form-data")] or [_FORM]
        return {kind: {"schema": schema} for kind in wanted}


@dataclass(frozen=True)
class _Body:
    """A request's body, written: its media type, and what tells it from others."""

    kind: str
    content: bytes
    note: str


_NOTHING = _Body("", b"", "")


def _body(kind: str, value: Any, note: str) -> _Body | None:
    """A value in a media type; `None` if that cannot be written."""
    plain = kind.partition(";")[0].strip().lower()
    if plain == "application/json" or plain.endswith("+json"):
        return _Body(kind, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), note)
    if plain == _FORM and isinstance(value, Mapping):
        return _Body(kind, urlencode(_fields(value)).encode(), note)
    if plain == "multipart/form-data" and isinstance(value, Mapping):
        return _Body(f"{plain}; boundary={_BOUNDARY}", _multipart(value), note)
    if isinstance(value, str):
        return _Body(kind, value.encode(), note)
    if plain.startswith("text/") and not isinstance(value, (Mapping, list)):
        return _Body(kind, _text(value).encode(), note)
    return None


def _fields(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields of a form: the members of a list one by one, what is nested as JSON."""
    return [
        (name, _text(each))
        for name, given in value.items()
        for each in (given if isinstance(given, list) else [given])
    ]


def _multipart(value: Mapping[str, Any]) -> bytes:
    lines = []
    for name, text in _fields(value):
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        lines += [f"--{_BOUNDARY}", f'Content-Disposition: form-data; name="{quoted}"', "", text]
    return "\r\n".join([*lines, f"--{_BOUNDARY}--", ""]).encode()


# --- parameters


class _Parameter:
    """A parameter of an operation, and how it is written."""

    def __init__(
        self, name: str, place: str, given: Mapping[str, Any], resolver: Resolver, swagger: bool
    ) -> None:
        self.name = name
        self.place = place
        self.required = place == "path" or bool(given.get("required"))
        self._given = _from_swagger(given) if swagger else given
        content = self._given.get("content")
        self._as_json = isinstance(content, Mapping) and bool(content)
        source = next(iter(content.values())) if isinstance(content, Mapping) and content else self._given
        self.values = [
            value
            for value in _values(source, resolver)
            # What is null is left out, and a segment of a path cannot be empty.
            if value is not None and (place != "path" or _text(value) != "")
        ]
        default = "form" if place in ("query", "cookie") else "simple"
        self._style = str(self._given.get("style") or default)
        self._explode = bool(self._given.get("explode", self._style == "form"))

    def in_path(self, value: Any) -> str:
        """What stands for it in the path, escaped."""
        if self._as_json:
            return _escaped(json.dumps(value))
        mark, between = {"label": (".", "."), "matrix": (";", ";")}.get(self._style, ("", ","))
        if not self._explode:
            between = ","
        if isinstance(value, Mapping):
            sign = "=" if self._explode else ","
            words = [f"{_escaped(str(key))}{sign}{_escaped(_text(each))}" for key, each in value.items()]
            named = self._style == "matrix" and not self._explode
        elif isinstance(value, list):
            words = [_escaped(_text(each)) for each in value]
            if self._style == "matrix" and self._explode:
                words = [f"{self.name}={word}" for word in words]
            named = self._style == "matrix" and not self._explode
        else:
            words, named = [_escaped(_text(value))], self._style == "matrix"
        return f"{mark}{self.name + '=' if named else ''}{between.join(words)}"

    def in_query(self, value: Any) -> list[str]:
        """Its pairs in the query, escaped."""
        name = _escaped(self.name)
        if self._as_json:
            return [f"{name}={_escaped(json.dumps(value))}"]
        if isinstance(value, Mapping):
            pairs = [(str(key), _text(each)) for key, each in value.items()]
            if self._style == "deepObject":
                return [f"{_escaped(f'{self.name}[{key}]')}={_escaped(each)}" for key, each in pairs]
            if self._explode:
                return [f"{_escaped(key)}={_escaped(each)}" for key, each in pairs]
            return [f"{name}={','.join(_escaped(part) for pair in pairs for part in pair)}"]
        if isinstance(value, list):
            words = [_escaped(_text(each)) for each in value]
            if self._explode:
                return [f"{name}={word}" for word in words]
            between = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabs": "%09"}.get(self._style, ",")
            return [f"{name}={between.join(words)}"]
        return [f"{name}={_escaped(_text(value))}"]

    def in_header(self, value: Any) -> str:
        """Its value as a header; characters that cannot be sent are escaped."""
        if self._as_json:
            return json.dumps(value)
        if isinstance(value, Mapping):
            sign = "=" if self._explode else ","
            value = [f"{key}{sign}{_text(each)}" for key, each in value.items()]
        text = ",".join(_text(each) for each in value) if isinstance(value, list) else _text(value)
        return quote(text, safe=_IN_HEADERS)

    def in_cookie(self, value: Any) -> list[str]:
        """Its pairs as cookies."""
        return self.in_query(value)


# What may stand in a header as it is: visible characters and the space.
_IN_HEADERS = "".join(chr(each) for each in range(0x20, 0x7F))


def _from_swagger(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A parameter of Swagger 2.0, which is its own schema, as one of OpenAPI 3."""
    collection = given.get("collectionFormat")
    styles = {"ssv": "spaceDelimited", "pipes": "pipeDelimited", "tsv": "tabs"}
    extra: dict[str, Any] = {"explode": collection == "multi"}
    if collection in styles:
        extra["style"] = styles[collection]
    schema = {key: value for key, value in given.items() if key not in ("in", "name", "required")}
    return {**extra, "schema": schema, **{key: given[key] for key in ("x-example",) if key in given}}


def _values(media: Mapping[str, Any], resolver: Resolver) -> list[Any]:
    """What a parameter or a media type may be: its examples, then what its schema says."""
    found: list[Any] = []
    for key in ("example", "x-example"):
        if key in media:
            found.append(media[key])
    examples = media.get("examples")
    for each in examples.values() if isinstance(examples, Mapping) else ():
        example = resolver.resolve(each)
        if isinstance(example, Mapping) and "value" in example:
            found.append(example["value"])
    if not found:
        try:
            found += values_of(media.get("schema", {}), resolver)
        except NoValue:
            return []
    return _distinct(found)


def _distinct(values: Iterable[Any]) -> list[Any]:
    known: dict[str, Any] = {}
    for value in values:
        known.setdefault(json.dumps(value, sort_keys=True, default=str), value)
    return list(known.values())


def _text(value: Any) -> str:
    """A value as it stands in an address, a header or a form."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, default=str)


def _escaped(text: str) -> str:
    return quote(text, safe="")
