"""Takes records out of a journal, so that the next run does their targets again. Holds the folder's lock while it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crawler.disk import disk_errors
from crawler.model import Record
from crawler.state.journal import BEYOND, FILE, FOLDER
from crawler.state.lock import FolderLock
from crawler.state.rows import FORGET
from crawler.state.schema import connect


def forget(folder: Path, records: Sequence[Record]) -> None:
    """Forget these pictures: their files are removed, their metadata is written anew by the next run.

    Raises:
        RunLocked: a run is using the folder.
    """
    lock = FolderLock(folder / FOLDER / "lock")
    try:
        db = connect(folder / FOLDER / FILE)
        with disk_errors(folder):
            for record in records:
                for name in record.files:
                    (folder / name).unlink(missing_ok=True)
        db.execute("BEGIN IMMEDIATE")
        db.executemany(FORGET, [(record.index,) for record in records])
        db.execute("INSERT OR REPLACE INTO facts VALUES ('mark', ?)", (BEYOND,))
        db.execute("COMMIT")
        db.close()
    finally:
        lock.close()
