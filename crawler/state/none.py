"""The journal of a run that keeps nothing: every target is new."""

from __future__ import annotations

from collections.abc import Sequence

from crawler.model import Outcome, Target


class NullJournal:
    """A Journal that remembers nothing and touches no disk."""

    async def __aenter__(self) -> NullJournal:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        return ()

    async def settle(self, outcome: Outcome) -> None:
        return None
