"""The body of a response, bounded in bytes and in time: what is too large or too slow ends early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crawler.fetch.budget import Ticket
from crawler.fetch.peek import Look
from crawler.model import Reason

if TYPE_CHECKING:
    from crawler.fetch.exchange import Response

GROWTH = 256 * 1024
"""Bytes asked of the budget at a time for a body of unknown length."""


class BodyRefused(Exception):
    """The body was given up: `reason` and the text say why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


async def read_body(
    response: Response, limit: int, ticket: Ticket, deadline: asyncio.Timeout, peek: Look | None = None
) -> bytes:
    """Read all of a body of at most `limit` bytes after decompression. Waiting for memory stops the deadline.

    Raises:
        BodyRefused: it is empty, larger than `limit`, or its beginning shows that it is not wanted.
    """
    length = response.content_length
    if length is not None and length > limit:
        raise BodyRefused(Reason.TOO_LARGE, f"{length} bytes announced, {limit} allowed")
    if length is None or "Content-Encoding" in response.headers or peek is not None:
        body = await _read_growing(response, limit, ticket, deadline, peek)
    else:
        await _hold(ticket, length, deadline)
        body = await response.content.read()
    if not body:
        raise BodyRefused(Reason.EMPTY, "the body is empty")
    return body


async def _read_growing(
    response: Response, limit: int, ticket: Ticket, deadline: asyncio.Timeout, peek: Look | None
) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise BodyRefused(Reason.TOO_LARGE, f"more than the {limit} bytes allowed")
        if peek is not None and size >= peek.needs:
            chunks = [b"".join(chunks)]
            seen = peek.look(chunks[0])
            if isinstance(seen, tuple):
                raise BodyRefused(*seen)
            peek = None if seen else peek
        if size > ticket.held:
            await _hold(ticket, size + GROWTH, deadline)
    await ticket.hold(size)
    return b"".join(chunks)


async def _hold(ticket: Ticket, size: int, deadline: asyncio.Timeout) -> None:
    """Hold memory. The server is not to blame while we wait for it, so its deadline moves on by as much."""
    if ticket.try_hold(size):
        return
    loop = asyncio.get_running_loop()
    ends, began = deadline.when(), loop.time()
    deadline.reschedule(None)
    await ticket.hold(size)
    if ends is not None:
        deadline.reschedule(ends + loop.time() - began)
