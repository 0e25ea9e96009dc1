"""Threads in the place of workers, behind the same calls as a lane: for comparison, and where no process can be started.

What processes are for is missing here: a picture that crashes a decoder takes the program with it, nothing ends one that
takes too long, its memory is ours, and Python runs in one thread at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from crawler.errors import SettingsError
from crawler.picture_settings import ProcessSettings
from crawler.process.done import ReadPage, Results, Told
from crawler.process.job import Job
from crawler.process.worker import one


class ThreadLane:
    """One thread that works like a worker. It lives once: nothing can kill it."""

    def __init__(self, settings: ProcessSettings, read_page: ReadPage | None = None) -> None:
        self._settings = settings
        self._read_page = read_page
        self._executor = ThreadPoolExecutor(1, "crawler-worker")
        self._job: Job | None = None
        self.generation = 0
        self.ready = False

    async def start(self) -> None:
        """Raises SettingsError: it cannot find the user's function."""
        self._job = await asyncio.wrap_future(self._executor.submit(Job, self._settings))
        if self._job.trouble:
            raise SettingsError("transform", self._job.trouble)
        self.ready = True

    def submit(
        self, bodies: list[bytes], samples: list[Told] | None, landed: Callable[[Future[Results]], None]
    ) -> None:
        """Queue a batch; `landed` is called in the thread when it is done."""
        self._executor.submit(self._work, bodies, samples).add_done_callback(landed)

    async def bury(self) -> int | None:
        """There is nothing to clear away."""
        return None

    async def end(self) -> None:
        """Wait for the picture it is at, and end it."""
        self.ready = False
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def kill(self) -> None:
        """A thread cannot be killed."""

    def _work(self, bodies: list[bytes], samples: list[Told] | None) -> Results:
        assert self._job is not None
        results: Results = []
        for at, body in enumerate(bodies):
            if not self.ready:
                break  # the program is leaving, and nobody waits for these
            results.append(one(self._job, body, samples[at] if samples else None, self._read_page))
        return results
