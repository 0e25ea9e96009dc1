"""The same address twice in a run: fetched once, and the second is missed as a duplicate that names the first."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler import Crawler, Outcome, Reason, Settings, Summary, crawl
from crawler.state import schema
from crawler.verify import verify
from tests.cli import as_flags, check_agreement, counts, crawler, inside, metadata, started
from tests.servers import pictures as painted
from tests.servers.dns import Answer, running_dns
from tests.servers.tls import running_tls
from tests.servers.validators import Page, Validators, running_validators

FLAGS: dict[str, Any] = {"allow_private": True, "retries": 0, "workers": 1, "size": 24}
LIMIT = 30.0
JPEG = painted.jpeg(32, 32, seed=1)
LATER = "http://127.0.0.9:9/"  # nobody listens there: many targets that end at once


def holds(host: str, path: str) -> Page:
    """A picture of its own for every path; not for those below /gone."""
    if path.startswith("/gone"):
        return Page(b"", "text/plain", status=404)
    return Page(painted.stamped(JPEG, path), etag=f'"{path}"')


@pytest.fixture
def site() -> Iterator[Validators]:
    with running_validators(holds) as server:
        yield server


def write_list(folder: Path, urls: list[str], name: str = "urls.txt") -> Path:
    path = folder / name
    path.write_text("".join(f"{url}\n" for url in urls), encoding="utf-8")
    return path


def run(sources: object, output: Path | None, **more: Any) -> Summary:
    """A run in this process, to its end."""
    given = {"output": str(output)} if output else {"store": "none"}
    settings = Settings.of((str(sources),) if isinstance(sources, Path) else sources, **FLAGS | given | more)  # type: ignore[arg-type]
    return asyncio.run(asyncio.wait_for(crawl(settings), LIMIT))


def ends(output: Path) -> dict[int, str]:
    """How each position ended: `stored`, the reason, and for a duplicate the position of the first."""
    with contextlib.closing(sqlite3.connect(output / ".crawler/journal.sqlite")) as db:
        rows = db.execute(
            "SELECT id, coalesce(reason, 'stored'), coalesce(detail, '') FROM targets ORDER BY id"
        ).fetchall()
    found = {}
    for index, reason, detail in rows:
        first = re.search(r"position (\d+)", detail) if reason == "duplicate" else None
        assert (reason == "duplicate") == (first is not None), detail
        found[index] = f"{reason} {first[1]}" if first else reason
    return found


def state_files(output: Path) -> list[str]:
    return sorted(path.name for path in (output / ".crawler").iterdir())


# What is the same address, and what is not --------------------------------------------------------


def test_spellings_of_one_address_are_fetched_once(site: Validators, tmp_path: Path) -> None:
    port = site.port
    spellings = [
        f"http://127.0.0.1:{port}/a/b.jpg?x=1&y=%2F",
        f"HTTP://127.0.0.1:{port}/a/b.jpg?x=1&y=%2F",
        f"http://127.0.0.1:{port}/a/./b.jpg?x=1&y=%2f",
        f"http://127.0.0.1:{port}/c/../a/b.jpg?x=1&y=%2f",
        f"http://127.0.0.1:{port}/%61/b.jpg?x=1&y=%2F",
        f"http://127.0.0.1:{port}/a/b.jpg?x=1&y=%2F#top",
        f"http://127.0.0.1:{port}/a/b.jpg?x=1&y=%2F#",
        f"http://ann:secret@127.0.0.1:{port}/a/b.jpg?x=1&y=%2F",
        f"http://bob@127.0.0.1:{port}/a/b.jpg?x=1&y=%2F",
        f"  http://127.0.0.1:{port}/a/b.jpg?x=1&y=%2F  ",
    ]
    urls, output = write_list(tmp_path, spellings), tmp_path / "out"
    done = run(urls, output)
    assert counts(done) == (1, 0, len(spellings) - 1)
    assert done.reasons == {"duplicate": len(spellings) - 1}
    assert len(site.log()) == 1
    assert ends(output) == {0: "stored"} | dict.fromkeys(range(1, len(spellings)), "duplicate 0")
    check_agreement(output)


def test_letters_of_a_path_beyond_ascii_are_one_address_however_they_are_written(
    site: Validators, tmp_path: Path
) -> None:
    spellings = [
        site.url("stra\xdfe/\u732b.jpg"),
        site.url("stra%C3%9Fe/%E7%8C%AB.jpg"),
        site.url("stra%c3%9fe/%e7%8c%ab.jpg"),
    ]
    assert counts(run(write_list(tmp_path, spellings), tmp_path / "out")) == (1, 0, 2)


def test_different_addresses_are_all_fetched(site: Validators, tmp_path: Path) -> None:
    paths = [
        "a.jpg", "a.jpg?x=1&y=2", "a.jpg?y=2&x=1", "a.jpg?x=1", "a.jpg?x=1&x=1", "a.jpg?x=%26", "a.jpg?x=a%2Bb",
        "a.jpg?X=1", "A.jpg", "a.jpg/", "a%2Fb.jpg", "a/b.jpg", "a//b.jpg", "a%3Fb.jpg", "a;x=1.jpg", "a.jpg?x=1%23top",
    ]  # fmt: skip
    urls, output = write_list(tmp_path, [site.url(path) for path in paths]), tmp_path / "out"
    assert counts(run(urls, output)) == (len(paths), 0, 0)
    assert len(set(site.paths())) == len(paths)


def test_ports_and_schemes_make_different_addresses(site: Validators, tmp_path: Path) -> None:
    with running_tls() as secure, running_validators(holds) as other:
        sources = [site.url("a.jpg"), other.url("a.jpg"), secure.url("a.jpg"), f"http://127.0.0.1:{secure.port}/a.jpg"]
        done = run(write_list(tmp_path, sources), tmp_path / "out", ca_file=str(secure.ca_file))
    assert "duplicate" not in done.reasons
    assert done.stored == 3, "plain HTTP to a port of HTTPS gives nothing, but it was tried"


def test_names_in_capitals_and_default_ports_and_punycode_are_one_host(site: Validators, tmp_path: Path) -> None:
    zone = {name: [Answer(("127.0.0.1",))] for name in ("example.test", "xn--bcher-kva.test", "xn--fiqs8s.test")}
    sources = [
        f"http://example.test:{site.port}/a.jpg", f"http://EXAMPLE.Test:{site.port}/a.jpg",
        f"http://b\xfccher.test:{site.port}/a.jpg", f"http://xn--bcher-kva.test:{site.port}/a.jpg",
        f"http://B\xdcCHER.test:{site.port}/a.jpg", f"http://XN--BCHER-KVA.test:{site.port}/a.jpg",
        "http://127.0.0.9/a.jpg", "http://127.0.0.9:80/a.jpg", "https://127.0.0.9/a.jpg", "https://127.0.0.9:443/a.jpg",
        "http://127.0.0.9:443/a.jpg",
        f"http://\u4e2d\u56fd.test:{site.port}/a.jpg", f"http://xn--fiqs8s.test:{site.port}/a.jpg",
    ]  # fmt: skip
    output = tmp_path / "out"
    with running_dns(zone) as dns:
        run(write_list(tmp_path, sources), output, resolver="aiodns", name_server=(dns.address,))
    told = ends(output)
    assert {index: end for index, end in told.items() if end != "connect"} == {
        0: "stored", 1: "duplicate 0",
        2: "stored", 3: "duplicate 2", 4: "duplicate 2", 5: "duplicate 2",
        7: "duplicate 6", 9: "duplicate 8",
        11: "stored", 12: "duplicate 11",
    }  # fmt: skip
    assert [one.headers["host"] for one in site.log()].count(f"xn--bcher-kva.test:{site.port}") == 1


def test_no_path_at_all_is_the_path_of_a_slash(site: Validators, tmp_path: Path) -> None:
    at = f"http://127.0.0.1:{site.port}"
    assert counts(run(write_list(tmp_path, [at, f"{at}/", f"{at}?x", f"{at}/?x"]), tmp_path / "out")) == (2, 0, 2)
    assert sorted(site.paths()) == ["/", "/?x"]


# What is not held to it ---------------------------------------------------------------------------


def test_repeat_fetches_as_often_as_it_says(site: Validators, tmp_path: Path) -> None:
    urls, output = write_list(tmp_path, [site.url("a.jpg"), site.url("b.jpg"), site.url("a.jpg")]), tmp_path / "out"
    assert counts(run(urls, output, repeat=3)) == (9, 0, 0)
    assert sorted(site.paths()) == ["/a.jpg"] * 6 + ["/b.jpg"] * 3
    assert counts(run(urls, output, repeat=3)) == (0, 9, 0)
    check_agreement(output)


async def test_a_service_gives_a_picture_each_time(site: Validators) -> None:
    async with Crawler(Settings.of(store="none", **FLAGS)) as service:
        first = await service.get(site.url("a.jpg"))
        again = await service.get(site.url("a.jpg"))
        both = await asyncio.gather(service.get(site.url("a.jpg")), service.get(site.url("a.jpg")))
    assert all(outcome.picture for outcome in (first, again, *both))
    assert site.paths() == ["/a.jpg"] * 4


async def test_without_a_folder_a_list_is_fetched_once_too(site: Validators) -> None:
    sources = [site.url("a.jpg"), site.url("gone"), site.url("a.jpg#x"), site.url("gone"), site.url("b.jpg")]
    found: dict[int, Outcome] = {}
    async with Crawler(Settings.of(sources, store="none", **FLAGS)) as going:
        async for outcome in going:
            found[outcome.target.index] = outcome
    assert [found[n].stored for n in range(5)] == [True, False, False, False, True]
    misses = [miss for n in (2, 3) if (miss := found[n].miss)]
    assert [(miss.reason, miss.asked) for miss in misses] == [(Reason.DUPLICATE, False)] * 2
    assert [miss.detail.partition("position ")[2][:1] for miss in misses] == ["0", "1"]
    assert found[2].attempts == 0
    assert sorted(site.paths()) == ["/a.jpg", "/b.jpg", "/gone"]


async def test_what_a_program_makes_up_as_it_goes_is_fetched_once_too(site: Validators, tmp_path: Path) -> None:
    async def made_up() -> AsyncIterator[str]:
        for n in range(40):
            yield site.url(f"{n % 8}.jpg")

    summary = await crawl(Settings.of(made_up(), output=str(tmp_path / "out"), **FLAGS))
    assert counts(summary) == (8, 0, 32)
    assert sorted(site.paths()) == [f"/{n}.jpg" for n in range(8)]


# How the first ended does not matter --------------------------------------------------------------


def test_the_second_of_a_missed_address_is_a_duplicate_still(site: Validators, tmp_path: Path) -> None:
    sources = [site.url("gone/1"), "nonsense", site.url("gone/1"), "nonsense", "http://h h/", "http://h h/"]
    output = tmp_path / "out"
    done = run(write_list(tmp_path, sources), output)
    assert done.reasons == {"bad_url": 4, "not_found": 1, "duplicate": 1}
    assert ends(output) == {
        0: "not_found", 1: "bad_url", 2: "duplicate 0", 3: "bad_url", 4: "bad_url", 5: "bad_url",
    }  # fmt: skip
    assert site.paths() == ["/gone/1"]


def test_the_command_tells_duplicates_and_where_they_stood(site: Validators, tmp_path: Path) -> None:
    urls = write_list(tmp_path, ["# a comment", site.url("a.jpg"), "", site.url("b.jpg"), site.url("a.jpg")])
    done = crawler("run", urls, "-o", tmp_path / "out", *as_flags(FLAGS), "--json", "--quiet")
    assert (done.code, done.err, done.summary["reasons"]) == (0, "", {"duplicate": 1})
    told = inside("misses", tmp_path / "out", "--format", "jsonl", "--reason", "duplicate").out
    assert f"{urls}:5: the same address as position 0 of the input" in told
    assert '"later": false' in told


@pytest.mark.parametrize(
    ("choice", "asked"), [("all", ["/gone"]), ("duplicate", []), ("later", []), ("not_found", ["/gone"])]
)
def test_duplicates_stay_duplicates_when_misses_are_tried_again(
    site: Validators, tmp_path: Path, choice: str, asked: list[str]
) -> None:
    sources = [site.url(path) for path in ("a.jpg", "gone", "a.jpg", "gone", "b.jpg", "gone")]
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    run(urls, output)
    before = ends(output)
    site.reset()
    run(urls, output, retry_missed=choice)
    assert site.paths() == asked
    assert ends(output) == before
    site.holds = lambda host, path: holds(host, "/back")
    done = run(urls, output, retry_missed=choice)
    assert done.stored == len(asked)
    assert ends(output) == before | ({1: "stored"} if asked else {})
    check_agreement(output)


# Over several runs --------------------------------------------------------------------------------


def test_a_rerun_of_what_is_settled_asks_nobody(site: Validators, tmp_path: Path) -> None:
    sources = [site.url(path) for path in ("a.jpg", "gone", "a.jpg", "gone")]
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    run(urls, output)
    before = ends(output)
    site.reset()
    assert counts(run(urls, output)) == (0, 4, 0)
    assert site.log(robots=True) == []
    assert ends(output) == before


def test_lines_added_later_are_known_from_before(site: Validators, tmp_path: Path) -> None:
    first = [site.url(path) for path in ("a.jpg", "gone", "b.jpg")]
    output = tmp_path / "out"
    run(write_list(tmp_path, first), output)
    site.reset()
    longer = [*first, site.url("c.jpg"), site.url("gone#again"), site.url("./a.jpg"), site.url("c.jpg")]
    assert counts(run(write_list(tmp_path, longer), output)) == (1, 3, 3)
    assert site.paths() == ["/c.jpg"]
    assert ends(output) == {
        0: "stored", 1: "not_found", 2: "stored", 3: "stored", 4: "duplicate 1", 5: "duplicate 0", 6: "duplicate 3",
    }  # fmt: skip


def test_a_run_in_parts_ends_like_one(site: Validators, tmp_path: Path) -> None:
    draw = random.Random(3)
    sources = [site.url(f"{draw.randrange(60)}.jpg") for _ in range(700)]
    urls = write_list(tmp_path, sources)
    run(urls, tmp_path / "whole")
    for limit in (1, 100, 256, 300, 699, 700):
        run(urls, tmp_path / "parts", limit=limit)
    assert ends(tmp_path / "parts") == ends(tmp_path / "whole")
    assert len(site.log()) == 2 * len(set(sources))


def test_what_verify_takes_out_is_fetched_and_duplicates_stay(site: Validators, tmp_path: Path) -> None:
    sources = [site.url(path) for path in ("a.jpg", "b.jpg", "a.jpg", "b.jpg", "c.jpg")]
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    run(urls, output)
    before = ends(output)
    (output / metadata(output)[0]["file_name"]).unlink()
    faults = asyncio.run(verify(output, repair=True)).faults
    assert [fault.kind for fault in faults] == ["missing"]
    site.reset()
    assert counts(run(urls, output)) == (1, 4, 0)
    assert len(site.log()) == 1
    assert ends(output) == before
    check_agreement(output)


# Far apart ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [True, False], ids=["files", "none"])
def test_duplicates_that_stand_far_apart_are_found(site: Validators, tmp_path: Path, folder: bool) -> None:
    between = [f"{LATER}{n}" for n in range(20_000)]
    sources = [site.url("a.jpg"), *between, site.url("a.jpg"), between[0], between[-1], site.url("b.jpg")]
    output = tmp_path / "out" if folder else None
    done = run(write_list(tmp_path, sources), output, adapt=False, robots=False)
    assert done.stored == 2
    assert done.reasons["duplicate"] == 3
    assert sorted(site.paths()) == ["/a.jpg", "/b.jpg"]
    if output is not None:
        told = ends(output)
        assert [told[n] for n in range(20_001, 20_004)] == ["duplicate 0", "duplicate 1", "duplicate 20000"]


# Killed -------------------------------------------------------------------------------------------


def kill_in_the_middle(site: Validators, urls: Path, output: Path, when: int, **more: Any) -> None:
    """Run, and kill the whole group as soon as the server was asked `when` times."""
    site.reset()
    with started("run", urls, "-o", output, *as_flags(FLAGS | more), "--quiet") as going:
        end = time.monotonic() + 20
        while len(site.entries) < when and going.process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            going.signal(signal.SIGKILL)
        going.process.wait(20)


def drawn(site: Validators, draw: random.Random, count: int, others: int) -> list[str]:
    """A list with many duplicates near and far; some of its addresses are slow, some gone, some no addresses."""
    urls = []
    for _ in range(count):
        n = draw.randrange(others)
        urls.append("nonsense" if n % 37 == 3 else site.url(f"gone/{n}" if n % 11 == 5 else f"{n}.jpg#{draw.random()}"))
    return urls


def survive(site: Validators, home: Path, seed: int, kills: int, count: int) -> None:
    """Kill a run again and again: in the end its positions have ended like those of one that was left alone."""
    draw = random.Random(seed)
    urls = write_list(home, drawn(site, draw, count, count // 3))
    run(urls, home / "whole")
    moments = [draw.randint(1, max(2, count // 3 // (kills + 1))) for _ in range(kills)]
    print(f"seed {seed}: killed after {moments} requests each")
    for when in moments:
        kill_in_the_middle(site, urls, home / "broken", when)
    run(urls, home / "broken")
    assert ends(home / "broken") == ends(home / "whole")
    check_agreement(home / "broken")
    assert state_files(home / "broken") == ["journal.sqlite", "lock"]


def test_killed_runs_know_duplicates_like_whole_ones(site: Validators, tmp_path: Path) -> None:
    survive(site, tmp_path, seed=2, kills=3, count=900)


@pytest.mark.soak
def test_runs_killed_many_times_know_duplicates_like_whole_ones(site: Validators, tmp_path: Path) -> None:
    for seed in range(8):
        home = tmp_path / str(seed)
        home.mkdir()
        survive(site, home, seed, kills=6, count=3000)


def test_the_first_position_counts_and_not_who_was_done_first(site: Validators, tmp_path: Path) -> None:
    # The first is still under way when its duplicates are settled and the run is killed.
    def slow_once(host: str, path: str) -> Page:
        return Page(JPEG, wait=20.0 if path == "/slow.jpg" else 0.0)

    site.holds = slow_once
    sources = [
        site.url("slow.jpg"),
        *(site.url(f"{n}.jpg") for n in range(50)),
        site.url("slow.jpg"),
        site.url("1.jpg"),
    ]
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    with started("run", urls, "-o", output, *as_flags(FLAGS), "--quiet") as going:
        end = time.monotonic() + 20
        while len(metadata(output)) < 50:
            assert time.monotonic() < end
            time.sleep(0.02)
        going.signal(signal.SIGKILL)
        going.process.wait(20)
    assert ends(output)[51] == "duplicate 0"
    assert 0 not in ends(output)
    site.holds = holds
    site.reset()
    assert counts(run(urls, output)) == (1, 52, 0)
    assert site.paths() == ["/slow.jpg"]
    assert (ends(output)[0], ends(output)[52]) == ("stored", "duplicate 2")


def test_a_killed_run_leaves_no_file_of_targets_that_waited(site: Validators, tmp_path: Path) -> None:
    # More targets of one host than are held in memory, and then another host: some wait on disk.
    site.holds = lambda host, path: Page(JPEG, wait=20.0)
    sources = [site.url(f"{n}.jpg") for n in range(9000)] + [f"{LATER}{n}" for n in range(300)]
    urls, output = write_list(tmp_path, sources), tmp_path / "out"
    with started("run", urls, "-o", output, *as_flags(FLAGS | {"robots": True, "per_host": 2}), "--quiet") as going:
        end = time.monotonic() + 20
        while not (output / ".crawler/spill.sqlite").exists():
            assert time.monotonic() < end, "nothing was put on disk"
            time.sleep(0.02)
        going.signal(signal.SIGKILL)
        going.process.wait(20)
    site.holds = holds
    assert counts(run(urls, output, limit=5)) == (5, 0, 0)
    assert state_files(output) == ["journal.sqlite", "lock"]


# Journals of older versions -----------------------------------------------------------------------


def test_a_journal_without_fingerprints_knows_duplicates(site: Validators, tmp_path: Path) -> None:
    first = [site.url(path) for path in ("a.jpg", "gone", "b.jpg?x=%2f")] + ["nonsense"]
    output = tmp_path / "out"
    run(write_list(tmp_path, first), output)
    path = output / ".crawler/journal.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP INDEX by_same_as")
        db.execute("DROP INDEX by_place")
        for column in ("address", "etag", "last_modified", "frames", "pixels", "look", "same_as", "more", "place"):
            db.execute(f"ALTER TABLE targets DROP COLUMN {column}")
        db.execute("DROP TABLE robots")
        for table in ("shards", "pages", "found", "budgets", "cuts"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
        made = db.execute("SELECT sql FROM sqlite_master WHERE name = 'targets'").fetchone()[0]
    with contextlib.closing(sqlite3.connect("")) as db:
        db.executescript(schema._STEP_1)
        assert columns(made) == columns(
            db.execute("SELECT sql FROM sqlite_master WHERE name = 'targets'").fetchone()[0]
        )
    site.reset()
    longer = [*first, site.url("./a.jpg"), site.url("gone"), site.url("b.jpg?x=%2F"), "nonsense", site.url("c.jpg")]
    assert counts(run(write_list(tmp_path, longer), output)) == (1, 4, 4)
    assert site.paths() == ["/c.jpg"]
    assert ends(output) == {
        0: "stored", 1: "not_found", 2: "stored", 3: "bad_url",
        4: "duplicate 0", 5: "duplicate 1", 6: "duplicate 2", 7: "bad_url", 8: "stored",
    }  # fmt: skip
    check_agreement(output)


def columns(statement: str) -> list[str]:
    """Names of the columns of a CREATE TABLE."""
    with contextlib.closing(sqlite3.connect("")) as db:
        db.execute(statement)
        return [row[1] for row in db.execute("PRAGMA table_info(targets)")]
