"""Names by script: a DNS server on loopback, UDP and TCP on one port, that answers exactly as it is told.

One rule: every name walks its own list of steps, once for A and once for AAAA, and stays at the last step.
It also holds what the threaded servers beside it share: `Listener` and `serving`.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import socketserver
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

LOOPBACK: Final = "127.0.0.1"
LIMIT: Final = 30.0  # no read or write of a server waits longer
POLL: Final = 0.02
TRIES: Final = 20
UDP_LIMIT: Final = 512  # a longer reply says "truncated", and the client asks again over TCP (RFC 1035, 4.2.1)

_TYPES: Final = {1: "A", 28: "AAAA"}
_VERSIONS: Final = {1: 4, 28: 6}
_REPLY, _AUTHORITATIVE, _TRUNCATED, _WISHED, _AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_POINTER: Final = 0xC00C  # "the name in the question" (RFC 1035, 4.1.4)


@dataclass(frozen=True)
class Answer:
    """The addresses of the family asked for; none of that family is an empty answer without an error."""

    addresses: tuple[str, ...]
    ttl: int = 60


@dataclass(frozen=True)
class Failure:
    """A reply with this code and no records."""

    code: int


@dataclass(frozen=True)
class Silence:
    """No reply at all."""


@dataclass(frozen=True)
class Delay:
    """The same as `step`, but so many seconds later."""

    seconds: float
    step: Step


SERVFAIL: Final = Failure(2)
NXDOMAIN: Final = Failure(3)

Step: TypeAlias = Answer | Failure | Silence | Delay


class Question(NamedTuple):
    """What was asked: the name in lower case, "A", "AAAA" or "TYPE65", and `time.monotonic`."""

    name: str
    qtype: str
    at: float


class _Quiet(socketserver.BaseServer):
    """A client that leaves is no error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Listener(_Quiet, socketserver.ThreadingTCPServer):
    """A thread for every connection on a bound socket; it knows its sockets, so it can end them."""

    request_queue_size = 1024

    def __init__(self, sock: socket.socket, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(sock.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.open: set[socket.socket] = set()
        self.ended = False
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self.open.discard(request)
        super().close_request(request)

    def cut(self) -> None:
        self.ended = True
        for sock in tuple(self.open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS: its thread may be reading


@contextlib.contextmanager
def serving(*servers: socketserver.BaseServer) -> Iterator[None]:
    """Serve from threads until the block ends; no thread, socket or connection is left then."""
    threads = [threading.Thread(target=server.serve_forever, args=(POLL,), name="test server") for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        # All at once: each looks up only every POLL seconds, and a site of twenty hosts has twenty.
        ending = [threading.Thread(target=server.shutdown, name="test server") for server in servers]
        for thread in ending:
            thread.start()
        for thread in (*ending, *threads):
            thread.join()
        for server in servers:
            if isinstance(server, Listener):
                server.cut()
            server.server_close()  # waits for the thread of every connection


class Zone:
    """The scripts, how far each has come, and what was asked."""

    def __init__(self, answers: Mapping[str, Sequence[Step]]) -> None:
        self.scripts = {name.rstrip(".").lower(): tuple(steps) for name, steps in answers.items()}
        self.asked: list[Question] = []
        self.turns: Counter[tuple[str, int]] = Counter()
        self.pending = self.peak = 0
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def clear(self) -> None:
        with self.lock:
            self.asked.clear()
            self.turns.clear()
            self.peak = self.pending  # what is still delayed keeps counting

    def reply(self, query: bytes, limit: int) -> bytes | None:
        """What is sent back, if anything; what is no question gets nothing."""
        try:
            number, flags = struct.unpack_from(">HH", query)
            name, kind, question = _question(query)
        except (IndexError, struct.error):
            return None
        step = self._step(name, kind)
        while isinstance(step, Delay):
            if not self._waited(step.seconds):
                return None
            step = step.step
        if isinstance(step, Silence):
            return None
        records = _records(step, kind) if isinstance(step, Answer) else []
        flags = flags & _WISHED | _REPLY | _AUTHORITATIVE | _AVAILABLE
        flags |= step.code if isinstance(step, Failure) else 0
        if 12 + len(question) + sum(map(len, records)) > limit:
            flags, records = flags | _TRUNCATED, []
        return struct.pack(">6H", number, flags, 1, len(records), 0, 0) + question + b"".join(records)

    def _step(self, name: str, kind: int) -> Step:
        with self.lock:
            self.asked.append(Question(name, _TYPES.get(kind, f"TYPE{kind}"), time.monotonic()))
            if name not in self.scripts:
                return NXDOMAIN
            if kind not in _TYPES:
                return Answer(())
            steps, turn = self.scripts[name], self.turns[name, kind]
            self.turns[name, kind] += 1
        return steps[min(turn, len(steps) - 1)]

    def _waited(self, seconds: float) -> bool:
        with self.lock:
            self.pending += 1
            self.peak = max(self.peak, self.pending)
        stopped = self.stop.wait(seconds)
        with self.lock:
            self.pending -= 1
        return not stopped


def _question(query: bytes) -> tuple[str, int, bytes]:
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    (kind, _) = struct.unpack_from(">HH", query, at + 1)
    return ".".join(labels).lower(), kind, query[12 : at + 5]


def _records(answer: Answer, kind: int) -> list[bytes]:
    addresses = [ipaddress.ip_address(text) for text in answer.addresses]
    packed = [address.packed for address in addresses if address.version == _VERSIONS.get(kind)]
    return [struct.pack(">HHHIH", _POINTER, kind, 1, answer.ttl, len(data)) + data for data in packed]


class _Udp(_Quiet, socketserver.ThreadingUDPServer):
    zone: Zone


class _Tcp(Listener):
    zone: Zone


class _Datagram(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        query, sock = self.request
        if (reply := self.server.zone.reply(query, UDP_LIMIT)) is not None:
            sock.sendto(reply, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    server: _Tcp
    timeout = LIMIT

    def handle(self) -> None:
        while len(prefix := self.rfile.read(2)) == 2:
            reply = self.server.zone.reply(self.rfile.read(int.from_bytes(prefix)), 0xFFFF)
            if reply is not None:
                self.wfile.write(len(reply).to_bytes(2) + reply)


@dataclass(frozen=True)
class Dns:
    """A running DNS server."""

    port: int
    zone: Zone

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def log(self) -> list[Question]:
        """Questions so far, in order of arrival."""
        return list(self.zone.asked)

    def most_at_once(self) -> int:
        """How many delayed questions were waiting for their reply at the same time, at most."""
        return self.zone.peak

    def reset(self) -> None:
        """Forget the log and the counter, and start every script again."""
        self.zone.clear()


@contextlib.contextmanager
def running_dns(answers: Mapping[str, Sequence[Step]]) -> Iterator[Dns]:
    """A DNS server for these names; any other name does not exist."""
    if empty := [name for name, steps in answers.items() if not steps]:
        raise ValueError(f"no steps for {', '.join(empty)}")
    zone = Zone(answers)
    udp, tcp = _bound()
    udp.zone = tcp.zone = zone
    with serving(udp, tcp):
        try:
            yield Dns(tcp.server_address[1], zone)
        finally:
            zone.stop.set()


def _bound() -> tuple[_Udp, _Tcp]:
    """UDP and TCP on one port: the one TCP got may be taken for UDP, then try another."""
    for _ in range(TRIES):
        sock = socket.create_server((LOOPBACK, 0))
        try:
            udp = _Udp((LOOPBACK, sock.getsockname()[1]), _Datagram)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return udp, _Tcp(sock, _Stream)
    raise OSError(errno.EADDRINUSE, f"no port was free for UDP and TCP in {TRIES} tries")
