"""Changes of a database that happen together or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A block between BEGIN and COMMIT; what it raises, or the commit, rolls everything back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk makes SQLite roll back by itself
            db.execute("ROLLBACK")
        raise


def script(db: sqlite3.Connection, statements: str) -> None:
    """Like executescript, which would end the transaction it stands in."""
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
