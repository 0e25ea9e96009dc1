"""Plain HTTP on several loopback addresses that knows validators: 304 for who has the page already (RFC 9110 13.1).

What a path holds is asked of the test each time, so that pages change while the server runs. Nothing is /robots.txt.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.servers.dns import LIMIT, Listener, serving
from tests.servers.faults import bind
from tests.servers.handle import authority

ROBOTS: Final = "/robots.txt"


@dataclass(frozen=True)
class Page:
    """What a path holds now.

    Attributes:
        headers: whole lines, such as `Retry-After: 1`.
        wait: seconds before it is answered.
    """

    body: bytes = b""
    kind: str = "image/jpeg"
    etag: str = ""
    modified: str = ""
    status: int = 200
    headers: tuple[str, ...] = ()
    wait: float = 0.0


NOT_THERE: Final = Page(b"no such page", "text/plain", status=404)

Holds: TypeAlias = Callable[[str, str], Page]


class Pages(dict[str, Page]):
    """What every path of every host holds; what is not named is not there."""

    def __call__(self, host: str, path: str) -> Page:
        return self.get(path, NOT_THERE)


@dataclass(frozen=True)
class Request:
    """One request: the address it came to, what was asked for, `time.monotonic` on arrival, and the status sent."""

    host: str
    path: str
    headers: Mapping[str, str]
    at: float
    status: int

    @property
    def conditions(self) -> dict[str, str]:
        """The conditional headers among them."""
        return {name: value for name, value in self.headers.items() if name.startswith("if-")}


@dataclass
class Validators:
    """A running server. `holds` may be replaced at any time."""

    hosts: tuple[str, ...]
    holds: Holds
    port: int = 0
    entries: list[Request] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{authority(host or self.hosts[0], self.port)}/{path.lstrip('/')}"

    def log(self, host: str | None = None, robots: bool = False) -> list[Request]:
        """Requests so far; those for a robots.txt only if they are asked for."""
        return [one for one in list(self.entries) if host in (None, one.host) and (robots or one.path != ROBOTS)]

    def paths(self, host: str | None = None) -> list[str]:
        return [request.path for request in self.log(host)]

    def reset(self) -> None:
        """Forget the log."""
        self.entries.clear()


def listed(site: Validators, folder: Path, names: Sequence[str]) -> Path:
    """A list with the addresses of these paths."""
    path = folder / "urls.txt"
    path.write_text("".join(f"{site.url(name)}\n" for name in names))
    return path


@contextlib.contextmanager
def running_validators(holds: Holds, hosts: Sequence[str] = ("127.0.0.1",)) -> Iterator[Validators]:
    """HTTP on one port of all hosts; `holds(host, path)` is the page, the path with its query."""
    site = Validators(tuple(hosts), holds)
    servers = [_Server(sock, _Handler) for sock in bind(hosts)]
    site.port = servers[0].server_address[1]
    for server, host in zip(servers, hosts, strict=True):
        server.site, server.host = site, host
    with serving(*servers):
        try:
            yield site
        finally:
            site.stop.set()


class _Server(Listener):
    site: Validators
    host: str


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        at, site, host = time.monotonic(), self.server.site, self.server.host
        page = NOT_THERE if self.path == ROBOTS else site.holds(host, self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = 304 if page.status == 200 and _has_it(page, headers) else page.status
        site.entries.append(Request(host, self.path, headers, at, status))
        if page.wait and site.stop.wait(page.wait):
            self.close_connection = True
            return
        lines = [f"HTTP/1.1 {status} X", *page.headers]
        lines += [f"ETag: {page.etag}"] if page.etag else []
        lines += [f"Last-Modified: {page.modified}"] if page.modified else []
        if status != 304:
            lines += [f"Content-Type: {page.kind}", f"Content-Length: {len(page.body)}"]
        self.close_connection = "Connection: close" in page.headers
        body = b"" if status == 304 else page.body
        self.wfile.write("\r\n".join((*lines, "", "")).encode("latin-1") + body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


def _has_it(page: Page, headers: Mapping[str, str]) -> bool:
    """Whether the client has this page (RFC 9110 13.2.2: If-None-Match goes before If-Modified-Since)."""
    if "if-none-match" in headers:
        named = [tag.strip().removeprefix("W/") for tag in headers["if-none-match"].split(",")]
        return bool(page.etag) and page.etag.removeprefix("W/") in named
    return bool(page.modified) and headers.get("if-modified-since") == page.modified
