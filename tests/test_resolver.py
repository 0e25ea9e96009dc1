"""Names: who is asked, how often and how many at once, how long an answer is good for, and that no answer leads to an
address that is not open. The name server is real, on loopback; nothing else is ever connected to.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from crawler import Crawler, Outcome, Reason, Settings, SettingsError, Summary
from crawler.clock import Clock, SystemClock
from crawler.fetch import resolver as tested
from crawler.fetch.guard import BlockedAddress, Guard
from crawler.fetch.resolver import (
    AHEAD,
    AT_ONCE,
    FAILED_SECONDS,
    LEAST_SECONDS,
    MISSING_SECONDS,
    MOST_SECONDS,
    UNKNOWN_SECONDS,
    Address,
    AiodnsLookup,
    LookupFailed,
    NameMissing,
    Resolver,
    SystemLookup,
)
from tests.fake_clock import FakeClock, settle
from tests.servers.dns import SERVFAIL, Answer, Delay, Dns, Silence, Step, running_dns
from tests.servers.handle import Faults

LIMIT = 20.0
PUBLIC = "93.184.216.34"
HERE = Answer(("127.0.0.1",), ttl=0)
"""Kept by nobody but us: c-ares has a cache of its own for what has a time to live."""
NOWHERE = "127.0.0.200"
"""An address where nobody listens."""


def asked(dns: Dns, kind: str = "A") -> Counter[str]:
    """How often each name was asked for."""
    return Counter(question.name for question in dns.log() if question.qtype == kind)


# A resolver of our own --------------------------------------------------------------------------


Said = Sequence[str] | OSError | Callable[[], Any]


class Lookups:
    """Somebody who knows what a script says, the last step for ever; it holds every question until `open` is set."""

    def __init__(self, *steps: Said, ttl: float | None = None, **names: Sequence[Said]) -> None:
        self.steps = {name.replace("_", "."): list(said) for name, said in names.items()}
        self.others = list(steps)
        self.ttl = ttl
        self.asked: list[str] = []
        self.now = self.peak = self.closed = 0
        self.open = asyncio.Event()
        self.open.set()

    async def look_up(self, name: str) -> tuple[Sequence[Address], float | None]:
        self.asked.append(name)
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await self.open.wait()
        finally:
            self.now -= 1
        steps = self.steps.get(name, self.others)
        said = steps.pop(0) if len(steps) > 1 else steps[0]
        if callable(said):
            said = said()
        if isinstance(said, OSError):
            raise said
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in said], self.ttl

    async def close(self) -> None:
        self.closed += 1


async def until(true: Callable[[], object]) -> None:
    """Look again and again until it is true; a test that waits for ever ends by its own limit."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def addresses(resolver: Resolver, name: str, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[str]:
    return [found["host"] for found in await resolver.resolve(name, 80, family)]


def open_to_all(lookup: tested.Lookup, clock: Clock | None = None) -> Resolver:
    return Resolver(lookup, Guard(allow_private=True), clock or SystemClock())


async def test_what_the_connector_is_given() -> None:
    resolver = open_to_all(Lookups(["127.0.0.1", "::1"]))
    first, second = sorted(await resolver.resolve("a.test", 8080), key=lambda one: one["host"])
    assert first == {
        "hostname": "a.test", "host": "127.0.0.1", "port": 8080, "family": socket.AF_INET, "proto": 0,
        "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    }  # fmt: skip
    assert (second["host"], second["family"]) == ("::1", socket.AF_INET6)
    assert await addresses(resolver, "a.test", socket.AF_INET6) == ["::1"]
    await resolver.close()


async def test_every_address_of_a_name_has_its_turn_to_be_first() -> None:
    resolver = open_to_all(Lookups(["127.0.0.1", "127.0.0.2", "127.0.0.3"]))
    turns = [await addresses(resolver, "a.test") for _ in range(6)]
    assert {tuple(sorted(turn)) for turn in turns} == {("127.0.0.1", "127.0.0.2", "127.0.0.3")}
    assert Counter(turn[0] for turn in turns) == {"127.0.0.1": 2, "127.0.0.2": 2, "127.0.0.3": 2}
    await resolver.close()


async def test_a_name_is_good_for_as_long_as_its_server_says_within_bounds() -> None:
    assert (LEAST_SECONDS, MOST_SECONDS) == (30.0, 3600.0)
    for ttl, good in (
        (0.0, LEAST_SECONDS),
        (1.0, LEAST_SECONDS),
        (30.0, 30.0),
        (31.0, 31.0),
        (3600.0, 3600.0),
        (86_400.0, MOST_SECONDS),
        (2.0**31 - 1, MOST_SECONDS),
        (-1.0, LEAST_SECONDS),
        (None, UNKNOWN_SECONDS),
    ):
        clock, lookup = FakeClock(auto=False), Lookups(["127.0.0.1"], ttl=ttl)
        resolver = open_to_all(lookup, clock)
        await addresses(resolver, "a.test")
        await clock.advance(good - 0.01)
        await addresses(resolver, "a.test")
        resolver.expect("a.test")
        assert len(lookup.asked) == 1, ttl
        await clock.advance(0.02)
        await addresses(resolver, "a.test")
        assert len(lookup.asked) == 2, ttl
        await resolver.close()


@pytest.mark.parametrize("said", [NameMissing(None, "no such name"), []])
async def test_a_name_that_is_missing_is_not_asked_for_again_for_a_minute(said: Said) -> None:
    clock, lookup = FakeClock(auto=False), Lookups(said, ["127.0.0.1"], ttl=86_400.0)
    resolver = open_to_all(lookup, clock)
    for seconds in (0.0, 1.0, MISSING_SECONDS - 1.1):
        await clock.advance(seconds)
        with pytest.raises(NameMissing):
            await addresses(resolver, "a.test")
    assert len(lookup.asked) == 1
    await clock.advance(0.2)
    assert await addresses(resolver, "a.test") == ["127.0.0.1"]
    await resolver.close()


@pytest.mark.parametrize("error", [LookupFailed(None, "try again"), OSError(None, "odd"), ValueError("odder")])
async def test_what_fails_for_the_moment_is_tried_three_times_and_left_alone_for_a_little(error: Exception) -> None:
    def fails() -> Sequence[str]:
        raise error

    clock, lookup = FakeClock(auto=False), Lookups(fails, fails, fails, ["127.0.0.1"])
    resolver = open_to_all(lookup, clock)
    waiting = asyncio.create_task(addresses(resolver, "a.test"))
    for tries, pause in ((1, 0.2), (2, 0.6)):
        await settle()
        assert len(lookup.asked) == tries
        await clock.advance(pause)
    with pytest.raises(LookupFailed, match=r"try again|odd"):
        await waiting
    assert len(lookup.asked) == 3
    await clock.advance(FAILED_SECONDS - 0.1)
    with pytest.raises(LookupFailed):
        await addresses(resolver, "a.test")
    assert len(lookup.asked) == 3
    await clock.advance(0.2)
    assert await addresses(resolver, "a.test") == ["127.0.0.1"]
    await resolver.close()


async def test_a_name_that_recovers_within_its_tries_is_found() -> None:
    lookup = Lookups(LookupFailed(None, "busy"), LookupFailed(None, "busy"), ["127.0.0.1"])
    resolver = open_to_all(lookup, FakeClock())
    assert await addresses(resolver, "a.test") == ["127.0.0.1"]
    assert len(lookup.asked) == 3
    await resolver.close()


async def test_all_who_ask_at_once_share_one_lookup_and_its_error() -> None:
    lookup = Lookups(gone_test=[NameMissing(None, "gone")], here_test=[["127.0.0.1"]])
    lookup.open.clear()
    resolver = open_to_all(lookup)
    names = ["here.test"] * 300 + ["gone.test"] * 300
    waiting = [asyncio.create_task(addresses(resolver, name)) for name in names]
    await settle()
    lookup.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert lookup.asked == ["here.test", "gone.test"]
    assert found[:300] == [["127.0.0.1"]] * 300
    errors = [one for one in found[300:] if isinstance(one, NameMissing)]
    assert len(set(map(id, errors))) == 300, "each its own, for each gets a traceback"
    await resolver.close()


async def test_who_gives_up_waiting_does_not_end_it_for_the_others() -> None:
    lookup = Lookups(["127.0.0.1"])
    lookup.open.clear()
    resolver = open_to_all(lookup)
    waiting = [asyncio.create_task(addresses(resolver, "a.test")) for _ in range(10)]
    await settle()
    for task in (waiting[0], *waiting[5:]):  # also the one that asked first
        task.cancel()
    await settle()
    lookup.open.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in found] == [True] + [False] * 4 + [True] * 5
    assert found[1:5] == [["127.0.0.1"]] * 4
    assert lookup.asked == ["a.test"]
    await resolver.close()


async def test_when_all_give_up_the_answer_is_still_kept() -> None:
    lookup = Lookups(["127.0.0.1"])
    lookup.open.clear()
    resolver = open_to_all(lookup)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await addresses(resolver, "a.test")
    lookup.open.set()
    assert await addresses(resolver, "a.test") == ["127.0.0.1"]
    assert lookup.asked == ["a.test"]
    await resolver.close()


async def test_lookups_are_bounded_and_those_ahead_take_half() -> None:
    lookup = Lookups(["127.0.0.1"])
    lookup.open.clear()
    resolver = open_to_all(lookup)
    for number in range(100):
        resolver.expect(f"{number}.ahead.test")
    await settle()
    assert (lookup.now, AHEAD) == (16, 16)
    waiting = [asyncio.create_task(addresses(resolver, f"{number}.test")) for number in range(100)]
    await settle()
    assert (lookup.now, AT_ONCE) == (32, 32)
    assert sum("ahead" in name for name in lookup.asked) == 16
    lookup.open.set()
    assert await asyncio.gather(*waiting) == [["127.0.0.1"]] * 100
    await settle(200)
    assert lookup.peak == 32
    assert len(lookup.asked) == len(set(lookup.asked)) == 200
    await resolver.close()


async def test_what_is_expected_is_known_when_it_is_asked_for() -> None:
    lookup = Lookups(["127.0.0.1"])
    resolver = open_to_all(lookup)
    for _ in range(3):
        resolver.expect("a.test")
    await settle()
    resolver.expect("a.test")
    assert lookup.asked == ["a.test"]
    assert await addresses(resolver, "a.test") == ["127.0.0.1"]
    assert lookup.asked == ["a.test"]
    await resolver.close()


async def test_what_is_expected_and_missing_is_no_error_until_it_is_asked_for() -> None:
    lookup = Lookups(NameMissing(None, "gone"))
    resolver = open_to_all(lookup)
    resolver.expect("a.test")
    await settle()
    with pytest.raises(NameMissing, match="gone"):
        await addresses(resolver, "a.test")
    assert lookup.asked == ["a.test"]
    await resolver.close()


async def test_too_many_expected_names_are_left_for_later_and_never_block_one_that_is_asked_for() -> None:
    lookup = Lookups(["127.0.0.1"])
    lookup.open.clear()
    resolver = open_to_all(lookup)
    for number in range(20_000):
        resolver.expect(f"{number}.test")
    await settle()
    waiting = asyncio.create_task(addresses(resolver, "19999.test"))
    await settle()
    assert "19999.test" in lookup.asked
    lookup.open.set()
    assert await waiting == ["127.0.0.1"]
    await resolver.close()


async def test_closing_ends_who_waits_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    lookup = Lookups(["127.0.0.1"])
    lookup.open.clear()
    resolver = open_to_all(lookup)
    for number in range(50):
        resolver.expect(f"{number}.test")
    waiting = [asyncio.create_task(addresses(resolver, f"{number}.test")) for number in range(100)]
    await settle()
    async with asyncio.timeout(LIMIT):
        await resolver.close()
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in found} == {asyncio.CancelledError}
    await settle()
    assert asyncio.all_tasks() == before
    assert (lookup.closed, lookup.now) == (1, 0)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tested._REMEMBERED <= 10_000
    monkeypatch.setattr(tested, "_REMEMBERED", 100)
    lookup = Lookups(["127.0.0.1"])
    resolver = open_to_all(lookup)
    for number in range(110):
        await resolver.entry(f"{number}.test")
    assert len(resolver._known) == 100
    await addresses(resolver, "0.test")
    assert lookup.asked[-1] == "0.test"
    await resolver.close()


# What the guard says of names -------------------------------------------------------------------


async def test_only_open_addresses_are_given() -> None:
    mixed = Lookups([PUBLIC, "127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "2606:4700::1"])
    for guard, expected in (
        (Guard(), {PUBLIC, "2606:4700::1"}),
        (Guard(nets=("127.0.0.0/8",)), {PUBLIC, "127.0.0.1", "::ffff:127.0.0.1", "2606:4700::1"}),
        (Guard(nets=("10.0.0.0/8", "::1/128")), {PUBLIC, "10.0.0.1", "::1", "2606:4700::1"}),
    ):
        resolver = Resolver(mixed, guard, SystemClock())
        for _ in range(3):
            assert set(await addresses(resolver, "a.test")) == expected
        await resolver.close()


async def test_a_name_with_nothing_open_is_refused_by_name() -> None:
    resolver = Resolver(Lookups(["10.0.0.1", "::1"]), Guard(nets=("127.0.0.0/8",)), SystemClock())
    for _ in range(2):
        with pytest.raises(BlockedAddress, match=r"^a\.test is 10\.0\.0\.1, which is not a public address"):
            await addresses(resolver, "a.test")
    await resolver.close()


async def test_a_trusted_name_is_given_and_no_other() -> None:
    resolver = Resolver(Lookups(["127.0.0.1"]), Guard(), SystemClock())
    resolver.trust("proxy.test")
    assert await addresses(resolver, "proxy.test") == ["127.0.0.1"]
    with pytest.raises(BlockedAddress):
        await addresses(resolver, "a.proxy.test")
    await resolver.close()


# The system's resolver --------------------------------------------------------------------------


async def test_names_of_this_machine_are_refused() -> None:
    resolver = Resolver(SystemLookup(), Guard(), FakeClock(auto=False))
    for name in ("localhost", "127.0.0.1", "0", "127.1", "2130706433", "0x7f.1", "::1", "::ffff:127.0.0.1"):
        with pytest.raises((BlockedAddress, NameMissing)):
            await addresses(resolver, name)
    await resolver.close()


async def test_localhost_is_refused_by_name() -> None:
    resolver = Resolver(SystemLookup(), Guard(), SystemClock())
    with pytest.raises(BlockedAddress, match=r"^localhost is (127\.0\.0\.1|::1), which is not a public address"):
        await addresses(resolver, "localhost")
    await resolver.close()


async def test_errors_of_the_system_are_for_the_moment_or_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Exception] = []

    def fails(*_: object, **__: object) -> Any:
        raise said.pop()

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    lookup = SystemLookup()
    for error, kind in (
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), LookupFailed),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"), LookupFailed),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NameMissing),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), NameMissing),
        (UnicodeError("label too long"), NameMissing),
        (ValueError("embedded null character"), NameMissing),
    ):
        said.append(error)
        with pytest.raises(kind, match=r"\w"):
            await lookup.look_up("a.test")
    await lookup.close()


def crawler_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("crawler-dns")]


async def test_threads_of_slow_names_are_bounded_and_gone_after_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(*_: object, **__: object) -> Any:
        release.wait(LIMIT)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = open_to_all(SystemLookup())
    waiting = [asyncio.create_task(addresses(resolver, f"{number}.test")) for number in range(100)]
    await until(lambda: len(crawler_threads()) == AT_ONCE)
    assert len(crawler_threads()) == AT_ONCE
    asyncio.get_running_loop().call_later(0.02, release.set)
    await resolver.close()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert crawler_threads() == []


# c-ares and a real name server ------------------------------------------------------------------


@contextmanager
def by_aiodns(answers: Mapping[str, Sequence[Step]]) -> Iterator[tuple[Dns, Callable[[], AiodnsLookup]]]:
    with running_dns(answers) as dns:
        yield dns, lambda: AiodnsLookup((dns.address,))


async def test_both_families_are_asked_for_and_used() -> None:
    answers: dict[str, list[Step]] = {
        "both.test": [Answer(("127.0.0.1", "::1"), ttl=99)],
        "four.test": [Answer(("127.0.0.1", "127.0.0.2"), ttl=5)],
        "six.test": [Answer(("::1",), ttl=7)],
        "neither.test": [Answer(())],
    }
    with by_aiodns(answers) as (dns, lookup):
        made = lookup()
        async with asyncio.timeout(LIMIT):
            found = {name: await made.look_up(name) for name in ("both.test", "four.test", "six.test")}
            with pytest.raises(NameMissing):
                await made.look_up("neither.test")
            with pytest.raises(NameMissing):
                await made.look_up("unknown.test")
        await made.close()
        assert {name: ({one[1] for one in said}, ttl) for name, (said, ttl) in found.items()} == {
            "both.test": ({"127.0.0.1", "::1"}, 99.0),
            "four.test": ({"127.0.0.1", "127.0.0.2"}, 5.0),
            "six.test": ({"::1"}, 7.0),
        }
        assert {kind for said, _ in found.values() for kind, _ in said} == {socket.AF_INET, socket.AF_INET6}
        assert {question.qtype for question in dns.log() if question.name == "both.test"} == {"A", "AAAA"}


async def test_an_answer_that_does_not_fit_a_datagram_is_had_over_tcp() -> None:
    many = tuple(f"127.0.1.{number}" for number in range(1, 61))
    with by_aiodns({"many.test": [Answer(many)]}) as (_, lookup):
        made = lookup()
        async with asyncio.timeout(LIMIT):
            assert {address for _, address in (await made.look_up("many.test"))[0]} == set(many)
        await made.close()


async def test_an_expired_name_is_asked_for_again_and_a_fresh_one_is_not() -> None:
    with by_aiodns({"a.test": [HERE, Answer(("127.0.0.2",), ttl=0)]}) as (dns, lookup):
        clock = FakeClock(auto=False)
        resolver = open_to_all(lookup(), clock)
        async with asyncio.timeout(LIMIT):
            assert await addresses(resolver, "a.test") == ["127.0.0.1"]
            await clock.advance(29.9)
            assert await addresses(resolver, "a.test") == ["127.0.0.1"]
            assert asked(dns) == {"a.test": 1}
            await clock.advance(0.2)
            assert await addresses(resolver, "a.test") == ["127.0.0.2"]
            assert asked(dns) == {"a.test": 2}
            await resolver.close()


async def test_a_name_that_turns_private_when_it_expires_is_refused() -> None:
    with by_aiodns({"rebind.test": [Answer((PUBLIC,), ttl=0), HERE]}) as (_, lookup):
        clock = FakeClock(auto=False)
        resolver = Resolver(lookup(), Guard(), clock)
        async with asyncio.timeout(LIMIT):
            for _ in range(20):
                assert await addresses(resolver, "rebind.test") == [PUBLIC], "as long as it is good it stays"
            await clock.advance(31)
            with pytest.raises(BlockedAddress, match=r"^rebind\.test is 127\.0\.0\.1,"):
                await addresses(resolver, "rebind.test")
            await resolver.close()


async def test_a_name_of_this_machine_is_refused_also_without_the_system() -> None:
    with by_aiodns({"localhost": [HERE]}) as (_, lookup):
        resolver = Resolver(lookup(), Guard(), SystemClock())
        async with asyncio.timeout(LIMIT):
            with pytest.raises(BlockedAddress, match=r"^localhost is "):
                await addresses(resolver, "localhost")
            await resolver.close()


async def test_a_name_that_nobody_can_ask_for_is_a_miss_and_no_crash() -> None:
    long = ".".join(["a" * 60] * 5)
    with by_aiodns({}) as (_, lookup):
        for made in (lookup(), SystemLookup()):
            resolver = Resolver(made, Guard(), FakeClock())
            async with asyncio.timeout(LIMIT):
                for name in ("a..test", "a" * 64 + ".test", long, "a\0b.test", "."):
                    with pytest.raises((NameMissing, LookupFailed)):
                        await addresses(resolver, name)
                await resolver.close()


async def test_closing_does_not_wait_for_a_server_that_is_silent() -> None:
    with by_aiodns({"silent.test": [Silence()]}) as (dns, lookup):
        resolver = open_to_all(lookup())
        waiting = asyncio.create_task(addresses(resolver, "silent.test"))
        await until(dns.log)
        began = time.monotonic()
        await resolver.close()
        assert time.monotonic() - began < 2
        with pytest.raises(asyncio.CancelledError):
            await waiting


# Whole runs -------------------------------------------------------------------------------------


async def crawl(urls: Sequence[str], dns: Dns, **options: Any) -> tuple[list[Outcome], Summary]:
    given: dict[str, Any] = {"robots": False, "retries": 0, "workers": 1, "allow_private": True} | options
    settings = Settings.of(
        iter(urls), store="none", resolver="aiodns", name_server=(dns.address,), size=16, proxy="none", **given
    )
    async with asyncio.timeout(LIMIT), Crawler(settings) as run:
        return [outcome async for outcome in run], run.summary


def reasons(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(outcome.miss.reason.value if outcome.miss else "stored" for outcome in outcomes)


def pictures(faults: Faults, count: int, name: str = "a.test") -> list[str]:
    return [f"http://{name}:{faults.port}/tiny/{number}.jpg" for number in range(count)]


async def test_three_hundred_targets_of_one_name_ask_once(faults: Faults) -> None:
    with running_dns({"a.test": [Delay(0.2, Answer(("127.0.0.1",)))]}) as dns:
        outcomes, _ = await crawl(pictures(faults, 300), dns, concurrency=300, per_host=0)
        assert reasons(outcomes) == {"stored": 300}
        assert asked(dns) == {"a.test": 1}
        assert asked(dns, "AAAA") == {"a.test": 1}


async def test_three_hundred_targets_of_a_name_that_is_not_there_ask_once(faults: Faults) -> None:
    with running_dns({}) as dns:
        outcomes, _ = await crawl(pictures(faults, 300), dns, concurrency=20, adapt=False)
        assert set(reasons(outcomes)) <= {"dns", "host_down"}
        assert reasons(outcomes)["dns"] >= 20
        assert asked(dns) == {"a.test": 1}
        assert all(one.miss is not None and one.miss.reason.later for one in outcomes)


async def test_a_name_whose_server_fails_twice_is_fetched(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "PAUSES", (0.05, 0.05))
    with running_dns({"a.test": [SERVFAIL, SERVFAIL, HERE]}) as dns:
        outcomes, _ = await crawl(pictures(faults, 20), dns)
        assert reasons(outcomes) == {"stored": 20}
        assert asked(dns)["a.test"] == 3


async def test_a_name_whose_server_always_fails_is_a_miss(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "PAUSES", (0.05, 0.05))
    with running_dns({"a.test": [SERVFAIL]}) as dns:
        outcomes, _ = await crawl(pictures(faults, 5), dns)
        assert reasons(outcomes) == {"dns": 5}
        assert asked(dns)["a.test"] <= 12


@pytest.mark.parametrize("robots", [True, False])
async def test_a_name_server_that_is_silent_holds_nobody_for_ever(faults: Faults, robots: bool) -> None:
    with running_dns({"silent.test": [Silence()], "a.test": [HERE]}) as dns:
        began = time.monotonic()
        urls = [*pictures(faults, 2, "silent.test"), *pictures(faults, 10)]
        outcomes, _ = await crawl(urls, dns, timeout=0.3, robots=robots)
        assert time.monotonic() - began < 5
        assert reasons(outcomes[:10]) == {"stored": 10}, "the others do not wait"
        assert all(one.miss is not None and one.miss.reason.later for one in outcomes[10:])


async def test_names_are_looked_up_ahead_of_their_turn(faults: Faults) -> None:
    names = [f"{number}.test" for number in range(10)]
    with running_dns({name: [HERE] for name in names}) as dns:
        slow = f"http://127.0.0.1:{faults.port}/slow?delay=0.4"
        urls = [slow, *(f"http://{name}:{faults.port}/tiny/{name}.jpg" for name in names)]
        outcomes, _ = await crawl(urls, dns, concurrency=1)
        assert reasons(outcomes) == {"stored": 11}
        asked_at = max(question.at for question in dns.log())
        first = min(entry["start"] for entry in faults.log() if entry["path"].startswith("/tiny"))
        assert asked_at < first - 0.2
        assert set(asked(dns).values()) == {1}


async def test_a_run_over_many_names_keeps_to_the_bounds(faults: Faults) -> None:
    names = [f"{number}.test" for number in range(120)]
    with running_dns({name: [Delay(0.1, HERE)] for name in names}) as dns:
        urls = [f"http://{name}:{faults.port}/tiny/{name}.jpg" for name in names]
        outcomes, _ = await crawl(urls, dns, concurrency=120)
        assert reasons(outcomes) == {"stored": 120}
        assert AHEAD < dns.most_at_once() <= 2 * AT_ONCE, "two questions for each name"
        assert set(asked(dns).values()) == {1}


async def test_of_two_addresses_the_one_that_lives_is_used(faults: Faults) -> None:
    both: list[list[Step]] = [[Answer((NOWHERE, "127.0.0.1"))], [Answer(("127.0.0.1", NOWHERE))]]
    both.append([Answer(("127.0.0.1", "::1"))])  # nobody listens at ::1 either
    with running_dns({f"{number}.test": steps for number, steps in enumerate(both)}) as dns:
        urls = [url for number in range(3) for url in pictures(faults, 4, f"{number}.test")]
        outcomes, _ = await crawl(urls, dns)
        assert reasons(outcomes) == {"stored": 12}


async def test_an_address_that_swallows_connections_is_passed_by(faults: Faults) -> None:
    with socket.socket() as full, running_dns({"a.test": [Answer(("127.0.0.201", "127.0.0.1"))]}) as dns:
        full.bind(("127.0.0.201", faults.port))
        full.listen(0)
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(full.getsockname())  # nobody accepts: those after the first few hang
        began = time.monotonic()
        outcomes, _ = await crawl(pictures(faults, 6), dns, connect_timeout=8)
        assert reasons(outcomes) == {"stored": 6}
        assert time.monotonic() - began < 6
        for one in held:
            one.close()


async def test_every_address_of_a_name_is_used(faults: Faults) -> None:
    with running_dns({"a.test": [Answer(faults.hosts)]}) as dns:
        outcomes, _ = await crawl(pictures(faults, 60), dns)
        assert reasons(outcomes) == {"stored": 60}
        assert {entry["local"] for entry in faults.log()} == set(faults.hosts)


# Whole runs that must not reach anything private -------------------------------------------------


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that a connection is tried to; what is not loopback is refused, so that nothing leaves a test."""
    found: list[str] = []
    connect = socket.socket.connect

    def hook(this: socket.socket, address: Any) -> None:
        if this.family not in (socket.AF_INET, socket.AF_INET6):
            return connect(this, address)
        found.append(address[0])
        if not address[0].startswith("127."):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing leaves a test")
        return connect(this, address)

    monkeypatch.setattr(socket.socket, "connect", hook)
    return found


async def test_a_name_that_changes_its_address_never_leads_to_loopback(faults: Faults, tried: list[str]) -> None:
    with running_dns({"rebind.test": [Answer((PUBLIC,), ttl=0), HERE]}) as dns:
        urls = pictures(faults, 30, "rebind.test")
        outcomes, _ = await crawl(urls, dns, allow_private=False, concurrency=3, adapt=False, robots=True)
        assert not reasons(outcomes)["stored"]
        assert set(tried) == {PUBLIC}
        assert faults.log() == []


async def test_a_name_that_is_private_is_refused_by_name(faults: Faults, tried: list[str]) -> None:
    private = {
        "four.test": "127.0.0.1", "ten.test": "10.0.0.1", "six.test": "::1", "mapped.test": "::ffff:127.0.0.1",
        "link.test": "169.254.169.254", "nat.test": "64:ff9b::7f00:1", "zero.test": "0.0.0.0", "ula.test": "fd00::1",
    }  # fmt: skip
    with running_dns({name: [Answer((address,))] for name, address in private.items()}) as dns:
        urls = [f"http://{name}:{faults.port}/tiny/1.jpg" for name in private]
        outcomes, _ = await crawl(urls, dns, allow_private=False, robots=True)
    assert tried == []
    for outcome in outcomes:
        assert outcome.miss is not None
        assert outcome.miss.reason is Reason.BLOCKED_ADDRESS
        name = outcome.target.url.split("/")[2].split(":")[0]
        assert f"{name} is {private[name]}, which is not a public address" in outcome.miss.detail


async def test_an_opened_network_is_reached_and_no_other(faults: Faults, tried: list[str]) -> None:
    names = {
        "loop.test": "127.0.0.1",
        "ten.test": "10.0.0.1",
        "mapped.test": "::ffff:127.0.0.2",
        "far.test": "::ffff:a00:1",
    }
    hosts = [*names, "127.0.0.3", "10.0.0.1", "[::ffff:10.0.0.1]", "[::1]"]
    with running_dns({name: [Answer((address,))] for name, address in names.items()}) as dns:
        urls = [f"http://{host}:{faults.port}/tiny/{number}.jpg" for number, host in enumerate(hosts)]
        outcomes, _ = await crawl(urls, dns, allow_private=False, allow_net=("127.0.0.0/8",))
    ended = {one.target.url.split("/")[2].rpartition(":")[0]: one.miss and one.miss.reason for one in outcomes}
    assert [host for host, reason in ended.items() if reason is Reason.BLOCKED_ADDRESS] == [
        host for host in ended if host not in ("loop.test", "mapped.test", "127.0.0.3")
    ]
    assert ended["loop.test"] is ended["127.0.0.3"] is None
    assert ended["mapped.test"] in (None, Reason.CONNECT), "it is let through"
    assert not [address for address in tried if "10.0.0.1" in address or "a00:1" in address or address == "::1"]


async def test_the_system_is_asked_unless_told_otherwise(faults: Faults, tried: list[str]) -> None:
    settings = Settings.of(
        iter([f"http://localhost:{faults.port}/tiny/1.jpg", f"http://LOCALHOST.:{faults.port}/tiny/2.jpg"]),
        store="none", workers=1, retries=0, proxy="none",
    )  # fmt: skip
    async with asyncio.timeout(LIMIT), Crawler(settings) as run:
        outcomes = [outcome async for outcome in run]
    assert tried == []
    first, second = sorted(outcomes, key=lambda one: one.target.index)
    assert first.miss is not None
    assert second.miss is not None
    assert first.miss.reason is Reason.BLOCKED_ADDRESS
    assert "localhost is " in first.miss.detail
    assert second.miss.reason in (Reason.BLOCKED_ADDRESS, Reason.DNS), "not every system knows it with a dot"
    assert crawler_threads() == []


# Settings ---------------------------------------------------------------------------------------


def test_settings_of_names_are_checked() -> None:
    for given in ("", "a.test", "1.2.3", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:x", "1.2.3.4:"):
        with pytest.raises(SettingsError, match="--name-server: "):
            Settings.of(resolver="aiodns", name_server=(given,))
    for given in ("", "a.test", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0-10.0.0.9", "10.*"):
        with pytest.raises(SettingsError, match="--allow-net: "):
            Settings.of(allow_net=(given,))
    with pytest.raises(SettingsError, match="--name-server: needs --resolver aiodns"):
        Settings.of(name_server=("127.0.0.1",))
    with pytest.raises(SettingsError, match="--resolver: 'dig' given, must be one of system, aiodns"):
        Settings.of(resolver="dig")
