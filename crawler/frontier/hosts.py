"""Targets queued by host: hosts take turns, none gets more than its limits, and who waits occupies no slot.

The window is what is held in memory. When it is full while slots are idle (one host floods it, or all of its hosts rest),
the tails of the longest queues are spilled, so that the targets behind them are reached; they come back in order.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from crawler.clock import Clock
from crawler.found import PAGES
from crawler.frontier.book import HostBook
from crawler.frontier.host import Host, Rules
from crawler.model import Answer, Miss, Visit
from crawler.ports import Spill

WINDOW = 8192
"""Targets held at once. Bounds the memory: the input is read only as fast as targets leave, or are spilled."""
KEPT = 16
"""Targets that a host keeps in memory when the window is spilled."""
REFILL = 256
"""Targets that come back at a time, and that are written at a time."""
_NOWHERE, _TURN, _REST = 0, 1, 2


class HostFrontier:
    """The Frontier: round robin over hosts that are ready, the others rest until their time has come. Of each host pictures come
    before pages, but while fewer pictures wait than `enough` says.
    """

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        spill: Spill | None = None,
        window: int = WINDOW,
        enough: Callable[[], int] = lambda: 0,
    ) -> None:
        self._enough = enough
        self._clock = clock
        self._spill = spill
        self._window = window
        self._book = HostBook(rules)
        self._turns: deque[Host] = deque()
        self._resting: list[tuple[float, int, Host]] = []
        self._later: list[tuple[float, int, Visit]] = []
        self._taken: dict[int, Host] = {}
        self._outgoing: list[Visit] = []
        self._order = count()
        self._queued = 0
        self._pictures = 0
        self._spilled = 0
        self._coming = 0
        self._may_return = 0
        self._long: set[Host] = set()  # hosts with more in memory than they need
        self._closed = self._stopped = False
        self._failure: BaseException | None = None
        self._room: set[asyncio.Future[None]] = set()
        self._change: set[asyncio.Future[None]] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0
        self._refills: set[asyncio.Task[None]] = set()

    async def add(self, visit: Visit) -> None:
        while self._held >= self._window and not self._stopped:
            self._check()
            if self._spill is None or not self._starving:
                await _woken(self._room)
            elif visit.fresh and self._book.spills(visit.host):
                break  # it goes to the others, on disk
            elif not await self._make_room(self._spill):
                await _woken(self._room)
        self._check()
        if self._stopped:
            return
        host = self._book.host(visit.host)
        if host.spilled and visit.fresh:
            host.spilled += 1
            self._spilled += 1
            self._outgoing.append(visit)
            if len(self._outgoing) >= REFILL:
                await self._flush()
        else:
            self._enqueue(host, visit)

    def close(self) -> None:
        self._closed = True
        _wake(self._change)

    def stop(self) -> None:
        self._stopped = True
        self._silence()
        for task in self._refills:
            task.cancel()
        _wake(self._change)
        _wake(self._room)

    async def take(self) -> Visit | None:
        while not self._stopped:
            self._check()
            self._wake_due()
            if (visit := self._next()) is not None:
                return visit
            if self._closed and not (self._taken or self._queued or self._later or self._spilled or self._may_return):
                break
            await self._wait()
        self._silence()
        return None

    def sent(self, visit: Visit) -> None:
        host = self._taken.get(visit.target.index)
        if host is not None:  # else it was given up meanwhile
            host.sent(visit)
            if host.gap:
                self._line_up(host)
                _wake(self._change)

    def release(self, visit: Visit, answer: Answer | None) -> None:
        host = self._taken.pop(visit.target.index)
        parked = host.refusal is not None
        host.learn(visit, answer, self._clock.monotonic())
        if host.refusal is not None and not parked:
            self._hurry(host)
        self._line_up(host)
        if not (host.active or host.queue or host.pages or host.spilled):
            self._book.set_aside(host, self._clock.monotonic())
        _wake(self._change)

    def retry(self, visit: Visit, delay: float = 0.0) -> None:
        if delay <= 0 or self._book.given_up(visit.host):
            self._enqueue(self._book.host(visit.host), visit, first=True)
            return
        when = self._clock.monotonic() + delay
        heapq.heappush(self._later, (when, next(self._order), visit))
        self._set_alarm_before(when)

    def hold_open(self) -> None:
        self._may_return += 1

    def let_go(self) -> None:
        self._may_return -= 1
        if not self._may_return:
            _wake(self._change)

    def waiting(self) -> int:
        return self._queued + len(self._later) + self._spilled

    @property
    def _pages_first(self) -> bool:
        """Pictures would run out: what leads to more of them comes first."""
        return self._pictures < self._enough()

    @property
    def _held(self) -> int:
        return self._queued + len(self._later) + len(self._outgoing)

    @property
    def _starving(self) -> bool:
        """Somebody waits for a target, and none is ready."""
        return bool(self._change) and not self._turns

    def _check(self) -> None:
        if self._failure is not None:
            self._silence()
            raise self._failure

    # Hosts in line.

    def _enqueue(self, host: Host, visit: Visit, first: bool = False) -> None:
        picture = visit.target.index < PAGES
        line = host.queue if picture else host.pages
        if first:
            line.appendleft(visit)
        else:
            line.append(visit)
        self._queued += 1
        self._pictures += picture
        if len(line) > KEPT:
            self._long.add(host)
        self._line_up(host)
        if host.place == _TURN:
            _wake(self._change)

    def _line_up(self, host: Host) -> None:
        """Put a host where it belongs: in line for its turn, to rest until its time, or nowhere."""
        if host.place == _TURN or not (host.queue or host.pages):
            return
        if host.refusal is None:
            if host.full:
                return
            ready_at = host.ready_at
            if ready_at > self._clock.monotonic():
                self._rest(host, ready_at)
                return
        host.place = _TURN
        self._turns.append(host)

    def _rest(self, host: Host, until: float) -> None:
        if host.place != _REST or host.rest_until != until:
            host.place, host.rest_until = _REST, until
            heapq.heappush(self._resting, (until, next(self._order), host))
            self._set_alarm_before(until)

    def _next(self) -> Visit | None:
        """The next target of the first host in line that is still ready: its state may have changed since it lined up."""
        while self._turns:
            host = self._turns.popleft()
            host.place = _NOWHERE
            now = self._clock.monotonic()
            if host.refusal is not None or not (host.full or host.ready_at > now):
                return self._give(host, now)
            self._line_up(host)
        return None

    def _give(self, host: Host, now: float) -> Visit:
        pages = host.pages and (not host.queue or self._pages_first)
        visit = (host.pages if pages else host.queue).popleft()
        self._queued -= 1
        self._pictures -= visit.target.index < PAGES
        if len(host.queue) <= KEPT and len(host.pages) <= KEPT and host in self._long:
            self._long.discard(host)
        host.took(visit, now)
        if host.refusal is not None:
            visit.refused = Miss(visit.target, *host.refusal, asked=False)
        self._taken[visit.target.index] = host
        self._line_up(host)
        if host.spilled and len(host.queue) + len(host.pages) < KEPT and not host.refilling:
            self._refill(host)
        if self._room:
            _wake(self._room)
        return visit

    # Time.

    def _hurry(self, host: Host) -> None:
        """A host has been given up: what waits to be tried there again has nothing to wait for."""
        due = [visit for _, _, visit in self._later if visit.host == host.name]
        if due:
            self._later = [one for one in self._later if one[2].host != host.name]
            heapq.heapify(self._later)
            for visit in due:
                self._enqueue(host, visit)

    def _wake_due(self) -> None:
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            visit = heapq.heappop(self._later)[2]
            self._enqueue(self._book.host(visit.host), visit, first=True)
        while self._resting and self._resting[0][0] <= now:
            until, _, host = heapq.heappop(self._resting)
            if host.place == _REST and host.rest_until == until:  # else it has been put elsewhere since
                host.place = _NOWHERE
                self._line_up(host)

    async def _wait(self) -> None:
        self._set_alarm()
        if self._held >= self._window:
            _wake(self._room)  # the window may have to be spilled
        try:
            await _woken(self._change)
        except asyncio.CancelledError:
            self._silence()
            _wake(self._change)  # another that waits sets the alarm again
            raise

    def _set_alarm(self) -> None:
        times = [heap[0][0] for heap in (self._later, self._resting) if heap]
        if times and self._alarm is None:
            self._alarm_at = min(times)
            self._alarm = asyncio.create_task(self._ring(self._alarm_at), name="crawler-frontier-alarm")

    def _set_alarm_before(self, when: float) -> None:
        """Something is due at `when`: who waits for something later looks again."""
        if self._alarm is None or when < self._alarm_at:
            self._silence()
            _wake(self._change)

    async def _ring(self, when: float) -> None:
        await self._clock.sleep(max(0.0, when - self._clock.monotonic()))
        self._alarm = None
        _wake(self._change)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # What is spilled.

    async def _make_room(self, spill: Spill) -> bool:
        """Spill the tail of the longest queue. False if no queue is long enough for that to help."""
        host = max(self._long, key=lambda one: one.held, default=None)
        if host is None:
            return False
        tail: list[Visit] = []
        line = max(host.queue, host.pages, key=len)
        while host.held > KEPT and len(tail) < REFILL and line and line[-1].fresh:
            tail.append(line.pop())
        if host.held <= KEPT or not tail:
            self._long.discard(host)
        if not tail:
            return False
        host.spilled += len(tail)
        self._spilled += len(tail)
        self._queued -= len(tail)
        self._pictures -= sum(visit.target.index < PAGES for visit in tail)
        await self._write(spill, tail[::-1])
        return True

    async def _flush(self) -> None:
        visits, self._outgoing = self._outgoing, []
        if visits and self._spill is not None:
            await self._write(self._spill, visits)

    async def _write(self, spill: Spill, visits: Sequence[Visit]) -> None:
        try:
            await spill.put(visits)
        except Exception as error:
            self._fail(error)
            raise

    def _refill(self, host: Host) -> None:
        host.refilling = True
        task = asyncio.create_task(self._bring_back(host), name="crawler-frontier-refill")
        self._refills.add(task)
        task.add_done_callback(self._refills.discard)

    async def _bring_back(self, host: Host) -> None:
        assert self._spill is not None
        try:
            await self._flush()
            most = max(KEPT, min(REFILL, self._window - self._held - self._coming))
            self._coming += most
            try:
                visits = await self._spill.take(host.name, most)
            finally:
                self._coming -= most
            host.spilled -= len(visits)
            self._spilled -= len(visits)
            for visit in visits:
                self._enqueue(host, visit)
        except Exception as error:
            self._fail(error)
        finally:
            host.refilling = False
            _wake(self._change)

    def _fail(self, error: Exception) -> None:
        """The spill cannot go on: everybody who waits is to hear it."""
        self._failure = error
        _wake(self._change)
        _wake(self._room)


async def _woken(waiting: set[asyncio.Future[None]]) -> None:
    future = asyncio.get_running_loop().create_future()
    waiting.add(future)
    try:
        await future
    finally:
        waiting.discard(future)


def _wake(waiting: set[asyncio.Future[None]]) -> None:
    """Everybody looks again for himself."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
