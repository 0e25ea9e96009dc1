"""The Processor of `--check header`: bytes that are stored as they came are looked at here and go through no worker. Only
numbers that stand in the header are read (`crawler.dimensions`), nothing is decoded, so no library of C meets the bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence

from crawler.batcher import Batcher
from crawler.dimensions import ENOUGH, dimensions
from crawler.found import Page, PageOrder
from crawler.model import Fetched, Miss, Picture, Reason
from crawler.picture_settings import ProcessSettings
from crawler.process.decode import Refused, check_size
from crawler.process.encode import EXTENSIONS
from crawler.process.job import check_hash
from crawler.process.pool import WorkerPool
from crawler.signatures import sniff
from crawler.stages import Stopwatch


class HeaderCheck:
    """Looks at bodies in a thread, in batches. Opened and closed on the loop that uses it.

    Args:
        workers: makes the workers that read pages.
    """

    size = 1
    pids: Sequence[int] = ()

    def __init__(self, settings: ProcessSettings, stopwatch: Stopwatch, workers: Callable[[], WorkerPool]) -> None:
        self._workers = workers
        self._pages: asyncio.Future[WorkerPool] | None = None
        self._settings = settings
        self._stopwatch = stopwatch
        self.busy_seconds = 0.0

    async def __aenter__(self) -> HeaderCheck:
        self._batcher: Batcher[Fetched, Picture | Miss] = Batcher("crawler-header", self._look)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._batcher.close()
        if self._pages is not None:
            await (await self._pages).__aexit__(None, None, None)

    async def read(self, fetched: Fetched, order: PageOrder) -> Page | Miss:
        """Pages are read by a worker, which is started when the first one comes."""
        if self._pages is None:
            self._pages = asyncio.ensure_future(self._workers().__aenter__())
        return await (await self._pages).read(fetched, order)

    async def process(self, fetched: Fetched) -> Picture | Miss:
        began = time.perf_counter()
        found = await self._batcher.do(fetched)
        self._stopwatch.queue.add(time.perf_counter() - began)
        return found

    def _look(self, bodies: list[Fetched]) -> list[Picture | Miss]:
        began = time.perf_counter()
        found = [self._one(fetched) for fetched in bodies]
        self.busy_seconds += time.perf_counter() - began
        return found

    def _one(self, fetched: Fetched) -> Picture | Miss:
        try:
            return self._picture(fetched)
        except Refused as error:
            return Miss(fetched.target, error.reason, str(error), fetched.status)

    def _picture(self, fetched: Fetched) -> Picture:
        settings, body = self._settings, fetched.body
        if len(body) < settings.min_bytes:
            raise Refused(Reason.TOO_FEW_BYTES, f"{len(body)} bytes, at least {settings.min_bytes} wanted")
        digest = hashlib.sha256(body).digest()
        if settings.verify_hash:
            check_hash(body, digest, fetched.target.columns, settings.verify_hash)
        known = sniff(body)
        name = known.lower()
        size = dimensions(body[:ENOUGH])
        if not known:
            raise Refused(Reason.NOT_IMAGE, f"starts with {body[:24]!r}")
        if name not in settings.formats:
            taken = ", ".join(settings.formats)
            raise Refused(Reason.UNSUPPORTED_FORMAT, f"{known} is not among the formats that are taken: {taken}")
        if size is None:
            raise Refused(
                Reason.DECODE, f"starts like {known}, but its header tells no size that --check header can read"
            )
        check_size(*size, settings.max_pixels)
        if settings.picky and (unwanted := settings.unwanted(*size)) is not None:
            raise Refused(*unwanted)
        return Picture(fetched.emptied(), body, name, EXTENSIONS[name], *size, *size, name, digest, True)
