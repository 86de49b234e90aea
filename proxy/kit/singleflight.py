"""One piece of work for everybody who wants its result; the only place where tasks are born."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from proxy.errors import ConversionRefused, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.ports import Lease, Leases

T = TypeVar("T")

# How soon the end of another process's work is noticed, in seconds.
_LOOK_EVERY: Final = 0.01
# How long a task may take to end when it is cancelled before it is cancelled again, in seconds.
_CANCEL_AGAIN: Final = 0.5

_log = structlog.get_logger()


class SingleFlight:
    """The running work of one service, by key. Every task has this owner, and ends with it."""

    def __init__(self, leases: Leases) -> None:
        """`leases` say what other processes of this machine are doing."""
        self._leases = leases
        self._flights: dict[str, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def do(
        self,
        key: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        elsewhere: Callable[[], Coroutine[Any, Any, T | None]] | None = None,
    ) -> T:
        """The result of `work`, which runs once for all who ask for `key` while it runs.

        A caller that leaves cancels nobody. An exception is raised for every caller. With
        `elsewhere`, it also runs in one process at a time, and only if that finds nothing: another
        process may just have done the same.
        """
        task = self._flights.get(key)
        if task is None:
            task = self.start(work() if elsewhere is None else self._claimed(key, work, elsewhere))
            self._flights[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end whoever waits for it; what it raises unseen is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_retrieve)
        return task

    async def _claimed(
        self,
        key: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        elsewhere: Callable[[], Coroutine[Any, Any, T | None]],
    ) -> T:
        lease = await self._lease(key)
        try:
            # Whether we had to wait says nothing: the other one may have ended before we claimed,
            # and after we had looked.
            found = await elsewhere()
            return await work() if found is None else found
        finally:
            if lease is not None:
                lease.release()

    async def _lease(self, key: str) -> Lease | None:
        """The lease, as soon as nobody else has it; None if there can be none, on a full disk."""
        try:
            while True:
                lease = await self._leases.claim(key)
                if lease is not None:
                    return lease
                await asyncio.sleep(_LOOK_EVERY)
        except OSError as error:
            # To do it once in each process is better than not at all.
            _log.error("lease.not_claimed", error=str(error))
            return None

    def _landed(self, key: str, task: asyncio.Task[Any]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]

    async def finish(self, grace: float) -> None:
        """Wait up to `grace` seconds for what still runs, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await self.close()

    async def close(self) -> None:
        """Cancel everything, and return when it has ended."""
        # The end of one may be the beginning of another.
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            # A library that is interrupted while it cleans up may come out with an error of its
            # own in place of the cancellation, and whoever takes that for an outage goes on.
            await asyncio.wait(tasks, timeout=_CANCEL_AGAIN)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """A failure that was the result of a flight is its callers' to report; a bug is logged here."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    if not isinstance(error, RegistryError | ConversionRefused):
        _log.error("task.failed", exc_info=error)
