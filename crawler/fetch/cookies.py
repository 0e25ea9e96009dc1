"""Cookies for the hosts they belong to (RFC 6265): of a file, and those that redirects set on the way of one try."""

from __future__ import annotations

import http.cookiejar
import re
import time
import urllib.request
from collections.abc import Iterable
from email.message import Message
from pathlib import Path

from yarl import URL

from crawler import urls
from crawler.errors import SettingsError

_HTTP_ONLY = "#HttpOnly_"
_LONG_AGE = re.compile(r"(max-age\s*=\s*\"?-?[0-9]{1,10})[0-9]*", re.IGNORECASE)

CookieJar = http.cookiejar.CookieJar


def _jar() -> CookieJar:
    """A jar whose cookies go to the very host that set them, unless they name a domain."""
    policy = http.cookiejar.DefaultCookiePolicy
    return CookieJar(policy(strict_domain=True, strict_ns_domain=policy.DomainStrictNonDomain))


def read_cookies(path: str) -> CookieJar:
    """The cookies of a file in Netscape format: seven columns, parted by tabs. Blocks.

    Raises:
        SettingsError: the file is not there, or of another format. No cookie is shown.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SettingsError("cookies", f"{path}: {error.strerror or error}") from None
    except UnicodeError:
        raise SettingsError("cookies", f"{path}: is no text") from None
    jar = _jar()
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(_HTTP_ONLY)
        if not text.strip() or text.startswith("#"):
            continue
        columns = text.split("\t")
        if len(columns) != 7 or columns[1] not in ("TRUE", "FALSE") or not _is_number(columns[4]):
            raise SettingsError(
                "cookies",
                f"{path}:{number}: is no line of a cookie file in Netscape format, which has seven columns parted by tabs: "
                "host, TRUE or FALSE, path, TRUE or FALSE, expiry, name, value",
            )
        cookie = _cookie(columns)
        if not cookie.is_expired(int(time.time())):
            jar.set_cookie(cookie)
    if not any(line.strip() for line in lines):
        raise SettingsError("cookies", f"{path}: is empty")
    return jar


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.replace(".", "", 1).removeprefix("-").isdigit() and len(text) < 16)


def _cookie(columns: list[str]) -> http.cookiejar.Cookie:
    host, subdomains, path, secure, expiry, name, value = columns
    host = host.lower()
    whole = subdomains == "TRUE" and not host.removeprefix(".").replace(".", "").isdigit()
    expires = max(0, int(float(expiry or 0))) or None  # 0 is a cookie of the session
    if "." not in host and ":" not in host:
        host += ".local"  # what the jar calls a host without a dot
    return http.cookiejar.Cookie(
        version=0, name=name, value=value, port=None, port_specified=False,
        domain=f".{host.removeprefix('.')}" if whole else host.removeprefix("."),
        domain_specified=whole, domain_initial_dot=whole,
        path=path or "/", path_specified=True, secure=secure == "TRUE",
        expires=expires, discard=expires is None, comment=None, comment_url=None, rest={},
    )  # fmt: skip


def cookie_header(jars: Iterable[CookieJar | None], url: URL) -> str:
    """The Cookie header for one request, empty for none."""
    found = []
    for jar in jars:
        if jar is not None:
            request = urllib.request.Request(str(urls.without_user(url)))
            jar.add_cookie_header(request)
            found.append(request.get_header("Cookie") or "")
    return "; ".join(filter(None, found))


def remember_cookies(jar: CookieJar | None, url: URL, set_cookie: Iterable[str]) -> CookieJar | None:
    """`jar`, made if need be, with what an answer from `url` sets. What is no plain text is left out."""
    plain = [_LONG_AGE.sub(r"\1", value) for value in set_cookie if value.isascii() and value.isprintable()]
    if not plain:
        return jar
    if jar is None:
        jar = _jar()
    jar.extract_cookies(_Answer(plain), urllib.request.Request(str(urls.without_user(url))))  # type: ignore[arg-type]
    return jar


class _Answer:
    """As much of a response as a cookie jar of the standard library looks at."""

    def __init__(self, set_cookie: list[str]) -> None:
        self._message = Message()
        for value in set_cookie:
            self._message.add_header("Set-Cookie", value)

    def info(self) -> Message:
        return self._message
