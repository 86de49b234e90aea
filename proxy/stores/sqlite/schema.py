"""The index's database file: made, checked, and replaced where it cannot be used."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = structlog.get_logger()

# Another number is another release's format. What was in it is learned again.
FORMAT: Final = 2
PAGE: Final = 4096
# `used` is in seconds since 1970. Digests are bytes: 32 for sha256, 64 for sha512.
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tags_purged REAL NOT NULL DEFAULT 0,
    listings_purged REAL NOT NULL DEFAULT 0
);
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL,
    origin BLOB,
    used INTEGER NOT NULL
);
CREATE INDEX contents_by_use ON contents (used);
CREATE TABLE grants (
    digest BLOB NOT NULL,
    repository INTEGER NOT NULL,
    proof TEXT NOT NULL,
    type TEXT,
    used INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE INDEX grants_by_use ON grants (used);
CREATE TABLE claims (
    digest BLOB NOT NULL,
    repository INTEGER NOT NULL,
    manifest INTEGER NOT NULL,
    type TEXT,
    size INTEGER,
    PRIMARY KEY (digest, repository, manifest)
) WITHOUT ROWID;
CREATE INDEX claims_by_manifest ON claims (manifest, repository);
CREATE TABLE tags (
    repository INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    validated REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_use ON tags (used);
CREATE TABLE representations (
    key TEXT PRIMARY KEY,
    derived BLOB NOT NULL,
    used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX representations_by_use ON representations (used);
CREATE TABLE listings (
    repository INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    fetched REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX listings_by_use ON listings (used);
CREATE TABLE shared (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    expires REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
COMMIT;
"""
# A file of an earlier release of this format may lack it.
_LAYERS: Final = """
CREATE TABLE IF NOT EXISTS layers (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    diff_id BLOB NOT NULL,
    unpacked INTEGER NOT NULL,
    gzip INTEGER NOT NULL,
    used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS layers_by_use ON layers (used);
"""
# How long a writer waits for a transaction of another process, in seconds.
_TIMEOUT: Final = 5.0
# At most so many seconds of a start are spent on a search for damage.
_CHECK_SECONDS: Final = 0.5
_CHECK_STEPS: Final = 10_000
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF  # sqlite.org/rescode.html: extended codes have more bits above


class UnusableError(Exception):
    """The file is a database, but not one of this format, or it is damaged."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The database, open for one thread at a time.

    `is_new` if nothing is in it yet; `inode` tells its file from one that took its place.
    """

    database: sqlite3.Connection
    is_new: bool
    inode: int


def open_for_writing(path: Path, *, max_size: int, damaged: int | None = None) -> Opened:
    """Open the database at `path`, which is made if need be.

    A damaged file, or one of another format, is quarantined first: renamed to `NAME.quarantined`.
    `damaged` is the inode of a file that turned out to be damaged while it was in use. Index and
    write-ahead log stay within 1.1 `max_size` bytes. sqlite3.Error or OSError if there can be no
    database. Blocks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _start_lock(path):
        # Another process may have replaced it since.
        if damaged is not None and path.exists() and path.stat().st_ino == damaged:
            quarantine(path, "it was found to be damaged while it was in use")
        try:
            database, is_new = _open(path, max_size)
        except (sqlite3.DatabaseError, UnusableError) as error:
            if not is_damage(error):
                raise
            quarantine(path, str(error))
            database, is_new = _open(path, max_size)
        return Opened(database, is_new, path.stat().st_ino)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The same database for reads, which wait for no writer."""
    database = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
    database.execute("PRAGMA query_only = 1")
    return database


def is_damage(error: Exception) -> bool:
    """Whether a new file would help: not where the disk is full, or a file is locked or denied."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    return isinstance(error, UnusableError) or code in _DAMAGED


def quarantine(path: Path, reason: str) -> None:
    """Move the file aside, with its write-ahead log, which must not meet the new one."""
    _log.warning(
        "index.quarantined",
        path=f"{path}.quarantined",
        reason=reason,
        remedy="derived manifests are restored from derived/; the rest is learned again",
    )
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(f"{path}.quarantined{suffix}")


@contextmanager
def _start_lock(path: Path) -> Iterator[None]:
    """One process at a time, so that none quarantines what another one has just made."""
    with path.with_name("start.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open(path: Path, max_size: int) -> tuple[sqlite3.Connection, bool]:
    """The database, and whether its tables were made now."""
    database = sqlite3.connect(
        path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute(f"PRAGMA page_size = {PAGE}")
        database.execute("PRAGMA journal_mode = WAL")
        # A power failure may cost the last transactions, and never the file (sqlite.org/wal.html).
        database.execute("PRAGMA synchronous = NORMAL")
        # Both together stay within 1.1 of the limit: the log is emptied when it has a 25th of it,
        # and is larger by one transaction at most.
        log = max(16, min(4000, max_size // PAGE // 25))
        database.execute(f"PRAGMA wal_autocheckpoint = {log}")
        database.execute(f"PRAGMA journal_size_limit = {2 * log * PAGE}")
        database.execute(f"PRAGMA max_page_count = {max(256, max_size // PAGE * 24 // 25)}")
        is_new = _require_format(database)
        database.executescript(_LAYERS)
        _check(database)
    except BaseException:
        database.close()
        raise
    return database, is_new


def _require_format(database: sqlite3.Connection) -> bool:
    """Make the tables in an empty file; whether it was one. UnusableError for anything else."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
    if version == 0 and not tables:
        database.executescript(_SCHEMA)
        return True
    if version != FORMAT or not {"contents", "grants", "tags"} <= tables:
        raise UnusableError(f"it has format {version}, and this release reads format {FORMAT}")
    return False


def _check(database: sqlite3.Connection) -> None:
    """UnusableError if damage is found in the time that there is for a search."""
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
