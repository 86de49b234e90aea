"""The index in its SQLite file, opened, looked into and obstructed."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.oci.reference import Digest
from proxy.ports.catalog import Batch
from proxy.stores.sqlite import index as index_module
from proxy.stores.sqlite import reader
from proxy.stores.sqlite.index import SqliteIndex
from tests.kit.pulls import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@contextmanager
def no_deadlines() -> Iterator[None]:
    """Have the index on disk wait as long as a busy machine needs: what is late is a miss."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "_COMMIT_WITHIN", 30.0)
        patch.setattr(reader, "_DEADLINE", 30.0)
        yield


@asynccontextmanager
async def open_index(
    path: Path,
    *,
    max_size: int = 2**26,
    unused: float = 1e9,
    on_error: Callable[[str], None] = lambda _operation: None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[SqliteIndex]:
    """The index at `path`, closed in the end."""
    index = await SqliteIndex.open(
        path, max_size=max_size, unused=unused, on_error=on_error, clock=clock
    )
    try:
        yield index
    finally:
        await index.close()


async def commit_and_upkeep(index: SqliteIndex, batch: Batch) -> None:
    """Commit it, and return when its writer is at rest, and has looked for unused rows if due."""
    due = index._writer._maintain_at
    await index.commit(batch)
    await until(lambda: index._writer._maintain_at > due)
    await index.commit(Batch(touched=[Digest.of(b"unknown")]))
    # A commit has returned a moment before the writer says so.
    await index.flush()


def count(path: Path, table: str) -> int:
    """How many rows are in a table of the file."""
    with closing(sqlite3.connect(path)) as database:
        (rows,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 -- a name of ours
    return int(rows)


def sizes(path: Path) -> tuple[int, int]:
    """Of the file and its write-ahead log, in bytes."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size, log.stat().st_size if log.exists() else 0


@contextmanager
def writer_waits(path: Path) -> Iterator[None]:
    """Hold the lock that one writer of the machine has at a time."""
    with path.with_name("index.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's own lock, as a transaction of some other program does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


class WallClock:
    """Seconds since 1970, as the test has them."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
