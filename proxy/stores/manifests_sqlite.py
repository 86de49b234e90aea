"""The manifest cache in SQLite: nothing to install, there after a restart, good to look into.

Reads happen on the loop, for they cost microseconds; writes go through one thread, many to a
transaction. The cache is never the only copy, so a write is not waited for, and a database that
cannot be used is a cache that misses.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The version of what is in the values, as Redis has it in its prefix.
_VERSION: Final = 1
_BUSY_SECONDS: Final = 5.0
_GATHERED_SECONDS: Final = 0.02
# An expiry is moved only by more than this part of the life that it is moved to.
_WORTHWHILE: Final = 0.1
_SWEEP_EVERY: Final = 60.0
_SWEPT_ROWS: Final = 1000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL)
WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cache_expires ON cache (expires);
"""


class SqliteManifests:
    """One table of keys, values and expiries, shared by the processes of one machine."""

    def __init__(
        self,
        path: Path,
        *,
        on_error: Callable[[str], None] = lambda _operation: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened yet: see `open`."""
        self._path = path
        self._on_error = on_error
        self._clock = clock
        self._reader: sqlite3.Connection | None = None
        # What was asked for and is not committed yet; None is a deletion.
        self._pending: dict[str, tuple[bytes, float] | None] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="sqlite", daemon=True)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        on_error: Callable[[str], None] = lambda _operation: None,
        clock: Callable[[], float] = time.time,
    ) -> SqliteManifests:
        """The cache at `path`; a file that is no database of ours is moved aside.

        `on_error` is told the operation that failed; `clock` tells seconds since 1970.
        """
        cache = cls(path, on_error=on_error, clock=clock)
        await asyncio.to_thread(cache._start)
        return cache

    def _start(self) -> None:
        try:
            _prepare(self._path)
        except sqlite3.DatabaseError:
            self._on_error("open")
            with suppress(OSError, sqlite3.Error):
                _move_aside(self._path)
                _prepare(self._path)
        with suppress(sqlite3.Error):
            self._reader = sqlite3.connect(
                f"file:{self._path}?mode=ro",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        self._thread.start()

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, if it is there and alive."""
        row = self._pending[key] if key in self._pending else self._read(key)
        now = self._clock()
        if row is None or row[1] <= now:
            return None
        value, expires = row
        if extend is not None and now + extend - expires > extend * _WORTHWHILE:
            await self.put(key, value, life=extend)
        return value

    def _read(self, key: str) -> tuple[bytes, float] | None:
        if self._reader is None:
            self._on_error("get")
            return None
        try:
            found = self._reader.execute("SELECT value, expires FROM cache WHERE key = ?", (key,))
            row: tuple[bytes, float] | None = found.fetchone()
        except sqlite3.Error:
            self._on_error("get")
            return None
        return row

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Keep `value` for `life` seconds; there at once for this process, soon for others."""
        self._ask(key, (value, self._clock() + life))

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        self._ask(key, None)

    def _ask(self, key: str, row: tuple[bytes, float] | None) -> None:
        with self._lock:
            self._pending[key] = row
        self._wake.set()

    async def close(self) -> None:
        """Write what was asked for, and close the file."""
        self._closing.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        if self._reader is not None:
            self._reader.close()

    # -- the writer's thread -----------------------------------------------------------------

    def _write_on(self) -> None:
        connection: sqlite3.Connection | None = None
        swept = 0.0
        while not (self._closing.is_set() and not self._pending):
            self._wake.wait(_SWEEP_EVERY)
            # More may be on its way, and a transaction costs the same for one and for a hundred.
            self._closing.wait(_GATHERED_SECONDS)
            self._wake.clear()
            with self._lock:
                batch = dict(self._pending)
            try:
                connection = connection or _connect(self._path)
                _write(connection, batch)
                if self._clock() - swept > _SWEEP_EVERY:
                    swept = self._clock()
                    _sweep(connection, swept)
            except sqlite3.Error:
                self._on_error("put")
            with self._lock:
                for key, row in batch.items():
                    if self._pending.get(key) is row:
                        del self._pending[key]
        if connection is not None:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _prepare(path: Path) -> None:
    """A database of this version at `path`; DatabaseError if something else is there."""
    connection = _connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError(f"version {version}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("SELECT count(*) FROM (SELECT 1 FROM cache LIMIT 1)").fetchone()
    finally:
        connection.close()


def _move_aside(path: Path) -> None:
    path.replace(path.with_name(path.name + ".unusable"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _write(connection: sqlite3.Connection, batch: dict[str, tuple[bytes, float] | None]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(
            "INSERT OR REPLACE INTO cache VALUES (?, ?, ?)",
            [(key, *row) for key, row in batch.items() if row is not None],
        )
        connection.executemany(
            "DELETE FROM cache WHERE key = ?", [(key,) for key, row in batch.items() if row is None]
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _sweep(connection: sqlite3.Connection, now: float) -> None:
    """Expired rows, a bounded number at a time."""
    connection.execute(
        "DELETE FROM cache WHERE key IN (SELECT key FROM cache WHERE expires <= ? LIMIT ?)",
        (now, _SWEPT_ROWS),
    )
