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
        self._connections: list[sqlite3.Connection] = []
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
        """Close every connection; reads that have begun end first, unless they hang."""
        self._threads.shutdown(wait=self._pending == 0, cancel_futures=True)
        if self._pending == 0:
            for connection in self._connections:
                connection.close()
        self._connections.clear()

    def _finish(self, future: asyncio.Future[T]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._opened()
        if getattr(self._local, "opened", None) != opened:
            self._local.connection = open_for_reading(self._path)
            self._local.opened = opened
            self._connections.append(self._local.connection)
        connection: sqlite3.Connection = self._local.connection
        return work(connection)
