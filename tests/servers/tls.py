"""HTTPS on loopback with a certificate of our own making: right, for another host, or expired.

Every path is one small JPEG, except /robots.txt, which is not there.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import trustme

from tests.servers import pictures
from tests.servers.dns import LIMIT, Listener, serving
from tests.servers.faults import bind
from tests.servers.handle import authority

PICTURE: Final = pictures.jpeg(64, 48, seed=7)


@dataclass(frozen=True)
class Tls:
    """A running HTTPS server; `ca_file` holds the CA that signed its certificate."""

    port: int
    hosts: tuple[str, ...]
    ca_file: Path
    entries: list[dict[str, Any]]

    def url(self, path: str, host: str | None = None) -> str:
        """The address of a path, on the first host unless another is named."""
        return f"https://{authority(host or self.hosts[0], self.port)}/{path.lstrip('/')}"

    def log(self) -> list[dict[str, Any]]:
        """Requests so far: `method`, `path` (with its query) and `headers` (names in lower case).

        A client that does not accept the certificate never gets as far as a request.
        """
        return list(self.entries)

    def reset(self) -> None:
        """Forget the log."""
        self.entries.clear()


@contextlib.contextmanager
def running_tls(
    hosts: Sequence[str] = ("127.0.0.1",), certificate_for: Sequence[str] = ("127.0.0.1",), expired: bool = False
) -> Iterator[Tls]:
    """HTTPS on one port of all `hosts`, which must be loopback addresses; the certificate names `certificate_for`."""
    ca = trustme.CA()
    # Not before 2000 is the default, so a certificate that ended yesterday was good once.
    end = datetime.now(UTC) - timedelta(days=1) if expired else None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    ca.issue_cert(*certificate_for, not_after=end).configure_cert(context)
    entries: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tls-") as name:
        ca_file = Path(name) / "ca.pem"
        ca.cert_pem.write_to_path(str(ca_file))
        servers = [_Server(sock, _Handler) for sock in bind(hosts)]
        for server in servers:
            server.context, server.entries = context, entries
        with serving(*servers):
            yield Tls(servers[0].server_address[1], tuple(hosts), ca_file, entries)


class _Server(Listener):
    context: ssl.SSLContext
    entries: list[dict[str, Any]]

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        # The handshake waits for the client, so it is left to the thread of the connection.
        sock, client = super().get_request()
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), client


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT

    def setup(self) -> None:
        self.request.settimeout(LIMIT)
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.entries.append({"method": self.command, "path": self.path, "headers": headers})
        missing = self.path.partition("?")[0] == "/robots.txt"
        body = b"" if missing else PICTURE
        self.send_response(HTTPStatus.NOT_FOUND if missing else HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain" if missing else "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name the standard library looks for

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""
