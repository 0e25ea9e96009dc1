"""One request over a real connection: what goes over the wire, what comes back, and what becomes of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientConnectorError, ServerDisconnectedError, TCPConnector
from multidict import CIMultiDict
from yarl import URL

from crawler.fetch.exchange import Exchange

LIMIT = 20.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
HANG_UP = b""


class Server:
    """Answers its requests by a script, over all connections; `HANG_UP` closes the connection instead."""

    def __init__(self, script: Sequence[bytes]) -> None:
        self._script = list(script)
        self.requests: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                answer = self._script.pop(0)
                if answer is HANG_UP:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talking(*script: bytes) -> AsyncIterator[tuple[Server, Exchange, URL]]:
    """A server, and an exchange that can reach it."""
    server = Server(script)
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    connector = TCPConnector(limit=0)
    try:
        yield (
            server,
            Exchange(connector, {"Accept": "image/*", "User-Agent": "us"}, 5.0),
            URL(f"http://127.0.0.1:{port}/a?b=c"),
        )
    finally:
        await connector.close()
        running.close()
        await running.wait_closed()


def nobody() -> None:
    """Nobody wants to know that a request has left."""


async def body_of(
    exchange: Exchange, url: URL, headers: CIMultiDict[str] | None = None, again: bool = True,
    left: Callable[[], None] = nobody,
) -> bytes:  # fmt: skip
    async with asyncio.timeout(LIMIT):
        with await exchange.get(url, headers, None, left, again) as response:
            return await response.content.read()


async def test_two_requests_go_over_one_connection_and_say_who_asks() -> None:
    async with talking(OK, OK) as (server, exchange, url):
        assert [await body_of(exchange, url), await body_of(exchange, url)] == [b"body", b"body"]
    assert server.connections == 1
    host = f"Host: 127.0.0.1:{url.port}"
    assert server.requests == [f"GET /a?b=c HTTP/1.1\r\n{host}\r\nAccept: image/*\r\nUser-Agent: us\r\n\r\n"] * 2


async def test_headers_of_one_request_take_the_place_of_those_of_all_and_are_not_kept() -> None:
    async with talking(OK, OK) as (server, exchange, url):
        await body_of(exchange, url, CIMultiDict({"accept": "text/html", "Cookie": "a=b", "Host": "other.test"}))
        await body_of(exchange, url)
    first, second = (request.split("\r\n")[1:-2] for request in server.requests)
    assert sorted(line.lower() for line in first) == [
        "accept: text/html",
        "cookie: a=b",
        "host: other.test",
        "user-agent: us",
    ]
    assert "Cookie: a=b" not in second
    assert "Accept: image/*" in second


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b"])
async def test_a_header_cannot_smuggle_another(value: str) -> None:
    async with talking(OK) as (server, exchange, url):
        with pytest.raises(ValueError, match="line break"):
            await body_of(exchange, url, CIMultiDict({"Cookie": value}))
        assert server.requests == []
        assert await body_of(exchange, url) == b"body"


async def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    told: list[int] = []
    async with talking(OK, HANG_UP, OK) as (server, exchange, url):
        await body_of(exchange, url)
        assert await body_of(exchange, url, left=lambda: told.append(len(told))) == b"body"
    assert (server.connections, len(server.requests), told) == (2, 3, [0, 1])


async def test_a_request_that_must_not_be_repeated_is_not() -> None:
    async with talking(OK, HANG_UP, OK) as (server, exchange, url):
        await body_of(exchange, url, again=False)
        with pytest.raises(ServerDisconnectedError):
            await body_of(exchange, url, again=False)
    assert len(server.requests) == 2


async def test_a_server_that_keeps_hanging_up_is_asked_twice_at_most() -> None:
    async with talking(HANG_UP, HANG_UP, OK) as (server, exchange, url):
        with pytest.raises(ServerDisconnectedError):
            await body_of(exchange, url)
    assert len(server.requests) == 2


async def test_nobody_there_is_said_at_once() -> None:
    async with talking() as (_, _exchange, url):
        pass
    connector = TCPConnector(limit=0)
    try:
        with pytest.raises(ClientConnectorError):
            await body_of(Exchange(connector, {}, 5.0), url)
    finally:
        await connector.close()


async def test_what_comes_before_an_answer_is_not_taken_for_it() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    async with talking(early + early + OK) as (_, exchange, url):
        assert await body_of(exchange, url) == b"body"


async def test_a_body_that_is_not_read_costs_its_connection_and_nothing_else() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + bytes(100)
    async with talking(long, OK) as (server, exchange, url):
        async with asyncio.timeout(LIMIT):
            with await exchange.get(url, None, None, nobody, True) as response:
                assert (response.status, response.content_length) == (200, 400_000)
        assert await body_of(exchange, url) == b"body"
    assert server.connections == 2


async def test_a_request_that_is_given_up_leaves_no_connection_behind() -> None:
    async with talking(b"HTTP/1.1 100 Continue\r\n\r\n", OK) as (server, exchange, url):
        asked = asyncio.Event()
        waiting = asyncio.create_task(exchange.get(url, None, None, asked.set, True))
        async with asyncio.timeout(LIMIT):
            await asked.wait()
            waiting.cancel()
            await _gone(waiting)
            assert await body_of(exchange, url) == b"body"
    assert server.connections == 2


async def _gone(task: Awaitable[Any]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_more_origins_than_are_remembered_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.fetch.exchange._ORIGINS", 1)
    hosts = ["127.0.0.1", "localhost", "127.0.0.1", "localhost"]
    async with talking(*[OK] * len(hosts)) as (server, exchange, url):
        for host in hosts:
            assert await body_of(exchange, url.with_host(host)) == b"body"
    assert [request.split("\r\n")[1] for request in server.requests] == [f"Host: {host}:{url.port}" for host in hosts]
