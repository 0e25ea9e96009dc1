"""Plain HTTP on several loopback addresses that answers each path of each host as its script says.

One rule: every path walks its own list of replies, and stays at the last. What no script names is not there (404).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, TypeAlias

from tests.servers import pictures
from tests.servers.dns import LIMIT, Listener, serving
from tests.servers.faults import bind
from tests.servers.handle import authority

PIECE: Final = 4096
SEND_BUFFER: Final = 16 * 1024
FOREVER: Final = 1 << 40
JPEG: Final = pictures.jpeg(64, 48, seed=3)
EVERY: Final = "*"


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        headers: whole lines, such as `Content-Type: text/plain`.
        zeros: bytes of zeros that follow the body and count as part of it.
        length: what Content-Length says: None for the truth, -1 for none, so that the end of the body closes.
        wait: seconds before anything is sent.
        first: bytes of the body that are sent at once; the rest comes `pause` seconds later.
        reset: RST instead of an answer.
    """

    body: bytes = b""
    headers: tuple[str, ...] = ()
    status: int = 200
    zeros: int = 0
    length: int | None = None
    wait: float = 0.0
    first: int = 0
    pause: float = 0.0
    reset: bool = False


NOT_FOUND: Final = Reply(status=404)
SILENCE: Final = Reply(wait=LIMIT)
RESET: Final = Reply(reset=True)

Script: TypeAlias = Mapping[str, "Reply | Sequence[Reply]"]


def picture(
    body: bytes = JPEG, *headers: str, zeros: int = 0, kind: str = "image/jpeg", first: int = 0, pause: float = 0.0
) -> Reply:
    """A picture; without a kind, no Content-Type is sent."""
    named = (f"Content-Type: {kind}",) if kind else ()
    return Reply(body, (*named, *headers), zeros=zeros, first=first, pause=pause)


def text(body: str | bytes, *headers: str, status: int = 200) -> Reply:
    """A text, such as a robots.txt."""
    data = body.encode() if isinstance(body, str) else body
    return Reply(data, ("Content-Type: text/plain", *headers), status)


def moved(to: str, status: int = 302) -> Reply:
    return Reply(b"", (f"Location: {to}",), status)


@dataclass(frozen=True)
class Request:
    """One request: the address it came to, what was asked for, `time.monotonic`, and how much was sent of the body."""

    host: str
    path: str
    at: float
    headers: Mapping[str, str]
    entry: dict[str, Any]

    @property
    def sent(self) -> int:
        """Bytes of the body that the kernel has taken."""
        found: int = self.entry["sent"]
        return found


class Scripts:
    """What every host says, how far each path has come, and what was asked."""

    def __init__(self, hosts: Mapping[str, Script]) -> None:
        self.hosts = dict(hosts)
        self.log: list[Request] = []
        self.turns: Counter[tuple[str, str]] = Counter()
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def reply(self, request: Request) -> Reply:
        script, path = self.hosts[request.host], request.path.partition("?")[0]
        with self.lock:
            self.log.append(request)
            found = script.get(path, NOT_FOUND if path == "/robots.txt" else script.get(EVERY, NOT_FOUND))
            if isinstance(found, Reply):
                return found
            turn = self.turns[request.host, path]
            self.turns[request.host, path] += 1
            return found[min(turn, len(found) - 1)]


@dataclass(frozen=True)
class Scripted:
    """A running server."""

    port: int
    scripts: Scripts

    def url(self, host: str, path: str) -> str:
        return f"http://{authority(host, self.port)}/{path.lstrip('/')}"

    def log(self, host: str | None = None) -> list[Request]:
        """Requests so far, in order of arrival."""
        return [request for request in list(self.scripts.log) if host in (None, request.host)]

    def paths(self, host: str | None = None) -> list[str]:
        return [request.path for request in self.log(host)]

    def sent(self, path: str) -> int:
        """Bytes sent of the only body that was asked for at this path, when its connection is done with it."""
        (request,) = (one for one in self.log() if one.path == path)
        request.entry["done"].wait(LIMIT)
        return request.sent

    def tell(self, host: str, script: Script) -> None:
        """From now on the host says this."""
        self.scripts.hosts[host] = script

    def reset(self) -> None:
        """Forget the log, and start every script again."""
        self.scripts.log.clear()
        self.scripts.turns.clear()


@contextlib.contextmanager
def running_scripted(hosts: Mapping[str, Script]) -> Iterator[Scripted]:
    """HTTP on one port of all hosts, which must be loopback addresses."""
    scripts = Scripts(hosts)
    servers = [_Server(sock, _Handler) for sock in bind(list(hosts))]
    for server, host in zip(servers, hosts, strict=True):
        server.scripts, server.host = scripts, host
    with serving(*servers):
        try:
            yield Scripted(servers[0].server_address[1], scripts)
        finally:
            scripts.stop.set()


class _Server(Listener):
    scripts: Scripts
    host: str


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = LIMIT
    disable_nagle_algorithm = True

    def setup(self) -> None:
        # Small, so that what has been sent is not much more than what the client has read.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().setup()

    def do_GET(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        entry: dict[str, Any] = {"sent": 0, "done": threading.Event()}
        request = Request(self.server.host, self.path, time.monotonic(), headers, entry)
        try:
            self._answer(self.server.scripts.reply(request), entry)
        finally:
            entry["done"].set()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def _answer(self, reply: Reply, entry: dict[str, Any]) -> None:
        if self._stopped_in(reply.wait):
            return
        if reply.reset:
            # SO_LINGER with zero seconds makes close() send RST (socket(7)).
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        size = len(reply.body) + reply.zeros
        length = size if reply.length is None else reply.length
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}", *reply.headers]
        lines += [f"Content-Length: {length}"] if length >= 0 else ["Connection: close"]
        self.close_connection = length != size
        self.wfile.write("\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape"))
        first = reply.first or size
        for piece in _pieces(reply.body, reply.zeros, first):
            if entry["sent"] == first and self._stopped_in(reply.pause):
                return
            self.wfile.write(piece)
            entry["sent"] += len(piece)

    def _stopped_in(self, seconds: float) -> bool:
        """Wait; True if the server ends before, and nobody is there to be answered any more."""
        stopped = seconds > 0 and self.server.scripts.stop.wait(seconds)
        self.close_connection = self.close_connection or stopped
        return stopped


def _pieces(body: bytes, zeros: int, first: int) -> Iterator[bytes]:
    yield from (body[:first][at : at + PIECE] for at in range(0, len(body[:first]), PIECE))
    yield from (body[at : at + PIECE] for at in range(first, len(body), PIECE))
    while zeros > 0:
        yield bytes(min(PIECE, zeros))
        zeros -= PIECE


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "X"
