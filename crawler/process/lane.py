"""One worker process behind an executor of its own, so that a crash names the batch that was in it and stops no other."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

from crawler.children import close_spare_ends, no_interrupt, widen_pipes
from crawler.errors import SettingsError
from crawler.picture_settings import ProcessSettings
from crawler.process import entry
from crawler.process.done import Results, Told

_START_SECONDS = 60.0

Work = Callable[[list[bytes], list[Told] | None], Results]


class Lane:
    """A worker that can be started again. `generation` counts its lives, so that late news of an old one are known as such."""

    def __init__(self, settings: ProcessSettings, context: BaseContext, work: Work) -> None:
        self._settings = settings
        self._context = context
        self._work = work
        self._executor: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self.generation = 0
        self.ready = False

    @property
    def pid(self) -> int | None:
        """Of its process, while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the worker and wait until it answers.

        Raises:
            SettingsError: it cannot find the user's function.
            BrokenProcessPool: it died before it did. OSError, EOFError, RuntimeError: it could not be started.
        """
        await asyncio.to_thread(self._start)
        self.ready = True

    def submit(
        self, bodies: list[bytes], samples: list[Told] | None, landed: Callable[[Future[Results]], None]
    ) -> None:
        """Queue a batch; `landed` is called in another thread when it is done or the worker is gone."""
        assert self._executor is not None
        self._executor.submit(self._work, bodies, samples).add_done_callback(landed)

    async def bury(self) -> int | None:
        """Clear away a dead worker. Returns its exit code, negative for a signal, None if it is not known."""
        self.ready = False
        self.generation += 1
        return await asyncio.to_thread(self._bury)

    async def end(self) -> None:
        """End the worker for good. It holds nothing of worth, so it is not asked but killed: that cannot fail."""
        self.kill()
        await self.bury()

    def kill(self) -> None:
        """End the worker at once, whatever it is doing."""
        if self._process is not None and self._process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def _start(self) -> None:
        with no_interrupt():
            self._executor = ProcessPoolExecutor(1, self._context, entry.setup, (self._settings,))
            first = self._executor.submit(entry.ready)
        pid, trouble = first.result(_START_SECONDS)
        if trouble:
            raise SettingsError("transform", trouble)
        widen_pipes(self._executor)
        close_spare_ends(self._executor)
        # active_children is the public way to the process object, which knows how it will have ended.
        self._process = next((child for child in multiprocessing.active_children() if child.pid == pid), None)

    def _bury(self) -> int | None:
        if self._executor is not None:
            # Waiting joins the executor's threads, which read the exit code: only then is it safe to look.
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        process, self._process = self._process, None
        return process.exitcode if process is not None else None


__all__ = ["BrokenProcessPool", "Lane", "Results", "Work"]
