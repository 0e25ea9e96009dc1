"""Pictures and links in pages, sitemaps and feeds. Runs in worker processes; `discover` is for programs too::

from crawler.discover import discover

for target in discover(html, "https://example.org/gallery"):
    print(target.url, target.columns.get("alt"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crawler.discover.page import discover as discover

__all__ = ["discover"]


def __getattr__(name: str) -> Any:
    if name != "discover":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from crawler.discover.page import discover

    return discover
