"""robots.txt (RFC 9309): what each host allows, asked once before anything else, remembered for a day. Parsed by protego."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from crawler import urls
from crawler.clock import Clock
from crawler.model import Miss, Reason
from crawler.ports import RobotsMemory

if TYPE_CHECKING:
    from protego import Protego

LARGEST = 500 * 1024
"""Bytes of a robots.txt that are read (RFC 9309 2.5)."""
MOST_REDIRECTS = 5
GOOD_FOR = 24 * 3600.0
"""Seconds for which what a host said is good (RFC 9309 2.4)."""
_LARGE = 32 * 1024
"""Parsed in a thread from this size on."""
_REMEMBERED, _REMEMBERED_CHARACTERS = 16_384, 16_000_000
"""More hosts than can wait in memory (`WINDOW` of the frontier): what one said must be there when its turn comes."""


@dataclass(frozen=True, slots=True)
class RobotsFile:
    """What a host answered when it was asked for its robots.txt.

    Attributes:
        text: of the file; empty allows everything, also where there is no file (RFC 9309 2.3.1.3).
        seconds: for which the answer is good.
    """

    text: str
    seconds: float = GOOD_FOR


@dataclass(frozen=True, slots=True)
class Unreachable:
    """It could not be had: nothing is allowed (RFC 9309 2.3.1.4), for now.

    Attributes:
        final: it was the host that failed to serve the file, so asking for it again has an end; a host that cannot be
            connected to at all is given up elsewhere.
    """

    reason: Reason
    detail: str
    status: int = 0
    retry_after: float | None = None

    @property
    def final(self) -> bool:
        return self.reason is Reason.ROBOTS_UNREACHABLE


class Rules:
    """What one host allows us.

    Attributes:
        crawl_delay: seconds between two requests, 0 if it asks for none.
        unreachable: why nothing is allowed in this run; None if the file was had.
        recalled: nobody was asked for them: they were remembered.
    """

    __slots__ = ("_agent", "_parsed", "crawl_delay", "expires", "recalled", "size", "unreachable")

    def __init__(self, text: str, agent: str, expires: float, unreachable: Unreachable | None = None) -> None:
        self._agent = agent
        self.expires = expires
        self.unreachable = unreachable
        self.recalled = False
        self.size = len(text)
        self._parsed = _parsed(text, agent) if text.strip() else None
        self.crawl_delay = 0.0
        if self._parsed is not None:
            rate = self._parsed.request_rate(agent)
            by_rate = min(rate.seconds, 1e9) / max(rate.requests, 1) if rate else 0.0
            self.crawl_delay = max(float(self._parsed.crawl_delay(agent) or 0.0), by_rate)

    def allows(self, url: URL) -> bool:
        """True if we may ask for `url` (RFC 9309 2.2.2)."""
        return self._parsed is None or bool(self._parsed.can_fetch(str(url), self._agent))


def _parsed(text: str, agent: str) -> Protego:
    """Parse, as far as it can concern us: protego takes any name that ours begins with (RFC 9309 2.2.1 wants the same name),
    and the time it takes grows with names times rules. So all names but ours and `*` become one that nobody has.
    """
    from protego import Protego  # here, because most hosts have no rules

    lines = []
    for line in text.splitlines():
        found = _AGENT_LINE.match(line)
        named = found[1].partition("#")[0].strip().lower() if found else ""
        lines.append("User-agent: -" if found and named not in ("*", agent, f"{agent}*") else line)
    return Protego.parse("\n".join(lines))


_AGENT_LINE = re.compile(r"\s*user[- ]?agent(?:\s*:|\s)(.*)", re.IGNORECASE)


Read = Callable[[URL, Callable[[], None]], Awaitable[RobotsFile | Unreachable]]


class Robots:
    """The rules of all hosts of a run.

    Args:
        agent: our product name, which robots.txt is searched for (RFC 9309 2.2.1).
        read: asks a host for the file, and calls what it is given when the request has left.
        memory: what earlier runs were told.
        tries: how often a host is asked that fails to serve its file.
    """

    def __init__(self, agent: str, read: Read, memory: RobotsMemory, clock: Clock, tries: int) -> None:
        self._agent = agent
        self._read = read
        self._memory = memory
        self._clock = clock
        self._tries = tries
        self._known: OrderedDict[str, Rules] = OrderedDict()
        self._characters = 0
        self._failed: dict[str, int] = {}
        self._asking: dict[str, asyncio.Task[Rules | Unreachable]] = {}

    def known(self, url: URL) -> Rules | None:
        """The rules of the host of `url`, None if they have to be learned first."""
        found = self._known.get(urls.origin(url))
        if found is not None and found.expires <= self._clock.wall():
            return None
        return found

    async def learn(self, url: URL, left: Callable[[], None]) -> Rules | Unreachable:
        """Ask memory, then the host. Several who ask at once share one request; `left` is called when it has left."""
        origin = urls.origin(url)
        task = self._asking.get(origin)
        if task is None:
            task = self._asking[origin] = asyncio.create_task(self._learn(origin, left), name="crawler-robots")
            task.add_done_callback(lambda _: self._asking.pop(origin, None))
        return await asyncio.shield(task)  # who gives up waiting does not end it for the others

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._asking.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _learn(self, origin: str, left: Callable[[], None]) -> Rules | Unreachable:
        now = self._clock.wall()
        recalled = await self._memory.recall_robots(origin)
        if recalled is not None and recalled[1] > now:
            rules = self._keep(origin, await self._rules(*recalled))
            rules.recalled = True
            return rules
        answer = await self._read(URL(origin).with_path("/robots.txt"), left)
        if isinstance(answer, RobotsFile):
            self._failed.pop(origin, None)
            expires = now + min(answer.seconds, GOOD_FOR)
            if answer.seconds > 0:
                await self._memory.keep_robots(origin, answer.text, expires)
            # What must not be kept is still good for this run: a host is asked once.
            return self._keep(origin, await self._rules(answer.text, now + GOOD_FOR))
        if answer.reason is Reason.BLOCKED_ADDRESS:
            return self._keep(origin, Rules("", self._agent, now + GOOD_FOR, answer))
        if answer.final and answer.retry_after is None:
            self._failed[origin] = self._failed.get(origin, 0) + 1
            if self._failed[origin] >= self._tries:
                del self._failed[origin]
                return self._keep(origin, Rules("", self._agent, now + GOOD_FOR, answer))
        return answer

    async def _rules(self, text: str, expires: float) -> Rules:
        try:
            if len(text) > _LARGE:
                return await asyncio.to_thread(Rules, text, self._agent, expires)
            return Rules(text, self._agent, expires)
        except Exception as error:  # what a parser cannot read may mean anything
            why = Unreachable(Reason.ROBOTS_UNREACHABLE, f"robots.txt: cannot be read: {type(error).__name__}")
            return Rules("", self._agent, expires, why)

    def _keep(self, origin: str, rules: Rules) -> Rules:
        if before := self._known.pop(origin, None):
            self._characters -= before.size
        self._known[origin] = rules
        self._characters += rules.size
        while len(self._known) > 1 and (len(self._known) > _REMEMBERED or self._characters > _REMEMBERED_CHARACTERS):
            self._characters -= self._known.popitem(last=False)[1].size
        return rules


def product(agent: str) -> str:
    """The product name at the head of a User-Agent, in lower case: what robots.txt is searched for.

    >>> product("crawler/0.1 (+https://example.org)")
    'crawler'
    """
    return re.split(r"[\s/;(]", agent.strip(), maxsplit=1)[0].lower()


def decoded(body: bytes, whole: bool) -> str:
    """The text of a robots.txt; a file that was cut off ends with its last whole line."""
    if not whole:
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]
    for mark in (b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"):  # also half a byte order mark, as it is met
        body = body.removeprefix(mark)
    return body.decode("utf-8", "replace").replace("\0", "\ufffd")


def good_for(cache_control: str) -> float:
    """Seconds for which an answer with this Cache-Control may be kept (RFC 9111 5.2.2), at most a day."""
    words = [word.strip().lower() for word in cache_control.split(",")]
    if "no-store" in words or "no-cache" in words:
        return 0.0
    for word in words:
        name, _, value = word.partition("=")
        if name == "max-age" and value.strip('"').isdecimal() and value.isascii():
            return min(float(value.strip('"')[:9]), GOOD_FOR)
    return GOOD_FOR


def refusal(miss: Miss) -> Unreachable:
    """Why robots.txt could not be had, from the miss that asking for it ended in."""
    reason = miss.reason if miss.reason in _OWN_WORDS else Reason.ROBOTS_UNREACHABLE
    return Unreachable(reason, f"robots.txt: {miss.detail}", miss.status, miss.retry_after)


_OWN_WORDS = frozenset(
    {
        Reason.DNS, Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.TLS, Reason.PROXY,
        Reason.BLOCKED_ADDRESS, Reason.RATE_LIMITED,
    }
)  # fmt: skip
"""A host that nobody can connect to is called that, and not one whose robots.txt is missing."""
