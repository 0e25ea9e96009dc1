"""A URL list -> how fast img2dataset turns it into 256 px pictures on this machine, at its best setting.

It runs from its own environment, with the work it does by choice (EXIF, logging) turned off, as ours has it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

PROCESSES = (1, 2, 3)
THREADS = (8, 16, 32, 64)
# Its workers are killed and started again after this many shards (`maxtasksperchild`).
SHARDS_PER_LIFE = 5
USUAL_SHARD = 1000
RUN_LIMIT = 1800.0

FLAGS = """
    --input_format txt --image_size 256 --resize_mode keep_ratio --resize_only_if_bigger True
    --encode_format jpg --encode_quality 95 --downscale_interpolation area
    --timeout 10 --retries 0 --max_shard_retry 1
    --compute_hash sha256 --extract_exif False --enable_wandb False
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a sweep varies. `shard` is pictures per shard; 0 picks it from the length of the list. `photographs`: to 512 pixels
    inside.
    """

    processes: int
    threads: int
    output: str = "files"
    shard: int = 0
    photographs: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run of img2dataset. Seconds are wall clock; `rate` leaves out the start-up that `wall` includes."""

    setting: Setting
    count: int
    successes: int
    wall: float
    rate: float
    cpu: float

    @property
    def cpu_each(self) -> float:
        """CPU milliseconds for each picture that succeeded."""
        return 1000 * self.cpu / self.successes if self.successes else math.inf


def run(python: Path, urls: Path, setting: Setting, output: Path | None = None) -> Run:
    """Run img2dataset once over the list `urls`; `output`, when given, is kept and must be empty."""
    if output and output.exists() and any(output.iterdir()):
        # It would skip the shards of the earlier run.
        raise ValueError(f"output folder {output} is not empty")
    with tempfile.TemporaryDirectory(prefix="img2dataset-") as home:
        folder = output or Path(home) / "out"
        command = _command(python, urls, setting, folder)
        cpu, began = _children_cpu(), time.perf_counter()
        _execute(command, Path(home))
        wall, cpu = time.perf_counter() - began, _children_cpu() - cpu
        count, successes, steady = _stats(folder)
    return Run(setting, count, successes, wall, successes / steady if steady else 0.0, cpu)


def sweep(
    python: Path,
    urls: Path,
    processes: Sequence[int] = PROCESSES,
    threads: Sequence[int] = THREADS,
    output: str = "files",
    repeat: int = 1,
) -> Iterator[Run]:
    """Run every pair of the two scales, each into an empty folder that is removed after.

    Repeats are whole rounds: a minute in which the machine is busy then slows no setting every time.
    """
    warm(python)
    for _, one, many in product(range(repeat), processes, threads):
        yield run(python, urls, Setting(one, many, output))


def best(runs: Sequence[Run]) -> Run:
    """The median run of the setting whose median steady rate is the highest."""
    rounds: dict[Setting, list[Run]] = {}
    for one in sorted(runs, key=lambda one: one.rate):
        rounds.setdefault(one.setting, []).append(one)
    return max((same[len(same) // 2] for same in rounds.values()), key=lambda one: one.rate)


def warm(python: Path) -> None:
    """Import it once, so that the first timed run does not also pay for reading it from disk."""
    with tempfile.TemporaryDirectory(prefix="img2dataset-") as home:
        command = [str(python), "-c", "import img2dataset"]
        subprocess.run(command, env=_environment(home), check=True, timeout=120)


def shard_size(count: int, processes: int) -> int:
    """Pictures per shard: near 1000, the same number of shards for each process, no worker started twice."""
    each = min(max(round(count / USUAL_SHARD / processes), 1), SHARDS_PER_LIFE)
    return math.ceil(count / (each * processes))


def header() -> str:
    head = f"{'procs':>6}{'threads':>8}{'output':>12}{'ok':>8}{'of':>8}"
    return f"{head}{'wall s':>8}{'pict/s':>8}{'CPU s':>8}{'ms each':>9}"


def row(one: Run) -> str:
    kept = one.setting
    return (
        f"{kept.processes:6}{kept.threads:8}{kept.output:>12}{one.successes:8}{one.count:8}"
        f"{one.wall:8.1f}{one.rate:8.1f}{one.cpu:8.1f}{one.cpu_each:9.1f}"
    )


def _command(python: Path, urls: Path, setting: Setting, folder: Path) -> list[str]:
    shard = setting.shard or shard_size(len(urls.read_text().splitlines()), setting.processes)
    # The console script, as its users start it: `-m` would load its main module twice in each worker.
    return [
        str(python.with_name("img2dataset")),
        *("--url_list", str(urls), "--output_folder", str(folder), "--output_format", setting.output),
        *("--processes_count", str(setting.processes), "--thread_count", str(setting.threads)),
        *("--number_sample_per_shard", str(shard)),
        *(
            FLAGS.replace("_size 256", "_size 512").replace("keep_ratio", "keep_ratio_largest")
            if setting.photographs
            else FLAGS
        ).split(),
    ]


def _environment(home: str) -> dict[str, str]:
    # urllib would send even loopback requests through a proxy named here.
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    # Each of its processes leaves an empty temporary folder behind: let it be where all is removed.
    return kept | {"NO_ALBUMENTATIONS_UPDATE": "1", "TMPDIR": home}


def _execute(command: list[str], home: Path) -> None:
    log = home / "log"
    with log.open("wb") as out:
        # Its own session, because at the limit its workers must end with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=_environment(str(home)),
            start_new_session=True,
        )
        try:
            code = process.wait(RUN_LIMIT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if code:
        raise RuntimeError(f"img2dataset ended with {code}:\n{log.read_text(errors='replace')[-2000:]}")


def _children_cpu() -> float:
    """CPU seconds of ended children and of theirs; a server still running is not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stats(folder: Path) -> tuple[int, int, float]:
    """Pictures tried, pictures stored, and seconds from the first shard's start to the last one's end."""
    shards = [json.loads(path.read_text()) for path in sorted(folder.glob("*_stats.json"))]
    if not shards:
        raise RuntimeError(f"img2dataset left no statistics in {folder}")
    steady = max(one["end_time"] for one in shards) - min(one["start_time"] for one in shards)
    return sum(one["count"] for one in shards), sum(one["successes"] for one in shards), steady


def _python(given: Path | None) -> Path:
    named = given or Path(os.environ.get("IMG2DATASET_PYTHON", ""))
    if not named.name or not named.with_name("img2dataset").exists():
        raise SystemExit("name the Python of img2dataset's environment by --python or $IMG2DATASET_PYTHON")
    # Absolute, not resolved: a virtual environment's interpreter is a link that leads out of it.
    return named.absolute()


def _scale(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rival", description=__doc__)
    parser.add_argument("--list", type=Path, required=True, help="URLs, one a line, of a running server")
    parser.add_argument("--python", type=Path, help="its environment's Python (default $IMG2DATASET_PYTHON)")
    parser.add_argument("--sweep", action="store_true", help="try every pair of --processes and --threads")
    parser.add_argument("--processes", type=_scale, help="comma-separated; default 2, in a sweep 1,2,3")
    parser.add_argument("--threads", type=_scale, help="comma-separated; default 32, in a sweep 8,16,32,64")
    parser.add_argument("--format", default="files", choices=("files", "webdataset"))
    parser.add_argument("--repeat", type=int, default=1, help="rounds of a sweep")
    parser.add_argument("--output", type=Path, help="keep the pictures of a single run in this empty folder")
    args = parser.parse_args()
    python = _python(args.python)
    print(header(), flush=True)
    if args.sweep:
        done = []
        scales = args.processes or PROCESSES, args.threads or THREADS
        for one in sweep(python, args.list, *scales, args.format, args.repeat):
            print(row(one), flush=True)
            done.append(one)
        print(f"best\n{row(best(done))}")
        return
    setting = Setting((args.processes or (2,))[0], (args.threads or (32,))[0], args.format)
    print(row(run(python, args.list, setting, args.output)))


if __name__ == "__main__":
    main()
