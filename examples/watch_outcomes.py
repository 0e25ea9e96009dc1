"""Look at every outcome as it comes, and stop when enough pictures are there.

python examples/watch_outcomes.py urls.txt pictures 100
"""

import asyncio
import sys

from crawler import Crawler, Progress, Settings


def show(progress: Progress) -> None:
    """Called every second, in place of the terminal's display."""
    print(f"{progress.done} of {progress.total or '?'} done, {progress.missed} missed")


async def main(urls: str, folder: str, enough: int, allow_private: bool) -> None:
    """Store pictures of `urls` in `folder` until there are `enough`."""
    settings = Settings.of(urls, output=folder, size=256, fit="cover", allow_private=allow_private)
    stored = 0
    async with Crawler(settings, progress=show, progress_every=1.0) as run:
        async for outcome in run:
            if outcome.miss is not None:
                print(f"{outcome.target.url}: {outcome.miss.reason.value}, {outcome.miss.detail}")
            else:
                stored += 1
            if stored == enough:
                break  # leaving is fine at any time: what is under way is finished, the journal agrees
    print(run.summary.ended, run.summary.stored, "stored")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "--allow-private" in sys.argv))
