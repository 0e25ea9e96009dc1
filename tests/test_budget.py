"""The byte budget: who waits, in which order, what is given back, and by how much it can ever be passed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from crawler.fetch.budget import ByteBudget, Ticket
from tests.fake_clock import FakeClock, settle

LIMIT = 20.0
Hold = Callable[[Ticket, int], asyncio.Task[None]]


@pytest.fixture
async def hold() -> AsyncIterator[Hold]:
    """Asks for bytes in a task of its own, which is gone when the test is over."""
    started: list[asyncio.Task[None]] = []

    def start(ticket: Ticket, size: int) -> asyncio.Task[None]:
        started.append(asyncio.create_task(ticket.hold(size)))
        return started[-1]

    yield start
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


async def test_what_fits_is_given_at_once(hold: Hold) -> None:
    budget = ByteBudget(100)
    tasks = [hold(budget.ticket(), 50), hold(budget.ticket(), 50)]
    await settle()
    assert all(task.done() for task in tasks)
    assert (budget.used, budget.peak, budget.full) == (100, 100, True)


async def test_what_does_not_fit_waits_until_something_is_given_back(hold: Hold) -> None:
    budget = ByteBudget(100)
    first, second = budget.ticket(), budget.ticket()
    await first.hold(60)
    waiting = hold(second, 60)
    await settle()
    assert not waiting.done()
    assert budget.full
    first.close()
    await settle()
    assert waiting.done()
    assert budget.used == 60


async def test_bytes_are_handed_out_in_order_of_asking(hold: Hold) -> None:
    budget = ByteBudget(100)
    first = budget.ticket()
    await first.hold(90)
    large, small = hold(budget.ticket(), 80), hold(budget.ticket(), 5)
    await settle()
    assert (large.done(), small.done()) == (False, False), "a small one must not pass a large one for ever"
    first.close()
    await settle()
    assert (large.done(), small.done()) == (True, True)


async def test_who_holds_some_goes_before_who_holds_none(hold: Hold) -> None:
    budget = ByteBudget(100)
    holder, other = budget.ticket(), budget.ticket()
    await holder.hold(40)
    await other.hold(60)
    fresh = hold(budget.ticket(), 50)
    growing = hold(holder, 60)
    await settle()
    other.close()
    await settle()
    assert (growing.done(), fresh.done()) == (True, False)


async def test_shrinking_lets_others_in(hold: Hold) -> None:
    budget = ByteBudget(100)
    holder = budget.ticket()
    await holder.hold(100)
    waiting = hold(budget.ticket(), 30)
    await settle()
    await holder.hold(70)
    await settle()
    assert waiting.done()
    assert (holder.held, budget.used) == (70, 100)


async def test_one_body_larger_than_the_budget_is_let_through_alone(hold: Hold) -> None:
    budget = ByteBudget(100)
    small = budget.ticket()
    await small.hold(10)
    huge, after = hold(giant := budget.ticket(), 300), hold(budget.ticket(), 10)
    await settle()
    assert not huge.done()
    small.close()
    await settle()
    assert (huge.done(), after.done()) == (True, False)
    giant.close()
    await settle()
    assert after.done()


async def test_a_lone_body_grows_past_the_budget(hold: Hold) -> None:
    budget = ByteBudget(100)
    body = budget.ticket()
    for size in (50, 100, 150, 200):
        growing = hold(body, size)
        await settle()
        assert growing.done()
    body.close()
    assert (budget.used, budget.peak) == (0, 200)


async def test_bodies_that_all_grow_pass_the_budget_by_one_of_them(hold: Hold) -> None:
    budget = ByteBudget(100)
    bodies = [budget.ticket() for _ in range(10)]
    for body in bodies:
        await body.hold(10)
    growing = {body: hold(body, 20) for body in bodies}
    for _ in range(100):  # whoever is let through asks for more at once
        await settle()
        for body, task in growing.items():
            if task.done():
                growing[body] = hold(body, body.held + 10)
    beyond = sorted(body.held for body in bodies)
    assert beyond[:-1] == [10] * 9, f"{beyond} of a budget of 100"


async def test_closing_twice_gives_back_once() -> None:
    budget = ByteBudget(100)
    ticket = budget.ticket()
    await ticket.hold(30)
    ticket.close()
    ticket.close()
    assert budget.used == 0


async def test_who_gives_up_waiting_holds_nothing(hold: Hold) -> None:
    budget = ByteBudget(100)
    first, second = budget.ticket(), budget.ticket()
    await first.hold(100)
    waiting = hold(second, 50)
    await settle()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (second.held, budget.used, budget.full) == (0, 100, True)
    first.close()
    assert (budget.used, budget.full) == (0, False)


async def test_who_gives_up_waiting_lets_those_behind_pass(hold: Hold) -> None:
    budget = ByteBudget(100)
    first = budget.ticket()
    await first.hold(90)
    large, small = hold(budget.ticket(), 80), hold(budget.ticket(), 5)
    await settle()
    large.cancel()
    await settle()
    assert small.done()


async def test_a_body_that_gives_up_growing_keeps_what_it_held(hold: Hold) -> None:
    budget = ByteBudget(100)
    first, second = budget.ticket(), budget.ticket()
    await first.hold(50)
    await second.hold(50)
    growing = hold(first, 80)
    await settle()
    growing.cancel()
    await asyncio.wait({growing})
    assert (first.held, budget.used) == (50, 100)
    first.close()
    second.close()
    assert budget.used == 0


async def test_bytes_granted_at_the_moment_of_giving_up_can_be_given_back(hold: Hold) -> None:
    budget = ByteBudget(100)
    first, second = budget.ticket(), budget.ticket()
    await first.hold(100)
    waiting = hold(second, 100)
    await settle()
    first.close()  # grants to the second, which is cancelled before it can run
    waiting.cancel()
    await asyncio.wait({waiting})
    second.close()
    assert budget.used == 0
    assert not budget.full


async def test_nothing_is_held_for_an_empty_body() -> None:
    budget = ByteBudget(100)
    ticket = budget.ticket()
    await ticket.hold(0)
    ticket.close()
    assert (budget.used, budget.peak) == (0, 0)


class Bodies:
    """Bodies of all kinds over one budget: known and unknown lengths, slow, given up at any point."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.clock = FakeClock()
        self.budget = ByteBudget(draw.choice((1, 100, 1000)))
        self.tickets: set[Ticket] = set()
        self.ended = 0

    async def one(self) -> None:
        ticket = self.budget.ticket()
        self.tickets.add(ticket)
        await self.clock.sleep(self.draw.uniform(0, 5))
        try:
            if self.draw.random() < 0.5:
                await self.hold(ticket, self.draw.randrange(1, 150))
            else:
                for _ in range(self.draw.randrange(1, 8)):
                    await self.hold(ticket, ticket.held + self.draw.randrange(1, 60))
                await self.hold(ticket, self.draw.randrange(1, ticket.held + 1))
        finally:
            ticket.close()
            self.tickets.discard(ticket)
            self.ended += 1

    async def hold(self, ticket: Ticket, size: int) -> None:
        await ticket.hold(size)
        held = [one.held for one in self.tickets]
        assert sum(held) == self.budget.used
        assert sum(held) - max(held) <= self.budget.capacity, f"{sorted(held)} of {self.budget.capacity}"
        await self.clock.sleep(self.draw.choice((0.0, 0.1, 3.0)))


@pytest.mark.parametrize("seed", range(12))
async def test_every_body_gets_its_turn_and_the_bound_holds(seed: int) -> None:
    draw = random.Random(seed)
    bodies, count = Bodies(draw), draw.randrange(1, 60)
    tasks = [asyncio.create_task(bodies.one()) for _ in range(count)]
    giving_up = draw.sample(tasks, draw.randrange(count))
    try:
        async with asyncio.timeout(LIMIT):
            for task in giving_up:
                await bodies.clock.sleep(draw.uniform(0, 2))
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    broken = [one for one in results if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError)]
    assert not broken, broken[0]
    assert bodies.budget.used == 0
    assert not bodies.budget.full
