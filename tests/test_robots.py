"""robots.txt (RFC 9309): what the rules say, how they are fetched, kept and obeyed, by servers that log every request."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from crawler import Crawler, Outcome, Reason, Settings
from crawler.clock import SystemClock
from crawler.fetch.robots import GOOD_FOR, LARGEST, Rules, decoded, good_for, product
from tests.cli import wait_until
from tests.conftest import third_party
from tests.servers.dns import NXDOMAIN, Answer, Delay, running_dns
from tests.servers.faults import bind
from tests.servers.handle import Faults
from tests.servers.scripted import (
    EVERY,
    FOREVER,
    NOT_FOUND,
    RESET,
    SILENCE,
    Reply,
    Script,
    Scripted,
    moved,
    picture,
    running_scripted,
    text,
)
from tests.servers.tls import running_tls

LIMIT: Final = 30.0
RULES: Final = "User-agent: *\nDisallow: /shut\n"
KEPT: Final = ["stored", "robots"]  # of /open.jpg and /shut/a.jpg where RULES are obeyed
FREE: Final = ["stored", "stored"]
HOUR: Final = 3600.0
SHORTER: Final = 0.03  # by so much a gap may look shorter in the log of a busy machine than it was

# For tests that wait: what they show does not depend on the loop.
one_loop = pytest.mark.parametrize("anyio_backend", [("asyncio", {"debug": True})], ids=["asyncio"])


class Shifted(SystemClock):
    """The calendar is so many seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wall(self) -> float:
        return time.time() + self._seconds


class Hurried(SystemClock):
    """Time passes so many times faster for everything that waits on a clock."""

    def __init__(self, times: float) -> None:
        self._times = times

    def monotonic(self) -> float:
        return time.monotonic() * self._times

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._times)


def site(robots: Reply | list[Reply], **more: Reply) -> Script:
    """A host with this robots.txt and pictures everywhere else."""
    return {"/robots.txt": robots, EVERY: picture(), **{f"/{name}": reply for name, reply in more.items()}}


def name(outcome: Outcome) -> str:
    return outcome.miss.reason.value if outcome.miss else "stored"


async def crawled(urls: list[str], clock: SystemClock | None = None, **chosen: Any) -> list[Outcome]:
    """How each URL ended, in their order."""
    chosen = {"allow_private": True, "workers": 1, "size": 32} | chosen
    if "output" not in chosen:
        chosen["store"] = "none"
    found: dict[int, Outcome] = {}
    async with asyncio.timeout(LIMIT), Crawler(Settings.of(urls, **chosen), clock=clock) as run:
        async for outcome in run:
            found[outcome.target.index] = outcome
    return [found[index] for index in sorted(found)]


async def endings(urls: list[str], clock: SystemClock | None = None, **chosen: Any) -> list[str]:
    return [name(outcome) for outcome in await crawled(urls, clock, **chosen)]


async def endings_by_case(
    hosts: dict[str, Script], paths: tuple[str, ...] = ("open.jpg", "shut/a.jpg"), **chosen: Any
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Each case on a host of its own, all in one run: how its pictures ended, and what its host was asked for."""
    addresses = {case: f"127.0.0.{number}" for number, case in enumerate(hosts, 2)}
    with running_scripted({addresses[case]: script for case, script in hosts.items()}) as server:
        urls = [server.url(address, path) for address in addresses.values() for path in paths]
        ended = await endings(urls, **chosen)
        size = len(paths)
        asked = {case: server.paths(address) for case, address in addresses.items()}
    return {case: ended[at * size : (at + 1) * size] for at, case in enumerate(addresses)}, asked


# The rules: third-party verdicts -----------------------------------------------------------------

EXPLAINED: Final[dict[str, str]] = {
    # Rows that are marked as Google's own way.
    **dict.fromkeys(
        ("R0274", "R0278", "R0279", "R0282", "R0283", "R0286", "R0287"),
        "Google cuts a user-agent line at its first blank; RFC 9309 2.2.1 knows no name with one",
    ),
    # Rows of Google's parser where RFC 9309 says otherwise.
    **dict.fromkeys(
        ("R0335", "R0341", "R0345", "R0486"), "/robots.txt itself is always allowed (RFC 9309 2.2.2); RF22 wants it"
    ),
    **dict.fromkeys(
        ("R0342", "R0343", "R0344"),
        "Google cuts AB42bot at its first digit and takes it for AB; names with digits are in use and are compared whole",
    ),
    **dict.fromkeys(
        ("R0252", "R0254"),
        "both sides are percent-encoded before they are compared (RFC 9309 2.2.2), as they are asked for",
    ),
    "R0255": "%62%61%7A is baz (RFC 9309 2.2.2, its own table)",
}
"""Rows of the vectors that we answer otherwise, and why."""

REAL_AGREEMENT: Final = 0.995


def vectors() -> list[dict[str, Any]]:
    path = third_party("robots") / "robots_vectors.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    return rows


def file_of(row: dict[str, Any]) -> str:
    return decoded(base64.b64decode(row["robots_b64"]) if "robots_b64" in row else row["robots"].encode(), True)


def test_third_party_vectors() -> None:
    wrong = {
        row["id"]: f"{row['agent']} {row['url']} {row['allowed']}"
        for row in vectors()
        if Rules(file_of(row), product(row["agent"]), 0).allows(URL(row["url"])) != row["allowed"]
    }
    assert {number: words for number, words in wrong.items() if number not in EXPLAINED} == {}
    assert set(EXPLAINED) - set(wrong) == set(), "explained, but passes: take it out"


def test_real_files_are_read_as_google_reads_them() -> None:
    folder = third_party("robots")
    rows = json.loads((folder / "robots_real_verdicts.json").read_text(encoding="utf-8"))["rows"]
    texts = {file: decoded((folder / "real" / file).read_bytes()[:LARGEST], True) for file in {row[0] for row in rows}}
    began = time.perf_counter()

    @lru_cache(1)
    def rules(file: str, agent: str) -> Rules:
        return Rules(texts[file], product(agent), 0)

    agreed = [row for row in rows if row[3] == row[4]]
    agreed.sort(key=lambda row: (row[0], row[1]))
    same = sum(rules(file, agent).allows(URL(url)) == google for file, agent, url, google, _ in agreed)
    assert len(agreed) > 20_000
    assert same / len(agreed) >= REAL_AGREEMENT
    assert time.perf_counter() - began < 10, "21,000 answers from 1,844 files"


def test_third_party_crawl_delays() -> None:
    path = third_party("robots") / "robots_vectors.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["crawl_delay_request_rate"]
    for row in rows:
        expected = row["result"] or 0.0
        if row["kind"] == "request_rate" and row["result"]:
            expected = int(row["result"][1]) / int(row["result"][0])
        assert Rules(row["robots"], row["agent"], 0).crawl_delay == expected, row["test"]


# The rules: our own --------------------------------------------------------------------------------


def test_only_a_group_for_our_whole_name_is_ours() -> None:
    """RFC 9309 2.2.1: the product token is compared whole, in any case."""
    for other in ("craw", "c", "crawl", "crawler2", "crawler-images", "my-crawler", "rawler"):
        rules = Rules(f"User-agent: *\nDisallow: /\n\nUser-agent: {other}\nAllow: /\n", "crawler", 0)
        assert not rules.allows(URL("http://h/a.jpg")), other
    for ours in ("crawler", "CRAWLER", "Crawler", "  crawler  ", "crawler # us"):
        rules = Rules(f"User-agent: *\nDisallow: /\n\nUser-agent: {ours}\nDisallow: /shut\n", "crawler", 0)
        assert rules.allows(URL("http://h/a.jpg")), ours
        assert not rules.allows(URL("http://h/shut/a.jpg")), ours


TOKENS: Final = {
    "mybot/2.0 (x)": "mybot",
    "MyBot": "mybot",
    "my-bot_3/1 (+https://example.org)": "my-bot_3",
    "mybot (+x)": "mybot",
    "mybot;x": "mybot",
    "  mybot/1": "mybot",
    "Mozilla/5.0 (compatible; mybot)": "mozilla",
}


def test_the_token_is_the_product_name() -> None:
    assert {agent: product(agent) for agent in TOKENS} == TOKENS


@pytest.mark.parametrize("agent", ["(x)", "/1.0", ";"])
def test_an_agent_without_a_name_still_obeys_the_rules_for_all(agent: str) -> None:
    rules = Rules("User-agent: *\nDisallow: /shut\nUser-agent: other\nAllow: /\n", product(agent), 0)
    assert not rules.allows(URL("http://h/shut/a.jpg"))


CACHED: Final = {
    "": GOOD_FOR,
    "max-age=60": 60.0,
    "public, Max-Age=60, must-revalidate": 60.0,
    'max-age="60"': 60.0,
    "max-age=0": 0.0,
    "no-store": 0.0,
    "private, No-Cache": 0.0,
    "no-store, max-age=60": 0.0,
    "max-age=864000": GOOD_FOR,
    "max-age=99999999999999999999999": GOOD_FOR,
    "max-age=-1": GOOD_FOR,
    "max-age=": GOOD_FOR,
    "max-age=soon": GOOD_FOR,
    "max-age=\u00b2": GOOD_FOR,
    "s-maxage=5": GOOD_FOR,
    "\udcff=,,;": GOOD_FOR,
}
"""Seconds for which an answer with this Cache-Control is kept."""


def test_cache_control() -> None:
    assert {said: good_for(said) for said in CACHED} == CACHED


@given(st.text() | st.text('max-age=,no store"0123456789\u00b2\u0663 ').map(lambda tail: f"max-age={tail}"))
def test_no_cache_control_raises(said: str) -> None:
    assert 0 <= good_for(said) <= GOOD_FOR


LINES = st.sampled_from(
    [
        *(f"Disallow: {path}".encode() for path in ("/", "/*a*b$", "%", "//[", "http://[::1", ";?#$*")),
        *(f"Crawl-delay: {words}".encode() for words in ("1e999", "nan", "0x1", "1" * 400, "\u0663")),
        *(f"Request-rate: {words}".encode() for words in ("1/0", "0/1s", "9/9q 1200-", "/", "1/1" + "0" * 400)),
        *(b"User-agent: *", b"user-agent:crawler", b"User-agent", b"Allow:", b"Allow: /$", b"Visit-time: 9"),
        *(b"Disallow: %zz%00\xff", b"\xef\xbb\xbf", b"\0", b"Host: \xff", b"Sitemap: //["),
    ]
)


@settings(deadline=None)
@given(st.lists(LINES | st.binary(max_size=40)).map(b"\n".join), st.booleans(), st.sampled_from(["crawler", "", "*"]))
def test_no_file_makes_the_rules_raise(body: bytes, whole: bool, agent: str) -> None:
    rules = Rules(decoded(body, whole), agent, 0)
    assert 0 <= rules.crawl_delay < float("inf")
    for url in ("http://h/", "http://h/a%ff?b=%E3%83%84;c", "http://[::1]:8/%5B//x$*", "http://h/robots.txt"):
        assert rules.allows(URL(url)) in (True, False)


def test_only_line_ends_of_the_rfc_end_a_line() -> None:
    """RFC 9309 2.2: CR, LF or both. What else may look like one is a part of the path."""
    for odd in ("\x0b", "\x0c", "\x1c", "\x85", "\u2028"):
        rules = Rules(decoded(f"User-agent: *\nDisallow: /shut{odd}Allow: /shut/a\n".encode(), True), "crawler", 0)
        assert rules.allows(URL("http://h/open.jpg"))
        assert rules.allows(URL("http://h/shut/a")), f"{odd!r}: the path goes on behind it, so this is another one"
    for end in ("\r", "\n", "\r\n"):
        rules = Rules(decoded(f"User-agent: *{end}Disallow: /shut{end}".encode(), True), "crawler", 0)
        assert not rules.allows(URL("http://h/shut/a"))


def test_a_byte_order_mark_hides_no_rule() -> None:
    for mark in (b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"):
        assert not Rules(decoded(mark + RULES.encode(), True), "crawler", 0).allows(URL("http://h/shut/a")), mark


def test_a_file_that_was_cut_off_ends_with_its_last_whole_line() -> None:
    body = b"User-agent: *\nDisallow: /a\nDisallow: /"
    assert not Rules(decoded(body, True), "crawler", 0).allows(URL("http://h/b"))
    assert Rules(decoded(body, False), "crawler", 0).allows(URL("http://h/b"))
    assert decoded(b"User-agent: *", False) == ""


def seconds_of(todo: Callable[[], object]) -> float:
    began = time.process_time()
    todo()
    return time.process_time() - began


def test_a_file_of_many_groups_costs_what_its_length_costs() -> None:
    """500 KiB may come from anybody: lines times lines would be minutes and gigabytes."""
    lines = 1500
    groups = "".join(f"User-agent: a{n:05d}\n" for n in range(lines)) + "".join(
        f"Disallow: /{n:09d}\n" for n in range(lines)
    )
    plain = "User-agent: *\n" + "".join(f"Disallow: /{n:09d}\n" for n in range(2 * lines))
    usual = min(seconds_of(lambda: Rules(plain, "crawler", 0)) for _ in range(3))
    assert seconds_of(lambda: Rules(groups, "crawler", 0)) < 20 * usual + 0.02


def test_one_answer_from_the_longest_file_does_not_hold_the_loop() -> None:
    rules = Rules(("User-agent: *\n" + "Disallow: /*a*b$\n" * 40_000)[:LARGEST], "crawler", 0)
    url = URL("http://h/" + "a" * 8000)
    rules.allows(url)  # builds its index
    assert seconds_of(lambda: rules.allows(url)) < 0.5


# How it is fetched ---------------------------------------------------------------------------------


def hops(count: int, last: str) -> dict[str, Reply]:
    """Replies of /robots.txt and behind it: so many redirects, of all kinds, then `last`."""
    kinds = (301, 302, 303, 307, 308)
    found = {f"/hop{n}": moved(f"/hop{n + 1}", kinds[n % 5]) for n in range(1, count)}
    return {"/robots.txt": moved("/hop1", 301), EVERY: picture(), **found, f"/hop{count}": text(last)}


LONG: Final = RULES + "# x\n" * (1_300_000 // 4) + "Disallow: /\n"
"""1.3 MiB: only what stands in its first 500 KiB counts."""

ANSWERS: Final[dict[str, tuple[Script, list[str]]]] = {
    "RF01 rules": (site(text(RULES)), KEPT),
    "RF02 five redirects": (hops(5, RULES), KEPT),
    "RF03 six redirects": (hops(6, "User-agent: *\nDisallow: /\n"), FREE),
    "RF03 loop": (site(moved("/robots.txt")), FREE),
    "redirect without Location": (site(Reply(status=302)), FREE),
    "redirect to mailto": (site(moved("mailto:a@b")), FREE),
    "redirect to nonsense": (site(moved("http://[")), FREE),
    "redirect to no text": (site(moved("/\udcff\udcfe")), FREE),
    "redirect in UTF-8": (site(moved("/r\u00e9gles.txt"), **{"r%C3%A9gles.txt": text(RULES)}), KEPT),
    **{f"RF04 {status}": (site(text(RULES, status=status)), FREE) for status in (400, 401, 403, 404, 410, 451)},
    "204": (site(Reply(status=204, length=0)), FREE),
    "RF09 empty": (site(text("")), FREE),
    "RF10 long": (site(text(LONG)), KEPT),
    "RF11 endless": (site(Reply(RULES.encode() + b"\n", zeros=FOREVER, length=-1)), KEPT),
    "RF12 page": (site(text("<!doctype html><title>Disallow: /</title>\n<p>User-agent: *\n<p>Disallow: /")), FREE),
    "RF13 UTF-16": (site(text(RULES.encode("utf-16"))), FREE),
    "RF13 NULs": (site(text(b"\0\0\n" + RULES.encode() + b"\0")), KEPT),
    "RF13 binary": (site(text(bytes(range(256)) * 40)), FREE),
    "gzip": (site(text(gzip.compress(RULES.encode()), "Content-Encoding: gzip")), KEPT),
    "CR": (site(text(RULES.replace("\n", "\r"))), KEPT),
    "RF22 itself": (site(text("User-agent: *\nDisallow: /robots.txt\nDisallow: /shut\n")), KEPT),
    "odd cache": (site(text(RULES, "Cache-Control: max-age=\u00b2")), KEPT),
}


async def test_what_a_host_answers_decides_for_its_pictures() -> None:
    scripts = {case: script for case, (script, _) in ANSWERS.items()}
    ended, asked = await endings_by_case(scripts)
    assert ended == {case: ending for case, (_, ending) in ANSWERS.items()}
    assert all(paths[0] == "/robots.txt" for paths in asked.values()), "nothing is asked for before it"
    extra = {case: Counter(paths)["/robots.txt"] for case, paths in asked.items() if paths.count("/robots.txt") > 1}
    assert extra == {"RF03 loop": 6}
    assert not [case for case, ending in ended.items() if ending == KEPT and "/shut/a.jpg" in asked[case]]
    assert len([path for path in asked["RF03 six redirects"] if path.startswith("/hop")]) == 5


async def test_rules_from_another_host_are_those_of_the_host_that_was_asked() -> None:
    one, other = "127.0.0.2", "127.0.0.3"
    with running_scripted({one: {}, other: site(NOT_FOUND, **{"rules.txt": text(RULES)})}) as server:
        server.tell(one, site(moved(server.url(other, "rules.txt"))))
        paths = ("open.jpg", "shut/a.jpg")
        ended = await endings([server.url(host, path) for host in (one, other) for path in paths])
        assert ended == [*KEPT, *FREE]
        assert server.paths(one) == ["/robots.txt", "/open.jpg"]


async def test_the_host_of_the_picture_decides_also_behind_a_redirect() -> None:
    one, other = "127.0.0.2", "127.0.0.3"
    with running_scripted({one: {}, other: site(text(RULES))}) as server:
        away = {name: moved(server.url(other, f"{name}/a.jpg")) for name in ("open", "shut")}
        server.tell(one, site(text("User-agent: *\nDisallow: /elsewhere\n"), here=moved("/elsewhere"), **away))
        urls = [server.url(one, path) for path in ("open", "shut", "here")]
        found = await crawled(urls)
        assert [name(outcome) for outcome in found] == ["stored", "robots", "robots"]
        assert found[1].miss is not None
        assert (found[1].miss.final_url, found[1].miss.asked) == (server.url(other, "shut/a.jpg"), False)
        assert server.paths(other) == ["/robots.txt", "/open/a.jpg"]
        assert "/elsewhere" not in server.paths(one)


async def test_no_secret_goes_where_a_redirect_leads() -> None:
    one, other = "127.0.0.2", "127.0.0.3"
    with running_scripted({one: {}, other: site(NOT_FOUND, **{"rules.txt": text(RULES)})}) as server:
        server.tell(one, site(moved(server.url(other, "rules.txt"))))
        await crawled([server.url(one, "a.jpg")], header=("Authorization: Bearer x",))
        assert ["authorization" in request.headers for request in server.log(other)] == [False]


# What cannot be had --------------------------------------------------------------------------------

BOMB: Final = gzip.compress(bytes(20_000_000))

FAILING: Final[dict[str, Script]] = {
    **{f"RF06 {status}": site(text(RULES, status=status)) for status in (500, 502, 503, 504, 599)},
    "RF07 reset": site(RESET),
    "RF07 cut off": site(Reply(RULES.encode(), length=1000)),
    "RF14 gzip bomb": site(text(BOMB, "Content-Encoding: gzip")),
    "no gzip": site(text(RULES, "Content-Encoding: gzip")),
    "behind a redirect": site(moved("/rules.txt"), **{"rules.txt": text("", status=503)}),
    "not HTTP": site(text(RULES, "Content-Length: 7")),  # two lengths
}


@one_loop
async def test_nothing_is_asked_of_a_host_that_does_not_serve_its_file() -> None:
    ended, asked = await endings_by_case(FAILING, paths=("a.jpg", "b.jpg", "c.jpg"), retries=1)
    assert ended == dict.fromkeys(FAILING, ["robots_unreachable"] * 3)
    assert Reason.ROBOTS_UNREACHABLE.later
    tries = {case: Counter(paths)["/robots.txt"] for case, paths in asked.items()}
    assert tries == dict.fromkeys(FAILING, 2)
    assert {path for paths in asked.values() for path in paths} == {"/robots.txt", "/rules.txt"}


@one_loop
async def test_a_host_that_says_nothing_is_not_waited_for_longer_than_the_timeout() -> None:
    with running_scripted({"127.0.0.2": site(SILENCE)}) as server:
        found = await crawled([server.url("127.0.0.2", f"{n}.jpg") for n in range(3)], retries=1, timeout=0.5)
        assert [name(outcome) for outcome in found] == ["robots_unreachable"] * 3
        assert server.paths() == ["/robots.txt"] * 2


@one_loop
async def test_a_host_that_recovers_is_obeyed() -> None:
    cases = {
        "503": site([text("", status=503), text(RULES)]),
        "reset": site([RESET, text(RULES)]),
        "RF05 429": site([text("", status=429), text(RULES)]),
        "twice": site([text("", status=500), text("", status=429), text(RULES)]),
    }
    ended, asked = await endings_by_case(cases, clock=Hurried(100))
    assert ended == dict.fromkeys(cases, KEPT)
    assert [Counter(paths)["/robots.txt"] for paths in asked.values()] == [2, 2, 2, 3]


@one_loop
async def test_a_wait_that_is_asked_for_is_kept_before_asking_again() -> None:
    hosts = {"127.0.0.2": 429, "127.0.0.3": 503}
    replies = {host: [text("", "Retry-After: 1", status=status), text(RULES)] for host, status in hosts.items()}
    with running_scripted({host: site(robots) for host, robots in replies.items()}) as server:
        urls = [server.url(host, path) for host in hosts for path in ("open.jpg", "shut/a.jpg")]
        assert await endings(urls, retries=1) == KEPT * 2
        for host in hosts:
            assert server.paths(host) == ["/robots.txt", "/robots.txt", "/open.jpg"]
            assert gaps(server, host)[0] >= 1.0 - SHORTER


@one_loop
@pytest.mark.parametrize("reply", [text("", status=429), text("", "Retry-After: 0", status=429), text("", status=503)])
async def test_a_host_that_never_serves_it_is_asked_a_bounded_number_of_times(reply: Reply) -> None:
    host = "127.0.0.2"
    with running_scripted({host: site(reply)}) as server:
        found = await crawled([server.url(host, f"{n}.jpg") for n in range(60)], Hurried(1000), retries=2)
        assert set(server.paths()) == {"/robots.txt"}
        assert len(server.paths()) <= 20
        assert all(outcome.miss is not None and outcome.miss.reason.later for outcome in found)


async def test_a_host_that_nobody_can_connect_to_is_called_that() -> None:
    with bind(["127.0.0.2"])[0] as closed:
        port = closed.getsockname()[1]
    with running_dns({"gone.test": [NXDOMAIN]}) as dns, running_tls(certificate_for=("else.test",)) as tls:
        urls = ["http://gone.test/a.jpg", f"http://127.0.0.2:{port}/a.jpg", tls.url("a.jpg")]
        chosen: dict[str, Any] = {"resolver": "aiodns", "name_server": (dns.address,), "retries": 0}
        assert await endings(urls, **chosen) == ["dns", "connect", "tls"]
        assert tls.log() == []


# The address behind it ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["http://169.254.169.254/latest", "private"])
async def test_a_redirect_to_an_address_that_is_not_open_is_not_followed(where: str) -> None:
    one, inside = "127.0.0.2", "127.0.0.3"
    with running_scripted({one: {}, inside: site(text(RULES))}) as server:
        server.tell(one, site(moved(server.url(inside, "secret") if where == "private" else where)))
        urls = [server.url(one, f"{n}.jpg") for n in range(3)]
        ended = await endings(urls, allow_private=False, allow_net=(f"{one}/32",), retries=0)
        assert server.log(inside) == []
        assert set(server.paths(one)) == {"/robots.txt"}, "what forbids itself to be known forbids everything"
        assert ended == ["blocked_address"] * 3


async def test_a_host_whose_file_is_behind_a_blocked_address_is_not_asked_for_every_picture() -> None:
    one = "127.0.0.2"
    with running_scripted({one: site(moved("http://169.254.169.254/"))}) as server:
        urls = [server.url(one, f"{n}.jpg") for n in range(40)]
        await crawled(urls, allow_private=False, allow_net=(f"{one}/32",), retries=2)
        assert len(server.paths()) <= 3


# Once for each host ---------------------------------------------------------------------------------


async def test_many_pictures_of_one_host_ask_once_and_first() -> None:
    host = "127.0.0.2"
    robots = Reply(RULES.encode(), wait=0.2)
    with running_scripted({host: site(robots)}) as server:
        urls = [server.url(host, f"{n}.jpg") for n in range(300)]
        ended = await endings(urls, per_host=0, concurrency=300)
        assert Counter(ended) == {"stored": 300}
        assert server.paths()[0] == "/robots.txt"
        assert Counter(server.paths())["/robots.txt"] == 1


async def test_many_redirects_to_a_new_host_ask_it_once_and_first() -> None:
    one, other = "127.0.0.2", "127.0.0.3"
    with running_scripted({one: {}, other: site(Reply(RULES.encode(), wait=0.1))}) as server:
        server.tell(one, {"/robots.txt": NOT_FOUND, EVERY: moved(server.url(other, "open.jpg"))})
        urls = [server.url(one, f"{n}.jpg") for n in range(50)]
        assert Counter(await endings(urls, per_host=0)) == {"stored": 50}
        assert server.paths(other)[0] == "/robots.txt"
        assert Counter(server.paths(other))["/robots.txt"] == 1


async def test_scheme_host_and_port_have_their_own() -> None:
    host = "127.0.0.2"
    with (
        running_scripted({host: site(text(RULES))}) as one,
        running_scripted({host: site(text("User-agent: *\nDisallow: /open\n"))}) as other,
        running_tls(hosts=(host,), certificate_for=(host,)) as tls,
    ):
        paths = ("open.jpg", "shut/a.jpg")
        urls = [server.url(host, path) for server in (one, other) for path in paths] + [tls.url(path) for path in paths]
        assert await endings(urls, ca_file=tls.ca_file) == [*KEPT, "robots", "stored", *FREE]
        assert tls.log()[0]["path"] == "/robots.txt"


async def test_nobody_is_asked_where_the_rules_are_not_wanted() -> None:
    host = "127.0.0.2"
    with running_scripted({host: site(text("User-agent: *\nDisallow: /\nCrawl-delay: 100\n"))}) as server:
        assert await endings([server.url(host, f"{n}.jpg") for n in range(3)], robots=False) == ["stored"] * 3
        assert "/robots.txt" not in server.paths()


async def test_the_group_of_our_own_name_is_obeyed() -> None:
    rules = (
        "User-agent: *\nDisallow: /\n\nUser-agent: crawler\nDisallow: /open\n\n"
        "User-agent: MyBot\nDisallow: /shut\n\nUser-agent: mybot-images\nDisallow: /\n"
    )
    host, paths = "127.0.0.2", ("open.jpg", "shut/a.jpg")
    with running_scripted({host: site(text(rules))}) as server:
        urls = [server.url(host, path) for path in paths]
        assert await endings(urls, user_agent="mybot/2.0 (x)") == KEPT
        assert {request.headers["user-agent"] for request in server.log()} == {"mybot/2.0 (x)"}
        assert await endings(urls) == ["robots", "stored"]
        assert await endings(urls, user_agent="someone/1") == ["robots", "robots"]


async def test_a_run_that_is_left_while_a_host_keeps_silent_ends_at_once() -> None:
    host = "127.0.0.2"
    with running_scripted({host: site(SILENCE)}) as server:
        urls = [server.url(host, f"{n}.jpg") for n in range(20)]
        chosen = Settings.of(urls, store="none", allow_private=True, workers=1)
        began = time.monotonic()
        async with asyncio.timeout(LIMIT), Crawler(chosen) as run:
            waiting = asyncio.create_task(run.finish())
            await asyncio.to_thread(wait_until, server.log, "a request")
            run.stop(drop_fetches=True)
            summary = await waiting
        assert (summary.ended, summary.stored) == ("stopped", 0)
        assert time.monotonic() - began < 5


# What is remembered ---------------------------------------------------------------------------------

MEMORY: Final[dict[str, tuple[tuple[str, ...], float, int]]] = {
    "at once": ((), 0.0, 1),
    "23 hours": ((), 23 * HOUR, 1),
    "25 hours": ((), 25 * HOUR, 2),
    "max-age, before": (("Cache-Control: public, max-age=600",), 500.0, 1),
    "max-age, after": (("Cache-Control: public, max-age=600",), 700.0, 2),
    "max-age of ten days": (("Cache-Control: max-age=864000",), 25 * HOUR, 2),
    "no-store": (("Cache-Control: no-store",), 0.0, 2),
    "no-cache": (("Cache-Control: no-cache",), 0.0, 2),
    "two headers": (("Cache-Control: public", "Cache-Control: no-store"), 0.0, 2),
}
"""Headers of the robots.txt, seconds between two runs, and how often it is asked for in both."""


async def test_a_later_run_remembers_what_it_was_told(tmp_path: Path) -> None:
    """Runs of one folder, each with a new picture more, so that there is something to ask."""
    hosts = {case: f"127.0.0.{number}" for number, case in enumerate(MEMORY, 2)}
    with running_scripted({hosts[case]: site(text(RULES, *lines)) for case, (lines, _, _) in MEMORY.items()}) as server:
        first = [server.url(host, "open.jpg") for host in hosts.values()]
        assert await endings(first, output=tmp_path / "all") == ["stored"] * len(first)
        asked: dict[str, int] = {}
        for seconds in sorted({seconds for _, seconds, _ in MEMORY.values()}):
            due = [case for case in MEMORY if MEMORY[case][1] == seconds]
            again = [server.url(hosts[case], path) for case in due for path in (f"late/{seconds:g}.jpg", "shut/a.jpg")]
            first += again
            ended = await endings(first, Shifted(seconds), output=tmp_path / "all")
            assert ended == KEPT * len(due), f"the rules hold after {seconds} s, remembered or asked for"
            asked |= {case: server.paths(hosts[case]).count("/robots.txt") for case in due}
        assert asked == {case: times for case, (_, _, times) in MEMORY.items()}


async def test_a_file_that_is_not_there_is_remembered_too_and_one_that_failed_is_not(tmp_path: Path) -> None:
    missing, failing = "127.0.0.2", "127.0.0.3"
    with running_scripted({missing: site(NOT_FOUND), failing: site(text("", status=503))}) as server:
        urls = [server.url(missing, "a.jpg"), server.url(failing, "open.jpg")]
        assert await endings(urls, output=tmp_path / "o", retries=0) == ["stored", "robots_unreachable"]
        server.tell(failing, site(text(RULES)))
        urls += [server.url(missing, "b.jpg"), server.url(failing, "shut/a.jpg")]
        again = await endings(urls, output=tmp_path / "o", retries=0)
        assert again == ["stored", "robots"]
        assert server.paths(missing) == ["/robots.txt", "/a.jpg", "/b.jpg"]
        assert await endings(urls, output=tmp_path / "o", retry_missed="later") == ["stored"]
        assert server.paths(failing).count("/robots.txt") == 2


# Its pace -------------------------------------------------------------------------------------------


def gaps(server: Scripted, host: str | None = None) -> list[float]:
    """Seconds between the requests of a host, as its own log has them."""
    return [later.at - sooner.at for sooner, later in pairwise(server.log(host))]


def delayed(words: str) -> Script:
    return site(text(f"User-agent: *\nCrawl-delay: {words}\nDisallow: /shut\n"))


async def test_a_crawl_delay_is_kept_from_the_first_request_on() -> None:
    host = "127.0.0.2"
    with running_scripted({host: delayed("0.2")}) as server:
        paths = [f"{n}.jpg" for n in range(4)] + [f"shut/{n}.jpg" for n in range(20)]
        assert Counter(await endings([server.url(host, path) for path in paths])) == {"stored": 4, "robots": 20}
        assert len(server.log()) == 5
        assert min(gaps(server)) >= 0.2 - SHORTER, "also between robots.txt and the first picture"
        assert max(gaps(server)) < 1.0, "what is not asked for takes no time"


@one_loop
async def test_a_slow_way_to_the_host_does_not_shorten_the_gap_behind_its_file() -> None:
    slow = {"slow.test": [Delay(0.3, Answer(("127.0.0.1",)))]}
    with running_dns(slow) as dns, running_scripted({"127.0.0.1": delayed("0.4")}) as server:
        chosen: dict[str, Any] = {"resolver": "aiodns", "name_server": (dns.address,)}
        assert await endings([server.url("slow.test", f"{n}.jpg") for n in range(2)], **chosen) == ["stored"] * 2
        assert min(gaps(server)) >= 0.4 - SHORTER


@one_loop
async def test_crawl_delays_that_make_no_sense_cost_no_time() -> None:
    junk = ("abc", "-1", "nan", "inf", "1e999", "0", "", "1,5", "0x10", "-inf", "\u00b2")
    cases = {f"Crawl-delay: {words}": delayed(words) for words in junk}
    for rate in ("1/0", "-1/5", "1/-5", "0/0", "1", "1/1q"):
        cases[f"Request-rate: {rate}"] = site(text(f"User-agent: *\nRequest-rate: {rate}\n"))
    began = time.monotonic()
    ended, _ = await endings_by_case(cases, paths=("1.jpg", "2.jpg", "3.jpg"))
    assert ended == dict.fromkeys(cases, ["stored"] * 3)
    assert time.monotonic() - began < 5


@one_loop
async def test_a_rate_that_no_number_can_hold_ends_no_run() -> None:
    endless = site(text("User-agent: *\nRequest-rate: 1/1" + "0" * 400 + "\n"))
    with running_scripted({"127.0.0.2": endless, "127.0.0.3": site(NOT_FOUND)}) as server:
        ended = await endings([server.url(host, "a.jpg") for host in ("127.0.0.2", "127.0.0.3")], max_wait=0.1)
        assert ended[1] == "stored"


@one_loop
async def test_the_longest_delay_kept_is_ours_and_our_own_holds_where_it_is_longer() -> None:
    huge, rate, small = "127.0.0.2", "127.0.0.3", "127.0.0.4"
    scripts = {huge: delayed("99999"), rate: site(text("User-agent: *\nRequest-rate: 1/1d\n")), small: delayed("0.01")}
    with running_scripted(scripts) as server:
        urls = [server.url(host, f"{n}.jpg") for host in scripts for n in range(2)]
        assert set(await endings(urls, max_wait=0.4, delay=0.2)) == {"stored"}
        for host, seconds in ((huge, 0.4), (rate, 0.4), (small, 0.2)):
            assert min(gaps(server, host)) >= seconds - SHORTER
            assert max(gaps(server, host)) < seconds + 0.3


@one_loop
async def test_the_delay_of_one_host_is_not_that_of_the_host_a_redirect_leads_to() -> None:
    slow, quick = "127.0.0.2", "127.0.0.3"
    with running_scripted({slow: {}, quick: site([text("", status=503), text(RULES)])}) as server:
        away = moved(server.url(quick, "open.jpg"))
        server.tell(slow, site(text("User-agent: *\nCrawl-delay: 0.5\n"), away=away))

        async def listed() -> AsyncIterator[str]:
            yield server.url(slow, "away")
            await asyncio.to_thread(wait_until, lambda: server.log(quick), "a request")
            for number in range(8):
                yield server.url(quick, f"{number}.jpg")

        chosen = Settings.of(listed(), store="none", allow_private=True, workers=1)
        async with asyncio.timeout(LIMIT), Crawler(chosen) as run:
            assert (await run.finish()).stored == 9
        seen = [request.at for request in server.log(quick) if request.path not in ("/robots.txt", "/open.jpg")]
        assert max(seen) - min(seen) < 1.0, "eight pictures of a host that asks for no delay"


@one_loop
async def test_every_request_for_the_file_itself_keeps_the_pace_of_its_host() -> None:
    host = "127.0.0.2"
    with running_scripted({host: hops(2, RULES)}) as server:
        assert await endings([server.url(host, "open.jpg")], delay=0.2) == ["stored"]
        assert server.paths() == ["/robots.txt", "/hop1", "/hop2", "/open.jpg"]
        assert min(gaps(server)) >= 0.2 - SHORTER


@one_loop
async def test_more_hosts_than_are_remembered_at_once_are_all_crawled(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one host said was forgotten before its turn came again, and asked for anew, for ever."""
    monkeypatch.setattr("crawler.fetch.robots._REMEMBERED", 1)
    urls = [faults.url(f"tiny/{n}.jpg", host) for n in range(4) for host in faults.hosts]
    settings = Settings.of(urls, output=tmp_path, allow_private=True, concurrency=1)
    async with asyncio.timeout(LIMIT):
        async with Crawler(settings) as run:
            summary = await run.finish()
    assert (summary.stored, summary.missed) == (12, 0)
