"""A source that is filled while it runs: one URL at a time, each with somebody who waits for its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import count
from typing import Any

from crawler.inputs.targets import target_of
from crawler.model import Outcome, Target


class Mailbox:
    """The Source behind `Crawler.get`."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[Target] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Outcome]] = {}
        self._numbers = count()

    @property
    def total(self) -> int | None:
        return None

    async def batches(self) -> AsyncGenerator[Sequence[Target], None]:
        while True:
            yield [await self._asked.get()]

    async def ask(self, url: str, columns: Mapping[str, Any] | None, run: asyncio.Task[None]) -> Outcome:
        """The outcome of `url`; ends with the run's own error if the run ends before."""
        index = next(self._numbers)
        answer = self._answers[index] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(target_of(index, url, "", columns))
        try:
            await asyncio.wait({answer, run}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await run
                raise RuntimeError("the crawler was closed before this URL was done")
            outcome: Outcome = answer.result()
            return outcome
        finally:
            self._answers.pop(index, None)

    async def deliver(self, outcome: Outcome) -> None:
        """Hand an outcome to whoever waits for it; one that gave up waiting is forgotten."""
        answer = self._answers.get(outcome.target.index)
        if answer is not None and not answer.done():
            answer.set_result(outcome)

    def close(self) -> None:
        for answer in self._answers.values():
            answer.cancel()
