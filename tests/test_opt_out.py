"""Pictures whose server does not want them taken (X-Robots-Tag, tdm-reservation): not stored, and not even read."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from crawler import Crawler, Outcome, Reason, Settings
from crawler.fetch.opt_out import opted_out
from tests.servers.scripted import JPEG, NOT_FOUND, Reply, picture, running_scripted, text

LIMIT: Final = 30.0
HOST: Final = "127.0.0.2"
LARGE: Final = 30_000_000
LITTLE: Final = 4_000_000
"""More than a connection can hold between a server and a client that does not read."""

DATE: Final = "Friday, 25-Jun-10 15:00:00 PST"
# Values of X-Robots-Tag, one for each header, and the rule that keeps the picture from being taken.
TAGS: Final[list[tuple[tuple[str, ...], str | None]]] = [
    (("noindex",), "noindex"),
    (("noimageindex",), "noimageindex"),
    (("noai",), "noai"),
    (("noimageai",), "noimageai"),
    (("none",), "none"),
    ((), None),
    (("",), None),
    (("all",), None),
    (("nofollow", "noarchive, nosnippet, notranslate"), None),
    (("noindexes, xnoai, no ai, no-ai",), None),
    # as it may be written
    (("NoIndex",), "noindex"),
    (("  NOAI  ",), "noai"),
    (("nofollow,noimageai",), "noimageai"),
    (("nofollow ,\tnoai ,",), "noai"),
    (("nofollow", "noarchive", "noai"), "noai"),
    # for somebody
    (("crawler: noindex",), "noindex"),
    (("Crawler:noai",), "noai"),
    (("crawler : nofollow, noai",), "noai"),
    (("*: noai",), "noai"),
    (("googlebot: noindex",), None),
    (("googlebot: noindex, noai",), None),
    (("googlebot: noindex", "noai"), "noai"),
    (("googlebot: noindex, noai", "crawler: nofollow"), None),
    (("googlebot: noindex, noai", "crawler: noimageai"), "noimageai"),
    (("googlebot: noindex, crawler: noai",), "noai"),
    (("crawler: nofollow, googlebot: noindex",), None),
    (("crawlers: noai",), None),
    (("mycrawler: noai",), None),
    # rules that have a colon or a comma of their own
    (("max-image-preview: large",), None),
    (("max-image-preview: none",), None),
    (("max-image-preview: large, noai",), "noai"),
    (("max-snippet:-1, max-video-preview:-1, noindex",), "noindex"),
    (("unavailable_after: 25 Jun 2010 15:00:00 PST",), None),
    (("unavailable_after: 25 Jun 2010 15:00:00 PST, noai",), "noai"),
    (("unavailable_after: 2010-06-25T15:00:00+00:00, noai",), "noai"),
    ((f"unavailable_after: {DATE}",), None),
    ((f"unavailable_after: {DATE}, noai",), "noai"),
    ((f"noai, unavailable_after: {DATE}",), "noai"),
    ((f"unavailable_after: {DATE}", "noai"), "noai"),
    ((f"crawler: unavailable_after: {DATE}, noai",), "noai"),
    ((f"googlebot: unavailable_after: {DATE}, noai",), None),
    ((f"googlebot: unavailable_after: {DATE}, noai, crawler: noindex",), "noindex"),
    ((f"googlebot: max-image-preview: large, noai, unavailable_after: {DATE}",), None),
]


def headers(*values: str, **others: str) -> CIMultiDictProxy[str]:
    """The headers of an answer, as aiohttp has them."""
    pairs = [*(("X-Robots-Tag", value) for value in values), *((key.replace("_", "-"), others[key]) for key in others)]
    return CIMultiDictProxy(CIMultiDict(pairs))


def test_x_robots_tag() -> None:
    said = {" | ".join(values): opted_out(headers(*values), "crawler") for values, _ in TAGS}
    assert said == {" | ".join(values): rule and f"X-Robots-Tag: {rule}" for values, rule in TAGS}


def test_tdm_reservation() -> None:
    for value, refused in (("1", True), (" 1 ", True), ("0", False), ("", False), ("2", False), ("11", False)):
        assert (opted_out(headers(tdm_reservation=value), "crawler") is not None) == refused, value
        assert (opted_out(headers("noarchive", TDM_Reservation=value), "crawler") is not None) == refused, value


@pytest.mark.parametrize("agent", ["", "*", "none", "unavailable_after"])
def test_an_odd_agent_is_no_way_around_what_is_said_to_all(agent: str) -> None:
    assert opted_out(headers("noai"), agent) == "X-Robots-Tag: noai"


words = st.sampled_from(
    ["noindex", "noai", "crawler", "googlebot", ":", ",", " ", "*", "unavailable_after", "\udcff", "\0"]
)


@given(st.lists(st.text() | st.lists(words).map("".join), max_size=4), st.text(), st.text())
@example([":"], "", ":")
@example([",,:,:,::"], "*", "\udcff")
def test_no_header_makes_it_raise(values: list[str], agent: str, reservation: str) -> None:
    found = opted_out(headers(*values, tdm_reservation=reservation), agent)
    assert found is None or found.isprintable()
    assert (found is None) <= ("noai" not in values), "what is said alone is always heard"


# Through a run ------------------------------------------------------------------------------------


async def crawled(urls: list[str], **chosen: Any) -> list[Outcome]:
    """How each URL ended, in their order."""
    found: dict[int, Outcome] = {}
    settings = Settings.of(urls, **{"store": "none", "allow_private": True, "workers": 1, "size": 32} | chosen)
    async with asyncio.timeout(LIMIT), Crawler(settings) as run:
        async for outcome in run:
            found[outcome.target.index] = outcome
    return [found[index] for index in sorted(found)]


def name(outcome: Outcome) -> str:
    return outcome.miss.reason.value if outcome.miss else "stored"


CASES: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "noai": (("X-Robots-Tag: NoAI",), "opted_out"),
    "lower": (("x-robots-tag: noindex",), "opted_out"),
    "repeated": (("X-Robots-Tag: nofollow", "X-Robots-Tag: noimageai"), "opted_out"),
    "ours": (("X-Robots-Tag: googlebot: all", "X-Robots-Tag: crawler: noindex"), "opted_out"),
    "others": (("X-Robots-Tag: googlebot: noindex, noai",), "stored"),
    "reserved": (("tdm-reservation: 1",), "opted_out"),
    "policy": (("TDM-Reservation: 1", "tdm-policy: https://h/p.json"), "opted_out"),
    "not-reserved": (("tdm-reservation: 0",), "stored"),
    "bytes": (("X-Robots-Tag: \udcff\udcfe, noai",), "opted_out"),
    "nothing": ((), "stored"),
}


async def test_what_a_server_says_decides() -> None:
    script = {f"/{case}": picture(JPEG, *lines) for case, (lines, _) in CASES.items()}
    with running_scripted({HOST: {"/robots.txt": NOT_FOUND, **script}}) as server:
        urls = [server.url(HOST, case) for case in CASES]
        found = await crawled(urls)
        assert dict(zip(CASES, map(name, found), strict=True)) == {case: ending for case, (_, ending) in CASES.items()}
        assert not Reason.OPTED_OUT.later
        missed = found[0].miss
        assert missed is not None
        assert (missed.status, missed.detail) == (200, "X-Robots-Tag: noai")
        assert set(map(name, await crawled(urls, ignore_x_robots=True))) == {"stored"}


async def test_another_name_is_told_other_things() -> None:
    script = {"/a": picture(JPEG, "X-Robots-Tag: mybot: noai"), "/b": picture(JPEG, "X-Robots-Tag: crawler: noai")}
    with running_scripted({HOST: {"/robots.txt": NOT_FOUND, **script}}) as server:
        found = await crawled([server.url(HOST, "a"), server.url(HOST, "b")], user_agent="MyBot/3 (x)")
        assert [name(outcome) for outcome in found] == ["opted_out", "stored"]


async def test_only_what_is_said_of_the_picture_itself_counts() -> None:
    """Not of the redirect to it, of a failure, or of robots.txt."""
    tag = "X-Robots-Tag: noindex"
    script = {
        "/robots.txt": text("User-agent: *\nDisallow:\n", tag),
        "/moved": Reply(headers=(tag, "Location: /there"), status=302),
        "/missing": text("", tag, status=404),
        "/there": picture(),
    }
    with running_scripted({HOST: script}) as server:
        found = await crawled([server.url(HOST, path) for path in ("moved", "missing")])
        assert [name(outcome) for outcome in found] == ["stored", "not_found"]


@pytest.mark.parametrize("line", ["X-Robots-Tag: noai", "tdm-reservation: 1"])
async def test_the_body_is_not_read(line: str) -> None:
    script = {"/large": picture(JPEG, line, zeros=LARGE), "/after": picture()}
    with running_scripted({HOST: {"/robots.txt": NOT_FOUND, **script}}) as server:
        found = await crawled([server.url(HOST, "large"), server.url(HOST, "after")], per_host=1)
        assert [name(outcome) for outcome in found] == ["opted_out", "stored"]
        assert found[0].bytes_fetched == 0
        assert await asyncio.to_thread(server.sent, "/large") < LITTLE
