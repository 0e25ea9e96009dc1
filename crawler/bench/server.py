"""A server that costs next to nothing, so that it is not what is measured: answers are made once and written as they are.

One rule: it ends when its standard input does, so it never outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from crawler.children import site
from crawler.errors import CrawlerError
from crawler.signatures import sniff

_END = b"\r\n\r\n"
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class _Answers(asyncio.Protocol):
    """One connection: `/<number>.<ending>` gives a picture, whatever comes behind a question mark."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        *requests, self._waiting = (self._waiting + data).split(_END)
        for request in requests:
            path = request.split(b" ", 2)[1].partition(b"?")[0]
            self._transport.write(self._answers.get(path, _MISSING))


async def _serve(folder: Path) -> None:
    answers = {f"/{path.name}".encode(): _answer(path.read_bytes()) for path in folder.iterdir()}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answers(answers), "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    ended = asyncio.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()
    server.close()


def _answer(body: bytes) -> bytes:
    kind = f"Content-Type: image/{sniff(body).lower()}\r\n"
    return f"HTTP/1.1 200 OK\r\n{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's pictures, for as long as the block lasts.

    Raises:
        CrawlerError: it did not start.
    """
    with site("crawler.bench.server", str(folder)) as address:
        if not address:
            raise CrawlerError("the server of the benchmark did not start")
        yield address


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(_serve(Path(sys.argv[1])))
    except ImportError:
        asyncio.run(_serve(Path(sys.argv[1])))
