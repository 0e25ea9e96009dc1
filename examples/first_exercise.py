"""The first exercise: five pictures of one address into a folder, each a picture of its own.

    python examples/first_exercise.py https://picsum.photos/2000/3000 pictures

The same as: python -m crawler run https://picsum.photos/2000/3000 --repeat 5 --name "img_{index}" --encode original -o pictures
"""

import asyncio
import sys

from crawler import Settings, crawl


def main(url: str, folder: str, *, allow_private: bool = False) -> None:
    """Fetch `url` five times into `folder`."""
    settings = Settings.of(
        url, repeat=5, name="img_{index}", encode="original", output=folder, allow_private=allow_private
    )
    summary = asyncio.run(crawl(settings))
    print(f"{summary.stored} pictures in {summary.output}, {summary.missed} missed")


if __name__ == "__main__":  # worker processes import this file: without the guard each would start a crawl
    main(sys.argv[1], sys.argv[2], allow_private="--allow-private" in sys.argv)
