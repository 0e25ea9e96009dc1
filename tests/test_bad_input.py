"""What a user can get wrong: one clear line that names what is wrong, the right exit code, and nothing written."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from crawler import Settings, crawl
from tests.cli import LIMIT, Ended, check_agreement, crawler, inside, metadata, pictures, started, wait_until
from tests.servers.handle import Faults

HERE: Final = ("--allow-private", "--workers", 1)
NOWHERE: Final = "http://127.0.0.1:9/a.jpg"


def complaint(done: Ended, code: int = 2) -> str:
    """The one line that it said."""
    lines = done.err.splitlines()
    assert (done.code, len(lines), done.out) == (code, 1, ""), done
    assert lines[0].startswith("crawler: ")
    return lines[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and we are in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--frobnicate 3", "--frobnicate"),
        ("--siez 3", "--siez"),
        ("--size 0", "--size"),
        ("--size=-3", "--size"),
        ("--size 10x", "--size"),
        ("--size 10x20x30", "--size"),
        ("--size 0x10", "--size"),
        ("--size 1.5", "--size"),
        ("--size 70000", "--size"),
        ("--size large", "--size"),
        ("--fit sideways", "--fit"),
        ("--encode bmp", "--encode"),
        ("--quality 0", "--quality"),
        ("--quality 101", "--quality"),
        ("--concurrency 0", "--concurrency"),
        ("--per-host=-1", "--per-host"),
        ("--workers=-1", "--workers"),
        ("--timeout 0", "--timeout"),
        ("--timeout nan", "--timeout"),
        ("--timeout soon", "--timeout"),
        ("--connect-timeout nan", "--connect-timeout"),
        ("--process-timeout nan", "--process-timeout"),
        ("--progress-every nan", "--progress-every"),
        ("--max-bytes 0", "--max-bytes"),
        ("--max-bytes 5XB", "--max-bytes"),
        ("--max-bytes=-1", "--max-bytes"),
        ("--max-pixels many", "--max-pixels"),
        ("--retries=-1", "--retries"),
        ("--retries 1.5", "--retries"),
        ("--max-redirects=-1", "--max-redirects"),
        ("--repeat 0", "--repeat"),
        ("--limit=-1", "--limit"),
        ("--limit", "--limit"),
        ("--format zip", "--format"),
        ("--strict=perhaps", "--strict"),
        ("--config nowhere.toml", "--config"),
        ("--config .", "--config"),
        ("--name picture", "--name"),
        ("--name {colour}", "--name"),
        ("--name {index", "--name"),
        ("--name {}", "--name"),
        ("--name {0}", "--name"),
        ("--name {index.real}", "--name"),
        ("--name {stem[0]}", "--name"),
        ("--name {index:z}", "--name"),
        ("--name ../{index}", "--name"),
        ("--name a/../../{index}", "--name"),
        ("--name ..\\{index}", "--name"),
        ("--name /tmp/{index}", "--name"),
        ("--name .crawler/{index}", "--name"),
        ("--name {index}/", "--name"),
        ("--name=", "--name"),
        ("--contact é", "--contact"),
        ("--user-agent é", "--user-agent"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(here: Path, words: str, named: str) -> None:
    done = inside("run", NOWHERE, "-o", "out", *words.split(" "))
    assert named in complaint(done)
    assert list(here.iterdir()) == []


def test_a_wrong_option_ends_the_process_with_2(tmp_path: Path) -> None:
    assert "--frobnicate" in complaint(crawler("run", NOWHERE, "-o", "out", "--frobnicate", cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["--process-timeout inf", "--process-timeout 1e12", "--timeout inf"])
def test_a_limit_without_end_is_refused_or_works(faults: Faults, tmp_path: Path, words: str) -> None:
    done = inside("run", faults.url("good.jpg"), "-o", tmp_path, *words.split(), *HERE, "--json", "--quiet")
    assert done.code == 2 or done.summary["stored"] == 1


def test_an_unknown_field_of_a_name_is_told_with_those_there_are(here: Path) -> None:
    line = complaint(inside("run", NOWHERE, "-o", "out", "--name", "{colour}"))
    for field in ("colour", "index", "host", "stem", "sha256", "width", "height"):
        assert field in line


def test_what_is_left_out_is_asked_for(here: Path) -> None:
    assert "URLs" in complaint(inside("run", "-o", "out"))
    assert "--output" in complaint(inside("run", NOWHERE))
    assert "--output" in complaint(inside("run", NOWHERE, "-o", ""))
    assert "fly" in complaint(inside("fly"))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["missing.txt", "folder", "missing/urls.txt"])
def test_a_list_that_cannot_be_read_is_named_before_anything_is_done(here: Path, name: str) -> None:
    (here / "folder").mkdir()
    assert f"{name}: " in complaint(inside("run", NOWHERE, name, "-o", "out"))
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("size = 0", "--size"),
        ("colour = 3", "colour"),
        ('retries = "many"', "retries"),
        ("size = [1, 2, 3]", "size"),
        ("[fetch]\ntimeout = 3", "fetch"),
        ("size = = 3", "crawl.toml"),
        ("size = 3\nsize = 4", "crawl.toml"),
        ("\udcff", "crawl.toml"),
    ],
)
def test_a_wrong_settings_file_is_told_in_one_line(here: Path, text: str, told: str) -> None:
    (here / "crawl.toml").write_bytes(text.encode(errors="surrogateescape"))
    assert told in complaint(inside("run", NOWHERE, "-o", "out", "--config", "crawl.toml"))
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("CRAWLER_SIZE", "0"), ("CRAWLER_RETRIES", "many"), ("CRAWLER_UPSCALE", "?")]
)
def test_a_wrong_variable_is_told_in_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    line = complaint(inside("run", NOWHERE, "-o", "out"))
    assert name in line or name.removeprefix("CRAWLER_").lower() in line
    assert list(here.iterdir()) == []


def test_variables_of_others_are_left_alone(faults: Faults, tmp_path: Path) -> None:
    env = {"CRAWLER_CASES": "/somewhere", "CRAWLER": "x", "SIZE": "0"}
    assert crawler("run", faults.url("tiny/1.jpg"), "-o", tmp_path, *HERE, env=env).code == 0


# Where it cannot write ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file", "file/below", "file/far/below"])
def test_an_output_that_is_a_file_or_below_one(here: Path, name: str) -> None:
    (here / "file").write_text("mine")
    line = complaint(inside("run", NOWHERE, "-o", name))
    assert "--output" in line
    assert name in line
    assert (here / "file").read_text() == "mine"


# The kernel's own file systems refuse even root.
@pytest.mark.parametrize("folder", ["/proc/out", "/sys/out", "/proc", "/sys"])
def test_a_folder_that_takes_no_files(folder: str) -> None:
    assert "--output" in complaint(inside("run", NOWHERE, "-o", folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o500)
    for folder in (closed, closed / "below"):
        assert "--output" in complaint(inside("run", NOWHERE, "-o", folder))
    assert list(closed.iterdir()) == []


def test_a_dash_is_no_folder_for_pictures(faults: Faults, tmp_path: Path) -> None:
    done = crawler("run", faults.url("good.jpg"), "-o", "-", *HERE, cwd=tmp_path)
    assert done.code == 2 or [path.name for path in tmp_path.iterdir()] == ["-"]


# A folder that belongs to something else ----------------------------------------------------------


def run_once(faults: Faults, folder: Path, *words: object) -> list[str]:
    urls = [faults.url(f"tiny/{number}.jpg") for number in range(3)]
    assert inside("run", *urls, "-o", folder, *HERE, *words).code == 0
    faults.reset()
    return urls


def snapshot(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in [*pictures(folder), "metadata.jsonl"]}


def test_metadata_without_its_journal_is_not_touched(faults: Faults, tmp_path: Path) -> None:
    urls = run_once(faults, tmp_path)
    shutil.rmtree(tmp_path / ".crawler")
    before = snapshot(tmp_path)
    line = complaint(inside("run", *urls, "-o", tmp_path, *HERE), code=1)
    assert "metadata.jsonl" in line
    assert "journal" in line
    assert (snapshot(tmp_path), faults.log()) == (before, [])
    assert not (tmp_path / ".crawler").exists()


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_journal_is_not_overwritten(faults: Faults, tmp_path: Path, content: bytes) -> None:
    urls = run_once(faults, tmp_path)
    before = snapshot(tmp_path)
    (tmp_path / ".crawler/journal.sqlite").write_bytes(content)
    line = complaint(inside("run", *urls, "-o", tmp_path, *HERE), code=1)
    assert "journal" in line
    assert (snapshot(tmp_path), faults.log()) == (before, [])
    assert (tmp_path / ".crawler/journal.sqlite").read_bytes() == content or not content


def test_other_settings_in_the_same_folder_are_refused(faults: Faults, tmp_path: Path) -> None:
    urls = run_once(faults, tmp_path)
    before = snapshot(tmp_path)
    for option, value in (("--size", 64), ("--fit", "cover"), ("--encode", "png"), ("--quality", 50), ("--repeat", 2)):
        line = complaint(inside("run", *urls, "-o", tmp_path, *HERE, option, value))
        assert option in line
        assert str(value) in line
    line = complaint(inside("run", *urls, "-o", tmp_path, *HERE, "--name", "{index}"))
    assert "--name" in line
    assert (snapshot(tmp_path), faults.log()) == (before, [])


def test_settings_that_change_no_picture_may_change(faults: Faults, tmp_path: Path) -> None:
    urls = run_once(faults, tmp_path)
    done = inside("run", *urls, "-o", tmp_path, *HERE, "--timeout", 5, "--per-host", 1, "--retries", 0, "--json")
    assert (done.code, done.summary["skipped"]) == (0, 3)


def test_another_list_in_the_same_folder_is_refused(faults: Faults, tmp_path: Path) -> None:
    urls = run_once(faults, tmp_path)
    before = snapshot(tmp_path)
    done = inside("run", *reversed(urls), "-o", tmp_path, *HERE, "--progress-every", 60)
    told = [line for line in done.err.splitlines() if " | " not in line]
    assert (done.code, len(told)) == (1, 1), done.err
    assert urls[0] in told[0]
    assert urls[2] in told[0]
    assert "argument 1" in told[0]
    assert (snapshot(tmp_path), faults.log()) == (before, [])


def test_lines_added_at_the_end_of_a_list_are_done(faults: Faults, tmp_path: Path) -> None:
    urls = run_once(faults, tmp_path)
    done = inside("run", *urls, faults.url("tiny/new.jpg"), "-o", tmp_path, *HERE, "--json")
    assert (done.summary["skipped"], done.summary["stored"]) == (3, 1)


def test_two_runs_in_one_folder_do_not_meet(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url("good.jpg"), faults.url("no-answer")]
    words = ("run", *urls, "-o", tmp_path, *HERE, "--timeout", 600, "--connect-timeout", 600)
    with started(*words) as first:
        wait_until(lambda: len(faults.log()) == 2 and pictures(tmp_path), "the first run at work")
        line = complaint(crawler(*words), code=1)
        assert str(tmp_path) in line
        assert str(first.process.pid) in line
        assert first.process.poll() is None
        first.signal(signal.SIGINT)
        wait_until(lambda: first.said("Ctrl-C again"), "the word that it stops")
        first.signal(signal.SIGINT)
        assert first.ended(LIMIT).code == 130
    assert len(faults.log()) == 2
    check_agreement(tmp_path)


def test_files_of_others_are_left_alone(faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000/00000001.jpg").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    run_once(faults, tmp_path)
    assert (tmp_path / "00000/00000001.jpg").read_text() == (tmp_path / "notes.txt").read_text() == "mine"
    names = {row["file_name"] for row in metadata(tmp_path)}
    assert names == set(pictures(tmp_path)) - {"00000/00000001.jpg", "notes.txt"}
    assert len(names) == 3


# Addresses that cannot work -----------------------------------------------------------------------

BAD: Final = {
    "ftp://a.test/b.jpg": "ftp",
    "file:///etc/passwd": "file",
    "javascript:alert(1)": "address",
    "data:image/png;base64,AAAA": "address",
    "http://": "host",
    "http:///a.jpg": "host",
    "https://?a": "host",
    "http://a.test/b c.jpg": "space",
    "http://a.test/b\tc.jpg": "control",
    "http://a.test/b\x00c.jpg": "control",
    f"http://a.test/{'x' * 10_000}": "longer",
    f"http://a.test/{'x' * 100_000}": "longer",
    "a.test/b.jpg": "address",
    "//a.test/b.jpg": "address",
    "just words": "space",
    "http://a.test:99999/": "ort",
    "http://a.test:0/": "port",
    "http://a.test:x/": "port",
    "http://[::1": "address",
    "http://a..test/b.jpg": "address",
    f"http://{'x' * 64}.test/": "address",
}


def test_each_bad_address_is_a_miss_that_names_file_and_line(faults: Faults, tmp_path: Path) -> None:
    listed, out = tmp_path / "urls.txt", tmp_path / "out"
    lines = [faults.url("tiny/first.jpg"), *BAD, faults.url("tiny/last.jpg")]
    listed.write_bytes("\n".join(lines).encode() + b"\nhttp://a.test/\xff\xfe.jpg\n")
    done = inside("run", listed, "-o", out, *HERE, "--retries", 0, "--json")
    assert (done.code, done.summary["stored"]) == (0, 2), done.err
    assert done.summary["reasons"] == {"bad_url": len(BAD) + 1}
    assert [row["index"] for row in sorted(metadata(out), key=lambda row: int(row["index"]))] == [0, len(BAD) + 1]
    told = misses(out)
    for number, (url, word) in enumerate(BAD.items(), 1):
        assert told[number]["detail"].startswith(f"{listed}:{number + 1}: "), url[:80]
        assert word in told[number]["detail"], url[:80]
    assert f"{listed}:{len(lines) + 1}: " in told[len(lines)]["detail"]


def misses(folder: Path) -> dict[int, dict[str, Any]]:
    """What `misses` says of a folder, by position."""
    done = inside("misses", folder, "--format", "jsonl")
    assert done.code == 0, done.err
    rows = (json.loads(line) for line in done.out.splitlines())
    return {row["index"]: row for row in rows}


def test_an_argument_that_is_no_text_is_a_miss_like_any_other(faults: Faults, tmp_path: Path) -> None:
    # Bytes that are not UTF-8 reach Python as lone surrogates (PEP 383).
    done = crawler("run", "http://a.test/\udcff.jpg", faults.url("tiny/1.jpg"), "-o", tmp_path, *HERE, "--json")
    assert done.code == 0, done.err[-300:]
    assert (done.summary["stored"], done.summary["reasons"]) == (1, {"bad_url": 1})


def test_bad_addresses_are_settled_like_all_others(tmp_path: Path) -> None:
    words = ("run", "-", "-o", tmp_path, *HERE, "--json")
    first, second = (crawler(*words, stdin="ftp://a.test/\nnothing\n") for _ in range(2))
    assert (first.summary["missed"], second.summary["missed"], second.summary["skipped"]) == (2, 0, 2)


async def test_a_run_that_is_over_before_its_workers_are_up_leaves_none_behind(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())  # of other tests
    for number in range(8):
        summary = await crawl(Settings.of(["http://127.0.0.1:9/"], output=str(tmp_path / str(number)), workers=2))
        assert summary.reasons == {"blocked_address": 1}
        assert set(multiprocessing.active_children()) <= before


def test_an_empty_input_is_no_error(tmp_path: Path) -> None:
    done = crawler("run", "-", "-o", tmp_path, *HERE, "--json", stdin="\n# nothing\n")
    assert (done.code, done.summary["targets"]) == (0, 0)


# Names that would do harm -------------------------------------------------------------------------

HOSTILE: Final = [
    "..%2f..%2f..%2fescaped.jpg", "%2e%2e", "..%5c..%5cescaped.jpg", "....//escaped.jpg", "%00.jpg", "a%00b.jpg",
    "a%0ab.jpg", ".hidden.jpg", ".crawler", "%20.jpg", "metadata.jsonl", "~root.jpg", "-rf.jpg", "a%3ab%7cc.jpg",
    "%f0%9f%98%80.jpg", "%ff%fe.jpg", "%e2%80%ae.jpg", "x" * 3000 + ".jpg", "%c3%a9" * 300 + ".jpg", "con.jpg", "",
]  # fmt: skip


@pytest.mark.parametrize("template", ["{stem}", "{host}/{stem}/{index}", "a/{stem}{stem}{stem}"])
def test_hostile_addresses_give_harmless_names(faults: Faults, tmp_path: Path, template: str) -> None:
    out = tmp_path / "deep" / "out"
    urls = [faults.url(f"tiny/x/{name}") for name in HOSTILE]
    done = inside("run", *urls, "-o", out, *HERE, "--name", template, "--json")
    assert (done.code, done.summary["stored"]) == (0, len(HOSTILE) - misled(done)), done.err
    check_agreement(out)
    assert len(pictures(out)) == done.summary["stored"]
    assert {path.name for path in tmp_path.iterdir()} | {path.name for path in (tmp_path / "deep").iterdir()} == {
        "deep", "out",
    }  # fmt: skip
    for name in pictures(out):
        for part in name.split("/"):
            assert part.isprintable(), part
            assert not part.startswith("."), part
            assert not set(part) & set('\\:*?"<>|'), part
            assert len(part.encode()) <= 255


def misled(done: Ended) -> int:
    """Addresses with .. in them, which end at another page of the server (RFC 3986, 5.2.4)."""
    count: int = done.summary["reasons"].get("not_image", 0)
    return count
