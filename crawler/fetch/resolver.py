"""Names to addresses without a name server of one's own: a cache in this process, a bound on lookups under way, a few
tries for what fails for the moment, and names looked up ahead of their fetch.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp.abc import AbstractResolver, ResolveResult

from crawler.clock import Clock
from crawler.errors import MissingExtra
from crawler.fetch.guard import BlockedAddress, Guard
from crawler.settings import FetchSettings
from crawler.stages import Histogram

AT_ONCE = 32
"""Lookups under way at once."""
AHEAD = 16
"""Of those, lookups ahead of a fetch."""
LEAST_SECONDS, MOST_SECONDS = 30.0, 3600.0
"""A name is good for as long as its server says, within these bounds."""
UNKNOWN_SECONDS = 300.0
"""The same where nobody says, as with the system's resolver."""
MISSING_SECONDS = 60.0
"""A name that does not exist is not asked for again for so long."""
FAILED_SECONDS = 5.0
"""The same for one whose servers failed, after all tries."""
PAUSES = (0.2, 0.6)
"""Seconds before a lookup that failed for the moment is tried again."""
_REMEMBERED = 8192
_MOST_AHEAD = 8192

Address = tuple[socket.AddressFamily, str]


class NameMissing(OSError):
    """The name does not exist, or has no address."""


class LookupFailed(OSError):
    """Nobody could say; it may work in a moment."""


class Lookup(Protocol):
    """Asks somebody who knows."""

    async def look_up(self, name: str) -> tuple[Sequence[Address], float | None]:
        """Addresses of a name, and for how many seconds they are good if that is known.

        Raises:
            NameMissing, LookupFailed
        """
        ...

    async def close(self) -> None: ...


class SystemLookup:
    """The system's resolver, in threads of its own: slow names must not keep file work waiting."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "crawler-dns")

    async def look_up(self, name: str) -> tuple[Sequence[Address], float | None]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _getaddrinfo, name), None

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)


def _getaddrinfo(name: str) -> Sequence[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        kind = LookupFailed if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL) else NameMissing
        raise kind(None, error.strerror or str(error)) from None
    except (UnicodeError, ValueError) as error:
        raise NameMissing(None, str(error)) from None
    return [(family, str(address[0])) for family, _, _, _, address in found]


class AiodnsLookup:
    """aiodns (c-ares): no threads, and it tells how long an answer is good for.

    Raises:
        MissingExtra: it is not installed.
    """

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        try:
            import aiodns
        except ImportError:
            raise MissingExtra("resolver", 'aiodns is not installed: python -m pip install "crawler[dns]"') from None
        self._error = aiodns.error.DNSError
        self._missing = (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA)
        self._resolver = aiodns.DNSResolver(nameservers=list(name_servers) or None, timeout=3.0, tries=2)

    async def look_up(self, name: str) -> tuple[Sequence[Address], float | None]:
        try:
            found = await self._resolver.getaddrinfo(name, socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except self._error as error:
            code, words = (*error.args, "")[:2]
            raise (NameMissing if code in self._missing else LookupFailed)(None, str(words)) from None
        nodes = [node for node in found.nodes if node.family in (socket.AF_INET, socket.AF_INET6)]
        addresses = [(socket.AddressFamily(node.family), node.addr[0].decode()) for node in nodes]
        return addresses, float(min((node.ttl for node in nodes), default=0))

    async def close(self) -> None:
        await self._resolver.close()


@dataclass(slots=True)
class _Entry:
    addresses: Sequence[Address]
    error: OSError | None
    expires: float
    turn: int = 0


class Resolver(AbstractResolver):
    """What the connector asks. Gives only addresses that the guard permits, so that a refusal can name the host.

    Args:
        took: is told how long look-ups take, tries and all.
    """

    def __init__(self, lookup: Lookup, guard: Guard, clock: Clock, took: Histogram | None = None) -> None:
        self._lookup = lookup
        self._took = took or Histogram()
        self._guard = guard
        self._clock = clock
        self._known: OrderedDict[str, _Entry] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Entry]] = {}
        self._ahead: deque[str] = deque()
        self._ahead_now = 0
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._trusted: set[str] = set()

    def trust(self, name: str) -> None:
        """Give this name's addresses whatever they are: the user's own proxy. The guard still looks at the connection."""
        self._trusted.add(name)

    def trusts(self, name: str) -> bool:
        """True for a name that `trust` was told."""
        return name in self._trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        entry = await self.entry(host)
        if entry.error is not None:
            raise type(entry.error)(None, entry.error.strerror)
        trusted = host in self._trusted
        allowed = [(kind, address) for kind, address in entry.addresses if trusted or self._guard.permits(address)]
        if not allowed:
            raise BlockedAddress(entry.addresses[0][1], host)
        allowed = [one for one in allowed if family in (socket.AF_UNSPEC, one[0])]
        if not allowed:
            raise NameMissing(None, "no address of this family")
        entry.turn = (entry.turn + 1) % len(allowed)  # every address of a name in its turn
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, address in (*allowed[entry.turn :], *allowed[: entry.turn])
        ]  # fmt: skip

    async def entry(self, name: str) -> _Entry:
        """What is known of a name, looked up if need be; several who ask at once share one lookup."""
        if (found := self._fresh(name)) is not None:
            return found
        # Who gives up waiting does not end the lookup: others may wait for it.
        return await asyncio.shield(self._ask(name))

    def expect(self, name: str) -> None:
        """This name will be asked for soon. Never waits; what is too much is left for later."""
        if name in self._asking or self._fresh(name) is not None:
            return
        if self._ahead_now >= AHEAD:
            if len(self._ahead) < _MOST_AHEAD:
                self._ahead.append(name)
            return
        self._ahead_now += 1
        self._ask(name).add_done_callback(self._next_ahead)

    async def close(self) -> None:
        self._ahead.clear()
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._lookup.close()

    def _fresh(self, name: str) -> _Entry | None:
        """What is known of a name and still good."""
        found = self._known.get(name)
        return found if found is not None and found.expires > self._clock.monotonic() else None

    def _next_ahead(self, _: object) -> None:
        self._ahead_now -= 1
        while self._ahead and self._ahead_now < AHEAD:
            self.expect(self._ahead.popleft())

    def _ask(self, name: str) -> asyncio.Task[_Entry]:
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._look_up(name), name="crawler-dns")
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return task

    async def _look_up(self, name: str) -> _Entry:
        addresses: Sequence[Address] = ()
        problem: OSError | None = None
        told: float | None = None
        async with self._slots:
            began = self._clock.monotonic()
            for pause in (*PAUSES, None):
                try:
                    addresses, told = await self._lookup.look_up(name)
                    problem = None if addresses else NameMissing(None, "no address")
                    break
                except NameMissing as error:
                    problem = error
                    break
                except Exception as error:
                    problem = error if isinstance(error, LookupFailed) else LookupFailed(None, str(error))
                    if pause is not None:
                        await self._clock.sleep(pause)
            self._took.add(self._clock.monotonic() - began)
        entry = self._known[name] = _Entry(addresses, problem, self._clock.monotonic() + _good_for(problem, told))
        self._known.move_to_end(name)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return entry


def _good_for(problem: OSError | None, told: float | None) -> float:
    """Seconds for which the end of a lookup is good; `told` is what its server said."""
    if problem is not None:
        return MISSING_SECONDS if isinstance(problem, NameMissing) else FAILED_SECONDS
    return UNKNOWN_SECONDS if told is None else min(max(told, LEAST_SECONDS), MOST_SECONDS)


def lookup_for(settings: FetchSettings) -> Lookup:
    """Who looks names up, as the settings say."""
    return AiodnsLookup(settings.name_server) if settings.resolver == "aiodns" else SystemLookup()
