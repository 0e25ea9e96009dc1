"""The pipeline alone, on stand-ins of its parts and with a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from crawler.errors import StoreError
from crawler.found import Page, PageOrder
from crawler.frontier.backoff import Backoff
from crawler.frontier.host import Rules
from crawler.frontier.hosts import HostFrontier
from crawler.model import (
    Answer,
    Fetched,
    Miss,
    Moved,
    Outcome,
    Past,
    Picture,
    Postponed,
    Reason,
    Receipt,
    Target,
    Twin,
    Unchanged,
    Visit,
)  # fmt: skip
from crawler.pipeline import Pipeline
from crawler.store.at_once import AtOnce
from tests.fake_clock import FakeClock

Reply = Callable[[Target, int], Answer]
ANY = 1_000_000


def good(target: Target, _: int = 1) -> Fetched:
    return Fetched(target, b"body", target.url, 200, "image/jpeg", 0.0, 0.0)


@dataclass
class Parts(AtOnce):
    """Stand-ins for every part around the pipeline; what they saw can be asked."""

    targets: Sequence[Target]
    answer: Reply = good
    before: frozenset[int] = frozenset()
    asked: list[int] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    noted: list[Outcome] = field(default_factory=list)
    running: Pipeline | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    outcomes: list[Outcome] = field(default_factory=list)
    bodies: int = 0
    most_bodies: int = 0
    gate: asyncio.Event | None = None
    store_error: Exception | None = None

    @property
    def total(self) -> int | None:
        return len(self.targets)

    async def batches(self) -> AsyncGenerator[Sequence[Target], None]:
        for at in range(0, len(self.targets), 10):
            yield self.targets[at : at + 10]

    def expect(self, visit: Visit) -> None:
        self.expected.append(visit.target.index)

    async def read(self, fetched: Fetched, order: PageOrder) -> Page | Miss:
        raise NotImplementedError("no page is given here")

    async def fetch(self, visit: Visit, sent: Callable[[Visit], None]) -> Answer:
        target = visit.target
        visit.sent_at = self.clock.monotonic()
        sent(visit)
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

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        if self.store_error is not None:
            raise self.store_error
        return Receipt(f"{picture.target.index}.jpg", 7)

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        return [target for target in targets if target.index in self.before]

    async def past(self, targets: Sequence[Target]) -> Mapping[int, Past]:
        return {}

    async def forget(self, target: Target) -> None:
        raise AssertionError("nothing was stored before")

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        raise AssertionError("nothing was stored before")

    async def finish(self, total: int | None) -> None:
        raise AssertionError("the pipeline does not publish")

    async def twin(self, picture: Picture) -> Twin | None:
        return None

    async def settle(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def note(self, outcome: Outcome) -> None:
        self.noted.append(outcome)

    def pipeline(
        self,
        clock: FakeClock,
        concurrency: int = 4,
        backlog: int = 4,
        retries: int = 2,
        frontier: HostFrontier | None = None,
    ) -> Pipeline:
        self.clock = clock
        self.running = Pipeline(
            self, frontier or HostFrontier(Rules(per_host=ANY), clock), self, self, self, self, self, clock,
            concurrency=concurrency, backlog=backlog, retry=Backoff(retries),
        )  # fmt: skip
        return self.running


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


# More than one request, and less ----------------------------------------------------------------

Tale = Callable[[Visit, int], Answer]


def told(visit: Visit, _: int = 1) -> Answer:
    target = visit.target
    return Fetched(target, b"body", visit.url, 200, "image/jpeg", 0.0, 0.0)


@dataclass
class Story(Parts):
    """Parts whose answers depend on where is asked, and which know of earlier runs.

    Attributes:
        tale: the answer to a visit, by it and how often its target has been asked for.
        pasts: what is known of targets, by index.
        log: where was asked, and what was done to what was stored, in order.
    """

    tale: Tale = told
    pasts: dict[int, Past] = field(default_factory=dict)
    sha256: bytes = b"new"
    undecodable: bool = False
    log: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, int, Past]] = field(default_factory=list)

    async def fetch(self, visit: Visit, sent: Callable[[Visit], None]) -> Answer:
        self.asked.append(visit.target.index)
        self.seen.append((visit.url, visit.host, visit.redirects, visit.past))
        self.log.append(f"ask {visit.url}")
        visit.sent_at = self.clock.monotonic()
        sent(visit)
        await asyncio.sleep(0)
        answer = self.tale(visit, self.asked.count(visit.target.index))
        self.bodies += isinstance(answer, Fetched)
        return answer

    async def process(self, fetched: Fetched) -> Picture | Miss:
        if self.undecodable:
            return Miss(fetched.target, Reason.DECODE)
        return Picture(fetched, b"picture", "jpeg", "jpg", 1, 1, 1, 1, "jpeg", self.sha256)

    async def past(self, targets: Sequence[Target]) -> Mapping[int, Past]:
        assert all(target.index not in self.before for target in targets)
        return {target.index: self.pasts[target.index] for target in targets if target.index in self.pasts}

    async def forget(self, target: Target) -> None:
        self.log.append(f"forget {target.index}")

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        await forget()
        self.log.append(f"retire {index} {' '.join(names)}")

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        self.log.append(f"put {picture.target.index} {instead_of}".rstrip())
        return await super().put(picture, instead_of)

    async def settle(self, outcome: Outcome) -> None:
        self.log.append(f"settle {outcome.target.index}")
        await super().settle(outcome)

    async def run(self, retries: int = 2, rules: Rules | None = None) -> Pipeline:
        clock = FakeClock()
        frontier = HostFrontier(rules or Rules(per_host=ANY), clock)
        pipeline = self.pipeline(clock, retries=retries, frontier=frontier)
        await asyncio.wait_for(pipeline.run(), 10)
        assert self.bodies == 0
        assert frontier.waiting() == 0 or pipeline.stopping
        return pipeline

    def only(self) -> Outcome:
        [outcome] = self.outcomes
        assert self.noted == [outcome]
        return outcome


ONE = Target(0, "http://a.test/0.jpg")


def leads_to(visit: Visit, host: str) -> Moved:
    visit.redirects += 1
    return Moved(visit.target, f"http://{host}/{visit.redirects}", f"{host}:80")


async def test_the_hops_of_a_redirect_are_one_try() -> None:
    def tale(visit: Visit, count: int) -> Answer:
        return leads_to(visit, f"b{count}.test") if count < 4 else told(visit)

    story = Story([ONE], tale=tale)
    await story.run()
    assert [(url, host) for url, host, _, _ in story.seen] == [
        ("http://a.test/0.jpg", "a.test:80"),
        ("http://b1.test/1", "b1.test:80"),
        ("http://b2.test/2", "b2.test:80"),
        ("http://b3.test/3", "b3.test:80"),
    ]
    assert story.only().attempts == 1
    assert story.only().stored


async def test_a_redirect_waits_for_the_host_it_leads_to() -> None:
    """No more than one request at once for a host, however the requests come there."""
    under_way: list[str] = []
    most = 0

    class Slow(Story):
        async def fetch(self, visit: Visit, sent: Callable[[Visit], None]) -> Answer:
            nonlocal most
            under_way.append(visit.host)
            most = max(most, under_way.count("b.test:80"))
            await self.clock.sleep(1.0)
            answer = await super().fetch(visit, sent)
            under_way.remove(visit.host)
            return answer

    def tale(visit: Visit, count: int) -> Answer:
        return leads_to(visit, "b.test") if count == 1 else told(visit)

    story = Slow([Target(n, f"http://a{n}.test/") for n in range(12)], tale=tale)
    await story.run(rules=Rules(per_host=1))
    assert most == 1
    assert [outcome.attempts for outcome in story.outcomes] == [1] * 12


async def test_a_try_that_failed_behind_a_redirect_starts_over_at_its_own_address() -> None:
    def tale(visit: Visit, count: int) -> Answer:
        if visit.host == "a.test:80":
            return leads_to(visit, "b.test")
        return told(visit) if count == 6 else Miss(visit.target, Reason.TIMEOUT)

    story = Story([ONE], tale=tale)
    await story.run(retries=2)
    assert [(url, redirects) for url, _, redirects, _ in story.seen] == [
        ("http://a.test/0.jpg", 0),
        ("http://b.test/1", 1),
    ] * 3
    assert (story.only().stored, story.only().attempts) == (True, 3)


async def test_a_try_that_ends_behind_a_redirect_is_one() -> None:
    def tale(visit: Visit, _: int) -> Answer:
        return leads_to(visit, "b.test") if visit.host == "a.test:80" else Miss(visit.target, Reason.NOT_FOUND, "", 404)

    story = Story([ONE], tale=tale)
    await story.run()
    assert story.only().attempts == 1


async def test_a_password_masked_in_its_address_does_not_stop_a_retry() -> None:
    def tale(visit: Visit, count: int) -> Answer:
        return told(visit) if count == 2 else Miss(visit.target, Reason.RESET)

    story = Story([Target(0, "http://user:***@a.test/0.jpg", credentials=("user", "secret"))], tale=tale)
    await story.run()
    assert story.only().stored
    assert {host for _, host, _, _ in story.seen} == {"a.test:80"}


async def test_a_postponed_target_has_not_been_tried() -> None:
    def tale(visit: Visit, count: int) -> Answer:
        return Postponed(visit.target) if count <= 2 else told(visit)

    story = Story([ONE], tale=tale)
    await story.run(retries=0)
    assert len(story.asked) == 3
    assert story.only().attempts == 1


@pytest.mark.parametrize("reason", [Reason.ROBOTS, Reason.ROBOTS_UNREACHABLE, Reason.DNS])
async def test_what_was_not_asked_is_settled_without_a_try(reason: Reason) -> None:
    def tale(visit: Visit, count: int) -> Answer:
        return Postponed(visit.target) if count == 1 else Miss(visit.target, reason, asked=False)

    story = Story([ONE], tale=tale)
    await story.run()
    outcome = story.only()
    assert outcome.miss is not None
    assert (outcome.miss.reason, outcome.attempts, len(story.asked)) == (reason, 0, 2)


async def test_what_is_unchanged_is_skipped_and_nothing_is_settled() -> None:
    delivered: list[Outcome] = []

    async def deliver(outcome: Outcome) -> None:
        delivered.append(outcome)

    story = Story(
        targets(7),
        tale=lambda visit, _: Unchanged(visit.target),
        pasts={index: Past(file_name=f"{index}.jpg", sha256=b"old", etag=f'"{index}"') for index in range(7)},
    )
    pipeline = story.pipeline(FakeClock())
    pipeline._deliver = deliver
    await asyncio.wait_for(pipeline.run(), 10)
    assert pipeline.skipped == 7
    assert story.outcomes == story.noted == delivered == []
    assert sorted(past.etag for _, _, _, past in story.seen) == [f'"{index}"' for index in range(7)]


async def test_what_is_refused_is_never_fetched_and_is_settled_with_the_reason() -> None:
    def tale(visit: Visit, _: int) -> Answer:
        if visit.host == "host0.test:80":
            return Miss(visit.target, Reason.RATE_LIMITED, "", 429, retry_after=1000.0)
        return told(visit)

    story = Story(targets(30), tale=tale)
    await story.run(rules=Rules(per_host=1, max_wait=300.0))
    assert sorted(story.asked) == [0, *(n for n in range(30) if n % 3)]
    assert sorted(outcome.target.index for outcome in story.outcomes) == list(range(30))
    assert story.noted == story.outcomes
    refused = [outcome for outcome in story.outcomes if not outcome.stored and outcome.target.index]
    assert {outcome.miss.reason for outcome in refused if outcome.miss} == {Reason.RATE_LIMITED}
    assert {outcome.attempts for outcome in refused} == {0}
    assert len(refused) == 9


async def test_a_redirect_to_a_host_that_was_given_up_ends_there() -> None:
    def tale(visit: Visit, _: int) -> Answer:
        if visit.host == "b.test:80":
            return Miss(visit.target, Reason.RATE_LIMITED, "", 429, retry_after=1000.0)
        return leads_to(visit, "b.test")

    story = Story([Target(n, f"http://a{n}.test/") for n in range(5)], tale=tale)
    await story.run(rules=Rules(per_host=1, max_wait=300.0))
    assert [host for _, host, _, _ in story.seen].count("b.test:80") == 1
    assert {outcome.miss.reason for outcome in story.outcomes if outcome.miss} == {Reason.RATE_LIMITED}
    assert len(story.outcomes) == 5


async def test_the_same_address_again_is_a_duplicate_and_never_fetched() -> None:
    story = Story([ONE, Target(1, ONE.url, "urls.txt:2")], pasts={1: Past(same_as=0)})
    await story.run()
    assert story.asked == story.expected == [0]
    [again] = [outcome for outcome in story.outcomes if outcome.target.index == 1]
    assert again.miss is not None
    assert (again.miss.reason, again.miss.asked, again.attempts) == (Reason.DUPLICATE, False, 0)
    assert "urls.txt:2" in again.miss.detail
    assert "position 0" in again.miss.detail


# What an earlier run has stored -----------------------------------------------------------------

OLD = Past(file_name="0_old.jpg", sha256=b"old", etag='"x"')


async def test_a_picture_that_is_the_same_is_skipped() -> None:
    story = Story([ONE], pasts={0: OLD}, sha256=b"old")
    pipeline = await story.run()
    assert pipeline.skipped == 1
    assert story.outcomes == story.noted == []
    assert story.log == [f"ask {ONE.url}"], "nothing is touched"


async def test_a_picture_that_changed_takes_the_place_of_the_old_one() -> None:
    story = Story([ONE], pasts={0: OLD})
    pipeline = await story.run()
    assert story.log == [f"ask {ONE.url}", "forget 0", "retire 0 0_old.jpg", "put 0 0_old.jpg", "settle 0"]
    assert story.only().stored
    assert pipeline.skipped == 0


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.TIMEOUT, Reason.HOST_DOWN])
async def test_a_picture_that_cannot_be_had_again_stays(reason: Reason) -> None:
    delivered: list[Outcome] = []

    async def deliver(outcome: Outcome) -> None:
        delivered.append(outcome)

    story = Story([ONE], tale=lambda visit, _: Miss(visit.target, reason), pasts={0: OLD})
    pipeline = story.pipeline(FakeClock())
    pipeline._deliver = deliver
    await asyncio.wait_for(pipeline.run(), 10)
    assert len(story.asked) == (3 if reason.later else 1), "tried as often as any other"
    assert set(story.log) == {f"ask {ONE.url}"}
    assert story.outcomes == []
    assert story.noted == delivered
    assert [outcome.miss.reason for outcome in delivered if outcome.miss] == [reason]


async def test_a_picture_that_cannot_be_decoded_any_more_stays() -> None:
    story = Story([ONE], pasts={0: OLD}, undecodable=True)
    await story.run()
    assert story.log == [f"ask {ONE.url}"]
    assert [outcome.stored for outcome in story.noted] == [False]


async def test_a_picture_of_a_host_that_is_given_up_stays() -> None:
    def tale(visit: Visit, _: int) -> Answer:
        return Miss(visit.target, Reason.RATE_LIMITED, "", 429, retry_after=1000.0)

    story = Story([Target(n, f"http://a.test/{n}") for n in range(3)], tale=tale, pasts=dict.fromkeys(range(3), OLD))
    await story.run(rules=Rules(per_host=1))
    assert story.asked == [0]
    assert story.outcomes == []
    assert len(story.noted) == 3


async def test_validators_are_there_again_after_a_failed_try() -> None:
    def tale(visit: Visit, count: int) -> Answer:
        return Miss(visit.target, Reason.SERVER_ERROR, "", 503) if count < 3 else Unchanged(visit.target)

    story = Story([ONE], tale=tale, pasts={0: OLD})
    pipeline = await story.run()
    assert [past for _, _, _, past in story.seen] == [OLD] * 3
    assert pipeline.skipped == 1


# Stopped in the middle --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "postponed", "retry", "asked to wait"])
async def test_a_target_stopped_on_its_way_is_left_for_the_next_run(how: str) -> None:
    def tale(visit: Visit, _: int) -> Answer:
        assert story.running is not None
        story.running.stop()
        if how == "moved":
            return leads_to(visit, "b.test")
        if how == "postponed":
            return Postponed(visit.target)
        wait = 5.0 if how == "asked to wait" else None
        return Miss(visit.target, Reason.SERVER_ERROR, "", 503, retry_after=wait)

    story = Story(targets(40), tale=tale)
    pipeline = await story.run()
    assert 0 < len(story.asked) <= 4, "no more than were under way"
    assert len(set(story.asked)) == len(story.asked)
    assert story.outcomes == story.noted == []
    assert pipeline.skipped == 0


async def test_fetches_that_are_dropped_are_left_for_the_next_run() -> None:
    class Hanging(Story):
        async def fetch(self, visit: Visit, sent: Callable[[Visit], None]) -> Answer:
            self.asked.append(visit.target.index)
            await asyncio.Event().wait()
            raise AssertionError

    story = Hanging(targets(40))
    pipeline = story.pipeline(FakeClock())
    running = asyncio.create_task(pipeline.run())
    for _ in range(50):
        await asyncio.sleep(0)
    pipeline.stop(drop_fetches=True)
    await asyncio.wait_for(running, 10)
    assert len(story.asked) == 4
    assert story.outcomes == story.noted == []
    assert pipeline.fetching == 0


class StuckSpill:
    """Takes everything, and never gives it back."""

    def __init__(self) -> None:
        self.count = 0
        self.asked = asyncio.Event()

    async def put(self, visits: Sequence[Visit]) -> None:
        self.count += len(visits)

    async def take(self, host: str, most: int) -> Sequence[Visit]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("how", ["cancelled", "stopped", "failed"])
async def test_a_run_that_ends_while_targets_come_back_leaves_no_task(how: str) -> None:
    clock, spill = FakeClock(), StuckSpill()
    story = Story([Target(n, f"http://a.test/{n}") for n in range(400)])
    pipeline = story.pipeline(clock, frontier=HostFrontier(Rules(per_host=1, gap=1.0), clock, spill, 40))
    before = asyncio.all_tasks()
    running = asyncio.create_task(pipeline.run())
    await asyncio.wait_for(spill.asked.wait(), 10)
    assert spill.count
    if how == "cancelled":
        running.cancel()
    elif how == "stopped":
        pipeline.stop()
    else:
        story.store_error = StoreError("disk full")
    ended = await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 10)
    for _ in range(5):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before
    pipeline.stop()
    assert [type(end).__name__ for end in ended] == [
        {"cancelled": "CancelledError", "stopped": "NoneType", "failed": "StoreError"}[how]
    ]
    assert not left
