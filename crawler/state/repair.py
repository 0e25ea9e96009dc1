"""Takes records out of a journal, so that the next run does their targets again. Holds the folder's lock while it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from crawler.model import Record
from crawler.state.home import FILE
from crawler.state.journal import BEYOND
from crawler.state.lock import FolderLock
from crawler.state.rows import FORGET
from crawler.state.schema import connect
from crawler.state.shelf import STALE


def forget(home: Path, records: Sequence[Record], shard_count: int, remove: Callable[[Sequence[Record]], None]) -> None:
    """Forget these pictures: their files are removed, their metadata or their shards are written anew by the next run.

    Args:
        home: folder of the journal.
        shard_count: targets in a shard, 0 for files.
        remove: takes their files away.

    Raises:
        RunLocked: a run is using the folder.
    """
    lock = FolderLock(home / "lock")
    try:
        db = connect(home / FILE)
        remove(records)
        db.execute("BEGIN IMMEDIATE")
        db.executemany(FORGET, [(record.index,) for record in records])
        if shard_count:
            stale = {record.index // shard_count for record in records}
            db.executemany("UPDATE shards SET targets = ? WHERE id = ?", [(STALE, shard) for shard in stale])
        db.execute("INSERT OR REPLACE INTO facts VALUES ('mark', ?)", (BEYOND,))
        db.execute("COMMIT")
        db.close()
    finally:
        lock.close()
