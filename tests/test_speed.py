"""Bodies that come too slowly are given up, on a clock moved by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from yarl import URL

from crawler.clock import SystemClock
from crawler.fetch.exchange import Exchange, Response
from crawler.fetch.speed import GRACE, BrokenOff, SpeedWatch
from crawler.model import Reason, Target
from tests.fake_clock import FakeClock, settle

FLOOR = 1000
LIMIT = 20.0


class Body:
    """A body that is read: `come` makes bytes arrive, `wait_for_memory` puts its deadline off as read_body does."""

    def __init__(self, watch: SpeedWatch, index: int = 0) -> None:
        self.target = Target(index, "http://a/b.jpg")
        self._watch = watch
        self._content = SimpleNamespace(total_bytes=0)
        self._end = asyncio.Event()
        self._deadline = asyncio.timeout(3600)
        self.given_up = False
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        response = cast(Response, SimpleNamespace(content=self._content, connection=SimpleNamespace(protocol=None)))
        try:
            async with self._deadline:
                with self._watch.reading(self.target, response, self._deadline):
                    await self._end.wait()
        except TimeoutError:
            self.given_up = True

    def come(self, size: int) -> None:
        self._content.total_bytes += size

    def wait_for_memory(self) -> None:
        self._deadline.reschedule(None)

    def go_on(self) -> None:
        self._deadline.reschedule(asyncio.get_running_loop().time() + 3600)

    def time_out(self) -> None:
        self._deadline.reschedule(0)

    def is_whole(self) -> None:
        self._end.set()

    async def end(self) -> None:
        self._end.set()
        async with asyncio.timeout(LIMIT):
            await self.task


class Watch(SpeedWatch):
    """A watch that is looked at by hand, second by second."""

    def __init__(self, floor: int = FLOOR) -> None:
        self.clock = FakeClock(auto=False)
        super().__init__(floor, self.clock)

    async def seconds(self, count: int, body: Body, each: int = 0) -> None:
        """So many seconds pass, `each` bytes come in every one of them."""
        for _ in range(count):
            body.come(each)
            await self.clock.advance(1.0)
            self.look()
            await settle()


async def begun(watch: SpeedWatch, index: int = 0) -> Body:
    body = Body(watch, index)
    await settle()
    return body


async def test_a_body_that_stalls_is_given_up() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(int(GRACE), body)
    await body.end()
    miss = watch.verdict(body.target)
    assert body.given_up
    assert miss is not None
    assert (miss.reason, miss.target, miss.status) == (Reason.TOO_SLOW_BODY, body.target, 200)
    assert miss.detail == "0 bytes/s for 5 s, 1000 wanted"


async def test_a_body_that_keeps_up_is_not_given_up() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(60, body, each=FLOOR)
    await body.end()
    assert not body.given_up
    assert watch.verdict(body.target) is None


async def test_nobody_is_judged_before_the_grace_is_over() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(int(GRACE) - 1, body)
    await body.end()
    assert not body.given_up


async def test_a_fast_beginning_does_not_excuse_a_stall() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(1, body, each=10_000_000)
    await watch.seconds(2 * int(GRACE), body)
    await body.end()
    assert body.given_up


async def test_a_pause_in_a_fast_body_is_forgiven() -> None:
    watch = Watch()
    body = await begun(watch)
    for _ in range(6):
        await watch.seconds(4, body)
        await watch.seconds(1, body, each=FLOOR * int(GRACE))
    await body.end()
    assert not body.given_up


async def test_what_came_before_the_body_does_not_count() -> None:
    watch = Watch()
    body = Body(watch)
    body.come(10_000_000)
    await settle()
    await watch.seconds(int(GRACE), body)
    await body.end()
    assert body.given_up


async def test_a_body_that_waits_for_our_memory_is_not_given_up() -> None:
    watch = Watch()
    body = await begun(watch)
    body.wait_for_memory()
    await watch.seconds(60, body)
    body.go_on()
    await watch.seconds(4, body, each=FLOOR)
    await body.end()
    assert not body.given_up


async def test_the_time_a_body_waited_for_our_memory_is_not_counted_against_it() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(1, body, each=FLOOR)
    body.wait_for_memory()
    await watch.seconds(3, body)
    body.go_on()
    await watch.seconds(10, body, each=FLOOR)
    await body.end()
    assert not body.given_up


async def test_one_that_stalls_does_not_take_others_with_it() -> None:
    watch = Watch()
    slow, fast = await begun(watch, 0), await begun(watch, 1)
    await watch.seconds(10, fast, each=FLOOR)
    await slow.end()
    await fast.end()
    assert (slow.given_up, fast.given_up) == (True, False)
    assert watch.verdict(fast.target) is None


async def test_another_timeout_is_not_taken_for_a_slow_body() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(2, body, each=FLOOR)
    body.time_out()
    await body.end()
    assert body.given_up
    assert watch.verdict(body.target) is None


async def test_a_verdict_on_a_body_that_ended_just_then_is_not_kept_for_its_next_try() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.clock.advance(GRACE)
    body.is_whole()
    watch.look()  # before the body's task has gone on
    await body.end()
    assert not body.given_up
    again = await begun(watch)
    again.time_out()
    await again.end()
    assert watch.verdict(again.target) is None


async def test_a_body_whose_time_ran_out_just_then_does_not_break_the_watch() -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.clock.advance(GRACE)
    trouble: list[BaseException] = []

    def look() -> None:
        try:
            watch.look()
        except BaseException as error:
            trouble.append(error)

    body.time_out()
    asyncio.get_running_loop().call_soon(look)  # after the deadline has struck, before the body's task hears of it
    await body.end()
    assert not trouble, f"nobody would be watched any more: {trouble}"


async def test_it_looks_by_itself_once_a_second() -> None:
    clock = FakeClock(auto=False)
    watch = SpeedWatch(FLOOR, clock)
    watch.start()
    body = await begun(watch)
    await clock.advance(GRACE + 1)
    await body.end()
    await watch.stop()
    assert body.given_up
    assert clock.sleeping == 0


async def test_a_floor_of_zero_waits_for_any_body() -> None:
    clock = FakeClock(auto=False)
    watch = SpeedWatch(0, clock)
    watch.start()
    assert clock.sleeping == 0
    body = await begun(watch)
    await clock.advance(600)
    watch.look()
    await body.end()
    await watch.stop()
    assert not body.given_up


async def test_stopping_what_was_never_started_is_nothing() -> None:
    await SpeedWatch(FLOOR, FakeClock()).stop()


@pytest.mark.parametrize("pace", [FLOOR - 1, FLOOR, FLOOR + 1])
async def test_the_floor_itself_is_fast_enough(pace: int) -> None:
    watch = Watch()
    body = await begun(watch)
    await watch.seconds(int(GRACE), body, each=pace)
    await body.end()
    assert body.given_up is (pace < FLOOR)


async def test_a_malformed_chunk_after_the_headers_does_not_leave_the_reader_waiting() -> None:
    headers_read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n")
        await headers_read.wait()
        writer.write(b"FAIL\r\nHello world!")
        writer.close()

    watch = SpeedWatch(0, SystemClock())
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        aiohttp.TCPConnector() as connector,
        asyncio.timeout(LIMIT) as deadline,
    ):
        watch.start()
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.jpg")
        answer = await Exchange(connector, {}, LIMIT).get(url, None, None, lambda: None, False)
        with answer as response, watch.reading(Target(0, str(url)), response, deadline):
            headers_read.set()
            with pytest.raises(BrokenOff):
                await response.content.read()
        await watch.stop()
