"""A list in Parquet with ten columns: how soon the first target is there, how fast the rest, and in how much memory."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crawler.inputs.targets import Targets
from crawler.settings import InputSettings

GROUP = 100_000


def write(path: Path, count: int) -> None:
    """Addresses, captions, four columns of numbers and four of texts, in row groups of 100,000."""
    writer = None
    for first in range(0, count, GROUP):
        rows = range(first, min(first + GROUP, count))
        columns = {
            "url": [f"http://127.0.0.{row % 16 + 1}:9/pictures/{row}.jpg" for row in rows],
            "caption": [f"a caption of some words, the {row}th of them" for row in rows],
        }
        table = pa.table(
            columns
            | {f"number_{n}": [row * (n + 1) / 7 for row in rows] for n in range(4)}
            | {f"text_{n}": [f"text {row % 1000} of {n}" for row in rows] for n in range(4)}
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def read(path: Path, began: float) -> None:
    """Read all targets; prints what it took. In a process of its own, whose memory is then that of the reading."""
    asyncio.run(_read(path, began))


async def _read(path: Path, began: float) -> None:
    source = Targets(InputSettings((str(path),), caption_column="caption", keep_columns=("all",)), ())
    await asyncio.to_thread(source.check)
    first, count = 0.0, 0
    async for batch in source.batches():
        first = first or time.time() - began
        count += len(batch)
    seconds, peak = time.time() - began, _peak()
    print(
        f"{count:9,} rows   first after {first:5.2f} s   all after {seconds:6.2f} s   peak {peak:6.1f} MiB", flush=True
    )


def _peak() -> float:
    """MiB of memory that this process had at most. Not ru_maxrss, which a new process takes over from the one that starts it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 1_000_000])
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.counts:
            path = Path(folder) / f"{count}.parquet"
            write(path, count)
            process = context.Process(target=read, args=(path, time.time()))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
