"""A rule of your own for pages whose pictures no general rule finds: here their numbers stand in a script.

python -m crawler run https://example.org/viewer --extractor examples.own_rule:pictures -o pictures
"""

from __future__ import annotations

import re
from typing import Any


def pictures(html: str, url: str) -> list[dict[str, Any]] | None:
    """The pictures of a page; None leaves it to the rules. Relative addresses are meant from the page's own."""
    numbers = re.findall(r"showPicture\((\d+)\)", html)
    if not numbers:
        return None
    return [
        {"url": f"/full/{number}.jpg", "fallbacks": [f"/small/{number}.jpg"], "title": f"No. {number}"}
        for number in numbers
    ]
