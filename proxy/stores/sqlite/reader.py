"""Reads of the index: in threads, each within a deadline, so that a hung disk stops no request."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.kit.circuit_breaker import CircuitBreaker
from proxy.stores.sqlite.schema import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_THREADS: Final = 2
# In seconds. A read takes microseconds, and some milliseconds where the disk has to seek.
_DEADLINE: Final = 0.25
# What waits for a thread beyond so many reads would be late anyway.
_QUEUE: Final = 512
_FAILURES: Final = (sqlite3.Error, UnicodeError, OSError)


class Reader:
    """Reads one database from several threads. What is late or fails is a miss, and is counted."""

    def __init__(
        self, path: Path, *, opened: Callable[[], int], on_error: Callable[[str], None]
    ) -> None:
        """`opened` changes when another file has taken the place of the one at `path`."""
        self._path = path
        self._opened = opened
        self._on_error = on_error
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="index-read")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._idle: set[sqlite3.Connection] = set()
        self._is_closed = False
        self._breaker = CircuitBreaker()
        self._pending = 0

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` reads; None if that fails, or takes too long."""
        if self._pending > _QUEUE or not self._breaker.allows():
            self._on_error("get")
            return None
        self._pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)
        future.add_done_callback(self._finish)
        try:
            async with asyncio.timeout(_DEADLINE):
                result = await asyncio.shield(future)
        except TimeoutError:
            self._breaker.record_failure()
            self._on_error("get")
            return None
        except _FAILURES:
            self._on_error("get")
            return None
        self._breaker.record_success()
        return result

    def close(self) -> None:
        """Close every connection that is idle. A read that has begun closes its own at its end."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, set()
        for connection in idle:
            connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finish(self, future: asyncio.Future[T]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._take()
        try:
            return work(connection)
        finally:
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        """This thread's connection, opened again if another file has taken the place of its own."""
        opened = self._opened()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        with self._lock:
            if self._is_closed:
                # Another thread closes the idle connections now, this thread's among them.
                raise sqlite3.ProgrammingError("the index is closed")
            if connection is not None:
                self._idle.discard(connection)
        if connection is not None:
            if self._local.opened == opened:
                return connection
            connection.close()
        connection = open_for_reading(self._path)
        self._local.connection, self._local.opened = connection, opened
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.add(connection)
                return
        connection.close()
