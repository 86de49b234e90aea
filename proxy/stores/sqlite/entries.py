"""The manifest cache in an SQLite file: the default, with nothing to install.

Reads run on the event loop: they take microseconds, a thread would take longer. Writes are
gathered, and written by one thread; until they are, reads find them in memory.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.kit.threads import in_thread
from proxy.stores.sqlite.file import open_for_reading, open_for_writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A hit whose life would grow by less than this part is not worth a write.
_WORTH_EXTENDING: Final = 0.1
# What the disk has not taken yet; beyond it a cache that cannot keep up drops writes. In bytes.
_BACKLOG: Final = 32 * 2**20
# What a waiting write takes besides its key and its value, in bytes.
_OVERHEAD: Final = 300
# Expired rows go in portions, so that no transaction keeps other processes waiting.
_PORTION: Final = 500
_CLEAN_EVERY: Final = 60.0
# The second is a key that is no Unicode, which nothing else would stop.
_FAILURES: Final = (sqlite3.Error, UnicodeError)

_READ: Final = "SELECT value, expires FROM entries WHERE key = ?"
_WRITE: Final = "REPLACE INTO entries (key, value, expires) VALUES (?, ?, ?)"
_DELETE: Final = "DELETE FROM entries WHERE key = ?"
_EXTEND: Final = "UPDATE entries SET expires = max(expires, ?) WHERE key = ?"
_CLEAN: Final = (
    "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE expires <= ? LIMIT ?)"
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A value and when it expires (seconds since 1970); None where the key was deleted."""

    value: bytes | None
    expires: float


@dataclass(slots=True)
class _Batch:
    """Writes for one transaction; the last one for each key counts."""

    entries: dict[str, _Entry] = field(default_factory=dict)
    extended: dict[str, float] = field(default_factory=dict)
    size: int = 0

    def __bool__(self) -> bool:
        return bool(self.entries or self.extended)


class SqliteManifests:
    """Entries in one file, shared by the processes of one machine. Fits ManifestCache.

    Whatever SQLite cannot do is a miss, or a write that does not happen, and is counted by
    `on_error`, which gets the operation's name (open, get, put, write) and may be called from
    another thread.
    """

    def __init__(
        self, path: Path, *, on_error: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        """Nothing is open yet: see `open`."""
        self._path = path
        self._on_error = on_error
        self._clock = clock
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._gathering = _Batch()
        self._writing = _Batch()
        self._wake = threading.Condition()
        self._closing = False
        self._clean_at = 0.0
        self._thread = threading.Thread(target=self._run, name="manifests", daemon=True)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        on_error: Callable[[str], None] = lambda _operation: None,
        clock: Callable[[], float] = time.time,
    ) -> SqliteManifests:
        """The cache in the file at `path`, made if need be; `close` it in the end.

        If there can be no such file, everything is a miss.
        """
        cache = cls(path, on_error=on_error, clock=clock)
        await in_thread(cache._connect)
        cache._thread.start()
        return cache

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, or None; its expiry is written only if it moves by a tenth of `extend`."""
        entry = self._gathering.entries.get(key) or self._writing.entries.get(key)
        entry = entry or self._row(key)
        now = self._clock()
        if entry is None or entry.value is None or entry.expires <= now:
            return None
        if extend is not None and now + extend - entry.expires > extend * _WORTH_EXTENDING:
            self._extend(key, now + extend)
        return entry.value

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Keep `value` for `life` seconds; it can be got from now on, and is on disk soon."""
        self._gather(key, _Entry(value, self._clock() + life))

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        self._gather(key, _Entry(None, 0.0))

    async def flush(self) -> None:
        """Return when everything that was asked for before is in the file, or was given up."""
        await in_thread(self._written)

    async def close(self) -> None:
        """Write what is waiting, and close the file."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        reader, self._reader = self._reader, None
        await in_thread(lambda: self._finish(reader))

    # -- on the event loop -------------------------------------------------------------------

    def _row(self, key: str) -> _Entry | None:
        if self._reader is None:
            self._on_error("get")
            return None
        try:
            row = self._reader.execute(_READ, (key,)).fetchone()
        except _FAILURES:
            self._on_error("get")
            return None
        return row and _Entry(*row)

    def _gather(self, key: str, entry: _Entry) -> None:
        size = len(key) + len(entry.value or b"") + _OVERHEAD
        with self._wake:
            batch = self._gathering
            # To forget is never forgotten: a tag that is gone must not come back.
            if self._writer is None or (batch.size + size > _BACKLOG and entry.value is not None):
                self._on_error("put")
                return
            batch.entries[key] = entry
            batch.extended.pop(key, None)
            batch.size += size
            self._wake.notify_all()

    def _extend(self, key: str, expires: float) -> None:
        with self._wake:
            waiting = self._gathering.entries.get(key)
            if waiting is not None:
                self._gathering.entries[key] = _Entry(waiting.value, expires)
            else:
                self._gathering.extended[key] = expires
            self._wake.notify_all()

    # -- in the writer's thread --------------------------------------------------------------

    def _connect(self) -> None:
        try:
            self._writer = open_for_writing(self._path)
            self._reader = open_for_reading(self._path)
        except (sqlite3.Error, OSError):
            self._on_error("open")

    def _finish(self, reader: sqlite3.Connection | None) -> None:
        self._thread.join()
        for connection in (reader, self._writer):
            if connection is not None:
                connection.close()
        self._writer = None

    def _run(self) -> None:
        while self._gathered():
            self._transaction(self._write)
            with self._wake:
                self._writing = _Batch()
                self._wake.notify_all()
            if self._clock() >= self._clean_at:
                self._clean_at = self._clock() + _CLEAN_EVERY
                self._transaction(self._clean)

    def _gathered(self) -> bool:
        """Wait for writes, or until it is time to clean; False when there will be no more."""
        with self._wake:
            self._wake.wait_for(lambda: self._gathering or self._closing, _CLEAN_EVERY)
            # In this order: a reader looks into both, the gathering ones first.
            self._writing, self._gathering = self._gathering, _Batch()
            return bool(self._writing) or not self._closing

    def _written(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: not (self._gathering or self._writing))

    def _write(self, database: sqlite3.Connection) -> None:
        entries = self._writing.entries.items()
        database.executemany(
            _WRITE,
            [(key, kept.value, kept.expires) for key, kept in entries if kept.value is not None],
        )
        database.executemany(_DELETE, [(key,) for key, gone in entries if gone.value is None])
        extended = self._writing.extended.items()
        database.executemany(_EXTEND, [(expires, key) for key, expires in extended])

    def _clean(self, database: sqlite3.Connection) -> None:
        database.execute(_CLEAN, (self._clock(), _PORTION))

    def _transaction(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """All of `work` or nothing; what fails is counted, and forgotten."""
        database = self._writer
        if database is None:
            return
        try:
            # Immediate: one that begins as a reader cannot wait for another process's writer.
            database.execute("BEGIN IMMEDIATE")
            try:
                work(database)
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")
        except _FAILURES:
            self._on_error("write")
