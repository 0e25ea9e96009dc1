"""The pace of hosts and the spill, on a clock that jumps. What must hold is checked by a model that knows no code."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import JournalError
from crawler.frontier import book
from crawler.frontier.backoff import Backoff
from crawler.frontier.host import DOWN_AFTER, LONGEST_REST, Rules
from crawler.frontier.hosts import REFILL, HostFrontier
from crawler.model import NO_PAST, Answer, Fetched, Miss, Moved, Past, Postponed, Reason, Target, Unchanged, Visit
from crawler.state.spill import TargetSpill
from tests.fake_clock import FakeClock, settle

LIMIT = 30.0
ANY = 1_000_000
"""Requests at once where there is no limit."""
_UNCONNECTED = frozenset({Reason.DNS, Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.TLS, Reason.PROXY})


def visit(index: int, host: str = "a", **known: Any) -> Visit:
    return Visit(Target(index, f"http://{host}/{index}.jpg"), "", host, **known)


def body(one: Visit) -> Fetched:
    return Fetched(one.target, b"body", one.url, 200, "image/jpeg", 0.0, 0.0)


def miss(one: Visit, reason: Reason, status: int = 0, retry_after: float | None = None, asked: bool = True) -> Miss:
    return Miss(one.target, reason, "said so", status, retry_after=retry_after, asked=asked)


def limited(one: Visit, seconds: float | None) -> Miss:
    return miss(one, Reason.RATE_LIMITED, 429, seconds)


def overloaded(one: Visit, seconds: float | None = None) -> Miss:
    return miss(one, Reason.SERVER_ERROR, 503, seconds)


def unconnected(one: Visit) -> Miss:
    return miss(one, Reason.CONNECT)


def disallowed(one: Visit) -> Miss:
    return miss(one, Reason.ROBOTS, asked=False)


def moved(one: Visit, host: str) -> Moved:
    return Moved(one.target, f"http://{host}/moved/{one.target.index}", host)


def left_behind() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("crawler")}


def slow_loop() -> bool:
    """The loop looks at everything it does: a tenth of the work has to be enough."""
    return asyncio.get_running_loop().get_debug()


def indexes(visits: Iterable[Visit]) -> list[int]:
    return [one.target.index for one in visits]


class Bench:
    """A frontier whose time is moved by hand, and short words for what is done with it."""

    def __init__(self, spill: TargetSpill | None = None, window: int = 8192, **rules: Any) -> None:
        self.clock = FakeClock(auto=False)
        self.frontier = HostFrontier(Rules(**{"per_host": 1} | rules), self.clock, spill, window)
        self.added = 0

    async def fill(self, hosts: str) -> None:
        """One target for each letter."""
        for host in hosts:
            await asyncio.wait_for(self.frontier.add(visit(self.added, host)), LIMIT)
            self.added += 1

    async def ready(self, most: int = ANY) -> list[Visit]:
        """Everything that comes out now."""
        out: list[Visit] = []
        while len(out) < most:
            taking = asyncio.create_task(self.frontier.take())
            await settle(5)
            if not taking.done():
                taking.cancel()
                await asyncio.wait({taking})
                break
            one = taking.result()
            if one is None:
                break
            out.append(one)
        return out

    async def one(self) -> Visit:
        """The only one that comes out now."""
        [only] = await self.ready()
        return only

    def sent(self, *visits: Visit) -> None:
        for one in visits:
            one.sent_at = self.clock.monotonic()
            self.frontier.sent(one)

    def over(self, one: Visit, answer: Answer | None = None, latency: float | None = None) -> None:
        """Its request is over: a body unless told otherwise."""
        if answer is None:
            answer = body(one)
        if not isinstance(answer, Miss):
            one.latency = latency
        self.frontier.release(one, answer)

    async def fetched(self, visits: Iterable[Visit], seconds: float = 0.1) -> None:
        """All of them leave now and bring their bodies after so many seconds."""
        visits = list(visits)
        self.sent(*visits)
        await self.clock.advance(seconds)
        for one in visits:
            self.over(one, latency=seconds)

    async def failed(self, one: Visit, how: Callable[[Visit], Answer], seconds: float = 0.1) -> None:
        """It leaves now and ends so after so many seconds."""
        self.sent(one)
        await self.clock.advance(seconds)
        self.over(one, how(one))

    async def wait_for_one(self, step: float = 0.1, most: float = 400.0) -> tuple[Visit, float]:
        """The next that comes out, and after how long."""
        waited = 0.0
        taking = asyncio.create_task(self.frontier.take())
        await settle(5)
        while not taking.done() and waited < most:
            by = max(step, waited / 20)
            await self.clock.advance(by)
            waited += by
        if not taking.done():
            taking.cancel()
            await asyncio.wait({taking})
            pytest.fail("it does not come out")
        one = taking.result()
        assert one is not None
        return one, waited


# From start to start ----------------------------------------------------------------------------


async def test_a_gap_is_kept_from_start_to_start() -> None:
    bench = Bench(per_host=8, gap=10.0)
    await bench.fill("aaa")
    first = await bench.one()
    await bench.clock.advance(3.0)
    bench.sent(first)
    await bench.clock.advance(9.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.12)
    assert indexes(await bench.ready()) == [1], "the first has not been answered, and need not be"


async def test_while_a_request_has_not_left_its_host_waits_and_others_do_not() -> None:
    bench = Bench(per_host=8, gap=1.0)
    await bench.fill("aab")
    assert indexes(await bench.ready()) == [0, 2]
    await bench.clock.advance(60.0)
    assert await bench.ready() == []


async def test_with_a_gap_the_number_at_once_counts_too() -> None:
    bench = Bench(per_host=2, gap=1.0)
    await bench.fill("aaa")
    first = await bench.one()
    bench.sent(first)
    await bench.clock.advance(1.1)
    bench.sent(await bench.one())
    await bench.clock.advance(30.0)
    assert await bench.ready() == []
    bench.over(first)
    assert indexes(await bench.ready()) == [2]


async def test_a_longer_crawl_delay_counts_and_a_shorter_does_not() -> None:
    for said, kept in ((4.0, 4.0), (1.0, 2.0)):
        bench = Bench(per_host=8, gap=2.0)
        await bench.fill("aaa")
        first = await bench.one()
        bench.sent(first)
        first.crawl_delay = said
        bench.over(first)
        await bench.clock.advance(kept - 0.01)
        assert await bench.ready() == []
        await bench.clock.advance(0.03)
        assert indexes(await bench.ready()) == [1]


async def test_a_crawl_delay_is_kept_up_to_the_longest_wait() -> None:
    bench = Bench(per_host=8, max_wait=30.0)
    await bench.fill("aa")
    first = (await bench.ready(1))[0]
    bench.sent(first)
    first.crawl_delay = 1e9
    bench.over(first)
    await bench.clock.advance(29.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.2)
    assert indexes(await bench.ready()) == [1]


async def test_a_crawl_delay_never_makes_the_own_gap_shorter() -> None:
    bench = Bench(per_host=8, gap=10.0, max_wait=5.0)
    await bench.fill("aa")
    first = await bench.one()
    bench.sent(first)
    first.crawl_delay = 20.0
    bench.over(first)
    await bench.clock.advance(9.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.2)
    assert indexes(await bench.ready()) == [1]


async def test_a_crawl_delay_is_kept_by_a_host_that_had_no_work_for_a_while() -> None:
    bench = Bench(per_host=8)
    await bench.fill("ab")
    first, other = await bench.ready()
    bench.sent(first, other)
    first.crawl_delay = 10.0
    bench.over(first)
    bench.over(other)
    await bench.clock.advance(5.0)
    await bench.fill("aabb")
    assert indexes(await bench.ready()) == [4, 5]
    await bench.clock.advance(5.02)
    assert indexes(await bench.ready()) == [2]


async def test_a_crawl_delay_is_not_taken_along_by_a_redirect() -> None:
    bench = Bench(per_host=8)
    await bench.fill("abb")
    first = (await bench.ready(1))[0]
    bench.sent(first)
    first.crawl_delay = 100.0
    bench.over(first, moved(first, "b"))
    first.url, first.host, first.redirects = "http://b/moved", "b", 1
    bench.frontier.retry(first)
    [again] = await bench.ready(1)
    assert again is first
    bench.sent(first)
    bench.over(first)
    assert indexes(await bench.ready()) == [1, 2], "the other host asked for no delay"


async def test_a_target_that_is_not_allowed_costs_no_turn() -> None:
    bench = Bench(per_host=8, gap=10.0)
    await bench.fill("a" * 8)
    bench.sent(await bench.one())
    await bench.clock.advance(10.02)
    for index in (1, 2, 3, 4, 5):
        one = await bench.one()
        assert one.target.index == index
        bench.over(one, disallowed(one))
    sixth = await bench.one()
    assert sixth.target.index == 6, "at the same moment"
    bench.sent(sixth)
    await bench.clock.advance(9.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.12)
    assert indexes(await bench.ready()) == [7]


async def test_a_target_that_is_not_allowed_does_not_hide_the_last_request() -> None:
    bench = Bench(per_host=8, gap=10.0)
    await bench.fill("aaa")
    first = await bench.one()
    bench.sent(first)
    await bench.clock.advance(10.02)
    second = await bench.one()
    bench.over(second, disallowed(second))
    third = await bench.one()
    bench.sent(third)
    await bench.fill("a")
    await bench.clock.advance(9.9)
    assert await bench.ready() == []


async def test_a_target_given_up_before_it_left_costs_no_turn() -> None:
    bench = Bench(per_host=8, gap=10.0)
    await bench.fill("aa")
    first = await bench.one()
    bench.frontier.release(first, None)
    assert indexes(await bench.ready()) == [1]


async def test_a_retry_keeps_the_gap_too() -> None:
    bench = Bench(per_host=8, gap=10.0, adapt=False)
    await bench.fill("a")
    first = await bench.one()
    await bench.failed(first, overloaded)
    bench.frontier.retry(first, 1.0)
    await bench.clock.advance(9.8)
    assert await bench.ready() == []
    await bench.clock.advance(0.2)
    assert await bench.one() is first


async def test_a_redirect_keeps_the_gap_of_where_it_leads() -> None:
    bench = Bench(per_host=8, gap=10.0)
    await bench.fill("b")
    bench.sent(await bench.one())
    await bench.clock.advance(6.0)
    await bench.fill("a")
    first = await bench.one()
    bench.sent(first)
    bench.over(first, moved(first, "b"))
    first.url, first.host, first.redirects = "http://b/moved", "b", 1
    bench.frontier.retry(first)
    await bench.clock.advance(3.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.2)
    assert await bench.one() is first


async def test_a_redirect_counts_at_the_host_it_leads_to() -> None:
    bench = Bench(per_host=1)
    await bench.fill("ab")
    first, other = await bench.ready()
    bench.sent(first, other)
    bench.over(first, moved(first, "b"))
    first.url, first.host, first.redirects = "http://b/moved", "b", 1
    bench.frontier.retry(first)
    assert await bench.ready() == []
    bench.over(other)
    assert await bench.one() is first


async def test_a_request_that_is_told_late_wakes_who_waits() -> None:
    bench = Bench(per_host=8, gap=0.5)
    await bench.fill("aa")
    first = await bench.one()
    taking = asyncio.create_task(bench.frontier.take())
    await settle()
    first.sent_at = bench.clock.monotonic()
    await bench.clock.advance(1.0)
    bench.frontier.sent(first)
    await settle()
    done = taking.done()
    bench.frontier.stop()
    await taking
    assert done


async def test_a_target_that_asks_twice_is_one_that_has_left() -> None:
    """Its robots.txt was behind a redirect."""
    bench = Bench(per_host=8)
    await bench.fill("aaaaaa")
    first, second = await bench.ready(2)
    bench.sent(first)
    bench.sent(first)
    second.crawl_delay = 5.0
    bench.over(second, Postponed(second.target))
    bench.over(first)
    await bench.clock.advance(10.0)
    assert len(await bench.ready()) == 1, "the next one waits until this one has left"


# Left alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [limited, overloaded])
async def test_a_host_that_asks_for_time_gets_it_and_others_go_on(answer: Callable[..., Miss]) -> None:
    bench = Bench(per_host=4)
    await bench.fill("aaaaab")
    out = await bench.ready()
    assert indexes(out) == [0, 5, 1, 2, 3]
    bench.sent(*out)
    bench.over(out[0], answer(out[0], 60.0))
    bench.frontier.retry(out[0], 60.0)
    for one in out[1:]:
        bench.over(one)
    for _ in range(59):
        await bench.fill("b")
        other = await bench.one()
        assert other.host == "b"
        bench.over(other)
        await bench.clock.advance(1.0)
    await bench.clock.advance(1.1)
    assert {one.host for one in await bench.ready()} == {"a"}


async def test_a_host_that_stands_in_line_when_it_asks_for_time_gets_it() -> None:
    bench = Bench(per_host=2)
    await bench.fill("aaaab")
    [first] = await bench.ready(1)
    bench.sent(first)
    bench.over(first, limited(first, 60.0))
    assert indexes(await bench.ready()) == [4]
    await bench.clock.advance(59.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.2)
    assert indexes(await bench.ready())[:1] == [1]


async def test_a_host_that_stands_in_line_when_it_asks_for_a_delay_gets_it() -> None:
    bench = Bench(per_host=2)
    await bench.fill("aaaa")
    [first] = await bench.ready(1)
    bench.sent(first)
    first.crawl_delay = 10.0
    bench.over(first)
    await bench.clock.advance(9.9)
    assert await bench.ready() == []
    await bench.clock.advance(0.2)
    assert indexes(await bench.ready()) == [1]


async def test_a_host_that_stands_in_line_when_it_may_have_less_gets_less() -> None:
    bench = Bench(per_host=4)
    await bench.fill("a" * 9)
    out = await bench.ready(3)
    bench.sent(*out)
    bench.over(out[0], miss(out[0], Reason.SERVER_ERROR, 500))
    assert await bench.ready() == [], "two are out, and half of four is two"


async def test_a_shorter_wait_does_not_end_a_longer_one() -> None:
    bench = Bench(per_host=2)
    await bench.fill("aaa")
    first, second = await bench.ready()
    bench.sent(first, second)
    bench.over(first, limited(first, 60.0))
    bench.over(second, limited(second, 2.0))
    await bench.clock.advance(59.0)
    assert await bench.ready() == []
    await bench.clock.advance(1.1)
    assert indexes(await bench.ready())[0] == 2


async def test_a_success_does_not_end_a_wait_that_was_asked_for() -> None:
    bench = Bench(per_host=2)
    await bench.fill("aaa")
    first, second = await bench.ready()
    bench.sent(first, second)
    bench.over(first, limited(first, 60.0))
    bench.over(second, latency=0.1)
    await bench.clock.advance(59.0)
    assert await bench.ready() == []


async def test_a_wait_outlives_the_work_of_its_host() -> None:
    bench = Bench()
    await bench.fill("a")
    first = await bench.one()
    bench.sent(first)
    bench.over(first, limited(first, 60.0))
    await bench.fill("".join(chr(0x4E00 + number) for number in range(50)))
    for one in await bench.ready():
        bench.over(one)
    await bench.fill("a")
    assert await bench.ready() == []
    await bench.clock.advance(60.1)
    assert [one.host for one in await bench.ready()] == ["a"]


async def test_a_redirect_to_a_host_that_rests_waits() -> None:
    bench = Bench()
    await bench.fill("ab")
    first, other = await bench.ready()
    bench.sent(first, other)
    bench.over(other, limited(other, 60.0))
    bench.over(first, moved(first, "b"))
    first.url, first.host, first.redirects = "http://b/moved", "b", 1
    bench.frontier.retry(first)
    await bench.clock.advance(59.0)
    assert await bench.ready() == []
    await bench.clock.advance(1.1)
    assert await bench.one() is first


async def test_without_learning_what_a_host_asks_for_is_still_kept() -> None:
    bench = Bench(adapt=False)
    await bench.fill("aa")
    await bench.failed(await bench.one(), partial(limited, seconds=60.0))
    await bench.clock.advance(59.0)
    assert await bench.ready() == []
    await bench.clock.advance(1.1)
    assert indexes(await bench.ready()) == [1]


async def test_without_learning_a_failure_teaches_nothing() -> None:
    bench = Bench(per_host=4, adapt=False)
    await bench.fill("a" * 12)
    for _ in range(2):
        out = await bench.ready()
        assert len(out) == 4
        bench.sent(*out)
        for one in out:
            bench.over(one, overloaded(one))


async def failures_of(bench: Bench, how: Callable[[Visit], Answer], count: int, leaves: bool = True) -> list[float]:
    """How long the host is left alone after each of so many failures in a row."""
    pauses = []
    one, _ = await bench.wait_for_one()
    for _ in range(count):
        if leaves:
            bench.sent(one)
        await bench.clock.advance(0.01)
        bench.over(one, how(one))
        one, pause = await bench.wait_for_one()
        assert one.refused is None
        pauses.append(pause)
    bench.sent(one)
    bench.over(one, latency=0.01)
    return pauses


async def test_a_host_that_fails_is_left_alone_longer_each_time_up_to_a_bound() -> None:
    bench = Bench()
    await bench.fill("a" * 14)
    pauses = await failures_of(bench, overloaded, 11)
    assert 0 < pauses[0] <= 1.0
    for shorter, longer in pairwise(pauses):
        assert longer > shorter or shorter >= LONGEST_REST - 3
    assert LONGEST_REST - 3 <= pauses[-1] <= LONGEST_REST + 3
    _, pause = await bench.wait_for_one()
    assert pause == 0, "it answers again"


async def test_it_begins_anew_after_a_success() -> None:
    bench = Bench()
    await bench.fill("a" * 20)
    before = await failures_of(bench, overloaded, 6)
    after = await failures_of(bench, overloaded, 6)
    assert after == pytest.approx(before, abs=0.25)


@pytest.mark.parametrize("gap", [0.0, 0.01])
async def test_a_host_that_cannot_be_connected_to_is_called_less_and_less_often(gap: float) -> None:
    """With a gap the request never leaves, for it leaves when there is a connection."""
    bench = Bench(gap=gap, per_host=8)
    await bench.fill("a" * 20)
    pauses = await failures_of(bench, unconnected, 8, leaves=not gap)
    assert min(pauses) >= 0.2, "never at full speed"
    assert pauses[-1] >= pauses[0]
    assert max(pauses) <= LONGEST_REST


async def test_failures_of_one_moment_are_one_failure() -> None:
    bench = Bench(per_host=8)
    await bench.fill("a" * 20)
    out = await bench.ready()
    bench.sent(*out)
    for one in out:
        await bench.clock.advance(0.01)
        bench.over(one, overloaded(one))
    _, pause = await bench.wait_for_one()
    assert pause <= 1.0


async def test_a_wait_of_exactly_the_longest_is_granted() -> None:
    bench = Bench(max_wait=100.0)
    await bench.fill("aa")
    await bench.failed(await bench.one(), partial(limited, seconds=100.0))
    await bench.clock.advance(99.0)
    assert await bench.ready() == []
    await bench.clock.advance(1.1)
    assert (await bench.one()).refused is None


async def test_who_asks_for_too_long_is_not_asked_again() -> None:
    bench = Bench(per_host=2, gap=5.0, max_wait=100.0)
    await bench.fill("aaab")
    early, other = await bench.ready()
    bench.sent(early, other)
    await bench.clock.advance(0.1)
    bench.over(early, overloaded(early))
    bench.frontier.retry(early, 7.0)
    await bench.clock.advance(5.0)
    second = await bench.one()
    bench.sent(second)
    bench.over(second, limited(second, 101.0))
    refused = await bench.ready()
    assert indexes(refused) == [2, 0], "at once, whatever the pace, and also what waited for another try"
    await bench.fill("ab")
    refused += [one for one in await bench.ready() if one.host == "a"]
    assert indexes(refused) == [2, 0, 4]
    for one in refused:
        assert one.refused is not None
        assert (one.refused.reason, one.refused.asked) == (Reason.RATE_LIMITED, False)
        assert one.refused.target == one.target
        bench.over(one, one.refused)
    bench.over(other)
    await bench.fill("b")
    await bench.clock.advance(10.0)
    assert all(one.refused is None for one in await bench.ready()), "the other host is as it was"


async def test_a_redirect_to_a_host_that_was_given_up_is_refused() -> None:
    bench = Bench(max_wait=10.0)
    await bench.fill("ab")
    first, other = await bench.ready()
    bench.sent(first, other)
    bench.over(other, limited(other, 11.0))
    bench.over(first, moved(first, "b"))
    first.url, first.host, first.redirects = "http://b/moved", "b", 1
    bench.frontier.retry(first)
    assert (await bench.one()).refused is not None


async def test_what_is_refused_teaches_nothing_and_ends() -> None:
    bench = Bench(max_wait=10.0)
    await bench.fill("a" * 500)
    bench.frontier.close()
    first = await bench.one()
    bench.sent(first)
    bench.over(first, limited(first, 11.0))
    for one in await bench.ready():
        bench.over(one, one.refused)
    assert await asyncio.wait_for(bench.frontier.take(), LIMIT) is None
    assert bench.frontier.waiting() == 0


# Less and more at once --------------------------------------------------------------------------


async def test_a_failure_halves_what_is_asked_at_once_and_success_brings_it_back() -> None:
    bench = Bench(per_host=8)
    await bench.fill("a" * 500)
    out = await bench.ready()
    assert len(out) == 8
    bench.sent(*out)
    await bench.clock.advance(0.1)
    bench.over(out[0], overloaded(out[0]))
    for one in out[1:]:
        bench.over(one, miss(one, Reason.NOT_FOUND, 404))
    await bench.clock.advance(1.0)
    out = await bench.ready()
    assert len(out) <= 4
    seen = [len(out)]
    while seen[-1] < 8:
        await bench.fetched(out)
        out = await bench.ready()
        seen.append(len(out))
        assert len(seen) < 60, "it does not come back"
    assert seen == sorted(seen)
    for _ in range(5):
        await bench.fetched(out)
        out = await bench.ready()
        assert len(out) == 8, "and no further"


async def test_there_is_always_one() -> None:
    bench = Bench(per_host=8)
    await bench.fill("a" * 200)
    for _ in range(12):
        out = await bench.ready()
        assert out
        bench.sent(*out)
        await bench.clock.advance(0.1)
        for one in out:
            bench.over(one, miss(one, Reason.SERVER_ERROR, 500))
        await bench.clock.advance(61.0)
    assert len(await bench.ready()) == 1


async def at_once(bench: Bench, latency: float, rounds: int) -> int:
    """How many come out at once after so many rounds."""
    for _ in range(rounds):
        await bench.fetched(await bench.ready(), latency)
    out = await bench.ready()
    for one in out:
        bench.frontier.release(one, None)
        bench.frontier.retry(one)
    return len(out)


@pytest.mark.parametrize("adapt", [True, False])
async def test_a_host_that_becomes_slow_is_asked_less_at_once(adapt: bool) -> None:
    bench = Bench(per_host=8, adapt=adapt)
    await bench.fill("a" * 420)
    assert await at_once(bench, 0.1, 5) == 8
    slow = await at_once(bench, 5.0, 3)
    assert slow < 8 if adapt else slow == 8
    assert await at_once(bench, 0.1, 25) == 8


async def test_a_host_that_becomes_a_little_slower_is_not() -> None:
    bench = Bench(per_host=8)
    await bench.fill("a" * 300)
    assert await at_once(bench, 0.1, 5) == 8
    assert await at_once(bench, 0.2, 10) == 8


async def test_a_host_that_was_always_slow_is_not() -> None:
    bench = Bench(per_host=8)
    await bench.fill("a" * 300)
    assert await at_once(bench, 9.0, 15) == 8


# Nobody there -----------------------------------------------------------------------------------


async def test_a_host_that_is_down_is_given_up_and_the_rest_comes_at_once() -> None:
    bench = Bench(per_host=2, gap=1.0)
    await bench.fill("a" * 320 + "b")
    tried = 0
    while True:
        one, _ = await bench.wait_for_one()
        if one.host == "b":
            bench.sent(one)
            bench.over(one)
            continue
        if one.refused is not None:
            break
        tried += 1
        bench.sent(one)
        bench.over(one, unconnected(one))
    assert tried == DOWN_AFTER == 20
    rest = [one, *await bench.ready()]
    assert indexes(rest) == list(range(20, 320)), "all at once, without limits"
    assert {one.refused.reason for one in rest if one.refused} == {Reason.HOST_DOWN}
    assert {one.refused.asked for one in rest if one.refused} == {False}
    await bench.fill("ba")
    refused = {one.host: one.refused is not None for one in await bench.ready()}
    assert refused == {"a": True, "b": False}


ANSWERS: dict[str, Callable[[Visit], Answer]] = {
    "body": body,
    "unchanged": lambda one: Unchanged(one.target),
    "moved": lambda one: moved(one, "b"),
    "robots.txt": lambda one: Postponed(one.target),
    "404": lambda one: miss(one, Reason.NOT_FOUND, 404),
    "403": lambda one: miss(one, Reason.FORBIDDEN, 403),
    "500": lambda one: miss(one, Reason.SERVER_ERROR, 500),
    "503": overloaded,
    "429": lambda one: limited(one, 1.0),
    "half a body": lambda one: miss(one, Reason.TIMEOUT, 200),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_in_between_begins_the_count_anew(name: str) -> None:
    bench = Bench()
    await bench.fill("a" * 60)
    for how in [unconnected] * 19 + [ANSWERS[name]] + [unconnected] * 19:
        one, _ = await bench.wait_for_one(1.0)
        assert one.refused is None
        await bench.failed(one, how)
    one, _ = await bench.wait_for_one(1.0)
    assert one.refused is None, "never twenty in a row"
    await bench.failed(one, unconnected)
    assert (await bench.ready(1))[0].refused is not None, "now they are"


@pytest.mark.parametrize("answer", [None, disallowed])
async def test_what_was_not_asked_neither_counts_nor_begins_anew(answer: Callable[[Visit], Miss] | None) -> None:
    bench = Bench()
    await bench.fill("a" * 90)
    for number in range(DOWN_AFTER):
        for _ in range(2):
            one, _ = await bench.wait_for_one(1.0)
            assert one.refused is None, number
            bench.frontier.release(one, answer(one) if answer else None)
        one, _ = await bench.wait_for_one(1.0)
        await bench.failed(one, unconnected)
    assert (await bench.ready(1))[0].refused is not None


# A host nobody knows yet ------------------------------------------------------------------------


async def test_a_new_host_gets_one_request_until_it_has_answered() -> None:
    bench = Bench(per_host=4, scout=True)
    await bench.fill("aaaaaabb")
    out = await bench.ready()
    assert indexes(out) == [0, 6], "every host has its own"
    bench.sent(*out)
    bench.over(out[0], Postponed(out[0].target))
    bench.frontier.retry(out[0])
    assert indexes(await bench.ready()) == [0, 1, 2, 3]


async def test_a_new_host_that_fails_gets_one_at_a_time() -> None:
    bench = Bench(per_host=4, scout=True)
    await bench.fill("a" * 9)
    for index in range(4):
        one, _ = await bench.wait_for_one()
        assert await bench.ready() == []
        assert one.target.index == index
        await bench.failed(one, unconnected)
    one, _ = await bench.wait_for_one()
    assert await bench.ready() == []
    bench.sent(one)
    bench.over(one)
    assert len(await bench.ready()) > 1


async def test_a_first_request_that_is_given_up_does_not_block_a_new_host() -> None:
    bench = Bench(per_host=4, scout=True)
    await bench.fill("aaa")
    for index in range(3):
        one = await bench.one()
        assert one.target.index == index
        bench.frontier.release(one, None if index % 2 else disallowed(one))
    assert await bench.ready() == []


# What has no room in memory ---------------------------------------------------------------------


class WatchedSpill(TargetSpill):
    """A real one that counts what is in it and can be made to fail or to wait."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.inside = self.working = self.most = 0
        self.fails: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def put(self, visits: Sequence[Visit]) -> None:
        for one in visits:
            assert one.target.credentials is None, "a password on the disk"
            assert (one.url, one.attempts, one.referer) == (one.target.url, 0, "")
        if self.fails is not None:
            raise self.fails
        self.inside += len(visits)
        self.most = max(self.most, self.inside)
        self.working += 1
        try:
            await super().put(visits)
        finally:
            self.working -= 1

    async def take(self, host: str, most: int) -> Sequence[Visit]:
        if self.fails is not None:
            raise self.fails
        self.working += 1
        try:
            visits = await super().take(host, most)
        finally:
            self.working -= 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        self.inside -= len(visits)
        return visits

    async def idle(self) -> None:
        """Until its thread has done everything."""
        async with asyncio.timeout(LIMIT):
            await settle()
            while self.working:
                await settle()


@pytest.fixture
async def spill(tmp_path: Path) -> AsyncIterator[WatchedSpill]:
    one = WatchedSpill(tmp_path)
    async with one:
        yield one


@dataclass
class Reply:
    """How a host behaves for one request."""

    answer: Answer
    connect: float = 0.0
    latency: float = 0.01
    leaves: bool = True


class HostModel:
    """What must hold for one host, told without looking at the code."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.active = 0
        self.due = 0.0
        self.gap = rules.gap
        self.last_sent = -1e9
        self.down = 0
        self.answered = False
        self.parked: Reason | None = None

    def took(self, one: Visit, now: float) -> None:
        if one.refused is not None:
            assert one.refused.reason is self.parked, "refused without cause"
            return
        assert self.parked is None, "a host that was given up is asked"
        self.active += 1
        assert self.active <= self.rules.per_host, "more at once than allowed"
        assert now >= self.due - 1e-6, "asked while it is to be left alone"
        assert self.answered or not self.rules.scout or self.active == 1, "more than one before it has answered"

    def sent(self, gap: float, now: float) -> None:
        assert now >= self.last_sent + gap - 1e-6, "too soon after the last request"
        self.last_sent = now

    def learned(self, one: Visit, answer: Answer, now: float) -> None:
        if one.refused is not None:
            return
        self.active -= 1
        self.gap = max(self.gap, min(one.crawl_delay, self.rules.max_wait))
        if isinstance(answer, Miss) and not answer.asked:
            return
        if isinstance(answer, Miss):
            lost = answer.reason in _UNCONNECTED or (answer.reason is Reason.TIMEOUT and not answer.status)
            self.down = self.down + 1 if lost else 0
            self.answered = self.answered or not lost
            if answer.retry_after is not None:
                self.due = max(self.due, now + answer.retry_after)
                if answer.retry_after > self.rules.max_wait:
                    self.parked = self.parked or Reason.RATE_LIMITED
            if self.down >= 20:
                self.parked = self.parked or Reason.HOST_DOWN
        else:
            self.down, self.answered = 0, True


class Machine:
    """A frontier with a feeder and as many fetches as there are slots, and the models of all hosts."""

    def __init__(
        self,
        rules: Rules,
        reply: Callable[[Visit], Reply],
        *,
        slots: int = 64,
        window: int = 8192,
        spill: WatchedSpill | None = None,
        retry: Callable[[Miss, Visit], float | None] = lambda _, __: None,
        pauses: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = FakeClock(busy=lambda: spill is not None and spill.working > 0)
        self.frontier = HostFrontier(rules, self.clock, spill, window)
        self.reply = reply
        self.retry = retry
        self.pauses = pauses
        self.spill = spill
        self.slots = asyncio.Semaphore(slots)
        self.all_slots = slots
        self.window = window
        self.hosts: dict[str, HostModel] = defaultdict(lambda: HostModel(rules))
        self.where: dict[int, tuple[str, str]] = {}
        self.due: dict[int, float] = {}
        self.ended: Counter[int] = Counter()
        self.ended_at: dict[int, float] = {}
        self.begun: dict[str, list[int]] = defaultdict(list)
        self.refused: Counter[Reason] = Counter()
        self.entered = self.out = self.most_held = 0
        self.began = self.clock.monotonic()

    def count_held(self) -> None:
        held = self.entered - len(self.ended) - self.out - (self.spill.inside if self.spill else 0)
        self.most_held = max(self.most_held, held)

    async def feed(self, visits: Iterable[Visit]) -> None:
        for one in visits:
            self.entered += 1
            await self.frontier.add(one)
            self.count_held()
            if pause := self.pauses():
                await self.clock.sleep(pause)
        self.frontier.close()

    async def run(self, visits: Iterable[Visit]) -> None:
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            feeder = group.create_task(self.feed(visits))
            while True:
                await self.slots.acquire()
                one = await self.frontier.take()
                if one is None:
                    break
                self.took(one)
                group.create_task(self.fetch(one, self.hosts[one.host].gap))
            if not feeder.done():
                feeder.cancel()

    def took(self, one: Visit) -> None:
        self.out += 1
        self.count_held()
        one.began = one.began or self.clock.monotonic()
        index, now = one.target.index, self.clock.monotonic()
        assert not self.ended[index], "it had ended"
        if index in self.where:
            assert self.where[index] == (one.url, one.host), "it was to be asked for elsewhere"
        else:
            assert one.url == one.target.url
            self.begun[one.host].append(index)
            self.where[index] = one.url, one.host
        assert now >= self.due.pop(index, 0.0) - 1e-6, "before its time"
        self.hosts[one.host].took(one, now)

    async def fetch(self, one: Visit, gap: float) -> None:
        host = self.hosts[one.host]
        if one.refused is not None:
            answer: Answer = one.refused
            self.refused[one.refused.reason] += 1
        else:
            reply = self.reply(one)
            answer = reply.answer
            if not one.paced and reply.leaves:
                self.leave(one, host, gap)
            if reply.connect:
                await self.clock.sleep(reply.connect)
            lost = isinstance(answer, Miss) and answer.reason in _UNCONNECTED
            if one.paced and reply.leaves and not lost:
                self.leave(one, host, gap)
            if reply.latency:
                await self.clock.sleep(reply.latency)
            if not isinstance(answer, Miss):
                one.latency = self.clock.monotonic() - one.sent_at
        self.out -= 1
        self.frontier.release(one, answer)
        host.learned(one, answer, self.clock.monotonic())
        self.follow(one, answer)
        self.slots.release()

    def leave(self, one: Visit, host: HostModel, gap: float) -> None:
        one.sent_at = self.clock.monotonic()
        host.sent(gap, one.sent_at)
        self.frontier.sent(one)

    def follow(self, one: Visit, answer: Answer) -> None:
        index = one.target.index
        if isinstance(answer, Moved):
            one.url, one.host = answer.url, answer.host
            one.redirects += 1
            self.where[index] = one.url, one.host
            self.frontier.retry(one)
            return
        if isinstance(answer, Postponed):
            self.frontier.retry(one)
            return
        if isinstance(answer, Miss) and answer.asked:
            one.attempts += 1
            delay = self.retry(answer, one)
            if delay is not None:
                one.start_over()
                one.host = one.target.url.split("/")[2]
                self.where[index] = one.url, one.host
                self.due[index] = self.clock.monotonic() + delay
                self.frontier.retry(one, delay)
                return
        self.ended[index] += 1
        self.ended_at[index] = self.clock.monotonic() - self.began

    def check_all(self, visits: Sequence[Visit] | int) -> None:
        count = visits if isinstance(visits, int) else len(visits)
        assert self.ended == Counter(range(count)), "each of them once"
        assert self.frontier.waiting() == 0
        assert not left_behind()
        if self.spill is not None:
            assert self.spill.inside == 0
            assert self.most_held <= self.window + 2 * REFILL + self.all_slots, "more in memory than the window"


async def test_a_host_that_floods_the_front_of_the_list_does_not_hold_up_the_others(spill: WatchedSpill) -> None:
    """A list sorted by host, as a million addresses mostly are: half of it belongs to a host that hardly answers."""
    flood, others, each = (3_000, 10, 100) if slow_loop() else (40_000, 20, 500)
    stuck = 0

    def reply(one: Visit) -> Reply:
        nonlocal stuck
        if one.host != "flood":
            return Reply(body(one), latency=0.1)
        stuck += 1
        return Reply(body(one) if stuck < 100 else limited(one, 1e6), latency=10.0)

    machine = Machine(Rules(per_host=2), reply, slots=64, window=1024, spill=spill)
    hosts = ["flood"] * flood + [f"host{number}" for number in range(others) for _ in range(each)]
    await machine.run(visit(index, host) for index, host in enumerate(hosts))
    machine.check_all(len(hosts))
    last = max(machine.ended_at[index] for index in range(flood, len(hosts)))
    assert last <= 1.3 * (each * 0.1 / 2), "as fast as if they were alone"
    assert spill.most > flood - 1024
    assert machine.refused[Reason.RATE_LIMITED] > flood - 200
    assert all(order == sorted(order) for order in machine.begun.values()), "in order within a host"


async def test_what_comes_back_finds_room(spill: WatchedSpill) -> None:
    """Many hosts with more than there is room for: all of them were spilled, all come back at the same time."""
    machine = Machine(Rules(per_host=4), lambda one: Reply(body(one), latency=1.0), slots=32, window=300, spill=spill)
    hosts = [f"host{number}" for number in range(40) for _ in range(60 if slow_loop() else 300)]
    await machine.run(visit(index, host) for index, host in enumerate(hosts))
    assert spill.most > 0
    assert all(order == sorted(order) for order in machine.begun.values())
    machine.check_all(len(hosts))


async def test_a_spilled_host_that_is_given_up_gives_back_everything_at_once(spill: WatchedSpill) -> None:
    machine = Machine(
        Rules(per_host=2), lambda one: Reply(unconnected(one) if one.host == "dead" else body(one)),
        slots=8, window=100, spill=spill,
    )  # fmt: skip
    dead = 1000 if slow_loop() else 10_000
    hosts = ["dead"] * dead + ["alive"] * 300
    await machine.run(visit(index, host) for index, host in enumerate(hosts))
    machine.check_all(len(hosts))
    assert spill.most > dead // 2
    assert dead - 50 <= machine.refused[Reason.HOST_DOWN] <= dead - 20
    assert max(machine.ended_at.values()) < 60


def no_room(spill: WatchedSpill | None, window: int = 100) -> Bench:
    return Bench(spill, window)


async def flooded(bench: Bench, spill: WatchedSpill, visits: Iterable[Visit]) -> tuple[Visit, asyncio.Task[None]]:
    """One target of host a is out and somebody waits for another while `visits` are added."""

    async def add() -> None:
        for one in visits:
            await bench.frontier.add(one)

    adding = asyncio.create_task(add())
    await settle()
    [first] = await bench.ready(1)
    waiting = asyncio.create_task(bench.frontier.take())
    for _ in range(40):
        await spill.idle()
    waiting.cancel()
    await asyncio.wait({waiting})
    return first, adding


async def end(bench: Bench, *tasks: asyncio.Task[Any]) -> None:
    bench.frontier.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await settle()
    assert not left_behind()


async def test_what_waits_is_counted_once(spill: WatchedSpill) -> None:
    bench = no_room(spill)
    _, adding = await flooded(bench, spill, [visit(index) for index in range(300)])
    assert adding.done()
    waiting = bench.frontier.waiting()
    await end(bench, adding)
    assert waiting == 299


@pytest.mark.parametrize("kind", ["credentials", "referer"])
async def test_what_knows_more_than_its_address_stays_in_memory_and_in_the_window(
    spill: WatchedSpill, kind: str
) -> None:
    def special(index: int) -> Visit:
        if kind == "credentials":
            return Visit(Target(index, f"http://a/{index}.jpg", credentials=("user", "secret")), "", "a")
        return visit(index, referer="http://page/")

    bench = no_room(spill)
    visits = [visit(index) for index in range(300)] + [special(index) for index in range(300, 2000)]
    _, adding = await flooded(bench, spill, visits)
    held = bench.frontier.waiting() - spill.inside
    await end(bench, adding)
    assert spill.inside > 0
    assert held <= 100 + 2 * REFILL, "what cannot be spilled waits outside when there is no room"


async def test_what_is_known_of_a_target_comes_back_with_it(tmp_path: Path) -> None:
    past = Past(None, "0/1.jpg", b"\0\xff", '"tag"', "Sun, 01 Mar 2026 12:00:00 GMT", "http://a/1.jpg")
    async with TargetSpill(tmp_path) as spill:
        await spill.put([visit(1, past=past), visit(2)])
        assert [(one.target.index, one.past) for one in await spill.take("a", 9)] == [(1, past), (2, NO_PAST)]


async def test_what_was_redirected_is_not_forgotten_where_to(spill: WatchedSpill) -> None:
    bench = no_room(spill)
    for index in range(90):
        await bench.frontier.add(visit(index, f"host{index}"))
    for one in await bench.ready():
        bench.over(one, moved(one, "a"))
        one.url, one.host, one.redirects = f"http://a/moved/{one.target.index}", "a", 1
        bench.frontier.retry(one)
    first, adding = await flooded(bench, spill, [visit(index) for index in range(100, 400)])
    came: dict[int, str] = {}
    out = [first]
    while out:
        for one in out:
            came[one.target.index] = one.url
            bench.over(one)
        await spill.idle()
        out = await bench.ready()
    await end(bench, adding)
    assert came == {
        index: f"http://a/moved/{index}" if index < 90 else f"http://a/{index}.jpg"
        for index in [*range(90), *range(100, 400)]
    }


async def test_a_spill_that_cannot_be_written_ends_who_adds_and_who_takes(spill: WatchedSpill) -> None:
    spill.fails = JournalError("disk full")
    bench = no_room(spill)
    await bench.fill("a")
    await bench.ready()

    async def add() -> None:
        for index in range(1, 300):
            await bench.frontier.add(visit(index))

    adding = asyncio.create_task(add())
    with pytest.raises(JournalError, match="disk full"):
        await asyncio.wait_for(bench.frontier.take(), LIMIT)
    with pytest.raises(JournalError, match="disk full"):
        await asyncio.wait_for(adding, LIMIT)
    with pytest.raises(JournalError, match="disk full"):
        await asyncio.wait_for(bench.frontier.add(visit(999)), LIMIT)


async def test_a_spill_that_fails_leaves_no_task(spill: WatchedSpill) -> None:
    bench = no_room(spill)
    await bench.fill("b" + "a" * 80)
    for one in await bench.ready():
        bench.sent(one)
        bench.over(one, limited(one, 250.0))
        bench.frontier.retry(one, 250.0)
    spill.fails = JournalError("disk full")

    async def add() -> None:
        for index in range(100, 400):
            await bench.frontier.add(visit(index))

    adding = asyncio.create_task(add())
    taken = await asyncio.gather(adding, bench.frontier.take(), return_exceptions=True)
    assert [type(result) for result in taken] == [JournalError, JournalError]
    await settle()
    left = left_behind()
    bench.frontier.stop()
    assert not left


async def test_a_spill_that_cannot_be_read_ends_who_adds_and_who_takes(spill: WatchedSpill) -> None:
    bench = Bench(spill, 100, per_host=ANY)
    await bench.fill("a")
    await bench.failed(await bench.one(), partial(limited, seconds=60.0))

    async def add() -> None:
        for index in range(1, 400):
            await bench.frontier.add(visit(index))

    taking = asyncio.create_task(bench.frontier.take())
    await asyncio.wait_for(add(), LIMIT)
    await spill.idle()
    taking.cancel()
    await asyncio.wait({taking})
    assert spill.inside
    spill.gate = asyncio.Event()
    await bench.clock.advance(61.0)
    while out := await bench.ready(1):  # what is in memory, until the rest is being read
        bench.over(out[0])
    await spill.idle()
    for index in range(1000, 1100):
        await bench.frontier.add(visit(index, f"host{index}"))
        one = await bench.one()
        bench.over(one)
        bench.frontier.retry(one, 100.0)
    adding = [asyncio.create_task(bench.frontier.add(visit(5000 + number, f"b{number}"))) for number in range(5)]
    taking = asyncio.create_task(bench.frontier.take())
    await settle()
    assert not any(task.done() for task in (*adding, taking)), "no room, and nothing to take"
    spill.fails = JournalError("disk broken")
    spill.gate.set()
    await settle()
    done = [task.done() for task in (*adding, taking)]
    bench.frontier.stop()
    results = await asyncio.wait_for(asyncio.gather(*adding, taking, return_exceptions=True), LIMIT)
    assert done == [True] * 6
    assert [type(result) for result in results] == [JournalError] * 6


@pytest.mark.parametrize("moment", [0, 3, 30, 300, 1000])
async def test_stopping_while_targets_are_spilled_leaves_nothing(spill: WatchedSpill, moment: int) -> None:
    machine = Machine(Rules(per_host=3), lambda one: Reply(body(one), latency=0.5), slots=8, window=60, spill=spill)
    hosts = ["a"] * 600 + ["b"] * 600
    run = asyncio.create_task(machine.run(visit(index, host) for index, host in enumerate(hosts)))
    await settle(moment)
    machine.frontier.stop()
    await asyncio.wait_for(run, LIMIT)
    assert max(machine.ended.values(), default=1) == 1
    await settle()
    assert not left_behind()


async def test_hosts_that_are_done_are_forgotten_also_beside_some_that_must_not_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(book, "REMEMBERED", 64)
    machine = Machine(Rules(per_host=1), lambda one: Reply(limited(one, 1e5) if one.host[0] == "x" else body(one)))
    hosts = [f"x{number}" for number in range(32) for _ in range(2)] + [
        f"host{number}" for number in range(1000 if slow_loop() else 5000)
    ]
    await machine.run(visit(index, host) for index, host in enumerate(hosts))
    machine.check_all(len(hosts))
    assert len(machine.frontier._book.busy) == 0
    assert len(machine.frontier._book.idle) <= 64 + 32


# Everything at once -----------------------------------------------------------------------------


class Mix:
    """A run of which only a seed is known: rules, hosts of every kind, and what they answer."""

    KINDS = ("good", "slow", "flaky", "limited", "dead", "cruel", "delay", "robots", "moves", "mixed")

    def __init__(self, seed: int, spill: WatchedSpill | None) -> None:
        draw = self.draw = random.Random(seed)
        self.rules = Rules(
            per_host=draw.choice((1, 2, 5, ANY)),
            gap=draw.choice((0.0, 0.0, 0.3, 3.0)),
            max_wait=120.0,
            adapt=draw.random() < 0.7,
            scout=draw.random() < 0.5,
        )
        self.kinds = {f"host{number}": draw.choice(self.KINDS) for number in range(draw.randrange(1, 12))}
        self.machine = Machine(
            self.rules, self.reply,
            slots=draw.choice((1, 4, 32)),
            window=draw.choice((1, 24, 40, 300)),
            spill=spill,
            retry=Backoff(draw.choice((0, 2)), 120.0, random.Random(seed)),
            pauses=lambda: draw.choice((0.0, 2.0)) if draw.random() < 0.05 else 0.0,
        )  # fmt: skip
        self.learned: set[str] = set()
        hosts = [draw.choice(list(self.kinds)) for _ in range(draw.randrange(300))]
        if draw.random() < 0.7:
            hosts.sort()
        self.visits = [self.visit(index, host) for index, host in enumerate(hosts)]

    def visit(self, index: int, host: str) -> Visit:
        chance = self.draw.random()
        if chance < 0.03:
            return Visit(Target(index, f"http://{host}/{index}.jpg", credentials=("user", "secret")), "", host)
        if chance < 0.06:
            return visit(index, host, past=Past(file_name="1.jpg"))
        return visit(index, host)

    def reply(self, one: Visit) -> Reply:
        kind = self.kinds[one.host]
        if kind == "mixed":
            kind = self.draw.choice(self.KINDS[:5])
        reply = self.reply_of(kind, one)
        reply.connect = self.draw.choice((0.0, 0.02, 1.0))
        return reply

    def reply_of(self, kind: str, one: Visit) -> Reply:
        draw, chance = self.draw, self.draw.random()
        if kind == "slow":
            return Reply(body(one), latency=draw.choice((0.1, 20.0)))
        if kind == "flaky" and chance < 0.5:
            return Reply(draw.choice((overloaded, unconnected, ANSWERS["500"], ANSWERS["404"]))(one), latency=0.1)
        if kind == "limited" and chance < 0.3:
            return Reply(limited(one, draw.choice((0.0, 1.0, 60.0, 120.0))))
        if kind == "dead":
            return Reply(unconnected(one), latency=draw.choice((0.0, 5.0)))
        if kind == "cruel" and chance < 0.05:
            return Reply(overloaded(one, 121.0))
        if kind == "delay":
            one.crawl_delay = draw.choice((0.5, 2.0))
        if kind == "robots" and one.host not in self.learned:
            self.learned.add(one.host)
            return Reply(Postponed(one.target))
        if kind == "robots" and chance < 0.5:
            return Reply(disallowed(one), latency=0.0, leaves=False)
        if kind == "moves" and one.redirects < 3:
            return Reply(moved(one, draw.choice(list(self.kinds))))
        return Reply(body(one), latency=draw.choice((0.0, 0.05, 1.0)))


@pytest.mark.parametrize("seed", range(8))
async def test_every_mix_ends_and_breaks_no_limit(spill: WatchedSpill, seed: int) -> None:
    mix = Mix(seed, spill if seed % 3 else None)
    await mix.machine.run(mix.visits)
    mix.machine.check_all(mix.visits)


@pytest.mark.parametrize("seed", range(100, 105))
async def test_every_mix_can_be_stopped(spill: WatchedSpill, seed: int) -> None:
    mix = Mix(seed, spill if seed % 3 else None)
    run = asyncio.create_task(mix.machine.run(mix.visits))
    await settle(mix.draw.randrange(1500))
    mix.machine.frontier.stop()
    await asyncio.wait_for(run, LIMIT)
    assert max(mix.machine.ended.values(), default=1) == 1
    await settle()
    assert not left_behind()
