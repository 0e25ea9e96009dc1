"""What one picture costs the process that fetches, in counts that do not depend on the machine: run as a child, prints JSON.

Two runs of different length, one behind the other; what the longer one has more, per picture, is the cost of a picture. What
starting and ending costs is in both and falls out.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvloop

from crawler import Settings, crawl

SHORT, LONG = 200, 1000
_BY_BATCH: Final = ("/threading.py", "/concurrent/", "/multiprocessing/", "/batcher.py")
"""What is called once a batch and not once a picture: how many there are depends on how busy the machine is."""


class Calls:
    """Calls of Python functions in all threads, by where they are written."""

    def __init__(self) -> None:
        self.made: Counter[tuple[str, str]] = Counter()

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """The profile function of a thread."""
        code = frame.f_code
        if event == "call" and not any(part in code.co_filename for part in _BY_BATCH):
            self.made[code.co_filename, code.co_qualname] += 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count in this thread and in those that are started within."""
        threading.setprofile(self.note)
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def transfers() -> dict[str, int]:
    """System calls that read and write, and the bytes they moved (proc(5)); nothing where there is no /proc."""
    path = Path("/proc/self/io")
    if not path.exists():
        return {}
    return {name: int(value) for name, value in re.findall(r"(\w+): (\d+)", path.read_text())}


def run(base: str, count: int, output: Path) -> tuple[Counter[tuple[str, str]], dict[str, int]]:
    """One run. Returns the calls and the transfers it took."""
    urls = [f"{base}/{number % 8}.jpeg?{count}-{number}" for number in range(count)]
    # One host, one worker, few at once: the fewer things happen at the same time, the less the counts wander.
    settings = Settings.of(
        urls, output=str(output), size=64, workers=1, concurrency=16, per_host=0, allow_private=True, robots=False,
    )  # fmt: skip
    calls, before = Calls(), transfers()
    with calls.counted(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(crawl(settings))
    assert summary.stored == count, summary.reasons
    after = transfers()
    return calls.made, {name: after[name] - before[name] for name in after}


def main() -> None:
    base, scratch = sys.argv[1], Path(sys.argv[2])
    run(base, 50, scratch / "warm")  # imports, caches, the fork server
    few, moved_few = run(base, SHORT, scratch / "short")
    many, moved_many = run(base, LONG, scratch / "long")
    more = LONG - SHORT
    each: dict[str, Any] = {
        "calls": sum(many.values()) / more - sum(few.values()) / more,
        "own": _ours(many, few, more),
        "most": {
            f"{Path(file).parent.name}/{Path(file).name}:{name}": round(count / more, 2)
            for (file, name), count in (many - few).most_common(25)
        },
    }
    each |= {name: (moved_many[name] - moved_few[name]) / more for name in moved_many}
    print(json.dumps(each))


def _ours(many: Counter[tuple[str, str]], few: Counter[tuple[str, str]], more: int) -> float:
    return sum(count for (file, _), count in (many - few).items() if "crawler" in Path(file).parts) / more


if __name__ == "__main__":
    main()
