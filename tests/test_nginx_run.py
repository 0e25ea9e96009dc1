"""A whole run against a server as the web has them: 3,000 addresses, eight hosts, every format, some files broken."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
from PIL import Image

from tests.cli import LIMIT, check_agreement, crawler, metadata, pictures, started
from tests.servers import pictures as made
from tests.servers.nginx import Nginx, find_nginx, running_nginx

HOSTS: Final = tuple(f"127.0.0.{number}" for number in range(1, 9))
COUNT: Final = 1500
PER_HOST: Final = 4

pytestmark = pytest.mark.skipif(
    find_nginx() is None and "CI" not in os.environ, reason="nginx is not installed: apt-get install nginx-light"
)


def files() -> dict[str, tuple[bytes, str]]:
    """File name to its bytes and how its address ends: `stored` or the reason of the miss."""
    good = {f"{seed}.jpg": made.jpeg(320, 240, seed) for seed in range(24)}
    good |= {f"{seed}-progressive.jpg": made.jpeg(320, 240, seed, progressive=True) for seed in range(4)}
    good |= {f"{mode}.jpg": made.jpeg(200, 300, mode=mode) for mode in ("L", "CMYK")}
    good |= {f"turned-{turn}.jpg": made.jpeg(320, 240, exif_orientation=turn) for turn in range(1, 9)}
    good |= {
        f"{mode.replace(';', '')}.png": made.png(160, 120, mode=mode)
        for mode in ("RGB", "RGBA", "LA", "P", "1", "I;16")
    }
    good |= {f"{seed}.webp": made.webp(200, 150, seed, frames=1 + seed) for seed in range(3)}
    good |= {f"{seed}.gif": made.gif(120, 90, seed, frames=1 + seed) for seed in range(3)}
    good["named-png.jpg"] = made.png(50, 40)
    good["no-ending"] = made.jpeg(50, 40)
    whole = made.jpeg(320, 240)
    bad = {
        "half.jpg": (whole[: len(whole) // 2], "truncated"),
        "half.png": (made.png(160, 120)[:5000], "truncated"),
        "empty.jpg": (b"", "empty"),
        "page.jpg": (b"<!doctype html><title>no</title>", "not_image"),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        "bomb.png": (made.bomb_png(), "too_many_pixels"),
        "large.jpg": (whole + bytes(3_000_000), "too_large"),
    }
    return {name: (data, "stored") for name, data in good.items()} | bad


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("nginx") / "root"
    root.mkdir()
    for name, (data, _) in files().items():
        (root / name).write_bytes(data)
    with running_nginx(root, HOSTS, access_log=True) as server:
        yield server


def listed(nginx: Nginx) -> dict[str, str]:
    """Address to how it ends; every 50th is of a file that is not there."""
    endings = {name: ending for name, (_, ending) in files().items()}
    names, hosts = itertools.cycle(endings), itertools.cycle(HOSTS)
    urls = {}
    for number in range(COUNT):
        name = next(names) if number % 50 else "missing.jpg"
        urls[nginx.url(f"{name}?n={number}", next(hosts))] = endings.get(name, "not_found")
    return urls


def test_fifteen_hundred_addresses_end_as_expected_and_a_rerun_skips_them_all(nginx: Nginx, tmp_path: Path) -> None:
    urls = listed(nginx)
    (tmp_path / "urls.txt").write_text("\n".join(urls))
    out = tmp_path / "out"
    options = (
        "--size",
        64,
        "--fit",
        "outside",
        "--max-bytes",
        "1MB",
        "--per-host",
        PER_HOST,
        "--allow-private",
        "--json",
    )
    with started("run", tmp_path / "urls.txt", "-o", out, *options) as running:
        most = most_connections(running.process)
        done = running.ended()
    assert done.code == 0, done.err
    assert all(0 < count <= PER_HOST for count in most.values()), most
    expected = Counter(urls.values())
    assert done.summary["targets"] == COUNT
    assert done.summary["stored"] == expected.pop("stored")
    assert done.summary["reasons"] == expected
    check_stored(out, urls)
    check_requests(nginx, urls)
    again = crawler("run", tmp_path / "urls.txt", "-o", out, *options)
    assert (again.code, again.summary["skipped"], again.summary["stored"]) == (0, COUNT, 0)
    check_requests(nginx, urls)


def most_connections(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """The most connections that it had at once to each host, by looking again and again until it ends."""
    most = dict.fromkeys(HOSTS, 0)
    watched, end = psutil.Process(process.pid), time.monotonic() + LIMIT
    while process.poll() is None:
        assert time.monotonic() < end, f"still running after {LIMIT:g} s"
        with contextlib.suppress(psutil.Error):
            now = Counter(c.raddr.ip for c in watched.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED)
            most = {host: max(count, now[host]) for host, count in most.items()}
        time.sleep(0.01)
    return most


def check_stored(out: Path, urls: dict[str, str]) -> None:
    """Files and metadata agree one to one; each picture is whole, has the size it says and is at the right place."""
    check_agreement(out)
    order = list(urls)
    rows = metadata(out)
    assert len(rows) == len(pictures(out)) == Counter(urls.values())["stored"]
    for row in rows:
        assert order[row["index"]] == row["url"]
        assert row["file_name"] == f"00000/{row['index']:08d}.jpg"
        path = out / row["file_name"]
        assert path.stat().st_size == row["bytes"]
    for row in rows[::20]:
        with Image.open(out / row["file_name"]) as picture:
            picture.load()
            assert picture.size == (row["width"], row["height"])


def check_requests(nginx: Nginx, urls: dict[str, str]) -> None:
    """Every address was asked for once, at its own host, and so was every robots.txt."""
    assert nginx.access_log is not None
    lines = nginx.access_log.read_text().splitlines()
    asked = Counter(re.sub(r'^\S+ \S+ "(\S+)" "(\S+)".*', r"http://\1\2", line) for line in lines)
    robots = {url.split("/", 3)[2] for url in urls}
    assert set(asked) == {*urls, *(f"http://{host}/robots.txt" for host in robots)}
    assert set(asked.values()) == {1}
