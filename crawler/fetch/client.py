"""One GET with every limit on it: a Target becomes Fetched or a Miss. Every error of aiohttp is translated here."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType

import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector

from crawler import urls
from crawler.clock import Clock
from crawler.fetch.body import BodyRefused, read_body
from crawler.fetch.budget import ByteBudget, Ticket
from crawler.fetch.guard import BlockedAddress, PublicResolver, public_socket
from crawler.fetch.retry_after import retry_after
from crawler.fetch.speed import BrokenOff, SpeedWatch
from crawler.model import Fetched, Miss, Reason, Target
from crawler.settings import FetchSettings

_DNS_CACHE_SECONDS = 300
_LEARNING = 0.1
"""Weight of one body in the running mean of their sizes."""
_HEADERS = {"Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}
# Pictures are compressed already: asking for gzip costs both sides time and hides the length.


class Client:
    """The Fetcher over HTTP. Opened and closed on the loop that uses it.

    Args:
        settings: limits, see `FetchSettings`. How many fetches are under way at once is for the caller to keep.
    """

    def __init__(self, settings: FetchSettings, budget: ByteBudget, clock: Clock) -> None:
        self._settings = settings
        self._budget = budget
        self._clock = clock
        self._tickets: dict[int, Ticket] = {}
        self._typical = 1e6  # until the first bodies tell
        self._watch = SpeedWatch(settings.min_speed, clock)
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = ClientSession(
            connector=self._connector(),
            headers=_HEADERS | {"User-Agent": self._settings.user_agent},
            timeout=ClientTimeout(total=None, sock_connect=self._settings.connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._watch.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._watch.stop()
        if self._session is not None:
            await self._session.close()

    def _connector(self) -> TCPConnector:
        # limit=0: the frontier's slots are the limit, a second one inside the connector would only hide waiting.
        if self._settings.allow_private:
            return TCPConnector(limit=0, ttl_dns_cache=_DNS_CACHE_SECONDS)
        resolver = PublicResolver(aiohttp.DefaultResolver())
        return TCPConnector(limit=0, ttl_dns_cache=_DNS_CACHE_SECONDS, resolver=resolver, socket_factory=public_socket)

    async def fetch(self, target: Target) -> Fetched | Miss:
        """Ask once for the target. Never raises for what a server or a network does."""
        ticket = self._budget.ticket()
        try:
            # As much as bodies take here, before asking: who waits for memory then waits without a connection.
            await ticket.hold(min(round(self._typical), self._budget.capacity))
            outcome = await self._fetch(target, ticket)
        except BaseException:
            ticket.close()
            raise
        if isinstance(outcome, Fetched):
            self._typical += (len(outcome.body) - self._typical) * _LEARNING
            self._tickets[target.index] = ticket
        else:
            ticket.close()
        return outcome

    def done(self, fetched: Fetched) -> None:
        if ticket := self._tickets.pop(fetched.target.index, None):
            ticket.close()

    async def _fetch(self, target: Target, ticket: Ticket) -> Fetched | Miss:
        deadline = asyncio.timeout(self._settings.timeout)
        try:
            async with deadline:
                return await self._get(target, ticket, deadline)
        except TimeoutError as error:
            if deadline.expired():
                return self._watch.verdict(target) or _miss(
                    target, Reason.TIMEOUT, f"not done after {self._settings.timeout:g} s"
                )
            return _miss(target, Reason.CONNECT_TIMEOUT, str(error) or "no connection in time")
        except BodyRefused as error:
            return _miss(target, error.reason, str(error))
        except Exception as error:  # whatever a server provokes is a miss, also what aiohttp lets through
            return _miss(target, *translate(error))

    async def _get(self, target: Target, ticket: Ticket, deadline: asyncio.Timeout) -> Fetched | Miss:
        assert self._session is not None, "the client is not open"
        began = self._clock.monotonic()
        url, redirects = urls.parse(target.url), self._settings.max_redirects
        # aiohttp counts the answer that redirects too often as a redirect, so its limit is one more than ours.
        async with self._session.get(url, allow_redirects=redirects > 0, max_redirects=redirects + 1) as response:
            if response.status != 200:
                return self._status_miss(target, response)
            with self._watch.reading(target, response, deadline):
                body = await read_body(response, self._settings.max_bytes, ticket, deadline)
            return Fetched(
                target=target,
                body=body,
                final_url=str(response.url),
                status=response.status,
                content_type=urls.as_text(response.headers.get("Content-Type", "")),
                fetched_at=self._clock.wall(),
                seconds=self._clock.monotonic() - began,
            )

    def _status_miss(self, target: Target, response: ClientResponse) -> Miss:
        status = response.status
        final_url = str(response.url) if response.history else ""
        detail = f"HTTP {status} {urls.as_text(response.reason or '')}".rstrip()
        if 300 <= status < 400:
            where = response.headers.get("Location")
            detail += " without Location" if where is None else f" to {urls.as_text(where)}, redirects are off"
        wait = retry_after(response.headers.get("Retry-After", ""), self._clock.wall())
        return Miss(target, status_reason(status), detail, status, final_url, wait)


def status_reason(status: int) -> Reason:
    """The reason behind an HTTP status that is not 200 (RFC 9110 15)."""
    if status in (404, 410):
        return Reason.NOT_FOUND
    if status in (401, 402, 403, 407, 451):
        return Reason.FORBIDDEN
    if status in (425, 429):
        return Reason.RATE_LIMITED
    if status == 408 or 500 <= status < 600:
        return Reason.SERVER_ERROR
    if 300 <= status < 400:
        return Reason.REDIRECT
    return Reason.HTTP_STATUS


def translate(error: Exception) -> tuple[Reason, str]:
    """The reason and the words for an exception met while fetching."""
    cause = getattr(error, "os_error", error)  # the connector wraps what our guard raises
    if isinstance(cause, BlockedAddress):
        return Reason.BLOCKED_ADDRESS, str(cause)
    for kinds, reason in _TRANSLATION:
        if isinstance(error, kinds):
            return reason, _words(error)
    return Reason.BAD_HTTP, _words(error)


_TRANSLATION: list[tuple[type[Exception] | tuple[type[Exception], ...], Reason]] = [
    # Order matters: the narrow kinds of aiohttp come before those they inherit from.
    ((urls.BadURL, UnicodeError), Reason.BAD_URL),
    (aiohttp.TooManyRedirects, Reason.REDIRECT),
    (aiohttp.RedirectClientError, Reason.REDIRECT),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), Reason.BAD_URL),
    (aiohttp.ServerTimeoutError, Reason.CONNECT_TIMEOUT),
    ((aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError), Reason.TLS),
    (aiohttp.ClientConnectorDNSError, Reason.DNS),
    (aiohttp.ClientConnectorError, Reason.CONNECT),
    (BrokenOff, Reason.BAD_HTTP),
    (aiohttp.ClientPayloadError, Reason.INCOMPLETE),
    # Protocol faults reach us as a response error with a status that the server never sent.
    (aiohttp.ClientResponseError, Reason.BAD_HTTP),
    ((aiohttp.ClientConnectionError, ConnectionError), Reason.RESET),
    (OSError, Reason.CONNECT),
]


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.TooManyRedirects):
        return f"more than {len(error.history) - 1} redirects, the last to {error.request_info.url}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before it had answered"
    cause = error.__cause__ if isinstance(error, aiohttp.ClientPayloadError) else error
    text = getattr(cause, "message", "") or str(error) or type(error).__name__
    return " ".join(urls.as_text(text).split())


def _miss(target: Target, reason: Reason, detail: str) -> Miss:
    return Miss(target, reason, detail)
