"""The database file of the SQLite cache: made, checked, and made anew where it cannot be used."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Another number is another release's format, which is nobody's loss: it is a cache.
FORMAT: Final = 1
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL);
CREATE INDEX entries_by_expiry ON entries (expires);
PRAGMA user_version = {FORMAT};
COMMIT;
"""
# How long a writer waits for another process's transaction, in seconds.
_TIMEOUT: Final = 5.0
# At most this many seconds of a start are spent looking for damage.
_CHECK_SECONDS: Final = 0.5
_CHECK_STEPS: Final = 10_000
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF  # sqlite.org/rescode.html: extended codes have more bits above


class UnusableError(Exception):
    """The file is a database, but not one of this format, or it is damaged."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The database at `path`, for one thread at a time; a damaged one is moved aside first.

    sqlite3.Error or OSError if there can be none. Blocks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _turn(path):
        try:
            return _prepared(path)
        except (sqlite3.DatabaseError, UnusableError) as error:
            if not is_damage(error):
                raise
            _move_aside(path)
            return _prepared(path)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The same database for reads that never wait."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


def is_damage(error: Exception) -> bool:
    """Whether a new file would help: not where the disk is full, or a file is locked or denied."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return isinstance(error, UnusableError) or code in _DAMAGED


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """One process at a time, so that none moves aside what another one has just made."""
    with path.with_name(f"{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepared(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # A power failure may cost the last transactions, and never the file (sqlite.org/wal.html).
        database.execute("PRAGMA synchronous = NORMAL")
        _require_format(database)
        _check(database)
    except BaseException:
        database.close()
        raise
    return database


def _require_format(database: sqlite3.Connection) -> None:
    """Make the table in an empty file; UnusableError if there is something else."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema")]
    if version == 0 and not tables:
        database.executescript(_SCHEMA)
    elif version != FORMAT or "entries" not in tables:
        raise UnusableError(f"format {version}, and {FORMAT} is the one known here")


def _check(database: sqlite3.Connection) -> None:
    """UnusableError if damage is found in the time that there is for looking."""
    end = time.monotonic() + _CHECK_SECONDS
    database.set_progress_handler(lambda: time.monotonic() > end, _CHECK_STEPS)
    try:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise UnusableError(verdict)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        database.set_progress_handler(None, 0)


def _move_aside(path: Path) -> None:
    """Keep the last bad file for whoever wants to know; its journal must not meet the new one."""
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(f"{path}.unusable{suffix}")
