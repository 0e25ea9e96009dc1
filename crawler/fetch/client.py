"""One request with every limit on it: a Visit becomes Fetched, Moved or a Miss. Redirects and robots.txt go back to the
frontier, so that every single request waits for its host's turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType

from multidict import CIMultiDict
from yarl import URL

from crawler import urls
from crawler.clock import Clock
from crawler.fetch.body import BodyRefused, read_body
from crawler.fetch.budget import ByteBudget, Ticket
from crawler.fetch.connections import Connections
from crawler.fetch.exchange import Response
from crawler.fetch.headers import RequestHeaders, conditional
from crawler.fetch.opt_out import directives, opted_out
from crawler.fetch.peek import Look, PagePeek, Peek, Unwanted
from crawler.fetch.retry_after import retry_after
from crawler.fetch.robots import (
    LARGEST,
    MOST_REDIRECTS,
    Robots,
    RobotsFile,
    Unreachable,
    decoded,
    good_for,
    product,
    refusal,
)
from crawler.fetch.speed import SpeedWatch
from crawler.fetch.translate import status_reason, translate
from crawler.model import Answer, Fetched, Miss, Moved, Postponed, Reason, Target, Unchanged, Visit
from crawler.page_kind import says_page
from crawler.ports import RobotsMemory
from crawler.settings import MB, FetchSettings
from crawler.stages import Stopwatch

_LEARNING = 0.1
"""Weight of one body in the running mean of their sizes."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Sent = Callable[[Visit], None]


class Client:
    """The Fetcher over HTTP. Opened and closed on the loop that uses it.

    Args:
        settings: limits, see `FetchSettings`. How many fetches are under way at once is for the caller to keep.
        memory: what hosts said in their robots.txt.
        unwanted: why a picture of some width and height is not taken, None if it is; None takes any.
        robots_tries: how often a host is asked for a robots.txt that it fails to serve.
        gap: seconds between two requests for the same robots.txt, where it redirects to its own host.
        stopwatch: is told how long names, connections, answers and bodies take.
        max_page_bytes: largest page, after decompression.

    Raises, on entering:
        SettingsError: a file that the settings name cannot be used.
    """

    def __init__(
        self,
        settings: FetchSettings,
        budget: ByteBudget,
        clock: Clock,
        memory: RobotsMemory,
        unwanted: Unwanted | None = None,
        robots_tries: int = 3,
        gap: float = 0.0,
        stopwatch: Stopwatch | None = None,
        max_page_bytes: int = 10 * MB,
    ) -> None:
        self._max_page_bytes = max_page_bytes
        self._gap = gap
        self._settings = settings
        self._budget = budget
        self._clock = clock
        self._agent = product(settings.agent)
        self._headers = RequestHeaders(settings)
        self._stopwatch = stopwatch or Stopwatch()
        self._connections = Connections(settings, clock, self._stopwatch)
        self._unwanted = unwanted
        self._robots = Robots(self._agent, self._read_robots, memory, clock, robots_tries) if settings.robots else None
        self._tickets: dict[int, Ticket] = {}
        self._typical = 1e6  # until the first bodies tell
        self._watch = SpeedWatch(settings.min_speed, clock)

    async def __aenter__(self) -> Client:
        await asyncio.to_thread(self._headers.load)
        await self._connections.__aenter__()
        self._watch.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._watch.stop()
        if self._robots is not None:
            await self._robots.close()
        await self._connections.__aexit__(kind, error, trace)

    def expect(self, visit: Visit) -> None:
        self._connections.expect(urls.parse(visit.url))

    async def fetch(self, visit: Visit, sent: Sent) -> Answer:
        """Make the next request for a target: its host's robots.txt if that is not known yet, else its own.

        Never raises for what a server or a network does.
        """
        if self._robots is not None:
            answer = await self._may(self._robots, visit, sent)
            if answer is not None:
                return answer
        ticket = self._budget.ticket()
        try:
            # As much as bodies take here, before asking: who waits for memory then waits without a connection.
            expected = min(round(self._typical), self._budget.capacity)
            if not ticket.try_hold(expected):
                await ticket.hold(expected)
            outcome = await self._fetch(visit, ticket, sent)
        except BaseException:
            ticket.close()
            raise
        if isinstance(outcome, Fetched):
            self._typical += (len(outcome.body) - self._typical) * _LEARNING
            self._tickets[visit.target.index] = ticket
        else:
            ticket.close()
        return outcome

    def done(self, fetched: Fetched) -> None:
        if ticket := self._tickets.pop(fetched.target.index, None):
            ticket.close()

    # One request.

    async def _fetch(self, visit: Visit, ticket: Ticket, sent: Sent) -> Answer:
        target = visit.target
        began = self._clock.monotonic()
        deadline = asyncio.timeout(max(0.0, self._settings.timeout - visit.spent))
        try:
            async with deadline:
                answer = await self._get(visit, ticket, deadline, sent)
        except TimeoutError as error:
            if deadline.expired():
                status = 200 if visit.latency is not None else 0
                words = f"not done after {self._settings.timeout:g} s"
                return self._watch.verdict(target) or Miss(target, Reason.TIMEOUT, words, status, _elsewhere(visit))
            return Miss(target, Reason.CONNECT_TIMEOUT, str(error) or "no connection in time", 0, _elsewhere(visit))
        except BodyRefused as error:
            return Miss(target, error.reason, str(error), 200, _elsewhere(visit))
        except Exception as error:  # whatever a server provokes is a miss, also what aiohttp lets through
            return Miss(target, *translate(error), 0, _elsewhere(visit))
        visit.spent += self._clock.monotonic() - began
        return answer

    async def _get(self, visit: Visit, ticket: Ticket, deadline: asyncio.Timeout, sent: Sent) -> Answer:
        began = self._clock.monotonic()
        target, url = visit.target, urls.parse(visit.url)
        proxy = await self._proxy(url)
        with await self._request(visit, url, sent, self._headers.of(visit, url), proxy) as response:
            visit.latency = self._clock.monotonic() - visit.sent_at
            if response.status != 200:
                return self._other_status(visit, url, response)
            content_type = urls.as_text(response.headers.get("Content-Type", ""))
            may_be_page = target.readable and not content_type.lower().startswith("image/")
            asked = not may_be_page and not self._settings.ignore_x_robots
            if asked and (said := opted_out(response.headers, self._agent)):
                return Miss(target, Reason.OPTED_OUT, said, 200, _elsewhere(visit))
            most = self._settings.max_bytes
            peek: Look | None
            if may_be_page and target.found is not None:
                peek = PagePeek(target.found.kind, content_type, self._unwanted)
                most = min(most, self._max_page_bytes) if says_page(content_type) else most
            else:
                peek = Peek.wanted(content_type, self._unwanted)
            with self._watch.reading(target, response, deadline):
                body = await read_body(response, most, ticket, deadline, peek)
            now = self._clock.monotonic()
            self._stopwatch.first_byte.add(visit.latency)
            self._stopwatch.body.add(now - visit.sent_at - visit.latency)
            etag, changed = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
            return Fetched(
                target, body, urls.masked(str(url)), 200, content_type, self._clock.wall(), now - began,
                urls.as_text(etag)[:200], urls.as_text(changed)[:60],
                directives(response.headers, self._agent) if may_be_page else (),
            )  # fmt: skip

    async def _proxy(self, url: URL) -> URL | None:
        """The proxy for a request, after its address has been checked as far as that can be done here."""
        return await self._connections.proxy_for(url) if self._connections.proxies else None

    async def _request(
        self, visit: Visit, url: URL, sent: Sent, headers: CIMultiDict[str] | None, proxy: URL | None
    ) -> Response:
        """One GET, without following redirects. Credentials are among the headers, so they are not in the address. A host with
        a pace must not be asked twice at once.
        """
        left = partial(self._left, visit, sent)
        return await self._connections.exchange.get(url, headers, proxy, left, not visit.paced)

    def _left(self, visit: Visit, sent: Sent) -> None:
        visit.sent_at = self._clock.monotonic()
        sent(visit)

    def _other_status(self, visit: Visit, url: URL, response: Response) -> Answer:
        target, status, final_url = visit.target, response.status, _elsewhere(visit)
        detail = f"HTTP {status} {urls.as_text(response.reason or '')}".rstrip()
        if status == 304 and conditional(visit):
            return Unchanged(target)
        if 300 <= status < 400:
            where = response.headers.get("Location")
            if where is None:
                detail += " without Location"
            elif status in _REDIRECTS:
                self._headers.remember(visit, url, response.headers)
                return self._moved(visit, url, urls.as_text(where), status)
        if status == 407 and self._connections.proxies and self._connections.proxies.of(url):
            return Miss(target, Reason.PROXY, "the proxy wants a user and a password", 407, final_url)
        wait = retry_after(response.headers.get("Retry-After", ""), self._clock.wall())
        return Miss(target, status_reason(status), detail, status, final_url, wait if _may_come_again(status) else None)

    def _moved(self, visit: Visit, url: URL, where: str, status: int) -> Answer:
        """Where a redirect leads: to the frontier again, for it may be another host."""
        target, most = visit.target, self._settings.max_redirects
        shown = urls.masked(where)
        if not most:
            return Miss(target, Reason.REDIRECT, f"HTTP {status} to {shown}, redirects are off", status)
        if visit.redirects >= most:
            detail = f"more than {most} redirects, the last to {urls.masked(str(url))}"
            return Miss(target, Reason.REDIRECT, detail, status, urls.masked(str(url)))
        try:
            next_url = urls.join(url, where)
            parsed = urls.parse(next_url)
        except urls.BadURL as error:
            return Miss(target, Reason.REDIRECT, f"HTTP {status} to {shown}: {error}", status, _elsewhere(visit))
        visit.redirects += 1
        return Moved(target, next_url, urls.host_key(parsed))

    # robots.txt.

    async def _may(self, robots: Robots, visit: Visit, sent: Sent) -> Answer | None:
        """Why a visit is not made now: its host's rules have to be read first, or say no. None if it may be made."""
        url = urls.parse(visit.url)
        rules = robots.known(url)
        if rules is None:
            learned = await robots.learn(url, partial(self._left, visit, sent))
            if isinstance(learned, Unreachable):
                final_url = _elsewhere(visit)
                return Miss(
                    visit.target, learned.reason, learned.detail, learned.status, final_url, learned.retry_after
                )
            visit.crawl_delay = learned.crawl_delay
            if not learned.recalled:
                return Postponed(visit.target)
            rules = learned
        visit.crawl_delay = rules.crawl_delay
        if rules.unreachable is not None:
            why = rules.unreachable
            return Miss(visit.target, why.reason, why.detail, why.status, _elsewhere(visit), asked=False)
        if not rules.allows(url):
            detail = f"robots.txt of {url.raw_host} does not allow it for {self._agent}"
            return Miss(visit.target, Reason.ROBOTS, detail, 0, _elsewhere(visit), asked=False)
        return None

    async def _read_robots(self, url: URL, left: Callable[[], None]) -> RobotsFile | Unreachable:
        """Ask for a robots.txt, with its redirects (RFC 9309 2.3.1)."""
        visit = Visit(Target(-1, str(url)), paced=True)
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._ask_robots(visit, left)
            if not isinstance(answer, Moved):
                return answer
            if urls.origin(urls.parse(answer.url)) == urls.origin(urls.parse(visit.url)):
                await self._clock.sleep(self._gap)
            visit.url = answer.url
        return RobotsFile("")  # as if there were none (2.3.1.2)

    async def _ask_robots(self, visit: Visit, left: Callable[[], None]) -> RobotsFile | Unreachable | Moved:
        try:
            async with asyncio.timeout(self._settings.timeout):
                url = urls.parse(visit.url)
                headers = self._headers.of(visit, url, robots=True)
                with await self._request(visit, url, lambda _: left(), headers, await self._proxy(url)) as response:
                    return await self._robots_answer(visit, url, response)
        except TimeoutError as error:
            words = str(error) or f"no answer after {self._settings.timeout:g} s"
            reason = Reason.CONNECT_TIMEOUT if str(error) else Reason.TIMEOUT
            return refusal(Miss(visit.target, reason, words))
        except Exception as error:
            return refusal(Miss(visit.target, *translate(error)))

    async def _robots_answer(self, visit: Visit, url: URL, response: Response) -> RobotsFile | Unreachable | Moved:
        status = response.status
        seconds = good_for(", ".join(response.headers.getall("Cache-Control", [])))
        if status in _REDIRECTS and "Location" in response.headers:
            try:
                return Moved(visit.target, str(urls.parse(urls.join(url, response.headers["Location"]))), "")
            except urls.BadURL:
                return RobotsFile("", seconds)
        if status == 200:
            body = await _read_at_most(response, LARGEST)
            if len(body) > LARGEST and "Content-Encoding" in response.headers:
                why = f"robots.txt: more than {LARGEST} bytes after decompression"
                return Unreachable(Reason.ROBOTS_UNREACHABLE, why, status)
            return RobotsFile(decoded(body[:LARGEST], len(body) <= LARGEST), seconds)
        if status == 429 or status >= 500:
            miss = self._other_status(visit, url, response)
            assert isinstance(miss, Miss)
            return refusal(miss)
        return RobotsFile("", seconds)  # unavailable: everything is allowed (2.3.1.3)


async def _read_at_most(response: Response, most: int) -> bytes:
    """At most one byte more than `most`, to see whether there is more."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            return bytes(body[: most + 1])
    return bytes(body)


def _elsewhere(visit: Visit) -> str:
    """Where a visit was when it failed, if that is not its target's own address."""
    return urls.masked(visit.url) if visit.redirects else ""


def _may_come_again(status: int) -> bool:
    return status in (425, 429) or status >= 500
