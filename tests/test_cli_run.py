"""`python -m crawler run` as a user meets it: its files, its words, its exit code; a process where that matters."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import termios
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from tests.cli import (
    LIMIT,
    Ended,
    check_agreement,
    command,
    crawler,
    demo_site,
    environment,
    inside,
    metadata,
    pictures,
    started,
    wait_until,
)
from tests.servers import faults as served
from tests.servers import pictures as made
from tests.servers.handle import Faults

# What every run here is told: our servers are on loopback, and one worker starts sooner than two.
HERE: Final = ("--allow-private", "--workers", 1)
FIELDS: Final = [
    "file_name", "index", "url", "final_url", "sha256", "width", "height", "original_width", "original_height",
    "format", "bytes", "content_type", "fetched_at", "frames", "notes",
]  # fmt: skip
SUMMARY_KEYS: Final = {
    "targets", "stored", "skipped", "missed", "reasons", "seconds", "images_per_second", "bytes_fetched",
    "bytes_stored", "output",
}  # fmt: skip


def run(*words: object, **options: Any) -> Ended:
    """A run to its end; in a process of its own if it is given something that only a process has."""
    return crawler("run", *words, *HERE, **options) if options else inside("run", *words, *HERE)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The test reports, not this."""


@contextlib.contextmanager
def serving(files: dict[str, bytes], folder: Path) -> Iterator[list[str]]:
    """The addresses of these files, in order, while the block lasts."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield [f"http://127.0.0.1:{server.server_port}/{name}" for name in files]
        finally:
            server.shutdown()
            thread.join(LIMIT)


# What goes in -------------------------------------------------------------------------------------


def test_addresses_lists_and_standard_input_are_numbered_in_their_order(faults: Faults, tmp_path: Path) -> None:
    listed = tmp_path / "urls.txt"
    listed.write_text(f"{faults.url('tiny/1.jpg')}\n{faults.url('tiny/2.jpg')}\n")
    out = tmp_path / "out"
    words = (faults.url("tiny/0.jpg"), listed, "-", faults.url("tiny/5.jpg"), "-o", out, "--json", "--quiet")
    done = run(*words, stdin=f"{faults.url('tiny/3.jpg')}\n{faults.url('tiny/4.jpg')}")
    assert (done.code, done.summary["stored"]) == (0, 6)
    assert pictures(out) == [f"00000/{number:08d}.jpg" for number in range(6)]
    by_index = {row["index"]: row["url"] for row in metadata(out)}
    assert by_index == {number: faults.url(f"tiny/{number}.jpg") for number in range(6)}
    check_agreement(out)


def test_a_list_may_come_from_any_editor(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"tiny/{name}.jpg") for name in ("plain", "a,b", "'quoted'", 'double"', "last")]
    listed = tmp_path / "urls.txt"
    text = (
        f"# a comment\r\n\r\n{urls[0]}\r\n   {urls[1]}\t\r\n\n#{urls[0]}\n{urls[2]}\n{urls[3]}\nno address\n{urls[4]}"
    )
    listed.write_bytes(b"\xef\xbb\xbf" + text.encode())
    done = run(listed, "-o", tmp_path / "out", "--json")
    assert (done.code, done.summary["stored"], done.summary["reasons"]) == (0, 5, {"bad_url": 1})
    assert sorted(row["url"] for row in metadata(tmp_path / "out")) == sorted(urls)
    assert f"{listed}:9: " in done.err


def test_standard_input_is_read_as_it_comes(faults: Faults, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started("run", "-", "-o", out, *HERE, stdin=subprocess.PIPE) as running:
        assert running.process.stdin is not None
        for number in range(3):
            running.process.stdin.write(f"{faults.url(f'tiny/{number}.jpg')}\n".encode())
            running.process.stdin.flush()
            wait_for_pictures(out, number + 1)
        running.process.stdin.close()
        assert running.ended().code == 0
    check_agreement(out)


def wait_for_pictures(folder: Path, count: int) -> None:
    wait_until(lambda: len(pictures(folder)) == count, f"picture {count}")


def test_a_closed_standard_input_is_no_reason_to_crash(faults: Faults, tmp_path: Path) -> None:
    words = command("run", faults.url("good.jpg"), "-o", tmp_path / "out", *HERE)
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *words]
    done = subprocess.run(closed, env=environment(), capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, pictures(tmp_path / "out")) == (0, ["00000/00000000.jpg"]), done.stderr


def test_no_more_at_once_than_told(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"slow?delay=0.2&n={number}", host) for number in range(6) for host in faults.hosts]
    assert run(*urls, "-o", tmp_path / "a", "--per-host", 3).code == 0
    assert faults.stats()["concurrent"] == dict.fromkeys(faults.hosts, 3)
    faults.reset()
    assert run(*urls[::3], "-o", tmp_path / "b", "--per-host", 0, "--concurrency", 4).code == 0
    assert faults.stats()["concurrent"] == {faults.hosts[0]: 4}


def test_limit_stops_early_and_a_higher_one_goes_on(faults: Faults, tmp_path: Path) -> None:
    urls, out = [faults.url(f"tiny/{number}.jpg") for number in range(7)], tmp_path / "out"
    first = run(*urls, "-o", out, "--limit", 3, "--json")
    assert (first.code, first.summary["targets"], first.summary["stored"]) == (0, 3, 3)
    second = run(*urls, "-o", out, "--limit", 5, "--json")
    assert (second.summary["stored"], second.summary["skipped"]) == (2, 3)
    assert pictures(out) == [f"00000/{number:08d}.jpg" for number in range(5)]


def test_a_huge_repeat_is_not_made_up_in_memory(faults: Faults, tmp_path: Path) -> None:
    # A gigabyte of addresses is more than the command needs (a third), and less than a billion targets would take.
    words = command("run", faults.url("good.jpg"), "-o", tmp_path, *HERE, "--repeat", 10**9, "--limit", 3, "--json")
    done = subprocess.run(words, env=environment(), preexec_fn=_gigabyte, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-500:]
    assert json.loads(done.stdout)["stored"] == 3


def _gigabyte() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9))


# What comes out -----------------------------------------------------------------------------------


def test_metadata_tells_what_came_and_what_was_stored(faults: Faults, tmp_path: Path) -> None:
    url = faults.url("redirect?to=/good.png%3Fw%3D640%26h%3D320")
    assert run(url, "-o", tmp_path, "--size", 100).code == 0
    (row,) = metadata(tmp_path)
    data = (tmp_path / row["file_name"]).read_bytes()
    source = made.png(640, 320)
    assert list(row) == FIELDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", row.pop("fetched_at"))
    assert row == {
        "file_name": "00000/00000000.jpg",
        "index": 0,
        "url": url,
        "final_url": faults.url("good.png?w=640&h=320"),
        "sha256": hashlib.sha256(source).hexdigest(),
        "width": 100,
        "height": 50,
        "original_width": 640,
        "original_height": 320,
        "format": "jpeg",
        "bytes": len(data),
        "content_type": "image/png",
        "frames": 1,
        "notes": "",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", (512, 384)),
        ("--size 100x60", (80, 60)),
        ("--size 100 --fit outside", (133, 100)),
        ("--size 100x50 --fit cover", (100, 50)),
        ("--size 100 --fit contain", (100, 100)),
        ("--size 1000", (640, 480)),
        ("--size 1000 --upscale", (1000, 750)),
    ],
)
def test_size_and_fit(faults: Faults, tmp_path: Path, options: str, expected: tuple[int, int]) -> None:
    assert run(faults.url("good.jpg?w=640&h=480"), "-o", tmp_path, *options.split()).code == 0
    (row,) = metadata(tmp_path)
    assert (row["width"], row["height"]) == size_of(tmp_path / row["file_name"]) == expected


@pytest.mark.parametrize(("encode", "ending"), [("png", "png"), ("webp", "webp")])
def test_encode_gives_one_format_whatever_came(faults: Faults, tmp_path: Path, encode: str, ending: str) -> None:
    urls = [faults.url(f"good.{kind}?w=60&h=40") for kind in ("jpg", "png", "webp", "gif")]
    assert run(*urls, "-o", tmp_path, "--encode", encode).code == 0
    assert pictures(tmp_path) == [f"00000/{number:08d}.{ending}" for number in range(4)]
    for row in metadata(tmp_path):
        with Image.open(tmp_path / row["file_name"]) as picture:
            assert row["format"] == (picture.format or "").lower() == encode


def test_quality_changes_the_size_of_the_files(faults: Faults, tmp_path: Path) -> None:
    for quality in (30, 95):
        assert run(faults.url("good.jpg"), "-o", tmp_path / str(quality), "--quality", quality).code == 0
    low, high = (metadata(tmp_path / name)[0]["bytes"] for name in ("30", "95"))
    assert low < high / 2


def test_original_keeps_every_byte_of_what_is_a_picture(faults: Faults, tmp_path: Path) -> None:
    urls = [*(faults.url(f"good.{kind}?w=60&h=40") for kind in ("jpg", "png", "webp", "gif"))]
    urls += [faults.url("gzip-picture")]
    urls += [faults.url("truncated-file"), faults.url("html")]
    done = run(*urls, "-o", tmp_path, "--encode", "original", "--json")
    assert done.summary["reasons"] == {"truncated": 1, "not_image": 1}
    expected = [made.jpeg(60, 40), made.png(60, 40), made.webp(60, 40), made.gif(60, 40), served.reference()]
    for row in metadata(tmp_path):
        data = (tmp_path / row["file_name"]).read_bytes()
        assert data == expected[row["index"]]
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert pictures(tmp_path) == [
        f"00000/{number:08d}.{kind}" for number, kind in enumerate(["jpg", "png", "webp", "gif", "jpg"])
    ]


def test_pictures_stand_upright(tmp_path: Path) -> None:
    files = {f"{turn}.jpg": made.quadrants(96, 48, turn) for turn in range(1, 9)}
    files |= {f"{kind}.x": made.quadrants(96, 48, 6, kind) for kind in ("PNG", "WEBP")}
    out = tmp_path / "out"
    with serving(files, tmp_path / "site") as urls:
        assert run(*urls, "-o", out, "--size", 48).code == 0
    rows = metadata(out)
    assert len(rows) == len(files)
    for row in rows:
        with Image.open(out / row["file_name"]) as picture:
            assert picture.size == (48, 24), row["url"]
            assert made.quadrant_names(picture) == tuple(made.QUADRANTS), row["url"]
            assert not picture.getexif(), row["url"]
        assert (row["original_width"], row["original_height"]) == (96, 48)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    modes = ("RGBA", "LA", "P", "L", "1", "I;16", "RGB")
    files = {f"{mode}.png": made.png(64, 48, mode=mode) for mode in modes}
    files["webp.webp"] = made.webp(64, 48, mode="RGBA")
    out = tmp_path / "out"
    with serving(files, tmp_path / "site") as urls:
        assert run(*urls, "-o", out).code == 0
    rows = metadata(out)
    assert len(rows) == len(files)
    for row in rows:
        with Image.open(out / row["file_name"]) as picture:
            assert picture.mode in ("RGB", "L"), row["url"]
            if row["url"].endswith(("/RGBA.png", "/LA.png", "/webp.webp")):
                # The left edge of these is clear.
                darkest, _ = picture.convert("L").crop((0, 0, 1, 48)).getextrema()
                assert darkest == pytest.approx(255, abs=6), row["url"]


def test_the_first_exercise(tmp_path: Path) -> None:
    out = tmp_path / "not" / "there" / "yet"
    with demo_site() as site:
        options = ("--repeat", 5, "--name", "img_{index}", "--encode", "original")
        done = run(f"{site}/400/600", *options, "-o", out, "--json")
        assert (done.code, done.summary["stored"]) == (0, 5)
        assert pictures(out) == [f"img_{number}.jpg" for number in range(5)]
        assert len({(out / name).read_bytes() for name in pictures(out)}) == 5
        assert {size_of(out / name) for name in pictures(out)} == {(400, 600)}
        assert len({row["final_url"] for row in metadata(out)}) == 5


def test_a_rerun_asks_for_nothing_and_changes_nothing(faults: Faults, tmp_path: Path) -> None:
    words = (*(faults.url(f"tiny/{number}.jpg") for number in range(5)), faults.url("status/404"), "-o", tmp_path)
    assert run(*words).code == 0
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in [*pictures(tmp_path), "metadata.jsonl"]}
    faults.reset()
    again = run(*words, "--json")
    assert (again.code, again.summary["stored"], again.summary["skipped"], again.summary["missed"]) == (0, 0, 6, 0)
    assert faults.log() == []
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before


def test_names_that_clash_never_overwrite(faults: Faults, tmp_path: Path) -> None:
    # The third picture may not be called a.jpg, and what is left to call it after its number is taken as well.
    names = ("a.jpg", "a-2.jpg", "a.jpg?x", "b.jpg", "b-3.jpg", "b.jpg?x")
    urls = [faults.url(f"tiny/{name}") for name in names]
    done = run(*urls, "-o", tmp_path, "--name", "{stem}", "--concurrency", 1, "--json")
    assert (done.code, done.summary["stored"]) == (0, len(urls)), done.err
    assert len(pictures(tmp_path)) == len(urls)
    check_agreement(tmp_path)


def test_repeated_names_get_the_number_of_their_target(faults: Faults, tmp_path: Path) -> None:
    assert run(faults.url("tiny/a.jpg"), "--repeat", 3, "--name", "{host}/{stem}", "-o", tmp_path).code == 0
    assert len(pictures(tmp_path)) == 3
    assert "127.0.0.1/a.jpg" in pictures(tmp_path)
    check_agreement(tmp_path)


def test_names_by_content_share_the_file_of_the_same_content(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"tiny/{name}.jpg?n={n}") for name in ("a", "b") for n in range(3)]
    assert run(*urls, "--name", "{sha256}", "-o", tmp_path).code == 0
    assert sorted(row["index"] for row in metadata(tmp_path)) == list(range(6))
    assert pictures(tmp_path) == sorted({row["file_name"] for row in metadata(tmp_path)})
    assert len(pictures(tmp_path)) == 2


def test_format_none_writes_nothing(faults: Faults, tmp_path: Path) -> None:
    done = run(faults.url("good.jpg"), "--format", "none", "--json", cwd=tmp_path)
    assert (done.code, done.summary["stored"]) == (0, 1)
    assert list(tmp_path.iterdir()) == []


# What is said -------------------------------------------------------------------------------------


def test_json_is_all_there_is_on_stdout(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url("good.jpg"), faults.url("status/404"), faults.url("html"), "ftp://a.test/x.jpg"]
    done = run(*urls, "-o", tmp_path, "--json")
    (line,) = done.out.splitlines()
    summary = json.loads(line)
    assert set(summary) >= SUMMARY_KEYS
    assert {key: summary[key] for key in ("targets", "stored", "skipped", "missed", "output")} == {
        "targets": 4, "stored": 1, "skipped": 0, "missed": 3, "output": str(tmp_path),
    }  # fmt: skip
    assert summary["reasons"] == {"not_found": 1, "not_image": 1, "bad_url": 1}
    assert summary["bytes_stored"] == metadata(tmp_path)[0]["bytes"]
    assert summary["bytes_fetched"] >= len(served.reference())


def test_without_json_stdout_stays_empty_and_the_table_explains_each_reason(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url("good.jpg"), faults.url("status/404"), faults.url("html"), faults.url("html?again")]
    done = run(*urls, "-o", tmp_path)
    assert (done.code, done.out) == (0, "")
    table = done.err[done.err.rindex("\nstored ") :].splitlines()
    assert any(re.match(r"\s*not_found\s+1\s", line) and urls[1] in line for line in table)
    assert any(re.match(r"\s*not_image\s+2\s", line) and urls[2] in line for line in table)
    assert str(tmp_path) in done.err


def test_in_a_log_file_every_line_of_the_table_is_whole(faults: Faults, tmp_path: Path) -> None:
    url = faults.url(f"status/404?{'long=' * 30}")
    with started("run", url, "-o", tmp_path, *HERE, COLUMNS="") as running:
        assert url in running.ended().err


def test_a_refused_private_address_names_the_way_out(faults: Faults, tmp_path: Path) -> None:
    done = inside("run", faults.url("good.jpg"), "-o", tmp_path, "--workers", 1)
    assert done.code == 0
    assert "blocked_address" in done.err
    assert "--allow-private" in done.err
    assert faults.log() == []


def test_what_a_list_says_cannot_command_the_terminal(tmp_path: Path) -> None:
    done = crawler("run", "-", "-o", tmp_path, "--workers", 1, stdin="http://a.test/\x1b[31mred\x07\n")
    assert done.code == 0
    assert "\x1b" not in done.err
    assert "\x07" not in done.err


def test_what_a_list_says_is_shown_as_it_is(faults: Faults, tmp_path: Path) -> None:
    url = faults.url("status/404?a=[bold]b[/bold]:smile:")
    assert url in run(url, "-o", tmp_path).err


def test_quiet_says_nothing(faults: Faults, tmp_path: Path) -> None:
    words = (faults.url("good.jpg"), faults.url("status/404"), "--quiet", "-o")
    done = run(*words, tmp_path / "a")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = run(*words, tmp_path / "b", "--json")
    assert done.err == ""
    assert len(done.out.splitlines()) == 1


def test_progress_is_a_plain_line_now_and_then_where_there_is_no_terminal(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"slow?delay=0.3&n={number}") for number in range(3)]
    done = run(*urls, faults.url("status/404"), "-o", tmp_path, "--per-host", 1, "--progress-every", 0.1)
    lines = [line for line in done.err.splitlines() if " | " in line]
    assert len(lines) >= 4
    assert not any("\x1b" in line or "\r" in line for line in lines)
    assert " 4/4 " in lines[-1]
    for word in ("pictures/s", "MB/s", "waiting", "fetching", "workers", "disk", "not_found 1", "left"):
        assert word in lines[-1]


def test_a_terminal_shows_progress_and_then_a_table(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"slow?delay=0.4&n={number}") for number in range(3)]
    with Terminal("run", *urls, faults.url("status/404"), "-o", tmp_path, *HERE, "--per-host", 1) as terminal:
        shown = terminal.read_to_the_end()
        assert terminal.process.wait(LIMIT) == 0
    progress, _, table = shown.rpartition("stored ")
    for word in ("1/4", "pictures/s", "MB/s", "fetching", "workers", "disk", "missed 1: not_found 1"):
        assert word in progress
    assert "\x1b[" in progress
    assert "not_found" in table
    assert urls[0] not in table


def test_ctrl_c_on_a_terminal_stops_in_order(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"slow?delay=0.5&n={number}") for number in range(8)]
    with Terminal("run", *urls, "-o", tmp_path, *HERE, "--per-host", 2) as terminal:
        wait_until(lambda: len(pictures(tmp_path)) >= 2, "the first pictures")
        terminal.type(b"\x03")
        shown = terminal.read_to_the_end()
        assert terminal.process.wait(LIMIT) == 130
    assert "Ctrl-C again" in shown
    assert "Traceback" not in shown
    assert len(pictures(tmp_path)) == len(faults.log()) < 8


class Terminal:
    """The command on a pseudo-terminal of its own, 200 columns wide, where Ctrl-C is a key."""

    def __init__(self, *words: object) -> None:
        self._words = words

    def __enter__(self) -> Terminal:
        self._screen, keyboard = pty.openpty()
        termios.tcsetwinsize(self._screen, (40, 200))
        self.process = subprocess.Popen(
            command(*self._words),
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
            env=environment(TERM="xterm-256color", COLUMNS=""),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(keyboard)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        os.close(self._screen)

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def read_to_the_end(self) -> str:
        """All that was shown, once the command has ended."""
        watchdog = threading.Timer(20, self.process.kill)
        watchdog.start()
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody holds the other side any more
            while piece := os.read(self._screen, 65536):
                shown += piece
        watchdog.cancel()
        watchdog.join()
        return shown.decode(errors="replace")


@pytest.mark.parametrize("moment", ["the folder is made", "the first request"])
def test_ctrl_c_while_it_starts_ends_it(faults: Faults, tmp_path: Path, moment: str) -> None:
    """A terminal tells every process of the command, also those that are only coming up."""
    urls = [faults.url(f"slow?delay=0.3&n={number}") for number in range(8)]
    signs: dict[str, Callable[[], object]] = {
        "the folder is made": (tmp_path / "out/.crawler").exists,
        "the first request": faults.log,
    }
    with started("run", *urls, "-o", tmp_path / "out", *HERE, "--per-host", 2) as running:
        wait_until(signs[moment], moment)
        running.signal(signal.SIGINT)
        done = running.ended(20)
    assert done.code == 130
    assert "Traceback" not in done.err
    check_agreement(tmp_path / "out")
    again = run(*urls, "-o", tmp_path / "out")
    assert again.code == 0
    assert len(pictures(tmp_path / "out")) == 8


# How it ends --------------------------------------------------------------------------------------


def test_exit_code_tells_misses_only_when_asked(faults: Faults, tmp_path: Path) -> None:
    good, bad = faults.url("good.jpg"), faults.url("status/404")
    assert run(good, bad, "-o", tmp_path, "--limit", 1, "--strict").code == 0
    assert run(good, bad, "-o", tmp_path, "--strict").code == 1
    assert run(good, bad, "-o", tmp_path).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order_and_a_rerun_completes(
    faults: Faults, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    urls = [faults.url(f"slow?delay=0.4&n={number}") for number in range(12)]
    words = ("run", *urls, "-o", tmp_path, *HERE, "--per-host", 3, "--json")
    with started(*words) as running:
        wait_until(lambda: len(faults.log()) >= 4, "the second round of requests")
        running.signal(number)
        done = running.ended()
    assert done.code == code
    assert "Run the same command again" in done.err
    assert "Traceback" not in done.err
    begun = {entry["path"] for entry in faults.log()}
    assert 4 <= len(begun) < 12
    assert {row["url"] for row in metadata(tmp_path)} == {faults.url(path) for path in begun}, "in flight is finished"
    assert (done.summary["stored"], done.summary["missed"]) == (len(begun), 0)
    check_agreement(tmp_path)
    again = inside(*words)
    assert (again.code, again.summary["stored"], again.summary["skipped"]) == (0, 12 - len(begun), len(begun))
    assert pictures(tmp_path) == [f"00000/{number:08d}.jpg" for number in range(12)]
    assert set(Counter(entry["path"] for entry in faults.log()).values()) == {1}, "nothing is fetched twice"


def test_ctrl_c_ends_a_run_that_waits_for_more_input(faults: Faults, tmp_path: Path) -> None:
    with started("run", "-", "-o", tmp_path, *HERE, stdin=subprocess.PIPE) as running:
        assert running.process.stdin is not None
        running.process.stdin.write(f"{faults.url('tiny/1.jpg')}\n{faults.url('tiny/2.jpg')}\n".encode())
        running.process.stdin.flush()
        wait_for_pictures(tmp_path, 2)
        running.signal(signal.SIGINT)
        done = running.ended(20)
    assert (done.code, len(metadata(tmp_path))) == (130, 2)


def test_the_second_ctrl_c_stops_at_once(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url("good.jpg"), *(faults.url(f"no-answer?n={number}") for number in range(3))]
    with started("run", *urls, "-o", tmp_path, *HERE, "--timeout", 600, "--connect-timeout", 600) as running:
        wait_until(lambda: len(faults.log()) == 4 and pictures(tmp_path), "all requests and the one picture")
        running.signal(signal.SIGINT)
        wait_until(lambda: running.said("Ctrl-C again"), "the word that it stops")
        assert running.process.poll() is None, "what is in flight is waited for"
        running.signal(signal.SIGINT)
        done = running.ended(20)
    assert done.code == 130
    assert "Traceback" not in done.err
    assert pictures(tmp_path) == ["00000/00000000.jpg"]
    check_agreement(tmp_path)
    again = run(*urls, "-o", tmp_path, "--timeout", 0.2, "--retries", 0, "--json")
    assert (again.code, again.summary["skipped"], again.summary["reasons"]) == (0, 1, {"timeout": 3})


def test_a_full_disk_ends_the_run_with_one_line_and_a_rerun_goes_on(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"good.png?w=60&h=40&seed={number}") for number in range(20)] + [faults.url("good.png")]
    words = ("run", *urls, "-o", tmp_path, *HERE, "--encode", "original", "--concurrency", 4)
    # A file of 640x480 pixels as PNG is larger than this, the small ones and the journal are not.
    done = subprocess.run(
        command(*words), env=environment(), preexec_fn=_small_files, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 1
    problems = [line for line in done.stderr.splitlines() if " | " not in line]
    assert len(problems) == 1
    assert problems[0].startswith(f"crawler: cannot write to {tmp_path}: File too large")
    assert "run the same command again" in problems[0]
    check_agreement_of_what_is_recorded(tmp_path)
    assert inside(*words).code == 0
    assert len(pictures(tmp_path)) == 21
    check_agreement(tmp_path)


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def check_agreement_of_what_is_recorded(folder: Path) -> None:
    assert {row["file_name"] for row in metadata(folder)} <= set(pictures(folder))


def test_a_journal_that_finds_no_room_ends_the_run_with_one_line(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"tiny/{number}.jpg?{'x' * 2000}") for number in range(200)]
    listed = tmp_path / "urls.txt"
    listed.write_text("\n".join(urls))
    words = ("run", listed, "-o", tmp_path / "out", *HERE, "--concurrency", 8)
    done = subprocess.run(
        command(*words), env=environment(), preexec_fn=_small_files, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 1
    problems = [line for line in done.stderr.splitlines() if " | " not in line]
    assert len(problems) == 1, problems[:5]
    assert "run the same command again" in problems[0]
    assert "rollback" not in problems[0], "what is told is the cause, not what came of it"
    assert inside(*words).code == 0
    assert len(pictures(tmp_path / "out")) == 200
    check_agreement(tmp_path / "out")


# Where settings come from -------------------------------------------------------------------------


def shown(*words: object, **options: Any) -> dict[str, Any]:
    """The settings that `run WORDS` would use."""
    done = crawler("run", *words, "--show-settings", **options)
    assert done.code == 0, done.err
    return tomllib.loads(done.out)


def test_flags_beat_the_environment_beats_the_file_beats_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "crawl.toml"
    config.write_text('size = "300x200"\nquality = 71\nper-host = 3\nretries = 0\nallow-private = true\n')
    env = {"CRAWLER_QUALITY": "72", "CRAWLER_PER_HOST": "4"}
    found = shown("http://a.test/", "--config", config, "--per-host", 5, env=env)
    keys = ("timeout", "retries", "size", "quality", "per-host", "allow-private")
    assert {key: found[key] for key in keys} == {
        "timeout": 30.0, "retries": 0, "size": "300x200", "quality": 72, "per-host": 5, "allow-private": True,
    }  # fmt: skip


def test_the_defaults_are_the_documented_ones() -> None:
    expected = {
        "size": 512, "fit": "inside", "encode": "jpeg", "quality": 90, "upscale": False, "concurrency": 128,
        "per-host": 8, "timeout": 30.0, "connect-timeout": 10.0, "max-bytes": 50_000_000, "max-pixels": 64_000_000,
        "retries": 2, "max-redirects": 5, "allow-private": False, "repeat": 1,
    }  # fmt: skip
    found = shown("http://a.test/")
    assert {key: found[key] for key in expected} == expected


def test_a_run_takes_everything_from_a_file_or_the_environment(faults: Faults, tmp_path: Path) -> None:
    config = tmp_path / "crawl.toml"
    config.write_text(f'output = "{tmp_path / "a"}"\nallow-private = true\nworkers = 1\nsize = "40x30"\njson = true\n')
    done = inside("run", faults.url("good.jpg"), "--config", config)
    assert done.summary["output"] == str(tmp_path / "a")
    assert size_of(tmp_path / "a/00000/00000000.jpg") == (40, 30)
    env = {"CRAWLER_CONFIG": str(config), "CRAWLER_OUTPUT": str(tmp_path / "b"), "CRAWLER_SIZE": "20"}
    assert crawler("run", faults.url("good.jpg"), env=env).code == 0
    assert size_of(tmp_path / "b/00000/00000000.jpg") == (20, 15)


def test_shown_settings_give_themselves_again(tmp_path: Path) -> None:
    words = (
        "http://a.test/1.jpg", "--size", "64x32", "--fit", "cover", "--encode", "webp", "--limit", 7, "--repeat", 2,
        "--upscale", "--durable", "--timeout", 1.5, "--max-bytes", "3MB", "--name", "{host}/it's \"ü\"\t{index}",
        "--user-agent", 'me "and" \\ you', "-o", tmp_path / "a b",
    )  # fmt: skip
    first = inside("run", *words, "--show-settings")
    assert first.code == 0, first.err
    config = tmp_path / "crawl.toml"
    config.write_text(first.out, encoding="utf-8")
    again = inside("run", "--config", config, "--show-settings")
    assert again.code == 0, again.err
    assert tomllib.loads(again.out) == tomllib.loads(first.out)
    assert tomllib.loads(first.out)["limit"] == 7


def test_a_size_in_a_file_is_not_cut_in_half(tmp_path: Path) -> None:
    config = tmp_path / "crawl.toml"
    config.write_text("size = [64, 32]\n")
    done = inside("run", "http://a.test/", "--config", config, "--show-settings")
    assert done.code == 2 or tomllib.loads(done.out)["size"] == "64x32"


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom crawler.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'aiohttp', 'aiofiles', 'PIL', 'uvloop', 'sqlite3', 'multiprocessing.pool'}\n"
        "print(sorted(heavy & set(sys.modules)), code, file=sys.stderr)\n"
    )
    for words in (["--help"], ["run", "--help"], ["--version"], ["run", "--show-settings"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], env=environment(), capture_output=True, text=True, timeout=LIMIT
        )
        assert done.stderr == "[] 0\n", words
        assert done.stdout


def test_pictures_are_decoded_by_everyone(faults: Faults, tmp_path: Path) -> None:
    """Two workers, many pictures: every one is whole."""
    urls = [faults.url(f"good.jpg?w=300&h=200&seed={number}") for number in range(40)]
    assert inside("run", *urls, "-o", tmp_path, "--allow-private", "--workers", 2, "--size", 50).code == 0
    assert {size_of(tmp_path / name) for name in pictures(tmp_path)} == {(50, 33)}
    assert len({(tmp_path / name).read_bytes() for name in pictures(tmp_path)}) == 40
    for name in pictures(tmp_path):
        Image.open(BytesIO((tmp_path / name).read_bytes())).verify()
