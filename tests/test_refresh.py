"""A run asks again for what it has stored: only what has changed is replaced, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from crawler import Settings, Summary, crawl
from crawler.state import schema
from crawler.verify import Fault, verify
from tests.cli import as_flags, check_agreement, counts, crawler, inside, metadata, pictures, started
from tests.servers import pictures as painted
from tests.servers.validators import Page, Validators, running_validators

PLAIN: dict[str, Any] = {"allow_private": True, "retries": 0, "workers": 1, "size": 24}
ORIGINAL: dict[str, Any] = {"encode": "original"}
LIMIT = 30.0
TUESDAY, WEDNESDAY = "Tue, 03 Feb 2026 10:00:00 GMT", "Wed, 04 Feb 2026 10:00:00 GMT"
JPEG = painted.jpeg(32, 32, seed=1)
HTML = b"<!doctype html><html><body>Not a picture.</body></html>"


class Pages(dict[str, Page]):
    """What every path holds, on all hosts; what is not named is not there."""

    def __call__(self, host: str, path: str) -> Page:
        return self.get(path, Page(b"", "text/plain", status=404))


def version(number: int, path: str = "", **also: Any) -> Page:
    """A picture with an ETag, other bytes and another tag for each number and path."""
    return Page(painted.stamped(JPEG, f"{path} {number}"), etag=f'"{path}-{number}"', **also)


@pytest.fixture
def site() -> Iterator[Validators]:
    """A server that holds /0.jpg to /4.jpg with their ETags."""
    with running_validators(Pages({f"/{n}.jpg": version(1, f"/{n}.jpg") for n in range(5)})) as server:
        yield server


def pages(site: Validators) -> Pages:
    assert isinstance(site.holds, Pages)
    return site.holds


def write_list(folder: Path, urls: list[str]) -> Path:
    path = folder / "urls.txt"
    path.write_text("".join(f"{url}\n" for url in urls))
    return path


def listed(site: Validators, folder: Path) -> Path:
    """All pages of the server as a list."""
    return write_list(folder, [site.url(path) for path in pages(site)])


def run(urls: Path, output: Path, **more: Any) -> Summary:
    """A run in this process, to its end."""
    settings = Settings.of((str(urls),), output=str(output), **PLAIN | more)
    return asyncio.run(asyncio.wait_for(crawl(settings), LIMIT))


def rows(output: Path) -> list[tuple[Any, ...]]:
    """Everything that the journal says of targets."""
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite")) as db:
        return db.execute("SELECT * FROM targets ORDER BY id").fetchall()


def state(output: Path) -> dict[str, Any]:
    """All that a refresh of unchanged pictures must leave as it is: bytes, and that nobody has written them again."""
    files = {name: (output / name) for name in (*pictures(output), "metadata.jsonl")}
    return {
        "files": {
            name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for name, path in files.items()
        },
        "rows": rows(output),
    }


def hashes(output: Path) -> dict[str, str]:
    return {name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in pictures(output)}


def check(output: Path, count: int) -> None:
    """So many pictures, each once; files, metadata and journal agree, and nothing is left over."""
    check_agreement(output)
    lines = metadata(output)
    assert sorted(line["index"] for line in lines) == sorted({line["index"] for line in lines})
    assert len(lines) == count
    assert [row[0] for row in rows(output) if row[2] is None] == sorted(line["index"] for line in lines)
    assert sorted(path.name for path in (output / ".crawler").iterdir()) == ["journal.sqlite", "lock"]
    assert faults(output) == []


def faults(output: Path) -> list[Fault]:
    return asyncio.run(asyncio.wait_for(verify(output), LIMIT)).faults


# What is asked, and what stays as it is -----------------------------------------------------------


def test_what_has_not_changed_is_left_alone(site: Validators, tmp_path: Path) -> None:
    pages(site).clear()
    pages(site).update({
        "/etag": Page(JPEG, etag='"v1"'),
        "/weak": Page(JPEG, etag='W/"v1"'),
        "/date": Page(JPEG, modified=TUESDAY),
        "/both": Page(JPEG, etag='"v1"', modified=TUESDAY),
        "/none": Page(JPEG),
    })  # fmt: skip
    urls, output = listed(site, tmp_path), tmp_path / "out"
    assert counts(run(urls, output)) == (5, 0, 0)
    assert all(not one.conditions for one in site.log()), "the first time nothing is known"
    before = state(output)
    site.reset()
    assert counts(run(urls, output, refresh=True)) == (0, 5, 0)
    assert {one.path: (one.conditions, one.status) for one in site.log()} == {
        "/etag": ({"if-none-match": '"v1"'}, 304),
        "/weak": ({"if-none-match": 'W/"v1"'}, 304),
        "/date": ({"if-modified-since": TUESDAY}, 304),
        "/both": ({"if-none-match": '"v1"'}, 304),
        "/none": ({}, 200),
    }
    assert state(output) == before


def test_the_same_bytes_under_another_tag_are_left_alone(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output)
    before = state(output)
    for path, page in list(pages(site).items()):
        pages(site)[path] = Page(page.body, etag='"new"', modified=WEDNESDAY)
    site.reset()
    assert counts(run(urls, output, refresh=True)) == (0, 5, 0)
    assert {one.status for one in site.log()} == {200}
    assert state(output) == before


def test_without_refresh_nobody_is_asked(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output)
    site.reset()
    assert counts(run(urls, output)) == (0, 5, 0)
    assert site.log(robots=True) == []


ODD_TAGS = [
    '"' + "x" * 400 + '"',
    '"caf\xe9"',
    "no-quotes",
    '"a", "b"',
    '""',
    "W/",
    '"tab\there"',
    '"' + "\xff" * 250 + '"',
]


def test_an_odd_tag_costs_a_download_at_most(site: Validators, tmp_path: Path) -> None:
    pages(site).clear()
    pages(site).update({f"/{n}.jpg": Page(JPEG, etag=etag) for n, etag in enumerate(ODD_TAGS)})
    urls, output = listed(site, tmp_path), tmp_path / "out"
    assert counts(run(urls, output)) == (len(ODD_TAGS), 0, 0)
    assert counts(run(urls, output, refresh=True)) == (0, len(ODD_TAGS), 0)
    for path in pages(site):
        pages(site)[path] = Page(painted.stamped(JPEG, "new"), etag='"other"')
    assert counts(run(urls, output, refresh=True)) == (len(ODD_TAGS), 0, 0)
    check(output, len(ODD_TAGS))


async def test_a_program_can_refresh_too(site: Validators, tmp_path: Path) -> None:
    given: dict[str, Any] = PLAIN | {"output": str(tmp_path / "out"), "refresh": True}
    sources = [site.url(path) for path in pages(site)]
    first = await crawl(Settings.of(sources, **given))
    assert counts(first) == (5, 0, 0)
    pages(site)["/2.jpg"] = version(2, "/2.jpg")
    again = await crawl(Settings.of(sources, **given))
    assert counts(again) == (1, 4, 0)


def test_the_command_refreshes_and_says_what_was_missed(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output)
    pages(site)["/2.jpg"] = version(2, "/2.jpg")
    del pages(site)["/3.jpg"]
    done = crawler("run", urls, "-o", output, *as_flags(PLAIN), "--refresh", "--json")
    assert done.code == 0, done.err
    told = done.summary
    assert (told["stored"], told["skipped"], told["missed"], told["reasons"]) == (1, 3, 1, {"not_found": 1})
    assert f"{site.url('3.jpg')} ({urls}" not in done.out
    assert site.url("3.jpg") in done.err, "with an example"
    assert inside("verify", output).code == 0
    check(output, 5)


# What has changed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, ORIGINAL, {"name": "{stem}-{index}", "durable": True}])
def test_exactly_the_changed_picture_is_replaced(site: Validators, tmp_path: Path, more: dict[str, Any]) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, **more)
    before, lines = hashes(output), {line["index"]: line for line in metadata(output)}
    changed = Page(painted.jpeg(32, 32, seed=9), etag='"new"')
    pages(site)["/3.jpg"] = changed
    assert counts(run(urls, output, refresh=True, **more)) == (1, 4, 0)
    after = hashes(output)
    assert list(after) == list(before), "the names stay"
    assert [name for name in after if after[name] != before[name]] == [lines[3]["file_name"]]
    new = {line["index"]: line for line in metadata(output)}
    assert new.pop(3)["sha256"] == hashlib.sha256(changed.body).hexdigest()
    lines.pop(3)
    assert new == lines
    check(output, 5)
    site.reset()
    assert counts(run(urls, output, refresh=True, **more)) == (0, 5, 0)
    assert {one.status for one in site.log()} == {304}, "the new tag is known"


def test_many_refreshes_leave_one_line_for_each_picture(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output)
    for number in (2, 4):
        for path in list(pages(site))[:number]:
            pages(site)[path] = version(number, path)
        assert counts(run(urls, output, refresh=True)) == (number, 5 - number, 0)
        check(output, 5)
        told = {line["index"]: line["sha256"] for line in metadata(output)}
        assert told == {n: hashlib.sha256(page.body).hexdigest() for n, page in enumerate(pages(site).values())}


def test_a_new_format_gives_the_same_name_another_ending(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, **ORIGINAL)
    pages(site)["/1.jpg"] = Page(painted.png(20, 20), "image/png", etag='"png"')
    pages(site)["/2.jpg"] = Page(painted.webp(20, 20), "image/webp", etag='"webp"')
    assert counts(run(urls, output, refresh=True, **ORIGINAL)) == (2, 3, 0)
    names = [
        "00000/00000000.jpg",
        "00000/00000001.png",
        "00000/00000002.webp",
        "00000/00000003.jpg",
        "00000/00000004.jpg",
    ]
    assert pictures(output) == names
    assert (output / names[1]).read_bytes() == pages(site)["/1.jpg"].body
    check(output, 5)
    pages(site)["/1.jpg"] = version(3, "/1.jpg")
    assert counts(run(urls, output, refresh=True, **ORIGINAL)) == (1, 4, 0)
    assert pictures(output) == [names[0], "00000/00000001.jpg", *names[2:]]
    check(output, 5)


def same_stems(site: Validators, count: int) -> None:
    """Pictures that all want the same name."""
    pages(site).clear()
    pages(site).update({f"/{n}/x.jpg": version(1, f"/{n}/x.jpg") for n in range(count)})


def test_pictures_that_want_the_same_name_keep_theirs(site: Validators, tmp_path: Path) -> None:
    same_stems(site, 30)
    more = ORIGINAL | {"name": "{stem}"}
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, **more)
    before = {line["index"]: line["file_name"] for line in metadata(output)}
    for path in pages(site):
        pages(site)[path] = version(2, path)
    assert counts(run(urls, output, refresh=True, **more)) == (30, 0, 0)
    check(output, 30)
    assert {line["index"]: line["file_name"] for line in metadata(output)} == before


def test_a_name_that_became_free_is_not_taken_by_a_refresh(site: Validators, tmp_path: Path) -> None:
    same_stems(site, 2)
    more = ORIGINAL | {"name": "{stem}"}
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, **more)
    held = {line["index"]: line["file_name"] for line in metadata(output)}
    first = next(index for index, name in held.items() if name == "x.jpg")
    paths = list(pages(site))
    pages(site)[paths[first]] = Page(painted.png(20, 20), "image/png", etag='"png"')
    run(urls, output, refresh=True, **more)
    pages(site)[paths[1 - first]] = version(2, paths[1 - first])
    run(urls, output, refresh=True, **more)
    check(output, 2)
    assert {line["index"]: line["file_name"] for line in metadata(output)} == held | {first: "x.png"}


def test_pictures_named_by_their_content_leave_nothing_behind(site: Validators, tmp_path: Path) -> None:
    shared = Page(JPEG, etag='"shared"')
    pages(site).update({"/3.jpg": shared, "/4.jpg": shared})
    more = {"name": "{sha256}"}
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, **more)
    pages(site)["/1.jpg"] = version(2, "/1.jpg")
    pages(site)["/4.jpg"] = version(2, "/4.jpg")
    assert counts(run(urls, output, refresh=True, **more)) == (2, 3, 0)
    lines = metadata(output)
    assert [line["index"] for line in sorted(lines, key=lambda line: line["index"])] == [0, 1, 2, 3, 4]
    assert faults(output) == [], "what two pictures shared is still there"
    assert pictures(output) == sorted({line["file_name"] for line in lines}), "nobody's file is gone"


def test_every_repeat_is_refreshed(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, repeat=3)
    pages(site)["/1.jpg"] = version(2, "/1.jpg")
    assert counts(run(urls, output, repeat=3, refresh=True)) == (3, 12, 0)
    check(output, 15)


# What cannot be had any more ----------------------------------------------------------------------


GONE = {
    "not_found": Page(HTML, "text/html", status=404),
    "server_error": Page(HTML, "text/html", status=500),
    "not_image": Page(HTML, "text/html"),
    "empty": Page(b""),
    "truncated": Page(JPEG[: len(JPEG) // 2]),
    "opted_out": Page(JPEG, headers=("X-Robots-Tag: noimageai",)),
    "redirect": Page(status=302, headers=("Location: ftp://x/",)),
    "forbidden": Page(JPEG, status=403),
    "http_status": Page(JPEG, status=206),
}


def test_what_cannot_be_had_again_is_kept(site: Validators, tmp_path: Path) -> None:
    pages(site).update({f"/{reason}": version(1, reason) for reason in GONE})
    urls, output, count = listed(site, tmp_path), tmp_path / "out", len(pages(site))
    assert counts(run(urls, output)) == (count, 0, 0)
    before = state(output)
    pages(site).update({f"/{reason}": page for reason, page in GONE.items()})
    done = run(urls, output, refresh=True)
    assert counts(done) == (0, 5, len(GONE))
    assert done.reasons == dict.fromkeys(GONE, 1)
    assert state(output) == before
    site.reset()
    assert counts(run(urls, output)) == (0, count, 0)
    assert counts(run(urls, output, retry_missed="all")) == (0, count, 0)
    assert site.log() == [], "what is stored is not asked for again by other runs"
    pages(site).update({f"/{reason}": version(2, reason) for reason in GONE})
    assert counts(run(urls, output, refresh=True)) == (len(GONE), 5, 0)
    check(output, count)


def test_a_host_that_wants_to_be_left_alone_keeps_nothing_from_being_kept(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output)
    before = state(output)
    busy = Page(HTML, "text/html", status=429, headers=("Retry-After: 100000",))
    pages(site).update(dict.fromkeys(pages(site), busy))
    done = run(urls, output, refresh=True)
    assert (counts(done), done.reasons) == ((0, 0, 5), {"rate_limited": 5})
    assert state(output) == before


def test_a_server_that_is_gone_takes_nothing_with_it(site: Validators, tmp_path: Path) -> None:
    urls, output = listed(site, tmp_path), tmp_path / "out"
    with running_validators(site.holds, ("127.0.0.2",)) as other:
        urls = write_list(tmp_path, [other.url(f"{n}.jpg") for n in range(5)] + [site.url("0.jpg")])
        run(urls, output)
    before = state(output)
    done = run(urls, output, refresh=True, adapt=False)
    assert counts(done) == (0, 1, 5)
    assert set(done.reasons) == {"connect"}
    assert state(output) == before


# What else stands in the list ---------------------------------------------------------------------


def test_what_was_missed_is_only_asked_for_when_that_is_wanted(site: Validators, tmp_path: Path) -> None:
    sources = [site.url("0.jpg"), site.url("gone.jpg"), site.url("broken.jpg"), site.url("0.jpg"), "ftp://x/y"]
    pages(site)["/broken.jpg"] = Page(HTML, "text/html", status=503)
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    assert counts(run(urls, output)) == (1, 0, 4)
    pages(site).update({"/gone.jpg": version(1, "gone"), "/broken.jpg": version(1, "broken")})
    site.reset()
    assert counts(run(urls, output, refresh=True)) == (0, 5, 0)
    assert site.paths() == ["/0.jpg"]
    check(output, 1)


def test_refresh_and_retry_missed_together_do_both(site: Validators, tmp_path: Path) -> None:
    sources = [site.url("0.jpg"), site.url("1.jpg"), site.url("gone.jpg"), site.url("broken.jpg")]
    pages(site)["/broken.jpg"] = Page(HTML, "text/html", status=503)
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    assert counts(run(urls, output)) == (2, 0, 2)
    pages(site).update({"/1.jpg": version(2, "/1.jpg"), "/broken.jpg": version(1, "broken")})
    site.reset()
    assert counts(run(urls, output, refresh=True, retry_missed="later")) == (2, 2, 0)
    assert sorted(site.paths()) == ["/0.jpg", "/1.jpg", "/broken.jpg"]
    check(output, 3)


def test_new_lines_are_fetched_by_a_refresh(site: Validators, tmp_path: Path) -> None:
    sources = [site.url(f"{n}.jpg") for n in range(3)]
    output = tmp_path / "out"
    run(write_list(tmp_path, sources), output)
    pages(site)["/1.jpg"] = version(2, "/1.jpg")
    sources += [site.url("3.jpg"), site.url("1.jpg"), site.url("4.jpg")]
    done = run(write_list(tmp_path, sources), output, refresh=True)
    assert counts(done) == (3, 2, 1)
    assert done.reasons == {"duplicate": 1}
    check(output, 5)


def test_a_target_that_moves_is_refreshed_where_it_went(site: Validators, tmp_path: Path) -> None:
    def to(path: str) -> Page:
        return Page(status=302, headers=(f"Location: {path}",))

    pages(site).clear()
    pages(site).update({"/a": to("/b"), "/b": to("/1.jpg")})
    urls, output = write_list(tmp_path, [site.url("a")]), tmp_path / "out"
    pages(site).update({"/1.jpg": version(1, "one"), "/2.jpg": version(1, "two")})
    run(urls, output)
    before = state(output)
    site.reset()
    assert counts(run(urls, output, refresh=True)) == (0, 1, 0)
    assert [(one.path, one.status) for one in site.log()] == [("/a", 302), ("/b", 302), ("/1.jpg", 304)]
    assert state(output) == before
    pages(site)["/b"] = to("/2.jpg")
    assert counts(run(urls, output, refresh=True)) == (1, 0, 0)
    assert metadata(output)[0]["final_url"] == site.url("2.jpg")
    check(output, 1)


@pytest.mark.parametrize("also", [{"etag": '"1"'}, {"modified": TUESDAY}], ids=["etag", "date"])
def test_a_tag_is_only_good_for_the_address_it_came_from(
    site: Validators, tmp_path: Path, also: dict[str, Any]
) -> None:
    pages(site).clear()
    pages(site).update({
        "/a": Page(status=302, headers=("Location: /1.jpg",)),
        "/1.jpg": Page(JPEG, **also),
        "/2.jpg": Page(painted.stamped(JPEG, "another picture"), **also),
    })  # fmt: skip
    urls, output = write_list(tmp_path, [site.url("a")]), tmp_path / "out"
    run(urls, output)
    pages(site)["/a"] = Page(status=302, headers=("Location: /2.jpg",))
    assert counts(run(urls, output, refresh=True)) == (1, 0, 0)
    assert metadata(output)[0]["sha256"] == hashlib.sha256(pages(site)["/2.jpg"].body).hexdigest()


# Ended in the middle ------------------------------------------------------------------------------


small_png = lru_cache(10_000)(lambda seed: painted.png(8, 8, seed=seed))


class Changing:
    """A server's pages that all change at once: every number gives other bytes, some of them another format."""

    def __init__(self, count: int, stem: str) -> None:
        self.number = 1
        self.paths = [f"/{n}/{stem or n}.jpg" for n in range(count)]

    def body(self, path: str, number: int) -> bytes:
        n = int(path.split("/")[1])
        if (n + number) % 3 == 0:
            return small_png(n * 1000 + number)
        return painted.stamped(JPEG, f"{n} {number}")

    def __call__(self, host: str, path: str) -> Page:
        return Page(self.body(path, self.number), etag=f'"{path} {self.number}"')


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "numbers": ("", ORIGINAL | {"workers": 2}),
    "one-stem": ("x", ORIGINAL | {"name": "{stem}", "workers": 2}),
    "encoded": ("", {"name": "{stem}-{index}", "workers": 2}),
    "by-content": ("", ORIGINAL | {"name": "{sha256}"}),
}


def end_in_the_middle(
    site: Validators, urls: Path, output: Path, more: dict[str, Any], when: int, *numbers: int
) -> None:
    """Refresh, and signal the whole group a moment after the server was asked `when` times."""
    site.reset()
    with started("run", urls, "-o", output, *as_flags(PLAIN | more), "--refresh") as going:
        end = time.monotonic() + 20
        while len(site.entries) < when and going.process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                going.signal(number)
            time.sleep(0.02)
        going.process.wait(20)


def survive(home: Path, shape: str, seed: int, kills: int, count: int) -> None:
    """Kill refreshes that change everything, rerun each with or without --refresh, and look at what is there."""
    stem, more = SHAPES[shape]
    draw, holds = random.Random(seed), Changing(count, stem)
    with running_validators(holds) as site:
        urls, output = write_list(home, [site.url(path) for path in holds.paths]), home / "out"
        run(urls, output, **more)
        for kill in range(kills):
            holds.number += 1
            when = draw.randint(1, count)
            print(f"shape {shape}, seed {seed}, kill {kill}: after {when} requests")
            end_in_the_middle(site, urls, output, more, when, signal.SIGKILL)
            rerun = run(urls, output, refresh=draw.random() < 0.5, **more)
            assert rerun.missed == 0
            check(output, count)
        run(urls, output, refresh=True, **more)
        check(output, count)
        told = {line["index"]: line["sha256"] for line in metadata(output)}
        now = {n: hashlib.sha256(holds.body(path, holds.number)).hexdigest() for n, path in enumerate(holds.paths)}
        assert told == now


@pytest.mark.parametrize("shape", SHAPES)
def test_a_killed_refresh_loses_nothing(tmp_path: Path, shape: str) -> None:
    survive(tmp_path, shape, seed=5, kills=2, count=120)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
def test_a_refresh_killed_many_times_loses_nothing(tmp_path: Path, shape: str) -> None:
    for seed in range(8):
        home = tmp_path / str(seed)
        home.mkdir()
        survive(home, shape, seed, kills=8, count=400)


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)], ids=["drain", "at-once"])
def test_a_refresh_told_to_end_is_whole(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    holds = Changing(200, "")
    with running_validators(holds) as site:
        urls, output = write_list(tmp_path, [site.url(path) for path in holds.paths]), tmp_path / "out"
        run(urls, output, **ORIGINAL)
        holds.number = 2
        end_in_the_middle(site, urls, output, ORIGINAL, 60, *numbers)
        if len(numbers) == 1:
            check(output, 200)
        assert {line["file_name"] for line in metadata(output)} <= set(pictures(output))
        run(urls, output, **ORIGINAL)
        check(output, 200)


def test_files_removed_by_a_killed_refresh_are_nobody_elses(site: Validators, tmp_path: Path) -> None:
    # As a kill leaves it: the first gave its name back, the second has it now, and the note of the first is still there.
    same_stems(site, 2)
    more = ORIGINAL | {"name": "{stem}"}
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output, **more)
    held = {line["index"]: line["file_name"] for line in metadata(output)}
    note = "".join(f"{1 - index}\t{name}\n{index}\t{name}\n" for index, name in held.items())
    (output / ".crawler/intents").write_text(note)
    assert counts(run(urls, output, **more)) == (0, 2, 0)
    check(output, 2)


def test_notes_that_a_kill_cut_off_are_cleared_away(site: Validators, tmp_path: Path) -> None:
    # As a kill leaves it between writing a shorter file of notes and putting it in the place of the long one.
    urls, output = listed(site, tmp_path), tmp_path / "out"
    run(urls, output)
    (output / ".crawler/intents").write_text("0\t00000/00000000.jpg\n")
    (output / ".crawler/intents.new").write_text("0\t00000/0000")
    assert counts(run(urls, output)) == (0, 5, 0)
    check(output, 5)


# Journals of older versions -----------------------------------------------------------------------


def made_older(output: Path) -> None:
    """Turn the journal into one of the first form, with the statements that made those."""
    path = output / ".crawler/journal.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(targets)")][:20]
        kept = db.execute(f"SELECT {', '.join(columns)} FROM targets").fetchall()
        facts = db.execute("SELECT name, value FROM facts").fetchall()
    path.unlink()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.executescript(schema._STEP_1)
        db.execute("PRAGMA user_version = 1")
        db.executemany(f"INSERT INTO targets VALUES ({', '.join('?' * 20)})", kept)
        db.executemany("INSERT INTO facts VALUES (?, ?)", facts)


def test_a_journal_of_the_first_form_can_be_refreshed(site: Validators, tmp_path: Path) -> None:
    urls, output = write_list(tmp_path, [site.url(f"{n}.jpg") for n in range(5)] + [site.url("none")]), tmp_path / "out"
    run(urls, output)
    made_older(output)
    before = {name: (output / name).read_bytes() for name in (*pictures(output), "metadata.jsonl")}
    pages(site)["/3.jpg"] = Page(painted.jpeg(32, 32, seed=9), etag='"new"')
    site.reset()
    assert counts(run(urls, output, refresh=True)) == (1, 5, 0)
    assert {one.status for one in site.log()} == {200}, "it knows no tags, so it asks for everything"
    assert all(not one.conditions for one in site.log())
    after = {name: (output / name).read_bytes() for name in (*pictures(output), "metadata.jsonl")}
    assert {name for name in after if after[name] != before[name]} == {"00000/00000003.jpg", "metadata.jsonl"}
    check(output, 5)
    site.reset()
    assert counts(run(urls, output, refresh=True)) == (0, 6, 0)
    assert [one.path for one in site.log() if one.status == 304] == ["/3.jpg"], "the only one whose tag is known"


def test_what_an_older_version_stored_twice_stays_stored(site: Validators, tmp_path: Path) -> None:
    # The first form knew no duplicates: the same address at two positions gave two pictures.
    sources = [site.url("0.jpg"), site.url("1.jpg"), site.url("2.jpg")]
    output = tmp_path / "out"
    run(write_list(tmp_path, sources), output)
    made_older(output)
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite")) as db, db:
        db.execute("UPDATE targets SET url = ? WHERE id = 2", (sources[0],))
    (output / "metadata.jsonl").write_text("")  # shorter than it was: written anew from the journal
    urls = write_list(tmp_path, [*sources[:2], sources[0]])
    assert counts(run(urls, output)) == (0, 3, 0)
    check(output, 3)
    run(urls, output, refresh=True)
    check_agreement(output)
    assert pictures(output) == [f"00000/{n:08d}.jpg" for n in range(3)], "a refresh gives nothing away"
    check(output, 3)
