"""The pipeline alone, on stand-ins of its parts and with a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from crawler.errors import StoreError
from crawler.frontier.backoff import Backoff
from crawler.frontier.hosts import HostFrontier
from crawler.model import Fetched, Miss, Outcome, Picture, Reason, Receipt, Target
from crawler.pipeline import Pipeline
from tests.fake_clock import FakeClock

Answer = Callable[[Target, int], Fetched | Miss]


def good(target: Target, _: int = 1) -> Fetched:
    return Fetched(target, b"body", target.url, 200, "image/jpeg", 0.0, 0.0)


@dataclass
class Parts:
    """Stand-ins for every part around the pipeline; what they saw can be asked."""

    targets: Sequence[Target]
    answer: Answer = good
    before: frozenset[int] = frozenset()
    asked: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    bodies: int = 0
    most_bodies: int = 0
    gate: asyncio.Event | None = None
    store_error: Exception | None = None

    @property
    def total(self) -> int | None:
        return len(self.targets)

    async def batches(self) -> AsyncIterator[Sequence[Target]]:
        for at in range(0, len(self.targets), 10):
            yield self.targets[at : at + 10]

    async def fetch(self, target: Target) -> Fetched | Miss:
        self.asked.append(target.index)
        await asyncio.sleep(0)
        answer = self.answer(target, self.asked.count(target.index))
        if isinstance(answer, Fetched):
            self.bodies += 1
            self.most_bodies = max(self.most_bodies, self.bodies)
        return answer

    def done(self, fetched: Fetched) -> None:
        self.bodies -= 1

    async def process(self, fetched: Fetched) -> Picture | Miss:
        if self.gate is not None:
            await self.gate.wait()
        return Picture(fetched, b"picture", "jpeg", "jpg", 1, 1, 1, 1, "jpeg", b"")

    async def put(self, picture: Picture) -> Receipt:
        if self.store_error is not None:
            raise self.store_error
        return Receipt(f"{picture.target.index}.jpg", 7)

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        return [target for target in targets if target.index in self.before]

    async def settle(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def note(self, outcome: Outcome) -> None:
        return None

    def pipeline(self, clock: FakeClock, concurrency: int = 4, backlog: int = 4, retries: int = 2) -> Pipeline:
        frontier = HostFrontier(0, clock)
        return Pipeline(
            self, frontier, self, self, self, self, self, clock,
            concurrency=concurrency, backlog=backlog, retry=Backoff(retries),
        )  # fmt: skip


def targets(count: int) -> list[Target]:
    return [Target(n, f"http://host{n % 3}.test/{n}.jpg") for n in range(count)]


async def test_every_target_ends_exactly_once() -> None:
    parts = Parts(targets(95))
    await asyncio.wait_for(parts.pipeline(FakeClock()).run(), 10)
    assert sorted(outcome.target.index for outcome in parts.outcomes) == list(range(95))
    assert parts.bodies == 0


async def test_what_an_earlier_run_settled_is_skipped_and_counted() -> None:
    parts = Parts(targets(20), before=frozenset(range(0, 20, 2)))
    pipeline = parts.pipeline(FakeClock())
    await asyncio.wait_for(pipeline.run(), 10)
    assert sorted(parts.asked) == list(range(1, 20, 2))
    assert pipeline.skipped == 10


async def test_what_can_get_better_is_tried_again_and_the_rest_is_not() -> None:
    def answer(target: Target, attempt: int) -> Fetched | Miss:
        if target.index == 0:
            return Miss(target, Reason.NOT_FOUND)
        if target.index == 1:
            return Miss(target, Reason.TIMEOUT)
        return good(target) if attempt == 3 else Miss(target, Reason.SERVER_ERROR)

    parts = Parts(targets(3), answer)
    await asyncio.wait_for(parts.pipeline(FakeClock(), retries=2).run(), 10)
    ended = {outcome.target.index: outcome for outcome in parts.outcomes}
    assert [ended[n].attempts for n in range(3)] == [1, 3, 3]
    assert [ended[n].stored for n in range(3)] == [False, False, True]


async def test_a_server_that_asks_for_time_gets_it() -> None:
    clock = FakeClock()
    when: list[float] = []

    def answer(target: Target, attempt: int) -> Fetched | Miss:
        when.append(clock.monotonic())
        return good(target) if attempt == 2 else Miss(target, Reason.RATE_LIMITED, retry_after=7.0)

    await asyncio.wait_for(Parts(targets(1), answer).pipeline(clock).run(), 10)
    assert when[1] - when[0] >= 7.0


async def test_bodies_that_wait_for_workers_are_bounded() -> None:
    parts = Parts(targets(60), gate=asyncio.Event())
    running = asyncio.create_task(parts.pipeline(FakeClock(), concurrency=5, backlog=3).run())
    for _ in range(300):  # turns of the loop, not time: everything that can go on without workers has
        await asyncio.sleep(0)
    assert parts.gate is not None
    assert parts.most_bodies == 8, "as many as have room, and one in every slot that waits for room"
    parts.gate.set()
    await asyncio.wait_for(running, 10)
    assert len(parts.outcomes) == 60


async def test_an_address_that_cannot_work_never_reaches_the_network() -> None:
    parts = Parts([Target(0, "ftp://x.test/a.jpg", "urls.txt:1"), Target(1, "http://x.test/b.jpg", "urls.txt:2")])
    await asyncio.wait_for(parts.pipeline(FakeClock()).run(), 10)
    assert parts.asked == [1]
    assert parts.outcomes[0].miss is not None
    assert "urls.txt:1" in parts.outcomes[0].miss.detail


async def test_stopping_finishes_what_was_fetched() -> None:
    parts = Parts(targets(1000), gate=asyncio.Event())
    pipeline = parts.pipeline(FakeClock())
    running = asyncio.create_task(pipeline.run())
    for _ in range(100):
        await asyncio.sleep(0)
    pipeline.stop()
    assert parts.gate is not None
    parts.gate.set()
    await asyncio.wait_for(running, 10)
    assert len(parts.outcomes) == len(parts.asked) < 1000
    assert all(outcome.stored for outcome in parts.outcomes)


async def test_a_target_stopped_between_its_tries_is_left_for_the_next_run() -> None:
    parts = Parts(targets(1), lambda target, _: Miss(target, Reason.TIMEOUT))
    pipeline = parts.pipeline(FakeClock(auto=False))
    running = asyncio.create_task(pipeline.run())
    for _ in range(50):
        await asyncio.sleep(0)
    pipeline.stop()
    await asyncio.wait_for(running, 10)
    assert parts.outcomes == []


async def test_a_store_that_fails_ends_the_run_with_its_error() -> None:
    parts = Parts(targets(50), store_error=StoreError("disk full"))
    with pytest.raises(StoreError, match="disk full"):
        await asyncio.wait_for(parts.pipeline(FakeClock()).run(), 10)
    assert parts.bodies == 0, "bodies under way are given back"


async def test_cancelling_a_run_leaves_no_task() -> None:
    parts = Parts(targets(50), gate=asyncio.Event())
    before = asyncio.all_tasks()
    running = asyncio.create_task(parts.pipeline(FakeClock()).run())
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before


async def test_outcomes_that_wait_for_the_journal_are_bounded() -> None:
    parts = SlowJournal(targets(500))
    running = asyncio.create_task(parts.pipeline(FakeClock(), concurrency=5, backlog=3).run())
    for _ in range(3000):
        await asyncio.sleep(0)
    assert len(parts.asked) <= 8, "no more are asked for than have a slot or room"
    parts.open.set()
    await asyncio.wait_for(running, 10)
    assert len(parts.outcomes) == 500


@dataclass
class SlowJournal(Parts):
    """A journal that takes nothing until it is opened."""

    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def settle(self, outcome: Outcome) -> None:
        await self.open.wait()
        await super().settle(outcome)
