"""The journal's file: SQLite, its tables, and the numbered steps that bring an older file to today's form."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crawler.errors import JournalError
from crawler.state.found_tables import TABLES
from crawler.state.transaction import script, transaction

APPLICATION_ID = 0x43524157  # "CRAW": tells our file from any other SQLite file

_STEP_1 = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE targets (
    id INTEGER PRIMARY KEY,      -- position in the input
    url TEXT NOT NULL,
    reason TEXT,                 -- NULL: stored; else why it was missed
    attempts INTEGER NOT NULL,
    seconds REAL NOT NULL,       -- from the first request to the end
    ended_at REAL NOT NULL,      -- seconds since the epoch
    status INTEGER,              -- last HTTP status
    final_url TEXT,              -- NULL: the same as url
    detail TEXT,                 -- of a miss
    origin TEXT,                 -- of a miss: file and line
    file_name TEXT,              -- of a stored picture, as all below
    sha256 BLOB, digest BLOB,    -- of the bytes that came; of the bytes stored, NULL: the same
    width INTEGER, height INTEGER,
    original_width INTEGER, original_height INTEGER,
    format TEXT, bytes INTEGER, content_type TEXT  -- NULL: image/jpeg
);
"""

_STEP_2 = """
-- the fingerprint of the normalised url, and what a conditional request needs
ALTER TABLE targets ADD COLUMN address INTEGER;
ALTER TABLE targets ADD COLUMN etag TEXT;
ALTER TABLE targets ADD COLUMN last_modified TEXT;
CREATE TABLE robots (origin TEXT PRIMARY KEY, expires REAL NOT NULL, packed BLOB NOT NULL) WITHOUT ROWID;
"""

_STEP_3 = """
-- what tells that two pictures are the same, and which target holds the picture of a duplicate; NULL frames are 1,
-- `more` is JSON with what few pictures have: notes, files, exif, values
ALTER TABLE targets ADD COLUMN frames INTEGER;
ALTER TABLE targets ADD COLUMN pixels INTEGER;
ALTER TABLE targets ADD COLUMN look INTEGER;
ALTER TABLE targets ADD COLUMN same_as INTEGER;
ALTER TABLE targets ADD COLUMN more TEXT;
CREATE INDEX by_same_as ON targets (same_as) WHERE same_as IS NOT NULL;
"""

_STEP_4 = """
-- where a picture begins in the spool of its shard, NULL: not there; and the shards that are published.
-- `more` also tells key, caption and kept columns of the target, of misses too
ALTER TABLE targets ADD COLUMN place INTEGER;
CREATE INDEX by_place ON targets (id) WHERE place IS NOT NULL;
CREATE TABLE shards (id INTEGER PRIMARY KEY, targets INTEGER NOT NULL);
"""

_STEPS: list[Callable[[sqlite3.Connection], None]] = [
    lambda connection: script(connection, _STEP_1),
    lambda connection: script(connection, _STEP_2),
    lambda connection: script(connection, _STEP_3),
    lambda connection: script(connection, _STEP_4),
    lambda connection: script(connection, TABLES),
]

VERSION = len(_STEPS)


def connect(path: Path, durable: bool = False) -> sqlite3.Connection:
    """Open a journal for writing, make it if it is missing, bring it to today's form.

    Raises:
        JournalError: the file is damaged, foreign, or from a newer version of this program. It is left as it is.
    """
    try:
        # The connection moves to the journal's thread, which is then the only one to use it.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            _check(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open an existing journal to look at it, also while a run writes it."""
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10, check_same_thread=False
        )
        _check(connection, path)
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            raise JournalError(f"{path}: written by an older version; run the crawl again once to bring it up to date")
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Do the steps that this file has not seen, each in one transaction with its record."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for number in range(connection.execute("PRAGMA user_version").fetchone()[0], VERSION):
        with transaction(connection):
            _STEPS[number](connection)
            connection.execute(f"PRAGMA user_version = {number + 1}")


def damaged(path: Path, error: Exception) -> JournalError:
    return JournalError(
        f"{path}: the journal cannot be read ({error}). Nothing was changed. "
        "Restore it from a copy, or start in another folder."
    )


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Settings that are other ones than those noted, as flags, for people. What was not noted then does not count."""
    return [
        f"--{name.replace('_', '-')} is {value} and was {before[name]}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if found != APPLICATION_ID and (tables or version):
        raise JournalError(f"{path}: is a database of something else, not a journal of this program")
    if version > VERSION:
        raise JournalError(
            f"{path}: written by a newer version of this program (form {version}, this one knows {VERSION})"
        )
