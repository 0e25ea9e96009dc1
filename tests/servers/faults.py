"""Faults by name: an HTTP/1.1 server on loopback that misbehaves exactly as the path asks.

`GET /` lists the catalogue, `/NAME` plays one fault; `/_log`, `/_stats` and `/_reset` tell what was asked.
One rule: a handler owns the bytes on the wire, so no HTTP library stands between.
It is longer than most modules so that the catalogue can be read beside its handlers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gzip
import ipaddress
import itertools
import json
import os
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.servers import pictures

FOREVER: Final = 3600.0
PIECE: Final = 64 * 1024
MIB: Final = 1024 * 1024
PAGE: Final = b"<!doctype html><html><head><title>A page</title></head><body>Not a picture.</body></html>"
# A RST at once may overtake the bytes before it; this long lets the client read them first.
BEFORE_RESET: Final = 0.1

Step = Mapping[str, Any]


# What is remembered of the requests ---------------------------------------------------------------


@dataclass
class Ledger:
    """Every request since the start or the last reset, and how many ran at once on each local address."""

    log: list[dict[str, Any]] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    active: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    connections: int = 0

    def begin(self, entry: dict[str, Any]) -> None:
        self.log.append(entry)
        local = entry["local"]
        self.active[local] += 1
        self.peak[local] = max(self.peak[local], self.active[local])

    def finish(self, entry: dict[str, Any]) -> None:
        entry["end"] = time.monotonic()
        self.active[entry["local"]] -= 1

    def attempt(self, target: str) -> int:
        """How many times this exact path and query was asked for before now."""
        self.attempts[target] += 1
        return self.attempts[target] - 1

    def clear(self) -> None:
        self.log.clear()
        self.attempts.clear()
        self.connections = 0
        self.peak = Counter(+self.active)  # what still runs keeps counting

    def stats(self) -> dict[str, Any]:
        return {
            "total": len(self.log),
            "connections": self.connections,
            "concurrent": dict(self.peak),
            "active": dict(+self.active),
        }


# One request and the wire below it ----------------------------------------------------------------


@dataclass
class Exchange:
    """One request, and what a fault may do to the connection it came on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ledger: Ledger
    method: str
    target: str
    headers: Mapping[str, str]
    entry: dict[str, Any]
    before: int  # requests already answered on this connection
    argument: str = ""  # the path below the fault's name

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def url(self) -> str:
        return f"http://{self.headers.get('host', '')}{self.target}"

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))

    def seconds(self, name: str, default: float) -> float:
        return float(self.query.get(name, default))

    async def send(self, data: bytes) -> None:
        """Returns once the kernel has taken all of it, so an endless body goes only as fast as it is read."""
        self.writer.write(data)
        await self.writer.drain()
        self.entry["sent"] += len(data)

    async def chunk(self, data: bytes, extension: str = "") -> None:
        await self.send(f"{len(data):x}{extension}\r\n".encode() + data + b"\r\n")

    async def pause(self, seconds: float) -> None:
        """Wait; a client that leaves meanwhile ends the exchange."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), seconds)
            raise ConnectionResetError("the client left")

    def fin(self) -> None:
        self.writer.close()

    def rst(self) -> None:
        # SO_LINGER with zero seconds makes close() send RST (socket(7)).
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def answer(self, status: int = 200, body: bytes = b"", kind: str | None = None, *lines: str) -> None:
        """A whole and correct answer; the connection stays open."""
        named = (f"Content-Type: {kind}",) if kind else ()
        bodiless = status in (204, 304) or status < 200
        sized = () if bodiless else (f"Content-Length: {len(body)}",)
        shown = b"" if bodiless or self.method == "HEAD" else body
        await self.send(head(*named, *sized, *lines, status=status) + shown)


Handler = Callable[[Exchange], Awaitable[None]]
Body = Callable[[Exchange], bytes]


class Fault(NamedTuple):
    play: Handler
    says: str


def head(*lines: str, status: int = 200) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} {_phrase(status)}", *lines, "", "")).encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "X"


# Bodies -------------------------------------------------------------------------------------------

_jpeg = lru_cache(256)(pictures.jpeg)
_png = lru_cache(64)(pictures.png)
_webp = lru_cache(64)(pictures.webp)
_gif = lru_cache(64)(pictures.gif)
_blank = lru_cache(4)(pictures.blank_png)
_tiny: Final = pictures.jpeg(32, 32, quality=75)


def reference() -> bytes:
    """The JPEG that the faults cut, delay or mislabel."""
    return _jpeg(480, 360)


def asked_size(x: Exchange) -> tuple[int, int, int]:
    return x.number("w", 640), x.number("h", 480), x.number("seed", 0)


def tiny(x: Exchange) -> bytes:
    return pictures.stamped(_tiny, x.argument)


def good(x: Exchange) -> bytes:
    return reference()


def sixty_percent(x: Exchange) -> bytes:
    return reference()[: len(reference()) * 6 // 10]


def huge_but_whole(x: Exchange) -> bytes:
    return _blank(x.number("w", 12_000), x.number("h", 12_000))


def answers(kind: str | None, body: Body | bytes, *lines: str) -> Handler:
    async def play(x: Exchange) -> None:
        await x.answer(200, body if isinstance(body, bytes) else body(x), kind, *lines)

    return play


# Statuses and redirects ---------------------------------------------------------------------------


async def status(x: Exchange) -> None:
    await x.answer(int(x.argument), PAGE, "text/html", *_retry_after(x))


async def flaky(x: Exchange) -> None:
    if x.ledger.attempt(x.target) >= x.number("fails", 1):
        await x.answer(200, pictures.stamped(reference(), x.argument), "image/jpeg")
    elif (code := x.query.get("code", "503")) == "reset":
        x.rst()
    else:
        await x.answer(int(code), PAGE, "text/html", *_retry_after(x))


def _retry_after(x: Exchange) -> tuple[str, ...]:
    return (f"Retry-After: {x.query['retry_after']}",) if "retry_after" in x.query else ()


async def redirect(x: Exchange) -> None:
    await x.answer(x.number("code", 302), b"", None, f"Location: {x.query['to']}")


async def redirect_chain(x: Exchange) -> None:
    hops = int(x.argument)
    if not hops:
        return await x.answer(200, reference(), "image/jpeg")
    await x.answer(302, b"", None, f"Location: /redirect-chain/{hops - 1}")


def redirects(*location: str) -> Handler:
    async def play(x: Exchange) -> None:
        await x.answer(302, b"", None, *(line.format(self=x.target) for line in location))

    return play


# Connections that break ---------------------------------------------------------------------------


async def close_at_once(x: Exchange) -> None:
    x.fin()


async def reset_at_once(x: Exchange) -> None:
    x.rst()


async def cut_body(x: Exchange) -> None:
    await x.send(jpeg_head() + reference()[: len(reference()) // 2])
    x.fin()


async def cut_body_reset(x: Exchange) -> None:
    await x.send(jpeg_head() + reference()[: len(reference()) // 2])
    await x.pause(BEFORE_RESET)
    x.rst()


async def cut_chunked(x: Exchange) -> None:
    await x.send(head("Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
    await x.chunk(reference()[: len(reference()) // 2])
    x.fin()


async def keepalive_close(x: Exchange) -> None:
    await x.answer(200, reference(), "image/jpeg", "Connection: keep-alive")
    x.fin()


async def keepalive_drop(x: Exchange) -> None:
    if x.before:
        return x.fin()
    await x.answer(200, reference(), "image/jpeg", "Connection: keep-alive")


async def not_http(x: Exchange) -> None:
    await x.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    x.fin()


def jpeg_head(length: int | None = None) -> bytes:
    return head("Content-Type: image/jpeg", f"Content-Length: {length or len(reference())}")


# Answers that take too long or never end ----------------------------------------------------------


async def no_answer(x: Exchange) -> None:
    await x.pause(FOREVER)


async def slow(x: Exchange) -> None:
    await x.pause(x.seconds("delay", 1))
    await x.answer(200, reference(), "image/jpeg")


async def stall_body(x: Exchange) -> None:
    await x.send(jpeg_head() + reference()[:1024])
    await x.pause(FOREVER)


async def drip(x: Exchange) -> None:
    await x.send(jpeg_head(10 * MIB))
    every = x.seconds("every", 1)
    for byte in itertools.chain(reference(), itertools.repeat(0)):
        await x.send(bytes((byte,)))
        await x.pause(every)


async def huge_length(x: Exchange) -> None:
    await x.send(jpeg_head(10 * 1024**4))
    await x.pause(FOREVER)


async def endless_body(x: Exchange) -> None:
    await x.send(head("Content-Type: image/jpeg", "Transfer-Encoding: chunked"))
    await x.chunk(reference())
    await flood_chunks(x, -1)


async def endless_headers(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n")
    await flood_headers(x, -1, 100)


async def big(x: Exchange) -> None:
    rest = x.number("bytes", 10 * MIB) - len(reference())
    await x.send(jpeg_head(len(reference()) + max(0, rest)) + reference())
    while rest > 0:
        await x.send(bytes(min(PIECE, rest)))
        rest -= PIECE


async def gzip_bomb(x: Exchange) -> None:
    await x.send(head("Content-Type: image/jpeg", "Content-Encoding: gzip", "Transfer-Encoding: chunked"))
    await gzip_zeros(x, x.number("gb", 1))


async def flood_chunks(x: Exchange, count: int) -> None:
    """So many chunks and the end of the body; a negative count never ends."""
    for _ in _times(count):
        await x.chunk(bytes(PIECE))
    await x.send(b"0\r\n\r\n")


async def flood_headers(x: Exchange, count: int, length: int) -> None:
    for number in _times(count):
        await x.send(f"X-{number}: ".encode().ljust(length - 2, b"a") + b"\r\n")


async def gzip_zeros(x: Exchange, gigabytes: int) -> None:
    """A valid gzip member of zeros in chunks: one compressed block, sent again and again."""
    # A full flush ends the block at a byte and forgets what went before, so it may be repeated (RFC 1951).
    packer, zeros = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), bytes(MIB)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    await x.chunk(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff")
    for _ in range(gigabytes * 1024):
        checksum = zlib.crc32(zeros, checksum)
        await x.chunk(block)
    await x.chunk(b"\x03\x00" + struct.pack("<II", checksum, gigabytes * 1024 * MIB % 2**32))
    await x.send(b"0\r\n\r\n")


def _times(count: int) -> Iterator[int]:
    return itertools.count() if count < 0 else iter(range(count))


# Scripted faults: the steps of faults.json --------------------------------------------------------


@lru_cache(1)
def scripts() -> Mapping[str, Sequence[Step]]:
    """Fault id to steps; faults that need an environment rather than a wire have none."""
    folder = os.environ.get("CRAWLER_CASES")
    if not folder:
        raise LookupError("wire/ID needs CRAWLER_CASES to point at the folder of cases")
    rows = json.loads(Path(folder, "faults", "faults.json").read_text(encoding="utf-8"))["faults"]
    return {row["id"]: row["steps"] for row in rows if "steps" in row}


async def wire(x: Exchange) -> None:
    await play_steps(x, scripts()[x.argument])


async def play_steps(x: Exchange, steps: Sequence[Step]) -> None:
    for step in steps:
        kind = next(iter(step))
        if kind not in STEPS:
            raise LookupError(f"step {kind!r} is not known")
        await STEPS[kind](x, step)


async def step_send(x: Exchange, step: Step) -> None:
    text = step["send"].replace("{jpeg_len}", str(len(reference()))).replace("{self}", x.url)
    await x.send(text.encode("latin-1"))


async def step_file(x: Exchange, step: Step) -> None:
    data = part_of_reference(step)
    size = step.get("piece", len(data))
    for at in range(0, len(data), size):
        await x.send(data[at : at + size])
        if "every" in step:
            await x.pause(step["every"])


async def step_chunk(x: Exchange, step: Step) -> None:
    await x.chunk(part_of_reference(step["chunk"]))


async def step_chunked(x: Exchange, step: Step) -> None:
    data = part_of_reference(step["chunked"])
    for at in range(0, len(data), 4096):
        await x.chunk(data[at : at + 4096], step.get("ext", ""))
    await x.send(f"0{step.get('ext', '')}\r\n{step.get('trailer', '')}\r\n".encode("latin-1"))


async def step_gzip_file(x: Exchange, step: Step) -> None:
    body = gzip.compress(reference(), mtime=0)
    await x.answer(200, body, None, "Content-Encoding: gzip", *step.get("headers", ()))


async def step_wait(x: Exchange, step: Step) -> None:
    await x.pause(next(iter(step.values())))


async def step_close(x: Exchange, step: Step) -> None:
    {"fin": x.fin, "rst": x.rst}[step["close"]]()


async def step_drip(x: Exchange, step: Step) -> None:
    for _ in _times(step["drip"]["n"]):
        await x.send(step["drip"]["data"].encode("latin-1"))
        await x.pause(step["drip"]["every"])


async def step_flood_chunks(x: Exchange, step: Step) -> None:
    await flood_chunks(x, step["flood_chunks"])


async def step_flood_text(x: Exchange, step: Step) -> None:
    await x.send(b"a" * step["flood_text"])


async def step_headers(x: Exchange, step: Step) -> None:
    await flood_headers(x, step["headers"]["n"], step["headers"]["len"])


async def step_gzip_zeros(x: Exchange, step: Step) -> None:
    await gzip_zeros(x, step["gzip_zeros_gb"])


async def step_sequence(x: Exchange, step: Step) -> None:
    """The first request plays the first script, and so on; the last one is played for ever."""
    turns = step["sequence"]
    await play_steps(x, turns[min(x.ledger.attempt(x.target), len(turns) - 1)])


def part_of_reference(spec: Step) -> bytes:
    """`to` is a share when it is a fraction, a number of bytes when it is whole."""
    to = spec.get("to", 1.0)
    return reference()[: to if isinstance(to, int) else int(len(reference()) * to)]


STEPS: Final[Mapping[str, Callable[[Exchange, Step], Awaitable[None]]]] = {
    "send": step_send,
    "file": step_file,
    "chunk": step_chunk,
    "chunked": step_chunked,
    "gzip_file": step_gzip_file,
    "sleep": step_wait,
    "hold": step_wait,
    "close": step_close,
    "drip": step_drip,
    "flood_chunks": step_flood_chunks,
    "flood_text": step_flood_text,
    "headers": step_headers,
    "gzip_zeros_gb": step_gzip_zeros,
    "sequence": step_sequence,
}


# The catalogue ------------------------------------------------------------------------------------

CATALOGUE: Final[Mapping[str, Fault]] = {
    "good.jpg": Fault(answers("image/jpeg", lambda x: _jpeg(*asked_size(x))), "?w=&h=&seed=: a picture"),
    "good.png": Fault(answers("image/png", lambda x: _png(*asked_size(x))), "the same scene as PNG"),
    "good.webp": Fault(answers("image/webp", lambda x: _webp(*asked_size(x))), "the same scene as WebP"),
    "good.gif": Fault(answers("image/gif", lambda x: _gif(*asked_size(x))), "the same scene as GIF"),
    "tiny": Fault(answers("image/jpeg", tiny), "/N.jpg: a small JPEG, other bytes for each N"),
    "big": Fault(big, "?bytes=N: a JPEG followed by zeros up to N bytes"),
    "html": Fault(answers("text/html", PAGE), "a page"),
    "html-as-jpeg": Fault(answers("image/jpeg", PAGE), "a page that says image/jpeg"),
    "wrong-type": Fault(answers("text/plain", good), "a JPEG that says text/plain"),
    "no-type": Fault(answers(None, good), "a JPEG without Content-Type"),
    "empty": Fault(answers("image/jpeg", b""), "200 with an empty body"),
    "truncated-file": Fault(answers("image/jpeg", sixty_percent), "a whole answer, 60% of a JPEG in it"),
    "bomb.png": Fault(answers("image/png", lambda x: pictures.bomb_png()), "claims 30000x30000, 64 bytes"),
    "big-pixels.png": Fault(answers("image/png", huge_but_whole), "?w=12000&h=12000: valid, few bytes"),
    "gzip-picture": Fault(
        answers("image/jpeg", lambda x: gzip.compress(reference(), mtime=0), "Content-Encoding: gzip"),
        "a JPEG, validly gzipped",
    ),
    "gzip-bomb": Fault(gzip_bomb, "?gb=1: gigabytes of zeros in a valid gzip"),
    "status": Fault(status, "/CODE?retry_after=S: that status with a page"),
    "flaky": Fault(flaky, "/NAME?fails=K&code=503|reset&retry_after=S: K failures, then a picture"),
    "redirect": Fault(redirect, "?to=URL&code=302"),
    "redirect-loop": Fault(redirects("Location: {self}"), "302 to itself"),
    "redirect-chain": Fault(redirect_chain, "/N: N hops, then a picture"),
    "redirect-no-location": Fault(redirects(), "302 without Location"),
    "redirect-mailto": Fault(redirects("Location: mailto:user@example.com"), "302 to mailto:"),
    "redirect-file": Fault(redirects("Location: file:///etc/passwd"), "302 to file:"),
    "close-at-once": Fault(close_at_once, "FIN instead of an answer"),
    "reset-at-once": Fault(reset_at_once, "RST instead of an answer"),
    "cut-body": Fault(cut_body, "FIN after half of the body"),
    "cut-body-reset": Fault(cut_body_reset, "RST after half of the body"),
    "cut-chunked": Fault(cut_chunked, "FIN before the last chunk"),
    "keepalive-close": Fault(keepalive_close, "a picture, keep-alive, then FIN at once"),
    "keepalive-drop": Fault(keepalive_drop, "a picture; FIN when the connection is used again"),
    "not-http": Fault(not_http, "an SSH banner"),
    "no-answer": Fault(no_answer, "reads the request, says nothing"),
    "slow": Fault(slow, "?delay=S: a picture after S seconds"),
    "stall-body": Fault(stall_body, "headers and 1 KB, then nothing"),
    "drip": Fault(drip, "?every=1: one byte each second, for ever"),
    "huge-length": Fault(huge_length, "Content-Length of 10 TB, no body"),
    "endless-body": Fault(endless_body, "chunks for ever, as fast as they are read"),
    "endless-headers": Fault(endless_headers, "header lines for ever"),
    "wire": Fault(wire, "/ID: the steps of that id in faults.json under CRAWLER_CASES"),
}


async def list_catalogue(x: Exchange) -> None:
    text = "".join(f"/{name}  {fault.says}\n" for name, fault in CATALOGUE.items())
    await x.answer(200, text.encode(), "text/plain; charset=utf-8")


async def show_log(x: Exchange) -> None:
    await x.answer(200, json.dumps(x.ledger.log).encode(), "application/json")


async def show_stats(x: Exchange) -> None:
    await x.answer(200, json.dumps(x.ledger.stats()).encode(), "application/json")


async def reset_ledger(x: Exchange) -> None:
    x.ledger.clear()
    await x.answer(200, b"{}", "application/json")


async def not_found(x: Exchange) -> None:
    await x.answer(404, PAGE, "text/html")


# Questions about the log are not in the log.
CONTROLS: Final[Mapping[str, Handler]] = {
    "": list_catalogue,
    "_log": show_log,
    "_stats": show_stats,
    "_reset": reset_ledger,
}


# The server ---------------------------------------------------------------------------------------


class Server:
    def __init__(self) -> None:
        self.ledger = Ledger()
        self.serial = itertools.count(1)
        self.tasks: set[asyncio.Task[Any]] = set()

    async def run(self, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
        servers = [await asyncio.start_server(self.converse, sock=sock, backlog=1024) for sock in sockets]
        await stop.wait()
        for server in servers:
            server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from accept to close, request after request."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        # drain() then waits for all bytes, not for most of them: faults are exact and floods are held back.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._answer_all(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.close()  # the client left, or what it sent is not a request
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.tasks.discard(task)

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serial = next(self.serial)
        for before in itertools.count():
            x = await self._next_request(reader, writer, before, serial)
            name, _, x.argument = x.path.lstrip("/").partition("/")
            if name in CONTROLS:
                await CONTROLS[name](x)
            else:
                await self._play(CATALOGUE.get(name, Fault(not_found, "")), x)
            if writer.is_closing() or x.headers.get("connection", "").lower() == "close":
                return writer.close()

    async def _next_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, before: int, serial: int
    ) -> Exchange:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            key, _, value = line.partition(":")
            name = key.strip().lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        await reader.readexactly(int(headers.get("content-length", 0)))
        entry = {
            "start": time.monotonic(),
            "end": None,
            "method": method,
            "path": target,
            "host": headers.get("host", ""),
            "local": writer.get_extra_info("sockname")[0],
            "connection": serial,
            "sent": 0,
            "headers": headers,
        }
        return Exchange(reader, writer, self.ledger, method, target, headers, entry, before)

    async def _play(self, fault: Fault, x: Exchange) -> None:
        self.ledger.connections += not x.before
        self.ledger.begin(x.entry)
        try:
            await fault.play(x)
        except (LookupError, ValueError) as error:
            if x.entry["sent"]:
                return x.rst()
            await x.answer(500, f"{type(error).__name__}: {error}\n".encode(), "text/plain")
        finally:
            self.ledger.finish(x.entry)


def bind(hosts: Sequence[str], tries: int = 20) -> list[socket.socket]:
    """Listening sockets for all hosts on one port that was free on each of them."""
    for host in hosts:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"host {host!r} is not a loopback address")
    for _ in range(tries):
        with contextlib.ExitStack() as opened:
            sockets: list[socket.socket] = []
            try:
                for host in hosts:
                    port = sockets[0].getsockname()[1] if sockets else 0
                    family = socket.AF_INET6 if ":" in host else socket.AF_INET
                    sockets.append(opened.enter_context(socket.create_server((host, port), family=family)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            opened.pop_all()
            return sockets
    raise OSError(errno.EADDRINUSE, f"no port was free on all of {', '.join(hosts)} in {tries} tries")


async def serve(hosts: Sequence[str]) -> None:
    """Print where, then serve until stdin ends, which a parent cannot forget even when it is killed."""
    sockets = bind(hosts)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_wait_for_eof, args=(loop, stop), daemon=True).start()
    print(json.dumps({"port": sockets[0].getsockname()[1], "hosts": list(hosts)}), flush=True)
    await Server().run(sockets, stop)


def _wait_for_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop may have ended by Ctrl-C
        loop.call_soon_threadsafe(stop.set)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.faults", description=__doc__)
    parser.add_argument("--host", action="append", help="a loopback address; may be given more than once")
    hosts = parser.parse_args().host or ["127.0.0.1"]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(hosts))


if __name__ == "__main__":
    main()
