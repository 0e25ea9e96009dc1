"""Patience with servers, on the wire: real clocks, short times, and a server's own log of when it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import time
from collections.abc import Iterable
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from crawler import Crawler, Settings
from crawler.frontier import host as pace
from tests.cli import Ended, check_agreement, crawler, inside, metadata, started, wait_until
from tests.servers import pictures as painted
from tests.servers.handle import Faults, running_faults
from tests.servers.scripted import EVERY, NOT_FOUND, SILENCE, Script, picture, running_scripted, text
from tests.servers.validators import Page, Request, running_validators

FLAGS = ("--allow-private", "--workers", "1", "--size", "24", "--quiet", "--json")
JPEG = painted.jpeg(32, 32, seed=1)
A, B, C, D, E, F = (f"127.0.0.{n}" for n in range(2, 8))
JITTER = 0.1
"""Requests that had left before an answer was known reach the server no later than this."""
BLUR = 0.005
"""What a log on a busy machine may be wrong by, in seconds."""


def run(folder: Path, urls: list[str], *words: object) -> Ended:
    """A run of the command over a list, which must end well."""
    path = folder / "urls.txt"
    path.write_text("\n".join(urls))
    done = crawler("run", path, "-o", folder / "out", *FLAGS, *words, limit=30)
    assert done.code == 0, done.err
    assert done.err == ""
    return done


def misses(folder: Path) -> list[dict[str, Any]]:
    lines = inside("misses", folder / "out", "--format", "jsonl").out.splitlines()
    return [json.loads(line) for line in lines]


def attempts(folder: Path, like: str) -> int:
    """Tries that the journal tells of addresses like this."""
    with contextlib.closing(sqlite3.connect(folder / "out/.crawler/journal.sqlite")) as db:
        found: int = db.execute("SELECT total(attempts) FROM targets WHERE url LIKE ?", (like,)).fetchone()[0]
    return int(found)


def gaps(times: Iterable[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(sorted(times))]


def refusal(wait: str = "", status: int = 429) -> Page:
    return Page(b"slow down", "text/plain", status=status, headers=(f"Retry-After: {wait}",) if wait else ())


# A host that asks for time ------------------------------------------------------------------------


def test_a_host_gets_the_time_it_asks_for_and_the_others_go_on(tmp_path: Path) -> None:
    opens: list[float] = []

    def holds(host: str, path: str) -> Page:
        if path.startswith("/to/"):
            return Page(status=302, headers=(f"Location: http://{B}:{site.port}/moved{path}",))
        if host != B:
            return Page(JPEG, wait=0.05)
        opens.append(opens[0] if opens else time.monotonic() + 1)
        return refusal("1") if time.monotonic() < opens[0] else Page(JPEG)

    with running_validators(holds, (A, B, C)) as site:
        urls = [site.url(f"{n}.jpg", host) for n in range(40) for host in (A, B, C)]
        urls += [site.url(f"to/{n}.jpg", A) for n in range(5)]
        done = run(tmp_path, urls, "--retries", 1, "--per-host", 2)
        log = site.log()
    assert (done.summary["stored"], done.summary["missed"]) == (125, 0)
    check_agreement(tmp_path / "out")
    refused = [one.at for one in log if one.status == 429]
    assert 1 <= len(refused) <= 2, "what had left already, and nothing more"
    assert not asked_between(log, B, refused[0] + JITTER, refused[0] + 1)
    for host in (A, C):
        assert len(asked_between(log, host, refused[0] + JITTER, refused[0] + 1)) > 10


def asked_between(log: list[Request], host: str, begin: float, end: float) -> list[float]:
    return [one.at for one in log if one.host == host and begin < one.at < end]


def test_every_form_of_retry_after_is_understood(tmp_path: Path) -> None:
    first: dict[str, float] = {}
    said = {A: "a date", B: "soon", C: "-5", D: "0", E: "Fri, 31 Dec 9999 23:59:59 GMT", F: "9" * 400}

    def holds(host: str, path: str) -> Page:
        if host in first:
            return Page(JPEG)
        first[host] = time.monotonic()
        return refusal(formatdate(time.time() + 2, usegmt=True) if host == A else said[host])

    with running_validators(holds, tuple(said)) as site:
        done = run(tmp_path, [site.url("1.jpg", host) for host in said], "--retries", 1, "--max-wait", 10)
        log = site.log()
    waited = {host: gaps(one.at for one in log if one.host == host) for host in said}
    assert done.summary["stored"] == 4
    assert done.summary["reasons"] == {"rate_limited": 2}
    assert 1 <= waited[A][0] < 3.5, "a date is cut to whole seconds, so it may be nearer than it was meant"
    for host in (B, C):
        assert 0.2 <= waited[host][0] < 1.5, "what cannot be read is as if it were not there"
    assert 1 - BLUR <= waited[D][0] < 2, "at once is never at once"
    assert waited[E] == waited[F] == []


@pytest.mark.parametrize(("status", "reason"), [(429, "rate_limited"), (503, "server_error")])
def test_a_host_that_asks_for_too_much_is_left_for_a_later_run(tmp_path: Path, status: int, reason: str) -> None:
    busy = [True]

    def holds(host: str, path: str) -> Page:
        return refusal("3600", status) if host == A and busy[0] else Page(JPEG)

    with running_validators(holds, (A, B)) as site:
        urls = [site.url(f"{n}.jpg", host) for n in range(40) for host in (A, B)]
        done = run(tmp_path, urls, "--max-wait", 5)
        assert done.summary["stored"] == 40
        asked = len(site.log(A))
        assert 1 <= asked <= 8, "only what had left before the first answer"
        assert sum(done.summary["reasons"].values()) == 40
        assert done.summary["reasons"].get("rate_limited", 0) >= 40 - asked
        found = misses(tmp_path)
        assert {row["reason"] for row in found} == {reason, "rate_limited"}
        assert all(row["later"] for row in found)
        unasked = [row for row in found if not row["attempts"]]
        assert len(unasked) == 40 - asked
        assert all("--max-wait" in row["detail"] and row["reason"] == "rate_limited" for row in unasked)
        busy[0] = False
        site.reset()
        again = run(tmp_path, urls, "--max-wait", 5, "--retry-missed")
        assert (again.summary["stored"], again.summary["skipped"]) == (40, 40)
        assert {one.host for one in site.log()} == {A}
    check_agreement(tmp_path / "out")


def test_a_host_that_always_says_now_is_not_asked_for_ever(tmp_path: Path) -> None:
    with running_validators(lambda host, path: refusal("0")) as site:
        done = run(tmp_path, [site.url("a.jpg")], "--retries", 1, "--max-wait", 1)
        assert len(site.log()) == 2
    assert done.summary["reasons"] == {"rate_limited": 1}


def test_a_robots_file_that_asks_for_time_holds_everything(tmp_path: Path) -> None:
    script: Script = {"/robots.txt": [text("", "Retry-After: 1", status=429), NOT_FOUND], EVERY: picture()}
    with running_scripted({A: script, B: {EVERY: picture()}}) as site:
        urls = [site.url(host, f"{n}.jpg") for n in range(10) for host in (A, B)]
        done = run(tmp_path, urls, "--retries", 1)
        asked = site.log(A)
        other = site.log(B)
    assert done.summary["stored"] == 20
    assert [one.path for one in asked[:2]] == ["/robots.txt"] * 2
    assert asked[1].at - asked[0].at >= 1 - BLUR
    assert sum(one.path == "/robots.txt" for one in asked) == 2
    assert max(one.at for one in other) < asked[1].at


async def test_a_run_that_waits_can_be_ended_at_once() -> None:
    with running_validators(lambda host, path: refusal("60"), (A, B)) as site:
        urls = [site.url(f"{n}.jpg", host) for n in range(50) for host in (A, B)]
        settings = Settings.of(urls, store="none", allow_private=True, workers=1)
        async with Crawler(settings) as going:
            ending = asyncio.create_task(going.finish())
            await asyncio.to_thread(wait_until, lambda: len(site.log()) > 1, "the first requests")
            await asyncio.sleep(0.1)
            began = time.monotonic()
            going.stop()
            summary = await asyncio.wait_for(ending, 10)
    assert time.monotonic() - began < 1
    assert (summary.ended, summary.stored) == ("stopped", 0)


def test_ctrl_c_ends_a_run_that_waits(tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    with running_validators(lambda host, path: refusal("60")) as site:
        urls.write_text("\n".join(site.url(f"{n}.jpg") for n in range(50)))
        with started("run", urls, "-o", tmp_path / "out", *FLAGS) as going:
            wait_until(site.log, "the first request")
            time.sleep(0.2)
            began = time.monotonic()
            going.signal(signal.SIGINT)
            ended = going.ended(20)
        assert ended.code == 130, ended.err
        assert time.monotonic() - began < 2
        site.holds = lambda host, path: Page(JPEG)
        assert run(tmp_path, urls.read_text().splitlines()).summary["stored"] == 50
    check_agreement(tmp_path / "out")


# A pace -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [("--delay", 0.2, "--per-host", 4), ("--rate", 5, "--per-host", 0, "--no-adapt", "--no-robots")],
    ids=["delay", "rate"],
)
def test_no_host_is_asked_faster_than_its_pace(tmp_path: Path, words: tuple[object, ...]) -> None:
    hosts = (A, B, C, D, E)
    with running_faults(hosts) as site:
        urls = []
        for n in range(7):
            urls.append(site.url(f"tiny/{n}.jpg", A))
            urls.append(site.url(f"keepalive-close?{n}", B))
            urls.append(site.url(f"slow?delay=0.5&{n}", D))
        urls += [site.url(f"redirect?to={site.url(f'redirect-chain/1?{n}', C)}", C) for n in range(3)]
        urls += [site.url(f"flaky/{n}?fails=1&code=reset", E) for n in range(4)]
        done = run(tmp_path, urls, *words, "--retries", 3)
        log = site.log(robots=True)
    assert done.summary["stored"] + done.summary["missed"] == len(urls)
    assert not set(done.summary["reasons"]) - {"duplicate"}
    begins: dict[str, list[float]] = {}
    for entry in log:
        begins.setdefault(entry["local"].rpartition(":")[0] or entry["local"], []).append(entry["start"])
    assert set(begins) == set(hosts), "the log tells hosts apart"
    too_fast = [(host, gap) for host, times in begins.items() for gap in gaps(times) if gap < 0.2 - BLUR]
    assert too_fast == []
    for host in (A, D):  # the first answers of a slow host may hold it back a little more
        assert median(gaps(begins[host])) < 0.3, "and not much slower either, however long an answer takes"


# Hosts that are not there, or say nothing ---------------------------------------------------------


def test_a_dead_port_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The rests between two tries are a second each: shortened, so that the test does not take half a minute.
    monkeypatch.setattr(pace, "FIRST_REST", 0.02)
    monkeypatch.setattr(pace, "LONGEST_REDIAL", 0.04)
    with running_validators(lambda host, path: Page(JPEG), (A, B)) as site:
        urls = [f"http://{C}:9/{n}.jpg" for n in range(300)]
        urls += [site.url(f"{n}.jpg", host) for n in range(20) for host in (A, B)]
        given: dict[str, Any] = {"allow_private": True, "workers": 1, "size": 24}
        settings = Settings.of(urls, output=str(tmp_path / "out"), **given)

        async def to_the_end() -> Any:
            async with asyncio.timeout(20), Crawler(settings) as going:
                return await going.finish()

        began = time.monotonic()
        summary = asyncio.run(to_the_end())
    assert time.monotonic() - began < 4
    assert (summary.stored, summary.missed) == (40, 300)
    assert set(summary.reasons) <= {"connect", "host_down"}
    assert summary.reasons["host_down"] >= 270
    assert 20 <= attempts(tmp_path, f"http://{C}:%") <= 40
    assert all(row["later"] for row in misses(tmp_path))


def test_the_command_gives_up_a_dead_port_too(tmp_path: Path) -> None:
    with running_validators(lambda host, path: Page(JPEG), (A,)) as site:
        urls = [f"http://{C}:9/{n}.jpg" for n in range(300)] + [site.url(f"{n}.jpg", A) for n in range(20)]
        done = run(tmp_path, urls, "--no-adapt")
    assert done.summary["seconds"] < 4
    assert (done.summary["stored"], done.summary["missed"]) == (20, 300)
    assert set(done.summary["reasons"]) <= {"connect", "host_down"}
    assert 20 <= attempts(tmp_path, f"http://{C}:%") <= 40


def test_a_host_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with running_scripted({A: {"/robots.txt": SILENCE, EVERY: SILENCE}, B: {EVERY: picture()}}) as site:
        urls = [site.url(host, f"{n}.jpg") for n in range(60) for host in (A, B)]
        done = run(tmp_path, urls, "--timeout", 0.3, "--retries", 0, "--no-robots", "--no-adapt")
        asked = len(site.log(A))
    assert done.summary["stored"] == 60
    assert done.summary["reasons"]["timeout"] == asked
    assert done.summary["reasons"]["host_down"] == 60 - asked
    assert 20 <= asked <= 28
    assert done.summary["seconds"] < 4


def test_a_host_whose_robots_file_never_comes_is_not_asked_for_pictures(tmp_path: Path) -> None:
    with running_scripted({A: {"/robots.txt": SILENCE, EVERY: SILENCE}, B: {EVERY: picture()}}) as site:
        urls = [site.url(host, f"{n}.jpg") for n in range(60) for host in (A, B)]
        done = run(tmp_path, urls, "--timeout", 0.3, "--retries", 1)
        assert site.paths(A) == ["/robots.txt"] * 2
    assert done.summary["stored"] == 60
    assert done.summary["reasons"] == {"robots_unreachable": 60}
    assert done.summary["seconds"] < 4


@pytest.mark.parametrize("adapt", [True, False])
def test_only_an_adapting_run_rests_after_a_failure(tmp_path: Path, adapt: bool) -> None:
    def holds(host: str, path: str) -> Page:
        return refusal(status=503) if path == "/3.jpg" else Page(JPEG)

    with running_validators(holds) as site:
        urls = [site.url(f"{n}.jpg") for n in range(12)]
        words = ("--retries", 0, "--per-host", 1, "--adapt" if adapt else "--no-adapt")
        done = run(tmp_path, urls, *words)
        log = site.log()
    assert done.summary["reasons"] == {"server_error": 1}
    assert [one.path for one in log] == [f"/{n}.jpg" for n in range(12)]
    rest = log[4].at - log[3].at
    assert rest >= 0.5 - BLUR if adapt else rest < 0.4


# A list sorted by host ----------------------------------------------------------------------------


SLOW, *FAST = [f"127.0.0.{n}" for n in range(20, 41)]
EACH = 3


def sorted_by_host(site: Faults, count: int) -> list[str]:
    """Many targets of a slow host, and behind them some of each fast one."""
    urls = [site.url(f"slow?delay=0.2&{n}", SLOW) for n in range(count)]
    return urls + [site.url(f"tiny/{n}.jpg", host) for host in FAST for n in range(EACH)]


async def test_fast_hosts_behind_a_slow_one_do_not_wait_for_it() -> None:
    stored = {True: 0, False: 0}
    with contextlib.ExitStack() as stack:
        site = await asyncio.to_thread(stack.enter_context, running_faults((SLOW, *FAST)))
        urls = sorted_by_host(site, 3000)
        began = time.monotonic()
        async with Crawler(Settings.of(urls, store="none", allow_private=True, workers=1, size=24)) as going:
            async with asyncio.timeout(20):
                async for outcome in going:
                    stored[SLOW in outcome.target.url] += outcome.stored
                    if stored[False] == len(FAST) * EACH:
                        seconds = time.monotonic() - began
                        going.stop(drop_fetches=True)
        await asyncio.to_thread(stack.close)
    assert stored[False] == len(FAST) * EACH
    assert stored[True] < 300
    assert seconds < 3000 * 0.2 / 8 / 10, "a tenth of what the slow host takes for its own"


def test_fast_hosts_behind_more_of_a_slow_one_than_memory_holds_do_not_wait_either(tmp_path: Path) -> None:
    urls, output = tmp_path / "urls.txt", tmp_path / "out"
    with running_faults((SLOW, *FAST)) as site:
        urls.write_text("\n".join(sorted_by_host(site, 10_000)))
        with started("run", urls, "-o", output, *FLAGS) as going:

            def of_fast_hosts() -> int:
                return sum(SLOW not in row["url"] for row in metadata(output))

            wait_until(lambda: of_fast_hosts() == len(FAST) * EACH, "the end of the fast hosts", 20)
            assert (output / ".crawler/spill.sqlite").exists(), "the slow host's targets wait on disk"
            going.signal(signal.SIGINT)
            ended = going.ended(20)
    assert ended.code == 130, ended.err
    assert ended.summary["missed"] == 0
    assert ended.summary["seconds"] < 10_000 * 0.2 / 8 / 10
    check_agreement(output)
    assert sorted(path.name for path in (output / ".crawler").iterdir()) == ["journal.sqlite", "lock"]
