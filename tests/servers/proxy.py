"""A forward HTTP proxy on loopback: GET with a whole URL, and CONNECT tunnels.

One rule: it connects to loopback addresses only. A name is served by the address `reroute` gives it;
without one the answer is 502, so no test ever asks a real host.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import selectors
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from tests.servers.dns import LIMIT, LOOPBACK, Listener, serving
from tests.servers.handle import authority

PIECE: Final = 64 * 1024
# Headers between two neighbours, not passed on (RFC 9110, 7.6.1 and 11.7).
_NEIGHBOURS: Final = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization"})


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    port: int
    entries: list[dict[str, Any]]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """Requests so far, refused ones too: `method`, `target` (as sent) and `headers` (names in lower case)."""
        return list(self.entries)

    def reset(self) -> None:
        """Forget the log."""
        self.entries.clear()


@contextlib.contextmanager
def running_proxy(
    user: str = "", password: str = "", reroute: Mapping[str, tuple[str, int]] | None = None
) -> Iterator[Proxy]:
    """A proxy; with a user or a password it wants both (Basic). `reroute` maps "host:port" to an address."""
    server = _Server(socket.create_server((LOOPBACK, 0)), _Handler)
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    server.credentials = f"Basic {secret}" if user or password else None
    server.reroute = {name.lower(): address for name, address in (reroute or {}).items()}
    server.entries = []
    with serving(server):
        yield Proxy(server.server_address[1], server.entries)


class _Server(Listener):
    credentials: str | None
    reroute: dict[str, tuple[str, int]]
    entries: list[dict[str, Any]]

    @contextlib.contextmanager
    def upstream(self, address: tuple[str, int]) -> Iterator[socket.socket]:
        with socket.create_connection(address, timeout=LIMIT) as sock:
            self.open.add(sock)
            try:
                if self.ended:
                    raise ConnectionAbortedError("the proxy ends")
                yield sock
            finally:
                self.open.discard(sock)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT

    def do_CONNECT(self) -> None:
        if not self._admitted():
            return
        with contextlib.ExitStack() as opened:
            try:
                sock = opened.enter_context(self.server.upstream(self._address(urlsplit(f"//{self.path}"), None)))
            except (OSError, ValueError):
                self._refuse(HTTPStatus.BAD_GATEWAY)
                return
            self.close_connection = True
            self.send_response_only(HTTPStatus.OK, "Connection established")
            self.end_headers()
            _tunnel(self.connection, sock)

    def do_GET(self) -> None:
        if not self._admitted():
            return
        parts = urlsplit(self.path)
        if parts.scheme != "http" or not parts.hostname:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        with contextlib.ExitStack() as opened:
            try:
                sock = opened.enter_context(self.server.upstream(self._address(parts, 80)))
            except (OSError, ValueError):
                self._refuse(HTTPStatus.BAD_GATEWAY)
                return
            self.close_connection = True  # the end of the answer is the end of the connection
            kept = [f"{key}: {value}" for key, value in self.headers.items() if key.lower() not in _NEIGHBOURS]
            target = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
            lines = [f"{self.command} {target} HTTP/1.1", *kept, "Connection: close", "", ""]
            sock.sendall("\r\n".join(lines).encode("latin-1"))
            self._pass_back(opened.enter_context(sock.makefile("rb")))

    do_HEAD = do_GET  # noqa: N815 - the name the standard library looks for

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _admitted(self) -> bool:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.entries.append({"method": self.command, "target": self.path, "headers": headers})
        if self.server.credentials in (None, headers.get("proxy-authorization")):
            return True
        self._refuse(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "Proxy-Authenticate", 'Basic realm="proxy"')
        return False

    def _refuse(self, status: HTTPStatus, *header: str) -> None:
        self.send_response(status)
        if header:
            self.send_header(*header)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _address(self, parts: SplitResult, default: int | None) -> tuple[str, int]:
        host, port = parts.hostname, parts.port or default
        if not host or not port:
            raise ValueError("no host or no port")
        if found := self.server.reroute.get(authority(host, port)):
            return found
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:  # raises ValueError for a name
            raise ValueError(f"{host} is not on loopback")
        return host, port

    def _pass_back(self, answer: BufferedReader) -> None:
        """The answer byte by byte as it comes, except that its head says the connection closes."""
        line = answer.readline(PIECE)
        self.wfile.write(line)
        if line.startswith(b"HTTP/"):
            self.wfile.write(b"Connection: close\r\n")
            while (line := answer.readline(PIECE)).strip():
                if line.partition(b":")[0].decode("latin-1").lower() not in _NEIGHBOURS:
                    self.wfile.write(line)
            self.wfile.write(line)
        while piece := answer.read1(PIECE):
            self.wfile.write(piece)


def _tunnel(client: socket.socket, server: socket.socket) -> None:
    """Both ways until both have ended, or until neither says anything for too long."""
    other = {client: server, server: client}
    with selectors.DefaultSelector() as selector:
        for sock in other:
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(LIMIT)
            if not ready:
                return
            for sock in [key.fileobj for key, _ in ready if isinstance(key.fileobj, socket.socket)]:
                if piece := sock.recv(PIECE):
                    other[sock].sendall(piece)
                else:
                    selector.unregister(sock)
                    other[sock].shutdown(socket.SHUT_WR)
