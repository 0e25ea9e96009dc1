"""A run's state as a user meets it: status, misses, verify, retries, locks, changed settings, broken disks and journals."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from crawler.errors import JournalError
from crawler.state import schema
from tests.cli import check_agreement, command, crawler, environment, inside, metadata, pictures, started, wait_until
from tests.servers.handle import Faults

FLAGS = ("--allow-private", "--retries", "0", "--workers", "1", "--size", "24", "--quiet", "--json")


def write_list(path: Path, urls: list[str]) -> Path:
    path.write_text("\n".join(urls))
    return path


def write_mixed(faults: Faults, path: Path) -> Path:
    """Eight pictures and four misses of three reasons."""
    urls = [faults.url(f"tiny/{n}.jpg") for n in range(8)]
    urls += [faults.url("status/404"), faults.url("status/503"), faults.url("status/503?2"), faults.url("html")]
    return write_list(path, urls)


@pytest.fixture
def mixed(faults: Faults, tmp_path: Path) -> Path:
    return write_mixed(faults, tmp_path / "urls.txt")


@pytest.fixture(scope="module")
def finished_once(fault_server: Faults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("finished")
    done = inside("run", write_mixed(fault_server, home / "urls.txt"), "-o", home / "out", *FLAGS)
    assert done.code == 0, done.err
    return home / "out"


@pytest.fixture
def finished(finished_once: Path, mixed: Path, tmp_path: Path) -> Path:
    """The folder of a run over `mixed`: a copy of its own for each test."""
    return Path(shutil.copytree(finished_once, tmp_path / "out"))


def test_status_counts_and_gives_examples(finished: Path, faults: Faults) -> None:
    told = json.loads(inside("status", finished, "--json").out)
    assert (told["targets"], told["stored"], told["missed"], told["later"]) == (12, 8, 4, 2)
    assert [(r["reason"], r["count"], r["later"]) for r in told["reasons"]] == [
        ("server_error", 2, True),
        ("not_found", 1, False),
        ("not_image", 1, False),
    ]
    assert told["reasons"][0]["url"] == faults.url("status/503")
    assert told["hosts"] == [{"host": f"127.0.0.1:{faults.port}", "missed": 4, "targets": 12}]
    assert sum(span["targets"] for span in told["rates"]) == 12
    assert told["running"] is None
    plain = inside("status", finished)
    assert "server_error" in plain.out
    assert "worst hosts" in plain.out


def test_status_looks_at_a_run_that_is_going_on(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url("tiny/1.jpg"), faults.url("slow?delay=20")])
    with started("run", urls, "-o", tmp_path / "out", *FLAGS) as run:
        wait_until(lambda: pictures(tmp_path / "out"), "the first picture")

        def counted() -> bool:
            told = json.loads(inside("status", tmp_path / "out", "--json").out)
            return bool(told["stored"] == 1 and f"process {run.process.pid} " in told["running"])

        wait_until(counted, "the first record")


def test_misses_can_be_read_and_piped(finished: Path, finished_once: Path, faults: Faults, tmp_path: Path) -> None:
    txt = inside("misses", finished).out.splitlines()
    assert txt == [faults.url(path) for path in ("status/404", "status/503", "status/503?2", "html")]
    rows = [json.loads(line) for line in inside("misses", finished, "--format", "jsonl").out.splitlines()]
    assert rows[0] | {"detail": ""} == {
        "index": 8, "url": txt[0], "reason": "not_found", "later": False, "attempts": 1, "status": 404,
        "detail": "", "final_url": "", "origin": f"{finished_once.parent / 'urls.txt'}:9",
    }  # fmt: skip
    table = list(csv.DictReader(io.StringIO(inside("misses", finished, "--format", "csv").out)))
    assert [row["url"] for row in table] == txt
    assert inside("misses", finished, "--reason", "not_image").out.split() == [txt[3]]
    piped = crawler("run", "-", "-o", tmp_path / "again", *FLAGS, stdin="\n".join(txt))
    assert piped.summary["targets"] == 4


def test_misses_with_an_unknown_reason_lists_the_known_ones(finished: Path) -> None:
    done = inside("misses", finished, "--reason", "bad_luck")
    assert (done.code, done.out) == (2, "")
    assert "not_found" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("choice", "again"),
    [("--retry-missed", 2), ("--retry-missed=later", 2), ("--retry-missed=not_found", 1), ("--retry-missed=all", 4)],
)
def test_only_what_was_missed_is_tried_again(
    finished: Path, mixed: Path, faults: Faults, choice: str, again: int
) -> None:
    faults.reset()
    done = inside("run", mixed, "-o", finished, *FLAGS, choice)
    assert done.code == 0, done.err
    assert len(faults.log()) == again
    assert (done.summary["missed"], done.summary["skipped"]) == (again, 12 - again)


def test_a_retry_that_succeeds_is_stored_like_any_other(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url("tiny/1.jpg"), faults.url("flaky/a?fails=1&code=503")])
    first = inside("run", urls, "-o", tmp_path / "out", *FLAGS)
    assert (first.summary["stored"], first.summary["reasons"]) == (1, {"server_error": 1})
    plain = inside("run", urls, "-o", tmp_path / "out", *FLAGS)
    assert plain.summary["skipped"] == 2, "a plain rerun leaves misses alone"
    again = inside("run", urls, "-o", tmp_path / "out", *FLAGS, "--retry-missed")
    assert (again.summary["stored"], again.summary["skipped"]) == (1, 1)
    check_agreement(tmp_path / "out")
    assert json.loads(inside("status", tmp_path / "out", "--json").out)["missed"] == 0


def test_retry_missed_with_an_unknown_reason_lists_the_known_ones(finished: Path, mixed: Path) -> None:
    done = inside("run", mixed, "-o", finished, *FLAGS, "--retry-missed=bad_luck")
    assert done.code == 2
    assert "--retry-missed" in done.err
    assert "server_error" in done.err


def test_verify_finds_every_kind_of_damage_and_repairs_it(finished: Path, mixed: Path) -> None:
    assert inside("verify", finished).code == 0
    before = {name: (finished / name).read_bytes() for name in pictures(finished)}
    (finished / "00000/00000000.jpg").unlink()
    (finished / "00000/00000001.jpg").write_bytes(before["00000/00000001.jpg"] + b"x")
    changed = bytearray(before["00000/00000002.jpg"])
    changed[-10] ^= 0xFF
    (finished / "00000/00000002.jpg").write_bytes(changed)
    found = inside("verify", finished, "--json")
    assert found.code == 1
    kinds = {fault["file_name"]: fault["kind"] for fault in json.loads(found.out)["faults"]}
    assert kinds == {"00000/00000000.jpg": "missing", "00000/00000001.jpg": "size", "00000/00000002.jpg": "hash"}
    assert inside("verify", finished, "--repair").code == 1
    again = inside("run", mixed, "-o", finished, *FLAGS)
    assert (again.summary["stored"], again.summary["skipped"]) == (3, 9)
    assert {name: (finished / name).read_bytes() for name in pictures(finished)} == before
    check_agreement(finished)
    assert inside("verify", finished).code == 0


def test_verify_decodes_what_was_kept_as_it_came(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url("good.png"), faults.url("good.jpg")])
    output = tmp_path / "out"
    assert inside("run", urls, "-o", output, *FLAGS, "--encode", "original").summary["stored"] == 2
    file = output / "00000/00000000.png"
    damaged = file.read_bytes()[:200]
    file.write_bytes(damaged)
    journal = sqlite3.connect(output / ".crawler/journal.sqlite")
    with journal:  # as if the damage had been there when it was stored
        from hashlib import sha256

        journal.execute(
            "UPDATE targets SET bytes = ?, digest = ? WHERE id = 0", (len(damaged), sha256(damaged).digest())
        )
    journal.close()
    told = json.loads(inside("verify", output, "--json").out)
    assert [fault["kind"] for fault in told["faults"]] == ["decode"]


def test_verify_leaves_a_running_folder_alone(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url("slow?delay=20")])
    with started("run", urls, "-o", tmp_path / "out", *FLAGS):
        wait_until((tmp_path / "out/.crawler/journal.sqlite").exists, "the journal")
        wait_until(lambda: faults.log(), "the request")
        done = inside("verify", tmp_path / "out", "--repair")
    assert done.code == 1
    assert "using this folder" in done.err


@pytest.mark.parametrize("words", [("status",), ("misses",), ("verify",)])
def test_a_folder_that_is_no_run_is_said_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = inside(*words, tmp_path)
    assert done.code == 2
    assert "not the folder of a run" in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_second_run_on_a_folder_stops_at_once_and_names_the_first(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url("slow?delay=20")])
    with started("run", urls, "-o", tmp_path / "out", *FLAGS) as first:
        wait_until(lambda: faults.log(), "the request")
        second = inside("run", urls, "-o", tmp_path / "out", *FLAGS)
        assert second.code == 1
        assert f"process {first.process.pid} " in second.err
        first.process.kill()
        first.process.wait(30)
    after = inside("run", urls, "-o", tmp_path / "out", *FLAGS, "--timeout", "0.2")
    assert after.summary["reasons"] == {"timeout": 1}, "the lock of a dead process is taken over"


def test_other_settings_in_the_same_folder_are_listed(finished: Path, mixed: Path) -> None:
    before = pictures(finished)
    done = inside("run", mixed, "-o", finished, *FLAGS[:-4], "--size", "32", "--encode", "png", "--json")
    assert done.code == 2
    assert "--size is 32x32 and was 24x24" in done.err
    assert "--encode is png and was jpeg" in done.err
    assert pictures(finished) == before
    assert inside("run", mixed, "-o", finished, *FLAGS, "--concurrency", "3").code == 0, "others may change"


def test_a_changed_list_is_an_error_and_a_longer_one_is_not(finished: Path, mixed: Path, faults: Faults) -> None:
    lines = mixed.read_text().splitlines()
    longer = write_list(mixed.with_name("longer.txt"), [*lines, faults.url("tiny/99.jpg")])
    done = inside("run", longer, "-o", finished, *FLAGS)
    assert (done.summary["stored"], done.summary["skipped"]) == (1, 12)
    changed = write_list(mixed.with_name("changed.txt"), [faults.url("tiny/98.jpg"), *lines[1:]])
    refused = inside("run", changed, "-o", finished, *FLAGS)
    assert refused.code == 1
    assert "position 0" in refused.err
    assert f"{changed}:1" in refused.err


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("garbage", "cannot be read"),
        ("newer", "newer version"),
        ("foreign", "something else"),
        ("gone", "no journal"),
    ],
)
def test_a_journal_that_cannot_be_used_is_never_a_fresh_start(
    finished: Path, mixed: Path, harm: str, says: str
) -> None:
    journal = finished / ".crawler/journal.sqlite"
    if harm == "garbage":
        journal.write_bytes(b"x" * 8192)
    elif harm == "newer":
        execute(journal, f"PRAGMA user_version = {schema.VERSION + 1}")
    elif harm == "foreign":
        journal.unlink()
        execute(journal, "CREATE TABLE other (x)")
    else:
        shutil.rmtree(finished / ".crawler")
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "lock"}
    done = crawler("run", mixed, "-o", finished, *FLAGS)
    assert done.code == 1
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before, "nothing is touched"


def test_a_journal_with_damaged_pages_ends_the_run_clearly(finished: Path, mixed: Path) -> None:
    journal = finished / ".crawler/journal.sqlite"
    data = bytearray(journal.read_bytes())
    data[4096:] = b"\xaa" * len(data[4096:])
    journal.write_bytes(data)
    done = inside("run", mixed, "-o", finished, *FLAGS)
    assert done.code == 1
    assert "cannot be read" in done.err


def execute(journal: Path, statement: str) -> None:
    connection = sqlite3.connect(journal)
    with connection:
        connection.execute(statement)
    connection.close()


def test_an_older_journal_is_brought_up_to_date_step_by_step(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_column(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE targets ADD COLUMN note TEXT")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE targets ADD COLUMN half TEXT")
        raise sqlite3.OperationalError("disk I/O error")

    path, version = finished / ".crawler/journal.sqlite", schema.VERSION
    monkeypatch.setattr(schema, "_STEPS", [*schema._STEPS, add_column, fail])
    monkeypatch.setattr(schema, "VERSION", version + 2)
    with pytest.raises(JournalError):
        schema.connect(path)
    connection = sqlite3.connect(path)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(targets)")]
    assert connection.execute("PRAGMA user_version").fetchone() == (version + 1,)
    assert "note" in columns, "the step that worked is done"
    assert "half" not in columns, "the step that failed left nothing"
    assert connection.execute("SELECT count(*) FROM targets").fetchone() == (12,)
    connection.close()


def test_a_journal_row_stays_small(faults: Faults, tmp_path: Path) -> None:
    urls = [faults.url(f"tiny/{n}.jpg?a-query-as-long-as-real-ones-often-are={n:040d}") for n in range(2000)]
    done = inside("run", write_list(tmp_path / "urls.txt", urls), "-o", tmp_path / "out", *FLAGS)
    assert done.summary["stored"] == 2000
    empty = 64 * 1024  # the tables themselves
    assert ((tmp_path / "out/.crawler/journal.sqlite").stat().st_size - empty) / 2000 < 280


def test_a_full_disk_ends_the_run_and_a_rerun_completes_it(faults: Faults, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here, so no small disk can be made")
    urls = write_list(tmp_path / "urls.txt", [faults.url(f"good.jpg?w=640&h=480&seed={n}") for n in range(80)])
    (tmp_path / "disk").mkdir()
    flags = "--allow-private --workers 1 --quiet --json --encode original"
    run = f"{' '.join(command('run', urls, '-o', tmp_path / 'disk/out'))} {flags}"
    script = f"""
        mount -t tmpfs -o size=1m tmpfs {tmp_path}/disk
        {run} 2> {tmp_path}/first; echo "first $?"
        {" ".join(command("status", tmp_path / "disk/out", "--json"))}
        mount -o remount,size=200m {tmp_path}/disk
        {run}; echo "second $?"
        cp -r {tmp_path}/disk/out {tmp_path}/out
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
        env=environment(),
    )
    said = (tmp_path / "first").read_text()
    lines = done.stdout.splitlines()
    assert lines[0] == "first 1", done.stdout
    assert "No space left" in said or "disk is full" in said, "whoever meets it first, the store or the journal"
    assert "free some space" in said or "free space" in said
    assert len(said.splitlines()) == 1
    stored = json.loads(lines[1])["stored"]
    again = json.loads(lines[2])
    assert lines[3] == "second 0"
    assert (again["skipped"], again["stored"]) == (stored, 80 - stored)
    assert len(metadata(tmp_path / "out")) == 80
    check_agreement(tmp_path / "out")


def test_a_folder_removed_in_the_middle_ends_the_run_clearly(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url(f"slow?delay=0.05&{n}") for n in range(2000)])
    output = tmp_path / "out"
    with started("run", urls, "-o", output, *FLAGS, "--per-host", "2") as run:
        wait_until(lambda: len(pictures(output)) > 10, "the first pictures")
        shutil.rmtree(output / "00000")
        shutil.rmtree(output / ".crawler/tmp", ignore_errors=True)
        ended = run.ended()
    assert ended.code == 1
    assert "put the folder back" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_file_system_that_refuses_large_files_ends_the_run_clearly(faults: Faults, tmp_path: Path) -> None:
    urls = write_list(tmp_path / "urls.txt", [faults.url(f"good.jpg?w=800&h=600&seed={n}") for n in range(9)])
    limit = 16 * 1024
    done = subprocess.run(
        command("run", urls, "-o", tmp_path / "out", *FLAGS, "--encode", "original"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True, text=True, timeout=60, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "crawler:" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_durable_runs_end_like_others(mixed: Path, tmp_path: Path) -> None:
    done = inside("run", mixed, "-o", tmp_path / "out", *FLAGS, "--durable")
    assert done.summary["stored"] == 8
    check_agreement(tmp_path / "out")


def test_metadata_that_was_shortened_is_written_anew(finished: Path, mixed: Path) -> None:
    path = finished / "metadata.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert inside("run", mixed, "-o", finished, *FLAGS).code == 0
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_nothing_but_the_journal_is_left_after_a_run(finished: Path) -> None:
    assert sorted(os.listdir(finished / ".crawler")) == ["journal.sqlite", "lock"]
    assert sorted(os.listdir(finished)) == [".crawler", "00000", "metadata.jsonl"]
