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
        if not self.try_hold(size):
            await self._budget._wait(self, size)

    def try_hold(self, size: int) -> bool:
        """Hold `size` bytes in all if that needs no waiting; False, and nothing is changed, if it does."""
        return self._budget._try_hold(self, size)

    def close(self) -> None:
        """Give everything back."""
        self._budget._give(self, 0)


_Place = tuple[asyncio.Future[None], Ticket, int]


class ByteBudget:
    """`capacity` bytes, handed out in order of asking; who already holds some goes first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.peak = 0
        self._holders = 0
        self._new: deque[_Place] = deque()
        self._growing: deque[_Place] = deque()
        self._favoured: Ticket | None = None  # the one body that may pass the budget

    def ticket(self) -> Ticket:
        """A ticket that holds nothing yet."""
        return Ticket(self)

    @property
    def full(self) -> bool:
        """True when somebody waits: then starting more bodies only makes the line longer."""
        return bool(self._new or self._growing) or self.used >= self.capacity

    def _try_hold(self, ticket: Ticket, size: int) -> bool:
        if size <= ticket.held:
            self._give(ticket, size)
        elif not (self._new or self._growing) and self.used + size - ticket.held <= self.capacity:
            self._grant(ticket, size)
        else:
            return False
        return True

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
            self._hand_out()  # those behind may fit
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
            if not size and ticket is self._favoured:
                self._favoured = None
            self._hand_out()

    def _hand_out(self) -> None:
        while self._growing and (place := self._next_growing()):
            self._growing.remove(place)
            self._let(place)
        while self._new and not self._growing and (self._fits(self._new[0]) or not self._holders):
            self._let(self._new.popleft())

    def _next_growing(self) -> _Place | None:
        """The first, if it fits. If all that hold bytes wait, one goes on, always the same until it is done."""
        if self._fits(self._growing[0]):
            return self._growing[0]
        if self._holders != len(self._growing):
            return None
        place = next((one for one in self._growing if one[1] is self._favoured), self._growing[0])
        self._favoured = place[1]
        return place

    def _fits(self, place: _Place) -> bool:
        return self.used + place[2] - place[1].held <= self.capacity

    def _let(self, place: _Place) -> None:
        future, ticket, size = place
        if not future.done():
            self._grant(ticket, size)
            future.set_result(None)
