"""The Flask application among the probes of `served.app`."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from served.app import LEDGER, Deliberate

flask_app = Flask(__name__)


@flask_app.route("/hello", methods=["GET"])
def flask_hello() -> str:
    return "hello from Flask"


@flask_app.route("/empty")
def flask_empty() -> tuple[str, int]:
    return "", 204


@flask_app.route("/upload", methods=["POST"])
def flask_upload() -> Response:
    """What Flask sees of a body: its size, its form, its files."""
    key = request.args.get("key", "flask-upload")
    LEDGER.count(key, "started")
    try:
        files = {name: len(file.read()) for name, file in request.files.items()}
        form = request.form.to_dict()
        size = len(request.get_data())
    except OSError as error:
        LEDGER.count(key, f"failed:{type(error).__name__}")
        raise
    LEDGER.count(key, "complete")
    return jsonify(form=form, files=files, size=size)


@flask_app.route("/cookies")
def flask_cookies() -> Response:
    return jsonify(dict(request.cookies))


@flask_app.route("/fail")
def flask_fail() -> str:
    raise Deliberate("in a Flask view")
