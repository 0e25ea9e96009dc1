"""The pictures of a page that is there already: no network, no crawler.

python examples/find_pictures.py page.html https://example.org/gallery/
"""

from __future__ import annotations

import sys
from pathlib import Path

from crawler.discover import discover


def main() -> None:
    html, url = Path(sys.argv[1]).read_bytes(), sys.argv[2]
    for target in discover(html, url):
        print(target.url, target.columns.get("alt", ""))


if __name__ == "__main__":
    main()
