"""A table of addresses and captions to WebDataset shards, chosen by a condition, with the columns that training wants.

    python examples/captions_to_webdataset.py captions.parquet shards

The same on the command line:

    python -m crawler run captions.parquet --url-column URL --caption-column TEXT --keep-columns similarity \
        --where "similarity > 0.3" --format webdataset --size 256 --fit outside -o shards
"""

import asyncio
import sys

from crawler import Settings, crawl


def main(table: str, output: str, **more: object) -> None:
    """Run to the end; the same call again goes on where this one was stopped."""
    settings = Settings.of(
        [table],
        url_column="URL",
        caption_column="TEXT",
        keep_columns="similarity",
        where="similarity > 0.3",
        format="webdataset",
        size=256,
        fit="outside",
        output=output,
        **more,
    )
    summary = asyncio.run(crawl(settings))
    print(f"{summary.stored} samples, {summary.missed} missed, {summary.skipped} done before")


if __name__ == "__main__":
    main(*sys.argv[1:])
