"""Counts of how targets ended. Fixed memory: a number for each reason and one example each."""

from __future__ import annotations

from collections import Counter

from crawler.model import Outcome, Reason
from crawler.progress import MissExample


class Counters:
    """The Observer that counts."""

    def __init__(self) -> None:
        self.stored = 0
        self.missed = 0
        self.bytes_fetched = 0
        self.bytes_stored = 0
        self.reasons: Counter[Reason] = Counter()
        self.examples: dict[Reason, MissExample] = {}

    def note(self, outcome: Outcome) -> None:
        self.bytes_fetched += outcome.bytes_fetched
        miss = outcome.miss
        if miss is None:
            self.stored += 1
            self.bytes_stored += outcome.receipt.size if outcome.receipt else 0
            return
        self.missed += 1
        self.reasons[miss.reason] += 1
        if miss.reason not in self.examples:
            self.examples[miss.reason] = MissExample(outcome.target.url, outcome.target.origin, miss.detail)
