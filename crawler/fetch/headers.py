"""The headers of one request: what the user gave, for the hosts it was given for. No secret goes to another host."""

from __future__ import annotations

import base64

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from crawler import urls
from crawler.checks import parse_header
from crawler.fetch.cookies import CookieJar, cookie_header, read_cookies, remember_cookies
from crawler.model import Visit
from crawler.settings import FetchSettings

_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"})


class RequestHeaders:
    """Headers for every visit, as the settings say. `load` reads the file of cookies."""

    def __init__(self, settings: FetchSettings) -> None:
        self._for_all: list[tuple[str, str]] = []
        self._for_host: dict[str, list[tuple[str, str]]] = {}
        for host, name, value in map(parse_header, settings.header):
            (self._for_host.setdefault(host, []) if host else self._for_all).append((name, value))
        self._referer = settings.referer
        self._cookies_file = settings.cookies
        self._cookies: CookieJar | None = None
        self._plain = not (self._for_all or self._for_host or self._referer or self._cookies_file)

    def load(self) -> None:
        """Read what stands in files. Blocks.

        Raises:
            SettingsError: a file is not there, or of another format.
        """
        if self._cookies_file:
            self._cookies = read_cookies(self._cookies_file)

    def of(self, visit: Visit, url: URL, robots: bool = False) -> CIMultiDict[str] | None:
        """What this request needs besides the headers of all; None for nothing. A robots.txt is asked for without secrets,
        but for those of its own host.
        """
        target, past = visit.target, visit.past
        asks_again = conditional(visit)
        if self._plain and target.credentials is None and visit.jar is None and not asks_again:
            return None
        home = URL(target.url)
        at_home = not robots and (url.scheme, url.raw_host, url.port) == (home.scheme, home.raw_host, home.port)
        headers: CIMultiDict[str] = CIMultiDict()
        if self._referer:
            headers["Referer"] = (visit.referer or f"{home.origin()}/") if self._referer == "auto" else self._referer
        for name, value in self._for_all:
            if at_home or name.lower() not in _SECRET:
                headers[name] = value
        host = url.host_subcomponent or ""  # an IPv6 address in its brackets
        for name, value in (*self._for_host.get(host, ()), *self._for_host.get(f"{host}:{url.port}", ())):
            headers[name] = value
        if target.credentials is not None and at_home:
            headers["Authorization"] = basic(*target.credentials)
        if cookies := cookie_header((self._cookies, visit.jar), url):
            headers["Cookie"] = "; ".join(filter(None, (headers.get("Cookie"), cookies)))
        if asks_again and past.etag:
            headers["If-None-Match"] = past.etag
        if asks_again and past.last_modified:
            headers["If-Modified-Since"] = past.last_modified
        return headers

    def remember(self, visit: Visit, url: URL, headers: CIMultiDictProxy[str]) -> None:
        """Keep the cookies that a redirect sets, for the rest of this try: some sites go round in circles without."""
        if "Set-Cookie" in headers:
            visit.jar = remember_cookies(visit.jar, url, headers.getall("Set-Cookie"))


def conditional(visit: Visit) -> bool:
    """True if this request can be answered with 304: it goes to the address that the stored picture came from."""
    past = visit.past
    return bool(past.etag or past.last_modified) and urls.masked(visit.url) == past.final_url


def basic(user: str, password: str) -> str:
    """The credentials of an Authorization header (RFC 7617 2)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
