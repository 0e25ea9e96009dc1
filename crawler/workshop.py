"""What a worker process does: pictures from bytes, and what is in pages. The process that fetches imports this by name only;
what does the work is imported over there, when the first page comes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from crawler.found import Page, PageOrder
from crawler.model import Reason
from crawler.process.done import Failed, Results, Told

if TYPE_CHECKING:
    from crawler.discover.extractor import Extractor


def work(bodies: list[bytes], samples: list[Told] | None = None) -> Results:
    """As `crawler.process.worker.work`, with pages among the bodies."""
    from crawler.process import worker

    return worker.work(bodies, samples, read_page)


def read_page(body: bytes, order: PageOrder) -> Page | Failed:
    """Everything that is found in one page."""
    from crawler.discover.extractor import ExtractorFailed
    from crawler.discover.page import read

    try:
        return read(body, order, _extractor(order.settings.extractor) if order.settings.extractor else None)
    except (ExtractorFailed, ImportError) as error:
        return Reason.EXTRACTOR_FAILED.value, str(error)


@lru_cache(maxsize=8)
def _extractor(name: str) -> Extractor:
    from crawler.discover.extractor import Extractor

    return Extractor(name)
