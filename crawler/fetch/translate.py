"""Every error of aiohttp, and every HTTP status that is no picture, as a reason and words for it."""

from __future__ import annotations

import ssl

import aiohttp

from crawler import urls
from crawler.fetch.guard import BlockedAddress
from crawler.fetch.speed import BrokenOff
from crawler.model import Reason


def status_reason(status: int) -> Reason:
    """The reason behind an HTTP status that is not 200 (RFC 9110 15)."""
    if status in (404, 410):
        return Reason.NOT_FOUND
    if status in (401, 402, 403, 407, 451):
        return Reason.FORBIDDEN
    if status in (425, 429):
        return Reason.RATE_LIMITED
    if status == 408 or 500 <= status < 600:
        return Reason.SERVER_ERROR
    if 300 <= status < 400:
        return Reason.REDIRECT
    return Reason.HTTP_STATUS


def translate(error: Exception) -> tuple[Reason, str]:
    """The reason and the words for an exception met while fetching."""
    cause = getattr(error, "os_error", error)  # the connector wraps what our guard raises
    if isinstance(cause, BlockedAddress):
        return Reason.BLOCKED_ADDRESS, str(cause)
    for kinds, reason in _TRANSLATION:
        if isinstance(error, kinds):
            return reason, _words(error)
    return Reason.BAD_HTTP, _words(error)


_TRANSLATION: list[tuple[type[Exception] | tuple[type[Exception], ...], Reason]] = [
    # Order matters: the narrow kinds of aiohttp come before those they inherit from.
    ((urls.BadURL, UnicodeError), Reason.BAD_URL),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), Reason.BAD_URL),
    ((aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), Reason.PROXY),
    (aiohttp.ServerTimeoutError, Reason.CONNECT_TIMEOUT),
    ((aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError), Reason.TLS),
    (aiohttp.ClientConnectorDNSError, Reason.DNS),
    (aiohttp.ClientConnectorError, Reason.CONNECT),
    (BrokenOff, Reason.BAD_HTTP),
    (aiohttp.ClientPayloadError, Reason.INCOMPLETE),
    # Protocol faults reach us as a response error with a status that the server never sent.
    (aiohttp.ClientResponseError, Reason.BAD_HTTP),
    ((aiohttp.ClientConnectionError, ConnectionError), Reason.RESET),
    (OSError, Reason.CONNECT),
]


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before it had answered"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {urls.as_text(error.message)}".rstrip()
    cause = error.__cause__ if isinstance(error, aiohttp.ClientPayloadError) else error
    text = getattr(cause, "message", "") or str(error) or type(error).__name__
    return " ".join(urls.as_text(text).split())
