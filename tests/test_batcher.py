"""A thread that does work in batches: when it begins one, and that nothing is left lying."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from crawler.batcher import Batcher

LIMIT = 20.0
FOR_EVER = 3600.0


@asynccontextmanager
async def batching(batches: list[list[int]], most: int, linger: float) -> AsyncIterator[Batcher[int, int]]:
    """One that doubles what it is given, and notes its batches."""

    def work(items: list[int]) -> Sequence[int]:
        batches.append(items)
        return [2 * item for item in items]

    batcher = Batcher("crawler-test", work, most, linger)
    async with asyncio.timeout(LIMIT):
        yield batcher
        await batcher.close()


async def test_the_first_item_does_not_wait_for_others() -> None:
    batches: list[list[int]] = []
    async with batching(batches, 4, FOR_EVER) as batcher:
        assert await batcher.do(1) == 2
    assert batches == [[1]]


async def test_what_comes_while_it_rests_shares_a_batch_and_a_full_one_is_not_kept_waiting() -> None:
    batches: list[list[int]] = []
    async with batching(batches, 4, FOR_EVER) as batcher:
        await batcher.do(1)
        assert await asyncio.gather(*map(batcher.do, range(2, 6))) == [4, 6, 8, 10]
    assert batches == [[1], [2, 3, 4, 5]]


async def test_what_waits_while_it_rests_is_done_when_it_is_closed() -> None:
    batches: list[list[int]] = []
    async with batching(batches, 4, FOR_EVER) as batcher:
        await batcher.do(1)
        late = [batcher.do(2), batcher.do(3)]
        assert batcher.pending == 2
    assert [future.result() for future in late] == [4, 6]
    assert batches == [[1], [2, 3]]


async def test_a_call_does_not_wait_until_it_has_rested() -> None:
    batches: list[list[int]] = []
    async with batching(batches, 4, FOR_EVER) as batcher:
        await batcher.do(1)
        assert await batcher.call(lambda: "now") == "now"


async def test_a_rest_ends() -> None:
    batches: list[list[int]] = []
    async with batching(batches, 4, 0.01) as batcher:
        for item in range(5):
            assert await batcher.do(item) == 2 * item
    assert batches == [[0], [1], [2], [3], [4]]


async def test_more_than_a_batch_is_done_in_order() -> None:
    batches: list[list[int]] = []
    async with batching(batches, 4, 0.0) as batcher:
        assert await asyncio.gather(*map(batcher.do, range(100))) == [2 * item for item in range(100)]
    assert [item for batch in batches for item in batch] == list(range(100))
    assert max(map(len, batches)) <= 4
