"""Politeness and what it costs: many slow hosts at their limits, hosts that ask for a pause, and the frontier alone.

The hosts keep the ledger: what is counted as a violation is what they saw, not what we meant.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import resource
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks.slow_hosts import Hosts, slow_hosts
from crawler import Settings, Summary, crawl
from crawler.cli.run import prepare
from crawler.clock import SystemClock
from crawler.frontier.host import Rules
from crawler.frontier.hosts import HostFrontier
from crawler.model import Fetched, Target, Visit
from crawler.state.spill import TargetSpill


def run(hosts: Hosts, each: int, folder: Path, **flags: object) -> tuple[Summary, float]:
    """Fetch `each` pictures of every host, in the order of a list that was shuffled. Returns the summary and the start."""
    listed = [f"{base}/{n}.jpg" for base in hosts.bases for n in range(each)]
    random.Random(1).shuffle(listed)
    (folder / "urls.txt").write_text("\n".join(listed))
    settings = Settings.of(str(folder / "urls.txt"), output=str(folder / "out"), size=64, allow_private=True, **flags)
    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(crawl(settings))
    assert summary.stored == len(listed), summary
    return summary, began


def at_the_limit(count: int, each: int, latency: float, per_host: int, concurrency: int, format: str = "files") -> None:
    """Wall time against targets x latency / slots, and how often a host saw more than its limit."""
    with tempfile.TemporaryDirectory() as folder, slow_hosts(count, latency) as hosts:
        summary, began = run(hosts, each, Path(folder), per_host=per_host, concurrency=concurrency, format=format)
        seen = hosts.seen().values()
    ideal = count * each * latency / min(concurrency, count * per_host)
    fetching = max(host["done"] for host in seen) - began
    broken = sum(host["most"] > per_host for host in seen)
    print(
        f"{count} hosts x {each} pictures, {latency:g} s latency, {per_host} a host, {concurrency} slots: "
        f"{summary.seconds:.2f} s, the last picture fetched after {fetching:.2f} s; ideal {ideal:.2f} s, "
        f"ratio {summary.seconds / ideal:.3f}; hosts that saw more than {per_host} at once: {broken}",
        flush=True,
    )


def with_a_delay(count: int, each: int, delay: float) -> None:
    """The smallest gap that any host saw, and how many were under the delay."""
    with tempfile.TemporaryDirectory() as folder, slow_hosts(count, 0.05) as hosts:
        summary, _ = run(hosts, each, Path(folder), delay=delay)
        seen = hosts.seen().values()
    ideal = each * delay
    smallest = min(host["gap"] for host in seen)
    print(
        f"{count} hosts x {each} pictures, --delay {delay:g}: {summary.seconds:.2f} s, ideal {ideal:.2f} s; "
        f"smallest gap {smallest:.4f} s, hosts with one under the delay: {sum(host['gap'] < delay for host in seen)}",
        flush=True,
    )


def with_pauses(count: int, each: int, latency: float, concurrency: int, repeat: int) -> None:
    """One host in ten answers 429 with Retry-After once: nobody asks early, and the others lose little."""
    ratios = []
    for _ in range(repeat):
        seconds = []
        for limited in (0, 10):
            with tempfile.TemporaryDirectory() as folder, slow_hosts(count, latency, limited) as hosts:
                _, began = run(hosts, each, Path(folder), per_host=2, concurrency=concurrency)
                seen = list(hosts.seen().values())
            # The same nine hosts in ten, with and without a neighbour that asks for a pause.
            others = [host for n, host in enumerate(seen) if n % 10]
            ended = [host["done"] - began for host in others]
            seconds.append(sum(ended) / len(ended))
            early = sum(host["early"] for host in seen)
        ratios.append(seconds[0] / seconds[1])
        print(
            f"429 for one host in ten: all {count * each} stored, asked before its time: {early}; "
            f"rate of the others against a run without: {ratios[-1]:.3f}",
            flush=True,
        )


async def alone(targets: int, count: int, order: str) -> None:
    """Targets through the frontier and nothing else."""
    frontier = HostFrontier(Rules(per_host=8), SystemClock(), spill := TargetSpill())
    each = targets // count

    async def feed() -> None:
        pairs = (
            itertools.product(range(count), range(each))
            if order == "sorted"
            else ((host, n) for n, host in itertools.product(range(each), range(count)))
        )
        for index, (host, n) in enumerate(pairs):
            url = f"http://host{host}.test/{n}.jpg"
            await frontier.add(Visit(Target(index, url), url, f"host{host}.test:80"))
        frontier.close()

    most = taken = 0
    began = time.perf_counter()
    async with spill:
        feeder = asyncio.create_task(feed())
        while (visit := await frontier.take()) is not None:
            visit.sent_at = 1.0
            frontier.sent(visit)
            frontier.release(visit, Fetched(visit.target, b"", visit.url, 200, "", 0.0, 0.0))
            taken += 1
            if not taken % 1024:
                most = max(most, frontier.waiting())
                await asyncio.sleep(0)
        await feeder
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert taken == targets, taken
    print(
        f"frontier alone, {targets:,} targets over {count:,} hosts, {order}: {targets / seconds:,.0f} a second, "
        f"{seconds / targets * 1e6:.1f} us each; most that waited {most:,}; peak {peak:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--each", type=int, default=50)
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument("--per-host", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--format", choices=["files", "none"], default="files", help="of what is fetched at the limit")
    parser.add_argument("--only-limit", action="store_true", help="leave out delays, pauses and the frontier alone")
    parser.add_argument("--targets", type=int, default=1_000_000, help="through the frontier alone; 0 leaves it out")
    given = parser.parse_args()
    prepare()  # as the command does
    if given.only_limit:
        for _ in range(given.repeat):
            at_the_limit(given.hosts, given.each, given.latency, given.per_host, given.concurrency, given.format)
        return
    if given.targets:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for order in ("sorted", "mixed"):
                runner.run(alone(given.targets, max(1, given.targets // 10), order))
    for _ in range(given.repeat):
        at_the_limit(given.hosts, given.each, given.latency, given.per_host, given.concurrency)
        with_a_delay(20, 20, 0.25)
    with_pauses(given.hosts, given.each, given.latency, given.concurrency, given.repeat)


if __name__ == "__main__":
    main()
