"""How SQLite is opened: the one place that knows its pragmas and its idea of a transaction.

WAL with synchronous=FULL: a commit is flushed to the disk before it returns, so what was acknowledged survives a power cut too, as far as
the disk keeps its word. Writes that come together are committed together, so that one flush serves them all.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import OperationalError

from freehold.domain.errors import FreeholdError, ResourceExhausted, Unavailable

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 10000",  # ms; another process (a backup, the sqlite3 shell) may hold the lock
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",  # bytes; a burst of calls does not leave a huge log behind
)


def url(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def refusal_of(error: OperationalError, path: Path) -> FreeholdError | None:
    """What the machine denied the database, in words for people; None if it is no such thing. Nothing of the transaction remains."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the rest tells kinds apart that mean the same to us
    match code:
        case sqlite3.SQLITE_BUSY:
            return Unavailable(f"Another process holds {path} and does not let go. Try again when it has ended.")
        case sqlite3.SQLITE_FULL:
            return ResourceExhausted(f"The disk that holds {path.parent} is full: nothing new can be kept. Make room, then try again.")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return Unavailable(f"{path} cannot be written: {error.orig}. Look at the disk that holds it, then try again.")
    return None


def configure(engine: Engine) -> None:
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # the driver's own BEGIN comes late and not before DDL: we say when
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _on_begin(connection: Connection) -> None:
    """Taking the write lock at once: a transaction that reads first and writes later can not lose a race in between."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
