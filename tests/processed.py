"""One body through the worker's code, in this process: what a test of pixels looks at."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from crawler.found import Page
from crawler.model import Fetched, Miss, Picture, Target
from crawler.process import worker
from crawler.process.pool import outcome_of, sample_of
from crawler.settings import ProcessSettings


def processed(body: bytes, columns: Mapping[str, Any] | None = None, **flags: Any) -> Picture | Miss:
    """What becomes of a body under some settings."""
    settings = ProcessSettings(**flags)
    before = worker.use(settings)
    fetched = Fetched(Target(0, "http://example.org/a", columns=columns or {}), body, "", 200, "", 0.0, 0.0)
    try:
        (result,) = worker.work([body], [sample_of(fetched, settings)])
    finally:
        worker.use(before)
    found = outcome_of(fetched, result)
    assert not isinstance(found, Page)
    return found


def picture_of(body: bytes, columns: Mapping[str, Any] | None = None, **flags: Any) -> Picture:
    """The picture a body gives; fails if it is a miss."""
    result = processed(body, columns, **flags)
    assert isinstance(result, Picture), result
    return result


def miss_of(body: bytes, columns: Mapping[str, Any] | None = None, **flags: Any) -> Miss:
    """The miss a body ends in; fails if it is a picture."""
    result = processed(body, columns, **flags)
    assert isinstance(result, Miss), result
    return result


def opened(picture: Picture) -> Image.Image:
    """What was stored, opened and decoded."""
    image = Image.open(BytesIO(picture.data))
    image.load()
    return image
