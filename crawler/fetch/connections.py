"""Everything that a connection needs before the first request: resolver, guard, certificates, proxy; and aiohttp's connector
over them.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

from aiohttp import TCPConnector
from yarl import URL

from crawler.clock import Clock
from crawler.errors import SettingsError
from crawler.fetch.exchange import Exchange
from crawler.fetch.guard import BlockedAddress, Guard
from crawler.fetch.proxies import Proxies
from crawler.fetch.resolver import Resolver, lookup_for
from crawler.settings import FetchSettings
from crawler.stages import Histogram, Stopwatch

_HEADERS = {"Accept": "image/*,*/*;q=0.8", "Accept-Encoding": "identity"}
# Pictures are compressed already: asking for gzip costs both sides time and hides the length.

logger = logging.getLogger(__name__)


class Connections:
    """Opened and closed on the loop that uses it.

    Attributes:
        exchange: asks over them.

    Raises, on entering:
        SettingsError: a file of certificates cannot be used. MissingExtra: aiodns is asked for and not installed.
    """

    exchange: Exchange

    def __init__(self, settings: FetchSettings, clock: Clock, stopwatch: Stopwatch) -> None:
        self._settings = settings
        self._stopwatch = stopwatch
        self._clock = clock
        self.guard = Guard(settings.allow_private, settings.allow_net)
        self.proxies = Proxies(settings.proxy)

    async def __aenter__(self) -> Connections:
        certificates = await asyncio.to_thread(_certificates, self._settings)
        self._resolver = Resolver(lookup_for(self._settings), self.guard, self._clock, self._stopwatch.dns)
        try:
            await self._let_proxies_pass()
        except BaseException:
            await self._resolver.close()
            raise
        # limit=0: the frontier's slots are the limit, a second one inside the connector would only hide waiting.
        self._connector = _Connector(
            self._stopwatch.connect,
            self._clock,
            limit=0,
            use_dns_cache=False,  # the resolver has its own
            resolver=self._resolver,
            socket_factory=None if self.guard.open else self.guard.socket,
            ssl=certificates,
        )
        headers = _HEADERS | {"User-Agent": self._settings.agent}
        self.exchange = Exchange(self._connector, headers, self._settings.connect_timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connector.close()
        await self._resolver.close()

    def expect(self, url: URL) -> None:
        """`url` will be asked for soon: its name is looked up ahead."""
        host = url.raw_host or ""
        if not _is_address(host) and not (self.proxies and self.proxies.of(url)):
            self._resolver.expect(host)

    async def proxy_for(self, url: URL) -> URL | None:
        """The proxy that `url` is asked through, None for a direct connection. Where there are proxies, the address is
        checked here: a proxy makes the connection itself, so that only the name can be checked, as far as it is known
        here; and what is let pass for a proxy must not be reached as a target.

        Raises:
            BlockedAddress: it is, or stands for, an address that is not open.
        """
        proxy, host = self.proxies.of(url), url.raw_host or ""
        if self.guard.open:
            return proxy
        if _is_address(host):
            if not self.guard.permits(host):
                raise BlockedAddress(host)
        elif proxy is not None or self._resolver.trusts(host):
            try:
                entry = await self._resolver.entry(host)
            except OSError:
                return proxy
            refused = [address for _, address in entry.addresses if not self.guard.permits(address)]
            if refused:
                raise BlockedAddress(refused[0], host)
        return proxy

    async def _let_proxies_pass(self) -> None:
        """The user's own proxy is mostly at a private address: it is opened, and nothing else there."""
        for proxy in self.proxies.all():
            host, port = proxy.raw_host or "", proxy.port or 80
            entry = None if _is_address(host) else await self._resolver.entry(host)
            addresses = [host] if entry is None else [address for _, address in entry.addresses]
            for address in addresses:
                self.guard.exempt(address, port)
            if entry is not None:
                self._resolver.trust(host)


class _Connector(TCPConnector):
    """Tells how long each new connection took, TLS and all, once its name was known. A trace would tell it too, and cost
    every request that needs no new one.
    """

    def __init__(self, took: Histogram, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self._took = took
        self._clock = clock

    async def _wrap_create_connection(self, *args: Any, **options: Any) -> Any:
        began = self._clock.monotonic()
        made = await super()._wrap_create_connection(*args, **options)
        self._took.add(self._clock.monotonic() - began)
        return made


def _certificates(settings: FetchSettings) -> ssl.SSLContext | bool:
    if settings.insecure:
        logger.warning("the certificates of servers are not checked (--insecure)")
        return False
    if not settings.ca_file:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "holds no certificates in PEM form"
        raise SettingsError("ca_file", f"{settings.ca_file}: {reason}") from None
    return context


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
