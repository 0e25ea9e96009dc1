"""A site to a dataset of pictures with their alternative texts, from a program.

python examples/site_to_dataset.py https://example.org/ dataset
"""

from __future__ import annotations

import asyncio
import sys

from crawler import Settings, crawl


async def main(site: str, output: str, **more: object) -> None:
    settings = Settings.of(
        site, output=output, follow=True, depth=2, scope="host", caption="alt", size=512, format="webdataset", **more
    )
    summary = await crawl(settings)
    print(f"{summary.stored} pictures from {summary.pages} pages")
    for why, (count, example) in summary.cuts.items():
        print(f"left out {count}: {why}, such as {example}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
