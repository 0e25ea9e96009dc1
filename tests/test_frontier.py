"""Turns, limits, retries and room of the frontier, on a clock that jumps: no test waits."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import urls
from crawler.found import PAGES
from crawler.frontier import book
from crawler.frontier.backoff import FIRST, LONGEST, Backoff
from crawler.frontier.host import Rules
from crawler.frontier.hosts import HostFrontier
from crawler.model import Fetched, Miss, Reason, Target, Visit
from tests.fake_clock import FakeClock, settle

LIMIT = 20.0
ANY = 1_000_000
"""Requests at once where there is no limit."""
Tasks = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
LATER = [reason for reason in Reason if reason.later]
PERMANENT = [reason for reason in Reason if not reason.later]


def target(index: int, host: str = "a") -> Target:
    return Target(index, f"http://{host}/{index}.jpg")


def visit_of(one: Target) -> Visit:
    return Visit(one, one.url, urls.host_key(urls.parse(one.url)))


def visit(index: int, host: str = "a") -> Visit:
    return visit_of(target(index, host))


def frontier_of(per_host: int = 1, clock: FakeClock | None = None, window: int = 8192) -> HostFrontier:
    return HostFrontier(Rules(per_host=per_host), clock or FakeClock(), None, window)


def release(frontier: HostFrontier, taken: Visit) -> None:
    """Its body has come."""
    one = taken.target
    frontier.release(taken, Fetched(one, b"body", one.url, 200, "image/jpeg", 0.0, 0.0))


async def filled(hosts: str, per_host: int = 1, clock: FakeClock | None = None) -> HostFrontier:
    """A closed frontier with one target for each letter, numbered in order."""
    frontier = frontier_of(per_host, clock)
    for index, host in enumerate(hosts):
        await frontier.add(visit(index, host))
    frontier.close()
    return frontier


async def drained(frontier: HostFrontier) -> list[int]:
    """Numbers in the order they come out, each released at once."""
    order = []
    async with asyncio.timeout(LIMIT):
        while (taken := await frontier.take()) is not None:
            order.append(taken.target.index)
            release(frontier, taken)
    return order


async def must_wait(task: asyncio.Task[Visit | None] | asyncio.Task[None]) -> None:
    await settle()
    assert not task.done(), "it should have waited"


async def result(task: asyncio.Task[Visit | None]) -> Visit | None:
    async with asyncio.timeout(LIMIT):
        return await task


async def got(frontier: HostFrontier) -> Visit:
    async with asyncio.timeout(LIMIT):
        taken = await frontier.take()
    assert taken is not None
    return taken


def left_behind() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("crawler")}


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    """Starts tasks that are gone when the test is over, however it ends."""
    started: list[asyncio.Task[Any]] = []

    def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        started.append(asyncio.create_task(work))
        return started[-1]

    yield start
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


# Turns ------------------------------------------------------------------------------------------


async def test_hosts_take_turns() -> None:
    assert await drained(await filled("aaabbc")) == [0, 3, 5, 1, 4, 2]


async def test_targets_of_one_host_keep_their_order() -> None:
    assert await drained(await filled("aaaaaa", per_host=3)) == [0, 1, 2, 3, 4, 5]


async def test_a_host_of_a_thousand_does_not_delay_another() -> None:
    frontier = await filled("a" * 1000 + "b", per_host=ANY)
    assert 1000 in [(await got(frontier)).target.index for _ in range(2)]


async def test_hosts_differ_by_port() -> None:
    frontier = frontier_of(1)
    for index, url in enumerate(("http://a/x", "http://a:8080/x", "https://a/x", "http://A:80/y")):
        await frontier.add(visit_of(Target(index, url)))
    assert [(await got(frontier)).target.index for _ in range(3)] == [0, 1, 2]
    last = asyncio.create_task(frontier.take())
    await must_wait(last)
    frontier.stop()
    assert await result(last) is None


# Limits -----------------------------------------------------------------------------------------


async def test_a_host_at_its_limit_waits_for_a_release() -> None:
    frontier = await filled("aaa", per_host=2)
    first, _ = await got(frontier), await got(frontier)
    third = asyncio.create_task(frontier.take())
    await must_wait(third)
    release(frontier, first)
    third_visit = await result(third)
    assert third_visit is not None
    assert third_visit.target == target(2)


async def test_zero_is_no_limit() -> None:
    frontier = await filled("a" * 50, per_host=ANY)
    assert [(await got(frontier)).target.index for _ in range(50)] == list(range(50))


async def test_who_waits_for_a_retry_occupies_no_slot() -> None:
    clock = FakeClock(auto=False)
    frontier = await filled("aa", clock=clock)
    first = await got(frontier)
    release(frontier, first)
    frontier.retry(first, 30.0)
    second = await got(frontier)
    assert second.target.index == 1
    release(frontier, second)
    again = asyncio.create_task(frontier.take())
    await must_wait(again)
    await clock.advance(30.0)
    assert await result(again) is first


# Retries ----------------------------------------------------------------------------------------


async def test_a_retry_comes_out_when_its_time_has_come_and_not_before() -> None:
    clock = FakeClock(auto=False)
    frontier = await filled("a", clock=clock)
    first = await got(frontier)
    release(frontier, first)
    frontier.retry(first, 5.0)
    assert frontier.waiting() == 1
    again = asyncio.create_task(frontier.take())
    await clock.advance(4.9)
    assert not again.done()
    await clock.advance(0.1)
    assert await result(again) is first


async def test_retries_come_out_in_order_of_their_time() -> None:
    clock = FakeClock()
    frontier = await filled("abcd", clock=clock)
    taken = [await got(frontier) for _ in range(4)]
    for one, delay in zip(taken, (9.0, 2.0, 7.0, 2.0), strict=True):
        release(frontier, one)
        frontier.retry(one, delay)
    began, times = clock.monotonic(), []
    for _ in range(4):
        again = await got(frontier)
        release(frontier, again)
        times.append((again.target.index, clock.monotonic() - began))
    assert times == [(1, 2.0), (3, 2.0), (2, 7.0), (0, 9.0)]
    assert await drained(frontier) == []


async def test_an_earlier_retry_is_not_hidden_by_a_later_one() -> None:
    clock = FakeClock()
    frontier = await filled("ab", clock=clock)
    far, near = await got(frontier), await got(frontier)
    release(frontier, far)
    frontier.retry(far, 60.0)
    waiting = asyncio.create_task(frontier.take())
    await settle(3)  # now it waits for the far one
    release(frontier, near)
    frontier.retry(near, 1.0)
    assert await result(waiting) is near
    assert clock.monotonic() == 1001.0
    frontier.stop()


async def test_a_retry_without_delay_comes_out_at_once() -> None:
    clock = FakeClock(auto=False)
    frontier = await filled("a", clock=clock)
    first = await got(frontier)
    release(frontier, first)
    frontier.retry(first, 0.0)
    assert await got(frontier) is first


async def test_many_retries_at_the_same_moment_all_come_out() -> None:
    clock = FakeClock()
    frontier = await filled("abcdef" * 20, per_host=ANY, clock=clock)
    for one in [await got(frontier) for _ in range(120)]:
        release(frontier, one)
        frontier.retry(one, 3.0)
    assert sorted(await drained(frontier)) == list(range(120))


# Room -------------------------------------------------------------------------------------------


async def test_a_full_window_holds_the_input_back() -> None:
    frontier = frontier_of(ANY, window=2)
    await frontier.add(visit(0))
    await frontier.add(visit(1))
    third = asyncio.create_task(frontier.add(visit(2)))
    await must_wait(third)
    assert frontier.waiting() == 2
    await got(frontier)
    async with asyncio.timeout(LIMIT):
        await third
    assert frontier.waiting() == 2


async def test_what_waits_for_a_retry_counts_as_held() -> None:
    frontier = frontier_of(ANY, FakeClock(auto=False), window=1)
    await frontier.add(visit(0))
    first = await got(frontier)
    release(frontier, first)
    frontier.retry(first, 10.0)
    more = asyncio.create_task(frontier.add(visit(1)))
    await must_wait(more)
    frontier.stop()
    async with asyncio.timeout(LIMIT):
        await more


async def test_an_add_that_gives_up_leaves_nothing() -> None:
    frontier = frontier_of(ANY, window=1)
    await frontier.add(visit(0))
    more = asyncio.create_task(frontier.add(visit(1)))
    await must_wait(more)
    more.cancel()
    await asyncio.wait({more})
    frontier.close()
    assert await drained(frontier) == [0]


async def test_two_that_add_are_both_let_in(tasks: Tasks) -> None:
    frontier = frontier_of(ANY, window=1)
    await frontier.add(visit(0))
    adding = [tasks(frontier.add(visit(index))) for index in (1, 2)]
    await settle()
    await got(frontier)
    await settle()
    tasks(frontier.take())
    await settle()
    assert [task.done() for task in adding] == [True, True]


async def test_two_that_take_both_get_a_target(tasks: Tasks) -> None:
    frontier = frontier_of(ANY)
    taking = [tasks(frontier.take()) for _ in range(2)]
    await settle()
    await frontier.add(visit(0))
    await frontier.add(visit(1))
    await settle()
    assert [task.done() for task in taking] == [True, True]


# Ends -------------------------------------------------------------------------------------------


async def test_an_empty_input_ends_at_once() -> None:
    assert await drained(await filled("")) == []


async def test_closing_wakes_who_waits_for_a_target() -> None:
    frontier = frontier_of(1)
    taking = asyncio.create_task(frontier.take())
    await must_wait(taking)
    frontier.close()
    assert await result(taking) is None


async def test_the_end_waits_for_what_is_out() -> None:
    frontier = await filled("a")
    first = await got(frontier)
    taking = asyncio.create_task(frontier.take())
    await must_wait(taking)
    release(frontier, first)
    frontier.retry(first, 1.0)
    assert await result(taking) is first
    last = asyncio.create_task(frontier.take())
    await must_wait(last)
    release(frontier, first)
    assert await result(last) is None


async def test_the_end_is_the_end_also_when_asked_again() -> None:
    frontier = await filled("a")
    assert await drained(frontier) == [0]
    assert await drained(frontier) == []


async def test_stopping_gives_out_nothing_more() -> None:
    frontier = await filled("aab")
    first = await got(frontier)
    frontier.stop()
    assert await drained(frontier) == []
    release(frontier, first)
    frontier.retry(first, 0.0)
    assert await drained(frontier) == []


async def test_stopping_wakes_who_waits() -> None:
    clock = FakeClock(auto=False)
    frontier = frontier_of(1, clock, window=1)
    await frontier.add(visit(0))
    adding = asyncio.create_task(frontier.add(visit(1)))
    first = await got(frontier)
    await asyncio.wait_for(adding, LIMIT)
    adding = asyncio.create_task(frontier.add(visit(2)))
    release(frontier, first)
    frontier.retry(first, 50.0)
    assert (await got(frontier)).target.index == 1
    taking = asyncio.create_task(frontier.take())
    await must_wait(taking)
    await must_wait(adding)
    frontier.stop()
    assert await result(taking) is None
    await asyncio.wait_for(adding, LIMIT)
    await settle()
    assert not left_behind()


async def test_stopping_an_idle_frontier_is_enough() -> None:
    frontier = frontier_of(1)
    frontier.stop()
    await frontier.add(visit(0))
    assert frontier.waiting() == 0
    assert await drained(frontier) == []


async def test_a_take_that_gives_up_takes_nothing() -> None:
    frontier = frontier_of(1)
    taking = asyncio.create_task(frontier.take())
    await must_wait(taking)
    taking.cancel()
    await asyncio.wait({taking})
    await frontier.add(visit(0))
    frontier.close()
    assert await drained(frontier) == [0]


async def test_a_take_that_gives_up_leaves_no_task_behind() -> None:
    frontier = await filled("a", clock=FakeClock(auto=False))
    first = await got(frontier)
    release(frontier, first)
    frontier.retry(first, 50.0)
    taking = asyncio.create_task(frontier.take())
    await must_wait(taking)
    taking.cancel()
    await asyncio.wait({taking})
    await settle()
    left = left_behind()
    frontier.stop()
    assert not left


async def test_a_host_without_work_is_forgotten() -> None:
    frontier = frontier_of(2)
    for index in range(500):
        await frontier.add(visit(index, f"host{index}"))
        release(frontier, await got(frontier))
    assert len(frontier._book.busy) == 0
    assert len(frontier._turns) == 0


async def test_hosts_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "REMEMBERED", 50)
    frontier = frontier_of(2)
    for index in range(500):
        await frontier.add(visit(index, f"host{index}"))
        release(frontier, await got(frontier))
    assert len(frontier._book.idle) <= 50
    assert len(frontier._book.busy) == 0


# Everything at once -----------------------------------------------------------------------------


class Watched:
    """A frontier with those who use it: a feeder, takers of bounded number, and what must hold at every step."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.per_host = draw.choice((ANY, 1, 2, 5))
        self.window = draw.choice((1, 3, 20, 4096))
        self.slots = asyncio.Semaphore(draw.choice((1, 2, 8, 64)))
        self.clock = FakeClock()
        self.frontier = frontier_of(self.per_host, self.clock, self.window)
        self.out: Counter[str] = Counter()
        self.due: dict[int, float] = {}
        self.tries: Counter[int] = Counter()
        self.ended: list[int] = []

    async def feed(self, targets: Sequence[Target]) -> None:
        for one in targets:
            await self.frontier.add(visit_of(one))
            if self.draw.random() < 0.1:
                await self.clock.sleep(self.draw.uniform(0, 2))
        self.frontier.close()

    async def run(self, targets: Sequence[Target]) -> None:
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            group.create_task(self.feed(targets))
            while True:
                await self.slots.acquire()
                taken = await self.frontier.take()
                if taken is None:
                    break
                self.took(taken)
                group.create_task(self.fetch(taken))

    def took(self, taken: Visit) -> None:
        self.out[taken.host] += 1
        assert self.out[taken.host] <= self.per_host, "more than its slots"
        assert self.clock.monotonic() >= self.due.pop(taken.target.index, 0.0), "before its time"
        assert self.frontier.waiting() <= self.window + 64, "more than the window and what is out"

    async def fetch(self, taken: Visit) -> None:
        index = taken.target.index
        await self.clock.sleep(self.draw.choice((0, 0, 0.01, 1, 30)))
        self.out[taken.host] -= 1
        release(self.frontier, taken)
        self.tries[index] += 1
        if self.tries[index] < 4 and self.draw.random() < 0.3:
            delay = self.draw.choice((0.0, 0.5, 60.0))
            self.due[index] = self.clock.monotonic() + delay
            self.frontier.retry(taken, delay)
        else:
            self.ended.append(index)
        self.slots.release()


@pytest.mark.parametrize("seed", range(10))
async def test_every_target_comes_out_once_whatever_happens(seed: int) -> None:
    draw = random.Random(seed)
    watched, count, hosts = Watched(draw), draw.randrange(150), draw.randrange(1, 40)
    await watched.run([target(index, f"host{draw.randrange(hosts)}") for index in range(count)])
    assert sorted(watched.ended) == list(range(count))
    assert watched.frontier.waiting() == 0
    assert len(watched.frontier._book.busy) == 0
    assert not left_behind()


@pytest.mark.parametrize("moment", [1, 5, 17, 40, 90, 200])
async def test_stopping_at_any_moment_ends_everything(moment: int) -> None:
    draw = random.Random(moment)
    watched = Watched(draw)
    run = asyncio.create_task(watched.run([target(index, f"host{draw.randrange(9)}") for index in range(150)]))
    await settle(moment)
    watched.frontier.stop()
    await asyncio.wait_for(run, LIMIT)
    assert len(set(watched.ended)) == len(watched.ended)
    await settle()
    assert not left_behind()


# How long to wait -------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", PERMANENT)
def test_what_is_permanent_is_not_tried_again(reason: Reason) -> None:
    assert Backoff(5)(Miss(target(0), reason), visit(0)) is None


@pytest.mark.parametrize("reason", LATER)
def test_what_can_get_better_is_tried_as_often_as_allowed(reason: Reason) -> None:
    backoff, again = Backoff(2), visit(0)
    delays = [backoff(Miss(target(0), reason), again) for _ in range(3)]
    assert [delay is None for delay in delays] == [False, False, True]


def test_without_retries_nothing_is_tried_again() -> None:
    assert Backoff(0)(Miss(target(0), Reason.TIMEOUT), visit(0)) is None


@given(st.integers(1, 100), st.randoms())
def test_delays_double_up_to_a_bound_and_are_spread(tries: int, draw: random.Random) -> None:
    backoff, again = Backoff(100, draw=draw), visit(0)
    for _ in range(tries):
        delay = backoff(Miss(target(0), Reason.RESET), again)
    grown = min(LONGEST, FIRST * 2 ** (tries - 1))
    assert delay is not None
    assert grown / 2 <= delay <= grown


def test_the_server_may_ask_for_more_but_not_for_less() -> None:
    asked = Backoff(2)(Miss(target(0), Reason.RATE_LIMITED, retry_after=20.0), visit(0))
    soon = Backoff(2)(Miss(target(0), Reason.RATE_LIMITED, retry_after=0.0), visit(0))
    assert asked == 20.0
    assert soon is not None
    assert soon >= FIRST / 2


def test_a_server_that_asks_for_too_much_is_not_waited_for() -> None:
    assert Backoff(2, 60.0)(Miss(target(0), Reason.RATE_LIMITED, retry_after=61.0), visit(0)) is None
    assert Backoff(2, 60.0)(Miss(target(0), Reason.RATE_LIMITED, retry_after=60.0), visit(0)) == 60.0


def test_a_wait_that_was_asked_for_is_no_failure() -> None:
    backoff, again = Backoff(1), visit(0)
    for _ in range(5):
        assert backoff(Miss(target(0), Reason.RATE_LIMITED, retry_after=2.0), again) == 2.0
    assert backoff(Miss(target(0), Reason.TIMEOUT), again) is not None
    assert backoff(Miss(target(0), Reason.TIMEOUT), again) is None


def test_asked_waits_of_one_target_together_have_a_bound() -> None:
    backoff, again, waited = Backoff(3, 100.0), visit(0), 0.0
    while (delay := backoff(Miss(target(0), Reason.SERVER_ERROR, retry_after=30.0), again)) is not None:
        waited += delay
    assert waited == 90.0
    assert backoff(Miss(target(1), Reason.SERVER_ERROR, retry_after=30.0), visit(1)) == 30.0


def test_a_server_that_always_says_now_is_not_asked_for_ever() -> None:
    backoff, again, tries = Backoff(1, 300.0), visit(0), 0
    while backoff(Miss(target(0), Reason.RATE_LIMITED, retry_after=0.0), again) is not None:
        tries += 1
        assert tries <= 300


def test_an_asked_wait_is_no_reason_to_try_what_is_never_tried() -> None:
    assert Backoff(0)(Miss(target(0), Reason.RATE_LIMITED, retry_after=1.0), visit(0)) is None
    assert Backoff(5)(Miss(target(0), Reason.NOT_FOUND, retry_after=1.0), visit(0)) is None


# Pages and pictures -----------------------------------------------------------------------------------------------------


def page(index: int, host: str = "a") -> Visit:
    return visit_of(Target(PAGES + index, f"http://{host}/{index}.html"))


async def order_of(enough: int, *visits: Visit) -> str:
    """In which order they are given out: pictures by digits, pages by letters."""
    frontier = HostFrontier(Rules(per_host=1), FakeClock(), None, 8192, lambda: enough)
    for one in visits:
        await frontier.add(one)
    frontier.close()
    found = ""
    async with asyncio.timeout(LIMIT):
        while (taken := await frontier.take()) is not None:
            index = taken.target.index
            found += chr(ord("a") + index - PAGES) if index >= PAGES else str(index)
            release(frontier, taken)
    return found


async def test_pictures_of_a_host_come_before_its_pages_while_there_are_enough() -> None:
    mixed = page(0), visit(1), page(1), visit(2), visit(3)
    assert await order_of(0, *mixed) == "123ab"
    assert await order_of(2, *mixed) == "12ab3"


async def test_pages_come_first_where_pictures_would_run_out() -> None:
    assert await order_of(100, page(0), visit(1), page(1), visit(2)) == "ab12"


async def test_a_host_with_pages_only_has_its_turn_among_the_others() -> None:
    assert await order_of(0, visit(1), visit(2), page(0, "b"), page(1, "b")) == "1a2b"


async def test_a_frontier_that_is_held_open_waits_for_what_may_come_back() -> None:
    frontier = frontier_of()
    await frontier.add(visit(1))
    frontier.close()
    taken = await frontier.take()
    assert taken is not None
    frontier.hold_open()
    release(frontier, taken)
    again = asyncio.create_task(frontier.take())
    await settle()
    assert not again.done()
    frontier.retry(taken)
    frontier.let_go()
    assert await again is taken
    release(frontier, taken)
    assert await frontier.take() is None
