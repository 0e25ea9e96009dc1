"""Many hosts on loopback that take their time: one address each, a picture after so many seconds, and a ledger of what they saw.

Runs in a process of its own. It is as small as it can be, so that the server is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from subprocess import PIPE, Popen
from typing import Any, cast

import uvloop
from PIL import Image

START_LIMIT = 20.0


@dataclass
class Host:
    """What one host saw.

    Attributes:
        active, most: requests under way now, and the most at once.
        last, gaps: when the last request came, and the seconds between each two.
        closed_until: it answers 429 until then; `early` requests came before.
        done: when its last picture was served.
    """

    active: int = 0
    most: int = 0
    last: float | None = None
    gaps: list[float] = field(default_factory=list)
    limited: bool = False
    closed_until: float = 0.0
    early: int = 0
    served: int = 0
    done: float = 0.0


class Connection(asyncio.Protocol):
    """One connection: requests in, pictures out, each after the latency."""

    def __init__(self, hosts: dict[str, Host], latency: float, wait: float, picture: bytes) -> None:
        self._hosts = hosts
        self._latency = latency
        self._wait = wait
        self._picture = picture

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._host = self._hosts[transport.get_extra_info("sockname")[0]]
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            robots = self._buffer.startswith(b"GET /robots.txt ")
            self._buffer = self._buffer[end + 4 :]
            now, host = time.monotonic(), self._host
            host.active += 1
            host.most = max(host.most, host.active)
            if host.last is not None:
                host.gaps.append(now - host.last)
            host.last = now
            asyncio.get_running_loop().call_later(self._latency, self._answer, robots)

    def _answer(self, robots: bool) -> None:
        host, now = self._host, time.monotonic()
        host.active -= 1
        if robots:
            answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        elif host.limited and now < host.closed_until:
            host.early += 1
            answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
        elif host.limited and not host.closed_until:
            host.closed_until = now + self._wait
            answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % self._wait
        else:
            host.served, host.done = host.served + 1, now
            head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(self._picture)
            answer = head + self._picture
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(count: int, latency: float, limited: int, wait: float) -> None:
    """Serve until standard input ends, then print what every host saw."""
    out = BytesIO()
    Image.linear_gradient("L").resize((96, 64)).save(out, "JPEG")
    addresses = [f"127.0.{1 + n // 200}.{1 + n % 200}" for n in range(count)]
    hosts = {address: Host(limited=bool(limited) and n % limited == 0) for n, address in enumerate(addresses)}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(hosts, latency, wait, out.getvalue()), addresses[0], 0, backlog=4096
    )
    port = server.sockets[0].getsockname()[1]
    servers = [server] + [
        await loop.create_server(lambda: Connection(hosts, latency, wait, out.getvalue()), address, port, backlog=512)
        for address in addresses[1:]
    ]
    print(json.dumps({"port": port, "addresses": addresses}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    seen = {
        address: {"most": host.most, "gap": min(host.gaps, default=0.0), "early": host.early, "served": host.served,
                  "limited": host.limited, "done": host.done}
        for address, host in hosts.items()
    }  # fmt: skip
    for one in servers:
        one.close()
    print(json.dumps(seen), flush=True)


class Hosts:
    """Running hosts: their base URLs, and in the end what each saw."""

    def __init__(self, process: Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        told = json.loads(process.stdout.readline())
        self.bases = [f"http://{address}:{told['port']}" for address in told["addresses"]]

    def seen(self) -> dict[str, dict[str, Any]]:
        """Ends the server. By address: most, gap, early, served, limited, done (`time.monotonic`)."""
        out, _ = self._process.communicate("", timeout=START_LIMIT)
        found: dict[str, dict[str, Any]] = json.loads(out)
        return found


@contextmanager
def slow_hosts(count: int, latency: float, limited: int = 0, wait: float = 2.0) -> Iterator[Hosts]:
    """Start `count` hosts with a latency in seconds; one in `limited` of them answers its first picture with 429 and
    Retry-After `wait`.
    """
    words = [sys.executable, "-m", "benchmarks.slow_hosts", str(count), str(latency), str(limited), str(wait)]
    with Popen(words, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            yield Hosts(process)
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("count", int), ("latency", float), ("limited", int), ("wait", float)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.count, given.latency, given.limited, given.wait))


if __name__ == "__main__":
    main()
