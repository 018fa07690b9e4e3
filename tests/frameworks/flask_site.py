"""A Flask app that uses what real Flask apps use, and notes in `journal` what a test cannot see from outside.

Served as `frameworks.flask_site:app`.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from typing import Any

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    redirect,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from support.frameworks_probes import current_request, gates, journal

from bridge import WSGIToASGI

THREADS = 4
BLOB = bytes(range(256)) * 1024
"""What `/file` sends: 256 KiB that tell their position."""

flask_app = Flask(__name__)
flask_app.config.update(SECRET_KEY="tests", MAX_FORM_MEMORY_SIZE=None)


class Planned(Exception):
    """Raised by views on purpose."""


class NotedFile(io.BytesIO):
    """A file whose `close` is noted, at every call."""

    def close(self) -> None:
        if not self.closed:
            journal.note("file closed")
        super().close()


@flask_app.before_request
def name_request() -> None:
    current_request.set(request.headers.get("X-Request-Id", "unnamed"))
    if "X-Request-Id" in request.headers:
        journal.note("called")


@flask_app.teardown_request
def note_teardown(error: BaseException | None) -> None:
    if current_request.get() != "unnamed":
        journal.note("teardown", error=type(error).__name__)


@flask_app.after_request
def note_close(response: Response) -> Response:
    if current_request.get() != "unnamed":
        response.call_on_close(lambda: journal.note("closed"))
    return response


# -- for the tests


@flask_app.get("/probe")
def probe() -> ResponseReturnValue:
    return jsonify(journal.ask(request.args["of"], request.args["await"], int(request.args["count"])))


@flask_app.get("/open")
def open_gate() -> ResponseReturnValue:
    gates.open(request.args["gate"])
    return "open"


# -- links, named as in the Django project


@flask_app.get("/where")
def where() -> ResponseReturnValue:
    return jsonify(
        root=request.script_root,
        path=request.path,
        full_path=request.script_root + request.path,
        link=url_for("item", number=3),
        external=url_for("item", number=3, _external=True),
    )


@flask_app.get("/item/<int:number>/")
def item(number: int) -> ResponseReturnValue:
    return f"item {number}"


@flask_app.get("/go")
def go() -> ResponseReturnValue:
    return redirect(url_for("item", number=3))


# -- sessions and errors


@flask_app.route("/", methods=["GET", "POST"])
def index() -> ResponseReturnValue:
    return "index"


@flask_app.get("/count")
def count() -> ResponseReturnValue:
    session["count"] = session.get("count", 0) + 1
    response = jsonify(session["count"])
    response.set_cookie("second", "käse; with, all")
    return response


@flask_app.get("/nothing")
def nothing() -> ResponseReturnValue:
    return "", 204


@flask_app.errorhandler(Planned)
def planned(error: Planned) -> ResponseReturnValue:
    return jsonify(planned=str(error)), 418


@flask_app.errorhandler(404)
def not_found(error: Exception) -> ResponseReturnValue:
    return f"no {request.path} here", 404


@flask_app.get("/planned")
def raise_planned() -> ResponseReturnValue:
    raise Planned("for the error handler")


@flask_app.get("/forbidden")
def forbidden() -> ResponseReturnValue:
    abort(403)


@flask_app.get("/broken")
def broken() -> ResponseReturnValue:
    raise ZeroDivisionError("for nobody")


@flask_app.get("/broken-stream")
def broken_stream() -> ResponseReturnValue:
    def chunks() -> Iterator[bytes]:
        yield b"so far"
        raise ZeroDivisionError("in mid-stream")

    return Response(chunks())


# -- streams


@flask_app.get("/stream")
def stream() -> ResponseReturnValue:
    """Two chunks; the second is made once the gate with the request's id is open."""

    def chunks() -> Iterator[str]:
        journal.note("first made")
        # Both need the request context, in the generator.
        yield f"first of {request.args['name']} and {session.get('count', 0)}\n"
        opened = gates.wait(current_request.get())
        journal.note("last made")
        yield "last" if opened else "nobody opened the gate"

    return Response(stream_with_context(chunks()), mimetype="text/plain")


@flask_app.get("/endless")
def endless() -> ResponseReturnValue:
    """Chunks for ever, as fast as they are taken."""

    def chunks() -> Iterator[bytes]:
        made = 0
        try:
            while True:
                made += 1
                yield bytes(16384)
        except BaseException as error:
            journal.note("stopped", error=type(error).__name__)
            raise
        finally:
            journal.note("generator closed", made=made)

    return Response(stream_with_context(chunks()), mimetype="application/octet-stream")


@flask_app.get("/endless-without-context")
def endless_without_context() -> ResponseReturnValue:
    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(16384)
        finally:
            journal.note("generator closed")

    return Response(chunks(), mimetype="application/octet-stream")


@flask_app.get("/events")
def events() -> ResponseReturnValue:
    """One server-sent event, then silence until the gate opens, then more for ever."""

    def chunks() -> Iterator[str]:
        try:
            yield "data: hello\n\n"
            gates.wait(current_request.get())
            while True:
                yield "data: more\n\n"
        finally:
            journal.note("generator closed")

    return Response(stream_with_context(chunks()), mimetype="text/event-stream")


# -- files


@flask_app.get("/file")
def file() -> ResponseReturnValue:
    response = send_file(
        NotedFile(BLOB), mimetype="application/octet-stream", etag="blob", conditional=True, max_age=0
    )
    response.headers["X-Body-Type"] = type(response.response).__module__.partition(".")[0]
    return response


@flask_app.get("/text-file")
def text_file() -> ResponseReturnValue:
    return send_file(__file__, as_attachment=True, download_name="sité.py")


# -- bodies


@flask_app.post("/body")
def body() -> ResponseReturnValue:
    """Read the body in small pieces, so that they straddle what arrives."""
    digest, size = hashlib.sha256(), 0
    while piece := request.stream.read(1000):
        digest.update(piece)
        size += len(piece)
    return jsonify(
        size=size,
        sha256=digest.hexdigest(),
        content_length=request.content_length,
        transfer_encoding=request.headers.get("Transfer-Encoding"),
        rest=request.stream.read().decode(),
    )


@flask_app.post("/lines")
def lines() -> ResponseReturnValue:
    return jsonify([line.decode() for line in request.stream])


@flask_app.post("/json")
def echo_json() -> ResponseReturnValue:
    return jsonify(request.get_json())


@flask_app.post("/form")
def form() -> ResponseReturnValue:
    files: list[dict[str, Any]] = []
    for name, upload in request.files.items(multi=True):
        data = upload.read()
        sha256 = hashlib.sha256(data).hexdigest()
        files.append({"field": name, "filename": upload.filename, "size": len(data), "sha256": sha256})
    return jsonify(fields=request.form.to_dict(flat=False), files=files, thread=threading.get_ident())


@flask_app.post("/upload-from-the-slow")
def upload_from_the_slow() -> ResponseReturnValue:
    """Read a body whose client leaves; note what the read does."""
    journal.note("reading")
    try:
        data = request.stream.read()
    except OSError as error:
        journal.note("read failed", error=type(error).__name__)
        return "nobody reads this", 400
    journal.note("read", size=len(data))
    return jsonify(len(data))


app = WSGIToASGI(flask_app, threads=THREADS)
