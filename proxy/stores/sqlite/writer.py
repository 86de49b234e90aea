"""Group commit: one thread writes what all requests of this process have learnt meanwhile.

While a commit runs, the next one gathers. `index.lock` is held for each commit, so there is one
writer a machine at any moment; the kernel releases the lock of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.stores.sqlite import eviction
from proxy.stores.sqlite.rows import Rows
from proxy.stores.sqlite.schema import is_damage, open_for_writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What the disk has not taken yet. Beyond it, a disk that cannot keep up costs facts, not memory.
_BACKLOG: Final = 32 * 2**20
# A transaction takes rows until they are this part of the index's limit. What they take in the log
# is some 25 times as much in an index whose rows lie all over: a page for each, of each table.
_GROUP: Final = 1 / 640
# So long after a commit, in seconds, the write-ahead log is flushed: power loss costs no more.
_FLUSH_AFTER: Final = 0.08
_MAINTAIN_EVERY: Final = 60.0
# How long the end of the process waits for a disk, in seconds.
_CLOSE_WITHIN: Final = 10.0
# How many portions may be evicted after one commit, before the next one has its turn.
_PORTIONS: Final = 20
# The second is a key that is not Unicode, which nothing else would stop.
_FAILURES: Final = (sqlite3.Error, UnicodeError, OSError)


@dataclass(slots=True)
class _Group:
    """What one transaction writes, and who is told when it has ended."""

    rows: Rows = field(default_factory=Rows)
    waiting: list[Callable[[], None]] = field(default_factory=list)


class GroupCommit:
    """The writer of one process. Its methods are called on the event loop and never block.

    What SQLite cannot do does not happen and is counted by `on_error`, which gets the operation's
    name and may be called from the thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_size: int,
        unused: float,
        on_error: Callable[[str], None],
        on_new: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Rows unused for `unused` seconds are deleted. Nothing is open yet: see `open`.

        `on_new` is called from the thread when a damaged file had to be replaced, or when a file
        could be made that could not be made before.
        """
        # Counts how often the file was opened: readers of an earlier one read the wrong file.
        self.opened = 0
        self._path = path
        self._max_size = max_size
        self._unused = unused
        self._on_error = on_error
        self._on_new = on_new
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._lock: int | None = None
        self._log: int | None = None
        # What waits, in the order in which it came, and how many bytes that is.
        self._groups: deque[_Group] = deque()
        self._backlog = 0
        self._wake = threading.Condition()
        self._closing = False
        self._writing = False
        self._is_over = False
        self._maintain_at = 0.0
        self._flush_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)

    def open(self) -> bool:
        """Open the file and start the thread; whether the index is a new one. Blocks."""
        try:
            is_new = self._open(None)
        except _FAILURES:
            is_new = False
            self._on_error("open")
        self._thread.start()
        return is_new

    def add(self, fill: Callable[[Rows], None], done: Callable[[], None] | None = None) -> bool:
        """Have `fill` add rows to the next commit; False if they are dropped.

        `done` is called from the thread when the commit has ended, however it did.
        """
        with self._wake:
            if self._database is None or self._closing or self._backlog > _BACKLOG:
                self._on_error("write")
                return False
            if not self._groups or self._groups[-1].rows.size > self._max_size * _GROUP:
                self._groups.append(_Group())
            group = self._groups[-1]
            before = group.rows.size
            fill(group.rows)
            self._backlog += group.rows.size - before
            if done is not None:
                group.waiting.append(done)
            self._wake.notify_all()
            return True

    def flush(self) -> None:
        """Return when everything that was added before has been written. Blocks."""
        with self._wake:
            self._wake.wait_for(lambda: not (self._groups or self._writing))

    def close(self) -> None:
        """Write what waits, and close the file. Blocks."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_WITHIN)
        if self._thread.is_alive():
            # The disk hangs. The thread ends with the process, and the kernel closes its files.
            self._on_error("close")
            return
        if self._database is not None:
            self._database.close()
            self._database = None
        for descriptor in (self._lock, self._log):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._log = None

    # -- in the thread -----------------------------------------------------------------------

    def _open(self, damaged: int | None) -> bool:
        opened = open_for_writing(self._path, max_size=self._max_size, damaged=damaged)
        self._database, self._inode = opened.database, opened.inode
        self._lock = self._reopen("index.lock", self._lock)
        # SQLite's locks are on the other two files: closing this one releases none of them.
        self._log = self._reopen(f"{self._path.name}-wal", self._log)
        self.opened += 1
        return opened.is_new

    def _reopen(self, name: str, descriptor: int | None) -> int:
        if descriptor is not None:
            os.close(descriptor)
        return os.open(self._path.with_name(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _run(self) -> None:
        while True:
            group = self._next()
            if group.rows:
                self._is_over = False
                self._transaction("write", partial(self._write, group.rows))
            for done in group.waiting:
                done()
            self._make_room()
            with self._wake:
                self._writing = False
                self._wake.notify_all()
                if self._closing and not self._groups:
                    break
            self._flush_log()
            if self._clock() >= self._maintain_at:
                self._maintain_at = self._clock() + _MAINTAIN_EVERY
                if self._database is None:
                    self._open_again()
                self._transaction("evict", self._maintain)
        self._flush_log(now=True)

    def _next(self) -> _Group:
        """Wait for rows, or until the log is to be flushed or the index maintained."""
        with self._wake:
            flush_at = self._flush_at
            wait = _MAINTAIN_EVERY if flush_at is None else max(0.0, flush_at - time.monotonic())
            self._wake.wait_for(lambda: bool(self._groups) or self._closing, wait)
            group = self._groups.popleft() if self._groups else _Group()
            self._backlog -= group.rows.size
            self._writing = bool(group.rows)
            return group

    def _write(self, rows: Rows) -> None:
        assert self._database is not None  # noqa: S101 -- `_transaction` has looked
        rows.write(self._database, int(self._clock()))
        self._is_over = eviction.is_over(self._database)

    def _make_room(self) -> None:
        """Evict in transactions of their own: a large one would make the log as large."""
        for _ in range(_PORTIONS):
            if not self._is_over:
                break
            self._is_over = False
            self._transaction("evict", self._evict)

    def _evict(self) -> None:
        assert self._database is not None  # noqa: S101 -- as above
        self._is_over = eviction.evict(self._database)

    def _maintain(self) -> None:
        assert self._database is not None  # noqa: S101 -- `_transaction` has looked
        now = self._clock()
        eviction.expire(self._database, int(now - self._unused), now)
        eviction.forget_orphans(self._database, now)

    def _transaction(self, operation: str, work: Callable[[], None]) -> None:
        """All of `work` or nothing; what fails is counted, and dropped."""
        database, lock = self._database, self._lock
        if database is None or lock is None:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                database.execute("BEGIN IMMEDIATE")
                try:
                    work()
                    database.execute("COMMIT")
                finally:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
        except _FAILURES as error:
            self._on_error(operation)
            if is_damage(error):
                self._replace(database)
            return
        if self._flush_at is None:
            self._flush_at = time.monotonic() + _FLUSH_AFTER

    def _replace(self, database: sqlite3.Connection) -> None:
        """Go on with a new file, in which the derived manifests are restored by `on_new`."""
        try:
            database.close()
            if self._open(self._inode):
                self._on_new()
        except _FAILURES:
            self._database = None
            self._on_error("open")

    def _open_again(self) -> None:
        """Open the file that could not be opened: the disk was full, or the file was locked."""
        try:
            if self._open(None):
                self._on_new()
        except _FAILURES:
            self._on_error("open")

    def _flush_log(self, *, now: bool = False) -> None:
        if self._flush_at is None or not (now or time.monotonic() >= self._flush_at):
            return
        self._flush_at = None
        try:
            if self._log is not None:
                os.fsync(self._log)
        except OSError:
            self._on_error("flush")
