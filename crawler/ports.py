"""The seam: what the pipeline needs from each part. Parts never see each other; they meet here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from crawler.found import Page, PageOrder
from crawler.model import Answer, Fetched, Miss, Outcome, Past, Picture, Receipt, Record, Settled, Target, Twin, Visit


class Source(Protocol):
    """Targets in input order. Read as a stream: never whole in memory."""

    @property
    def total(self) -> int | None:
        """How many targets there are, None while that is not known."""
        ...

    def batches(self) -> AsyncGenerator[Sequence[Target], None]:
        """The targets in order of their index, a few hundred at a time so that the loop is not the cost.

        Raises:
            InputError: the input cannot be read to its end.
        """
        ...


class Frontier(Protocol):
    """Which target is fetched next: keeps every host within its limits and at its pace. All calls from one event loop."""

    async def add(self, visit: Visit) -> None:
        """Take a target; waits while the window is full and the machine is busy.

        Raises:
            JournalError: the window cannot be spilled.
        """
        ...

    def close(self) -> None:
        """No more `add`: once everything is done, `take` gives None."""
        ...

    def stop(self) -> None:
        """Give out nothing more: `take` gives None from now on and a waiting `add` returns."""
        ...

    async def take(self) -> Visit | None:
        """The next target whose turn it is; its host's slot is then taken. None when there is nothing left.

        One whose host has been given up has `refused` set and is not to be fetched.
        """
        ...

    def sent(self, visit: Visit) -> None:
        """The request of a taken target has left, at `visit.sent_at`: the pace of its host counts from here."""
        ...

    def release(self, visit: Visit, answer: Answer | None) -> None:
        """The fetch of a taken target is over (None: given up): its host's slot is free, and the host is known better."""
        ...

    def retry(self, visit: Visit, delay: float = 0.0) -> None:
        """Give a released target out again, not before `delay` seconds. Until then it occupies no slot."""
        ...

    def hold_open(self) -> None:
        """A released target may come back: until `let_go` has been called as often, `take` does not end."""
        ...

    def let_go(self) -> None: ...

    def waiting(self) -> int:
        """Targets that wait for their turn."""
        ...


class Spill(Protocol):
    """Where targets wait that have no room in memory, by host and in order of their index."""

    async def put(self, visits: Sequence[Visit]) -> None:
        """Take targets to which nothing has happened yet.

        Raises:
            JournalError: they cannot be written; the run must end.
        """
        ...

    async def take(self, host: str, most: int) -> Sequence[Visit]:
        """Give back the first of a host."""
        ...


class Fetcher(Protocol):
    """Bytes from the network."""

    def expect(self, visit: Visit) -> None:
        """This target will be asked for soon: what can be prepared without a slot may be. Never waits."""
        ...

    async def fetch(self, visit: Visit, sent: Callable[[Visit], None]) -> Answer:
        """Make the next request for a target. What goes wrong on the way is a Miss, never an exception.

        Args:
            sent: called when the request has left.
        """
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

    async def read(self, fetched: Fetched, order: PageOrder) -> Page | Miss:
        """Find what is in a page, in a worker process.

        Raises:
            WorkersFailed: no worker can be started.
        """
        ...


class Store(Protocol):
    """Pictures to where they are kept."""

    async def put(self, picture: Picture, instead_of: str = "") -> Receipt:
        """Returns once the picture is where it belongs.

        Args:
            instead_of: name of the retired picture whose place it takes.

        Raises:
            StoreError: it cannot be written; the run must end.
        """
        ...

    async def retire(self, index: int, names: Sequence[str], forget: Callable[[], Awaitable[None]]) -> None:
        """Remove a stored picture that has changed, before its successor is put.

        Args:
            names: of its file and of those of its companions.
            forget: takes its record out of the journal; awaited when a kill can no longer leave the file behind.
        """
        ...

    def stop(self) -> None:
        """The run is being stopped: what a store out of reach would have to be waited for is left to the next run."""
        ...

    def has_room(self, index: int, under_way: int) -> bool:
        """False while so much waits for being published that the input should not be read on, from this target.

        Args:
            under_way: targets that will come before it.

        Raises:
            StoreError: something could not be published; the run must end.
        """
        ...

    @property
    def publishing(self) -> int:
        """Shards on their way to where they belong."""
        ...

    async def finish(self, total: int | None) -> None:
        """All that will end in this run has ended, and is in the journal. Publishes what is complete.

        Args:
            total: targets of the whole input, None if it was not read to its end.

        Raises:
            StoreError: it cannot be written.
        """
        ...


class Shelf(Protocol):
    """What the journal is for a store of shards: slices of the input, each with a fixed number of targets."""

    def slice(self, first: int, last: int, by_key: bool = False) -> Callable[[], Iterable[Settled]]:
        """What gives the targets of a slice that have ended, in order of their index, or of their own keys.

        It can be called in any thread, and sent to another process.
        """
        ...

    async def ended(self, first: int, last: int) -> int:
        """How many targets of a slice have ended."""
        ...

    async def waiting(self, size: int) -> Sequence[int]:
        """Shards of which pictures are in the spool.

        Args:
            size: targets in a shard.
        """
        ...

    async def cut_off(self, first: int, last: int, size: int) -> None:
        """Take the records of a slice out whose pictures the spool, of that size, no longer has to their end."""
        ...

    async def published_before(self, first: int, last: int) -> bool:
        """True if pictures of a slice are in its shard, and no longer in the spool."""
        ...

    async def empty(self) -> bool:
        """True if no target has ended."""
        ...

    async def counts(self, size: int) -> Mapping[int, int]:
        """How many targets have ended of each shard that is not published.

        Args:
            size: targets in a shard.
        """
        ...

    async def published(self) -> Sequence[int]:
        """Numbers of the shards that are published."""
        ...

    async def unfinished(self, size: int, total: int | None) -> Sequence[int]:
        """Shards all of whose targets have ended, and which are not published as they are now.

        Args:
            total: targets of the whole input, None while that is not known: its last shard is then not complete.
        """
        ...

    async def publish(self, shard: int, targets: int, first: int, last: int, emptied: bool) -> None:
        """A shard is where it belongs.

        Args:
            emptied: nothing of its slice is in the spool any more.
        """
        ...

    async def stale(self, shard: int) -> None:
        """A shard has to be published again."""
        ...

    async def lose(self, indexes: Sequence[int]) -> None:
        """Take the records of targets out whose pictures are gone: they are done again by the next run."""
        ...

    async def recall(self, name: str) -> str | None:
        """What was kept under a name."""
        ...

    async def keep(self, name: str, value: str) -> None: ...

    async def adopt(self, shards: Iterable[tuple[int, Mapping[str, Any], Iterable[Settled]]]) -> None:
        """Take over what published shards tell, into an empty journal: all of them or none.

        Args:
            shards: number, settings that it was made with, and rows of each. Read in the journal's thread.

        Raises:
            SettingsChanged: one was made with settings that give other pictures.
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

    async def past(self, targets: Sequence[Target]) -> Mapping[int, Past]:
        """What is known of targets that are not settled, by index; those of which nothing is known are left out."""
        ...

    async def forget(self, target: Target) -> None:
        """Take the record of a stored picture back: it is about to be replaced."""
        ...

    async def twin(self, picture: Picture) -> Twin | None:
        """The target that already holds the same picture; None if this is the first, which counts from now on."""
        ...

    async def settle(self, outcome: Outcome) -> None:
        """Record how a target ended. Waits only while too many records are on their way to the disk.

        Raises:
            JournalError: it cannot be written; the run must end.
        """
        ...


class RobotsMemory(Protocol):
    """Where what hosts said in their robots.txt outlives a run."""

    async def recall_robots(self, origin: str) -> tuple[str, float] | None:
        """Text, and until when it is good (seconds since the epoch); None if nothing is known."""
        ...

    async def keep_robots(self, origin: str, text: str, expires: float) -> None:
        """Remember the text until then."""
        ...


class Ledger(Protocol):
    """What a store writes in step with the journal, such as its metadata. All calls from the journal's thread.

    Attributes:
        dirty: it has to be rebuilt when the run ends.
    """

    dirty: bool

    def rewind(
        self, mark: int, recorded: Callable[[], Iterable[Record]], held: Callable[[Iterable[str]], set[str]]
    ) -> int:
        """Bring everything to what the journal says, before a run.

        Args:
            mark: what `append` returned with the last records that were committed, 0 for a new run.
            recorded: gives all records, in order of their index, should they have to be written anew.
            held: tells which of some files the journal holds, for whatever target.

        Returns:
            The mark now.
        """
        ...

    def append(self, records: Sequence[Record]) -> int:
        """Write what belongs to the records, just before they are committed. Returns the new mark."""
        ...

    def committed(self, indexes: Sequence[int]) -> None:
        """What became of these targets is durable."""
        ...

    def rebuild(self, recorded: Iterable[Record]) -> int:
        """Write everything anew from all records: some were taken back. Returns the new mark."""
        ...

    def close(self, finished: bool) -> None:
        """The last call; `finished` if everything was committed."""
        ...


class Findings(Protocol):
    """Pages and the pictures found in them: what was found goes in, durable; what waits comes out in order.

    Attributes:
        base: index of the first picture found, None while that is not known.
    """

    base: int | None

    async def give(self, targets: Sequence[Target]) -> Sequence[Miss]:
        """Add pages that were given; returns those that cannot be visited and were not known yet."""
        ...

    async def record(self, target: Target, page: Page, final_url: str, status: int, attempts: int) -> int:
        """A page has been read: what it gave is kept, and it has ended. Returns how many pictures are new."""
        ...

    async def miss(self, miss: Miss, attempts: int) -> None:
        """A page could not be read."""
        ...

    async def claims(self, target: Target, url: str) -> bool:
        """Take an address to which a page has led, so that nobody else visits it. False if it is known as another page."""
        ...

    async def as_picture(self, target: Target) -> Target | None:
        """What was taken for a page is a picture: its target among the pictures, None if that is there already."""
        ...

    async def begin(self, base: int) -> None:
        """All that was given is known: pictures found are numbered from here, unless an earlier run has begun elsewhere."""
        ...

    def close(self) -> None:
        """Nothing more will be found: what waits is handed out, and then both end."""
        ...

    def pictures(self) -> AsyncGenerator[Sequence[Target], None]:
        """Pictures found, in order of their index; ends when nothing more will be."""
        ...

    def pages(self) -> AsyncGenerator[Sequence[Target], None]:
        """Pages that wait, in the order in which they were found, a few ahead of what is visited."""
        ...

    @property
    def idle(self) -> bool:
        """No page waits or is under way."""
        ...

    @property
    def count(self) -> int:
        """Pictures found."""
        ...


class Observer(Protocol):
    """Somebody who watches. Never awaits, never raises."""

    def note(self, outcome: Outcome) -> None:
        """One target has ended."""
        ...
