"""The whole run: URLs of the mixed corpus on nginx to 256 px shortest side, q95, beside the codecs alone; with `--rival`
img2dataset too. `--photographs`: 2000x3000 pixels to 512 inside.

Parent CPU is that of this process; workers are separate. The runs alternate, because the machine is shared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from yarl import URL

from benchmarks import corpus, process_only, rival, server
from benchmarks.measure import Cost, measured
from benchmarks.quality import mean_ssim, pairs, verify_outputs
from crawler import Settings, Summary, crawl
from crawler.bench import measures
from crawler.cli.run import prepare
from crawler.settings import ProcessSettings


@dataclass(frozen=True)
class Run:
    """One run of ours: `rate` is pictures stored a second of wall clock, start-up included."""

    summary: Summary
    cost: Cost

    @property
    def rate(self) -> float:
        return self.summary.stored / self.cost.wall


MIXED: dict[str, Any] = {"size": 256, "fit": "outside", "quality": 95}
PHOTOGRAPHS: dict[str, Any] = {"size": 512, "fit": "inside", "quality": 95}


def run(urls: Path, output: Path, **flags: object) -> Run:
    """Crawl a list over loopback: 256 px shortest side, JPEG q95, unless flags say otherwise."""
    defaults: dict[str, object] = {"per_host": 0, "allow_private": True}
    settings = Settings.of(str(urls), output=str(output), **(MIXED | defaults | flags))
    with measured() as cost, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(crawl(settings))
    return Run(summary, cost)


def main() -> None:
    prepare()  # as the command does
    arguments = _arguments()
    pictures = corpus.photographs() if arguments.photographs else corpus.mixed(arguments.corpus)
    with server.serve(pictures) as bases, tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        urls = server.write_list(Path(scratch) / "urls.txt", pictures, bases, arguments.count)
        ours: list[Run] = []
        theirs: list[rival.Run] = []
        floors: list[float] = []
        given = process_only.bodies(min(arguments.count, 1500), arguments.corpus, arguments.photographs)
        for turn in range(arguments.repeat):
            floors.append(_floor(given, arguments.photographs))
            ours.append(_one(arguments, urls, Path(scratch) / f"ours-{turn}"))
            if arguments.rival:
                theirs.append(_other(arguments, urls, Path(scratch) / f"theirs-{turn}"))
        _report(ours, theirs, floors)
        if arguments.format == "files":
            _report_pictures(ours[0].summary.stored, bool(theirs), Path(scratch), pictures, arguments.photographs)


def _floor(given: list[bytes], photographs: bool) -> float:
    """The codecs alone: pictures a second."""
    settings = ProcessSettings(**(PHOTOGRAPHS if photographs else MIXED))
    found = measures.floor(given, multiprocessing.cpu_count(), settings).rate
    print(f"codecs alone {found:8.1f} /s", flush=True)
    return found


def _one(arguments: argparse.Namespace, urls: Path, output: Path) -> Run:
    flags = PHOTOGRAPHS if arguments.photographs else MIXED
    result = run(urls, output, format=arguments.format, **flags)
    print(f"crawler      {result.cost.each(result.summary.stored)}   {result.summary.bottleneck}", flush=True)
    return result


def _other(arguments: argparse.Namespace, urls: Path, output: Path) -> rival.Run:
    setting = rival.Setting(arguments.processes, arguments.threads, arguments.format, photographs=arguments.photographs)
    result = rival.run(arguments.rival, urls, setting, output)
    print(
        f"img2dataset  {result.successes / result.wall:8.1f} /s   steady {result.rate:.1f} /s   all {result.cpu_each:.2f} ms",
        flush=True,
    )
    return result


def _report(ours: list[Run], theirs: list[rival.Run], floors: list[float]) -> None:
    rate = statistics.median(run.rate for run in ours)
    print(
        f"\ncrawler: {rate:.1f} pictures/s, parent {statistics.median(_parent(run) for run in ours):.3f} ms a picture (medians)"
    )
    shares = [run.rate / floor for run, floor in zip(ours, floors, strict=True)]
    print(f"ratio to the codecs alone: {statistics.median(shares):.3f} (median of {len(shares)})")
    if theirs:
        wall = statistics.median(run.rate * one.wall / one.successes for run, one in zip(ours, theirs, strict=True))
        steady = statistics.median(run.rate / one.rate for run, one in zip(ours, theirs, strict=True))
        print(f"ratio to img2dataset: {wall:.2f} by wall clock, {steady:.2f} to its steady state")


def _report_pictures(stored: int, rivalled: bool, scratch: Path, originals: Path, photographs: bool) -> None:
    if not photographs:
        print(f"correct outputs: {verify_outputs(scratch / 'ours-0', originals).correct} of {stored}")
    print(f"SSIM to full-size LANCZOS: crawler {mean_ssim(_our_pairs(scratch / 'ours-0', originals)[::20]):.4f}")
    if rivalled:
        print(f"                           img2dataset {mean_ssim(pairs(scratch / 'theirs-0', originals)[::20]):.4f}")


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
    parser.add_argument(
        "--photographs", action="store_true", help="2000x3000 pixels to 512 inside, as the exercise has it"
    )
    parser.add_argument("--format", default="files", choices=("files", "webdataset"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the outputs, such as /dev/shm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
