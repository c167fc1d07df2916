"""The engine's database from outside: to look at, and to hold up."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def reading(home: Path) -> Iterator[sqlite3.Connection]:
    """To look at only; the engine notices nothing."""
    with closing(sqlite3.connect(f"file:{home / 'freehold.db'}?mode=ro", uri=True, timeout=10)) as database:
        yield database


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Nobody else writes in this block."""
    with closing(sqlite3.connect(home / "freehold.db", timeout=10, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")
