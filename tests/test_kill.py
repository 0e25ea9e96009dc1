"""Kill a run at any instant and start it again: it ends like one that was left alone. Short here, long as a soak."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli import wait_until
from tests.servers.handle import Faults

LIMIT = 120.0
SHAPES = {
    "plain": [],
    "repeat": ["--repeat", "3", "--limit", "400"],
    "by-content": ["--name", "{sha256}"],
    "original": ["--encode", "original", "--name", "{stem}-{index}"],
}


def command(urls: Path, output: Path, shape: str) -> list[str]:
    crawl = [sys.executable, "-m", "crawler", "run", str(urls), "-o", str(output), "--allow-private", "--retries", "0"]
    return [
        *crawl,
        "--size",
        "24",
        "--workers",
        "2",
        "--concurrency",
        "16",
        "--per-host",
        "0",
        "--quiet",
        *SHAPES[shape],
    ]


def write_list(faults: Faults, path: Path, count: int) -> Path:
    """Mostly pictures, some that miss, some slow enough to be under way at a kill."""
    lines = []
    for n in range(count):
        if n % 17 == 5:
            lines.append(faults.url(f"status/404?{n}"))
        elif n % 23 == 7:
            lines.append(f"not an address {n}")
        elif n % 29 == 11:
            lines.append(faults.url(f"slow?delay=0.05&{n}"))
        else:
            lines.append(faults.url(f"tiny/{n}.jpg"))
    path.write_text("\n".join(lines))
    return path


def run_to_end(call: list[str]) -> None:
    done = subprocess.run(call, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr


def kill_after(call: list[str], seconds: float, number: int = signal.SIGKILL) -> int:
    """Run for a while, then signal the whole process group. Returns the exit code."""
    process = subprocess.Popen(call, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
        return process.wait(LIMIT)


def signalled_when_it_works(call: list[str], output: Path, number: int) -> int:
    """Run until the first picture is stored, then signal the whole process group. Returns the exit code."""
    process = subprocess.Popen(call, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(output.glob("*/*.jpg")), "the first picture")
    os.killpg(process.pid, number)
    return process.wait(LIMIT)


def tree(folder: Path) -> dict[str, str]:
    """Every file below the folder but the journal's own, by hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "metadata.jsonl" and path.parent != folder / ".crawler"
    }


def metadata(folder: Path) -> list[dict[str, Any]]:
    """All lines in order of the input, without their times."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    return sorted(({k: v for k, v in row.items() if k != "fetched_at"} for row in rows), key=lambda row: row["index"])


def state_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".crawler").iterdir())


def survive(faults: Faults, home: Path, shape: str, seed: int, kills: int, count: int) -> None:
    """Kill a run `kills` times at drawn instants, finish it, and compare it with one that was left alone."""
    draw = random.Random(seed)
    urls = write_list(faults, home / "urls.txt", count)
    whole, broken = home / "whole", home / "broken"
    if not whole.exists():
        run_to_end(command(urls, whole, shape))
    moments = [draw.uniform(0.2, 1.6) for _ in range(kills)]
    print(f"shape {shape}, seed {seed}: killed after {', '.join(f'{moment:.3f}' for moment in moments)} s")
    for moment in moments:
        kill_after(command(urls, broken, shape), moment)
    run_to_end(command(urls, broken, shape))
    assert tree(broken) == tree(whole)
    assert metadata(broken) == metadata(whole)
    assert state_files(broken) == state_files(whole) == ["journal.sqlite", "lock"]


@pytest.mark.parametrize("shape", SHAPES)
def test_killed_runs_end_like_whole_ones(fault_server: Faults, tmp_path: Path, shape: str) -> None:
    survive(fault_server, tmp_path, shape, seed=11, kills=2, count=400)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
def test_thirty_kills_at_random_instants(fault_server: Faults, tmp_path: Path, shape: str) -> None:
    for seed in range(30):
        home = tmp_path / str(seed)
        home.mkdir()
        if seed:
            (home / "whole").symlink_to(tmp_path / "0" / "whole")
        survive(fault_server, home, shape, seed, kills=2, count=1500)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_told_to_end_drains_and_can_go_on(fault_server: Faults, tmp_path: Path, number: int, code: int) -> None:
    urls = write_list(fault_server, tmp_path / "urls.txt", 3000)
    output = tmp_path / "out"
    assert signalled_when_it_works(command(urls, output, "plain"), output, number) == code
    stored = set(tree(output))
    assert stored == {row["file_name"] for row in metadata(output)}, "what was under way has been finished"
    assert state_files(output) == ["journal.sqlite", "lock"]
    run_to_end(command(urls, output, "plain"))
    assert len(metadata(output)) == len(tree(output))


def test_a_kill_of_the_parent_alone_leaves_no_worker(fault_server: Faults, tmp_path: Path) -> None:
    urls = write_list(fault_server, tmp_path / "urls.txt", 3000)
    process = subprocess.Popen(command(urls, tmp_path / "out", "plain"), start_new_session=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.8)
    process.kill()
    process.wait(LIMIT)
    # The workers see the end of their pipe; all of them are in the session of their parent.
    for _ in range(200):
        if not members(process.pid):
            break
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "10"], timeout=0.05, check=False)
    assert not members(process.pid)


def members(session: int) -> list[int]:
    """Processes of a session, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(("most", "count"), [(9, 150), pytest.param(90, 1500, marks=pytest.mark.soak, id="soak")])
def test_workers_killed_again_and_again_lose_no_picture(
    fault_server: Faults, tmp_path: Path, most: int, count: int
) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join(fault_server.url(f"good.jpg?w=900&h=700&seed={n % 20}&n={n}") for n in range(count)))
    call = [sys.executable, "-m", "crawler", "run", str(urls), "-o", str(tmp_path / "out"), "--allow-private"]
    process = subprocess.Popen([*call, "--encode", "webp", "--workers", "2", "--per-host", "0", "--quiet"])
    kills = 0
    end = time.monotonic() + LIMIT
    while kills < most and time.monotonic() < end:  # on a busy machine it takes seconds until there are workers
        try:
            process.wait(0.2)
            break
        except subprocess.TimeoutExpired:
            kills += kill_one_worker(process.pid)
    assert process.wait(LIMIT) == 0
    print(f"{kills} workers killed")
    assert kills >= most / 3, "the test must have killed some"
    assert len(metadata(tmp_path / "out")) == count


def kill_one_worker(parent: int) -> int:
    """SIGKILL a worker of the run, drawn at random. Workers are the children of its fork server."""
    try:
        servers = [child for child in psutil.Process(parent).children() if child.children()]
        workers = [worker for server in servers for worker in server.children()]
        if not workers:
            return 0
        random.choice(workers).kill()
    except psutil.NoSuchProcess:
        return 0
    return 1
