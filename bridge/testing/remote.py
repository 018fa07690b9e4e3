"""A client of a site that runs elsewhere, by its address, to be compared with one that runs here."""

from __future__ import annotations

import socket
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..exceptions import UsageError
from .client import DEFAULT_TIMEOUT, Client
from .transports.library import httpx2

_PORTS = {"http": 80, "https": 443}


def is_address(text: str) -> bool:
    """Whether a text is meant as the address of a site: `http://…` or `https://…`."""
    return text.lower().startswith(("http://", "https://"))


def remote(url: str, *, verify: bool = True, timeout: float = DEFAULT_TIMEOUT, **options: Any) -> Client:
    """A client whose requests go to the site at `url`, over real connections.

    Args:
        url: scheme, host and port, as in "https://shop.example". Requests have the paths of the site.
        verify: whether a certificate has to be valid.
        timeout: seconds for each wait, for the first connection too.
        options: further ones of `Client`.

    Raises:
        UsageError: `url` is no such address, or nobody answers there.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        port = 0
    if not port or not parts.hostname:
        raise UsageError(f"the address of a site is such as https://shop.example; got {url!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(
            f"the address of a site ends with its host and port, as in {parts.scheme}://{parts.netloc}; the "
            f"requests have the paths; got {url!r}"
        )
    _knock(parts, port, verify, timeout)
    transport = httpx2.HTTPTransport(verify=verify)
    return Client(
        None, base_url=f"{parts.scheme}://{parts.netloc}", transport=transport, timeout=timeout, **options
    )


def _knock(parts: SplitResult, port: int, verify: bool, timeout: float) -> None:
    """See whether somebody is there, so that this is said once and not of every request."""
    assert parts.hostname is not None  # the caller has looked
    try:
        with socket.create_connection((parts.hostname, port), timeout) as connection:
            if parts.scheme.lower() == "https":
                context = ssl.create_default_context()
                if not verify:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                context.wrap_socket(connection, server_hostname=parts.hostname).close()
    except ssl.SSLCertVerificationError as error:
        raise UsageError(f"the certificate of {parts.netloc} is not valid: {error.verify_message}") from None
    except (OSError, UnicodeError) as error:
        raise UsageError(f"nobody answers at {parts.scheme}://{parts.netloc}: {error}") from None
