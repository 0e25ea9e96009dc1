"""The whole run: URLs of the mixed corpus on nginx to files of 256 px shortest side, q95; with `--rival` img2dataset beside it.

Parent CPU is that of this process; workers are separate. Runs of the two tools alternate, because the machine is shared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop
from yarl import URL

from benchmarks import corpus, rival, server
from benchmarks.measure import Cost, measured
from benchmarks.quality import mean_ssim, pairs, verify_outputs
from crawler import Settings, Summary, crawl


@dataclass(frozen=True)
class Run:
    """One run of ours: `rate` is pictures stored a second of wall clock, start-up included."""

    summary: Summary
    cost: Cost

    @property
    def rate(self) -> float:
        return self.summary.stored / self.cost.wall


def run(urls: Path, output: Path, **flags: object) -> Run:
    """Crawl a list as `field`: 256 px shortest side, JPEG q95, over loopback."""
    defaults: dict[str, object] = {"size": 256, "fit": "outside", "quality": 95, "per_host": 0, "allow_private": True}
    settings = Settings.of(str(urls), output=str(output), **(defaults | flags))
    with measured() as cost, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(crawl(settings))
    return Run(summary, cost)


def main() -> None:
    arguments = _arguments()
    pictures = corpus.mixed(arguments.corpus)
    with server.serve(pictures) as bases, tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        urls = server.write_list(Path(scratch) / "urls.txt", pictures, bases, arguments.count)
        ours: list[Run] = []
        theirs: list[rival.Run] = []
        for turn in range(arguments.repeat):
            ours.append(_one(urls, Path(scratch) / f"ours-{turn}"))
            if arguments.rival:
                theirs.append(_other(arguments, urls, Path(scratch) / f"theirs-{turn}"))
        _report(ours, theirs, Path(scratch), pictures)


def _one(urls: Path, output: Path) -> Run:
    result = run(urls, output)
    print(f"crawler      {result.cost.each(result.summary.stored)}", flush=True)
    return result


def _other(arguments: argparse.Namespace, urls: Path, output: Path) -> rival.Run:
    result = rival.run(arguments.rival, urls, rival.Setting(arguments.processes, arguments.threads), output)
    print(
        f"img2dataset  {result.successes / result.wall:8.1f} /s   steady {result.rate:.1f} /s   all {result.cpu_each:.2f} ms",
        flush=True,
    )
    return result


def _report(ours: list[Run], theirs: list[rival.Run], scratch: Path, originals: Path) -> None:
    rate = statistics.median(run.rate for run in ours)
    print(
        f"\ncrawler: {rate:.1f} pictures/s, parent {statistics.median(_parent(run) for run in ours):.3f} ms a picture (medians)"
    )
    print(f"correct outputs: {verify_outputs(scratch / 'ours-0', originals).correct} of {ours[0].summary.stored}")
    print(f"SSIM to full-size LANCZOS: crawler {mean_ssim(_our_pairs(scratch / 'ours-0', originals)[::20]):.4f}")
    if theirs:
        wall = statistics.median(run.successes / run.wall for run in theirs)
        steady = statistics.median(run.rate for run in theirs)
        print(f"                           img2dataset {mean_ssim(pairs(scratch / 'theirs-0', originals)[::20]):.4f}")
        print(f"ratio to img2dataset: {rate / wall:.2f} by wall clock, {rate / steady:.2f} to its steady state")


def _our_pairs(output: Path, originals: Path) -> list[tuple[Path, Path]]:
    """Each of our files with its original, by the address in the metadata."""
    rows = map(json.loads, (output / "metadata.jsonl").read_text().splitlines())
    return [(output / row["file_name"], originals / URL(row["url"]).name) for row in rows]


def _parent(run: Run) -> float:
    return run.cost.parent / run.summary.stored * 1000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000, help="pictures to fetch")
    parser.add_argument("--corpus", type=int, default=2000, help="different pictures on the server")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rival", type=Path, default=None, help="python of an environment with img2dataset 1.47.0")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the outputs, such as /dev/shm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
