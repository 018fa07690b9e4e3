"""Modules with apps, written for a test of `bridge serve`, and targets that are not found."""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from bridge.exceptions import TargetError
from bridge.serving.target import find

WSGI = "def {name}(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{name}']\n"
ASGI = "async def {name}(scope, receive, send):\n    pass\n"


def write(path: Path, text: str = WSGI.format(name="app")) -> Path:
    """Write a module, by default one with a WSGI app called `app`, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def package(folder: Path, *names: str) -> None:
    """Make packages with an empty `__init__.py`."""
    for name in names:
        write(folder / name / "__init__.py", "")


def failure(target: str, **options: Any) -> TargetError:
    """What `find` raises."""
    with pytest.raises(TargetError) as caught:
        find(target, **options)
    return caught.value


def certificate(folder: Path) -> tuple[str, str]:
    """Files with a key and a certificate for 127.0.0.1."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return "key.pem", "cert.pem"


# Apps of both interfaces that say what they see and what happens to them, for a real server. `make`
# makes either of them.
SHOP = """
import asyncio, json, os, time

def say(words):
    os.write(1, f"{words} {os.getpid()}\\n".encode())  # at once, as other processes print too

def waits():
    say("in progress")
    return not os.path.exists("go")

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.path.exists("no-database"):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        say("startup")
        if "state" in scope:
            scope["state"]["pid"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"].removeprefix(scope["root_path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/endless":
        try:
            while True:
                await send({"type": "http.response.body", "body": b"tick ", "more_body": True})
                await asyncio.sleep(0.02)
        finally:
            say("stream ended")
    if path == "/slow" and waits():
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    facts = {
        "interface": "asgi",
        "pid": os.getpid(),
        "started": scope.get("state", {}).get("pid"),
        "root": scope["root_path"],
        "scheme": scope["scheme"],
    }
    await send({"type": "http.response.body", "body": json.dumps(facts).encode()})

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/endless":
        return ticks()
    if environ["PATH_INFO"] == "/slow" and waits():
        while not os.path.exists("go"):
            time.sleep(0.01)
    facts = {
        "interface": "wsgi",
        "pid": os.getpid(),
        "root": environ["SCRIPT_NAME"],
        "scheme": environ["wsgi.url_scheme"],
    }
    return [json.dumps(facts).encode()]

def ticks():
    try:
        while True:
            yield b"tick "
            time.sleep(0.02)
    finally:
        say("stream ended")

def make(kind):
    return {"asgi": asgi, "wsgi": wsgi}[kind]
"""


@contextmanager
def asking(address: str | tuple[str, int], path: str) -> Iterator[socket.socket]:
    """A client that has sent a request."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(30.0)
        client.connect(address)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        yield client
