"""Memory bounded in bytes: every body holds a ticket from its first byte to the end of its processing.

Who waits for bytes holds none, except a body of unknown length that grows. If all that hold bytes wait to grow,
one of them is let through, so that the budget can be passed by one body but nothing waits for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Ticket:
    """The bytes that one body may hold."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.held = 0

    async def hold(self, size: int) -> None:
        """Hold `size` bytes in all; waits while they are not there. Less than before is given back at once."""
        await self._budget._hold(self, size)

    def close(self) -> None:
        """Give everything back."""
        self._budget._give(self, 0)


class ByteBudget:
    """`capacity` bytes, handed out in order of asking; who already holds some goes first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.peak = 0
        self._holders = 0
        self._new: deque[tuple[asyncio.Future[None], Ticket, int]] = deque()
        self._growing: deque[tuple[asyncio.Future[None], Ticket, int]] = deque()

    def ticket(self) -> Ticket:
        """A ticket that holds nothing yet."""
        return Ticket(self)

    @property
    def full(self) -> bool:
        """True when somebody waits: then starting more bodies only makes the line longer."""
        return bool(self._new or self._growing) or self.used >= self.capacity

    async def _hold(self, ticket: Ticket, size: int) -> None:
        if size <= ticket.held:
            self._give(ticket, size)
        elif not (self._new or self._growing) and self.used + size - ticket.held <= self.capacity:
            self._grant(ticket, size)
        else:
            await self._wait(ticket, size)

    async def _wait(self, ticket: Ticket, size: int) -> None:
        line = self._growing if ticket.held else self._new
        place = (asyncio.get_running_loop().create_future(), ticket, size)
        line.append(place)
        self._hand_out()
        try:
            await place[0]
        except asyncio.CancelledError:
            if place in line:
                line.remove(place)
            raise

    def _grant(self, ticket: Ticket, size: int) -> None:
        self._holders += not ticket.held
        self.used += size - ticket.held
        ticket.held = size
        self.peak = max(self.peak, self.used)

    def _give(self, ticket: Ticket, size: int) -> None:
        if ticket.held:
            self.used -= ticket.held - size
            self._holders -= not size
            ticket.held = size
            self._hand_out()

    def _hand_out(self) -> None:
        for line in (self._growing, self._new):
            while line:
                future, ticket, size = line[0]
                fits = self.used + size - ticket.held <= self.capacity
                stuck = self._holders == len(self._growing)
                if not fits and not (stuck and (line is self._growing or not self._holders)):
                    return
                line.popleft()
                if not future.done():
                    self._grant(ticket, size)
                    future.set_result(None)
