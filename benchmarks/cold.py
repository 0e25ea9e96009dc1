"""One picture, cold: `python -m crawler run URL` against an interpreter that imports aiohttp and Pillow and does nothing."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crawler.bench.server import serving
from crawler.demo.pictures import photo

IMPORTS = "import aiohttp, PIL.Image"


def seconds(*words: str) -> tuple[float, float]:
    """Wall clock and CPU, workers included, of one command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, timeout=60)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=9)
    arguments = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        (folder / "a.jpeg").write_bytes(photo(1, 2000, 3000))
        with serving(folder) as base:
            for turn in range(arguments.repeat):
                bare, bare_cpu = seconds("-c", IMPORTS)
                output = str(Path(scratch) / f"out-{turn}")
                run, run_cpu = seconds(
                    "-m", "crawler", "run", f"{base}/a.jpeg", "-o", output, "--allow-private", "--quiet"
                )
                ratios.append(run / bare)
                print(
                    f"imports {bare:.2f} s, CPU {bare_cpu:.2f} s   one picture {run:.2f} s, CPU {run_cpu:.2f} s   "
                    f"ratio {ratios[-1]:.2f}",
                    flush=True,
                )
    print(f"one picture to the imports: {statistics.median(ratios):.2f} (median of {len(ratios)})")


if __name__ == "__main__":
    main()
