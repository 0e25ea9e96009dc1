"""The seam: what the pipeline needs from each part. Parts never see each other; they meet here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

from crawler.model import Fetched, Miss, Outcome, Picture, Receipt, Record, Target


class Source(Protocol):
    """Targets in input order. Read as a stream: never whole in memory."""

    @property
    def total(self) -> int | None:
        """How many targets there are, None while that is not known."""
        ...

    def batches(self) -> AsyncIterator[Sequence[Target]]:
        """The targets in order of their index, a few hundred at a time so that the loop is not the cost.

        Raises:
            InputError: the input cannot be read to its end.
        """
        ...


class Frontier(Protocol):
    """Which target is fetched next: keeps every host within its limits. All calls from one event loop."""

    async def add(self, target: Target) -> None:
        """Take a target; waits while the window is full."""
        ...

    def close(self) -> None:
        """No more `add`: once everything is done, `take` gives None."""
        ...

    def stop(self) -> None:
        """Give out nothing more: `take` gives None from now on and a waiting `add` returns."""
        ...

    async def take(self) -> Target | None:
        """The next target whose host has a free slot, which is then taken; None when there is nothing left."""
        ...

    def release(self, target: Target) -> None:
        """The fetch of a taken target is over: its host's slot is free."""
        ...

    def retry(self, target: Target, delay: float) -> None:
        """Give a released target out again, not before `delay` seconds. Until then it occupies no slot."""
        ...

    def waiting(self) -> int:
        """Targets that wait for their turn."""
        ...


class Fetcher(Protocol):
    """Bytes from the network."""

    async def fetch(self, target: Target) -> Fetched | Miss:
        """Fetch one target once. What goes wrong on the way is a Miss, never an exception."""
        ...

    def done(self, fetched: Fetched) -> None:
        """The body has been processed: its bytes no longer count against the memory budget."""
        ...


class Processor(Protocol):
    """Pictures from bytes."""

    async def process(self, fetched: Fetched) -> Picture | Miss:
        """Decode, resize and encode one body in a worker process.

        Raises:
            WorkersFailed: no worker can be started.
        """
        ...


class Store(Protocol):
    """Pictures to where they are kept."""

    async def put(self, picture: Picture) -> Receipt:
        """Returns once the picture is where it belongs.

        Raises:
            StoreError: it cannot be written; the run must end.
        """
        ...


class Journal(Protocol):
    """What has been done. Durable in batches."""

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Those of `targets` (one batch of a Source, in order) that need not be done again.

        Raises:
            InputChanged: a recorded position holds another URL now.
        """
        ...

    async def settle(self, outcome: Outcome) -> None:
        """Record how a target ended. Waits only while too many records are on their way to the disk.

        Raises:
            JournalError: it cannot be written; the run must end.
        """
        ...


class Ledger(Protocol):
    """What a store writes in step with the journal, such as its metadata. All calls from the journal's thread."""

    def rewind(self, mark: int, recorded: Callable[[], Iterable[Record]], has: Callable[[int, str], bool]) -> int:
        """Bring everything to what the journal says, before a run.

        Args:
            mark: what `append` returned with the last records that were committed, 0 for a new run.
            recorded: gives all records, in order of their index, should they have to be written anew.
            has: tells whether the journal holds this file for this target.

        Returns:
            The mark now.
        """
        ...

    def append(self, records: Sequence[Record]) -> int:
        """Write what belongs to the records, just before they are committed. Returns the new mark."""
        ...

    def committed(self, records: Sequence[Record]) -> None:
        """The records are durable."""
        ...

    def close(self, finished: bool) -> None:
        """The last call; `finished` if everything was committed."""
        ...


class Observer(Protocol):
    """Somebody who watches. Never awaits, never raises."""

    def note(self, outcome: Outcome) -> None:
        """One target has ended."""
        ...
