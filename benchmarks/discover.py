"""How many pages of 100 KB one core reads a second: what a worker does with a page, and what it sends back. No network.

Three kinds: an article (14 pictures, 80 links), a gallery (40 pictures in four versions each, 90 links) and a page of nothing but
thumbnails (100 pictures in four versions, 200 links). All have links of the site that every page has, and links of their own.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import time
from collections.abc import Callable

from crawler.discover.page import read
from crawler.discover_settings import DiscoverSettings
from crawler.found import PageOrder
from crawler.picture_settings import FORMATS
from crawler.process.worker import rest_collector

_WORDS = "Some words about what is seen here, <b>a few of them bold</b>, as pages have them between their pictures. "
_SIZE = 100_000
_DIFFERENT = 64


def _page(number: int, pictures: int, common: int, own: int) -> bytes:
    links = "".join(
        f'<li class="nav"><a href="/section/{one}/" title="Section {one}">Section {one}</a></li>'
        for one in range(common)
    )
    links += "".join(f'<a href="/page/{number * 1000 + one}.html">Number {one}</a> ' for one in range(own))
    images = "".join(_picture(number * 1000 + one) for one in range(pictures))
    head = '<!doctype html><html><head><title>A page</title><meta charset="utf-8"><link rel="icon" href="/icon.png"></head><body>'
    text = f"{head}<ul>{links}</ul>{images}"
    return f"{text}<p>{_WORDS * ((_SIZE - len(text)) // len(_WORDS))}</body></html>".encode()


def _picture(number: int) -> str:
    return (
        f'<figure class="card"><a href="/photo/{number}.html"><img src="/img/{number}.jpg" srcset="/img/{number}-320.jpg 320w, '
        f'/img/{number}-640.jpg 640w, /img/{number}-1280.jpg 1280w" sizes="(max-width: 600px) 100vw, 33vw" alt="Picture {number} '
        f'of many" loading="lazy"></a><figcaption>Number {number}</figcaption></figure>\n'
    )


KINDS: dict[str, Callable[[int], bytes]] = {
    "article": lambda number: _page(number, 14, 50, 16),
    "gallery": lambda number: _page(number, 40, 40, 10),
    "thumbnails": lambda number: _page(number, 100, 50, 50),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    arguments = parser.parse_args()
    rest_collector()  # as a worker does
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, make in KINDS.items():
        pages = [make(number) for number in range(_DIFFERENT)]
        rates = [_rate(pages, arguments.seconds) for _ in range(arguments.repeat)]
        found = read(pages[0], _order(0))
        size = sum(map(len, pages)) / len(pages) / 1000
        print(
            f"{name:10} {size:5.0f} KB, {len(found.pictures):3} pictures, {len(found.links):3} links: "
            f"{statistics.median(rates):6.0f} pages/s (best {max(rates):.0f})"
        )


def _rate(pages: list[bytes], seconds: float) -> float:
    """Pages a second: read, and packed for the way back."""
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        pickle.dumps(read(pages[done % len(pages)], _order(done)), pickle.HIGHEST_PROTOCOL)
        done += 1
    return done / spent


def _order(number: int) -> PageOrder:
    settings = DiscoverSettings(follow=True)
    url = f"https://example.org/page/{number}.html"
    return PageOrder(
        url, "text/html; charset=utf-8", "page", 0, ("https://example.org/",), (), "crawler", FORMATS, settings
    )


if __name__ == "__main__":
    main()
