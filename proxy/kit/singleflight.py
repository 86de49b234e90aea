"""Work that is done once for all callers that want its result; the only place that starts tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from proxy.errors import ClientThrottled, ConversionRefused, RegistryError, StoreError, WouldAsk
from proxy.kit.backoff import with_jitter
from proxy.kit.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.kit.clock import Clock
    from proxy.ports import Lease, Leases

T = TypeVar("T")

# How often a lease that another process holds is tried, in seconds.
_POLL_LEASE: Final = 0.01
# How long a task may take to end when it is cancelled before it is cancelled again, in seconds.
_CANCEL_AGAIN: Final = 0.5

_log = structlog.get_logger()


class SingleFlight:
    """Running work by key (request coalescing). Every task has such an owner, and ends with it."""

    def __init__(self, leases: Leases | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """`leases` are shared with other processes of this machine; None if there are none."""
        self._leases = leases
        self._clock = clock
        self._flights: dict[str, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def do(
        self,
        key: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        elsewhere: Callable[[], Coroutine[Any, Any, T | None]] | None = None,
    ) -> T:
        """Return the result of `work`, which runs once for all callers with `key` while it runs.

        A caller that is cancelled stops nothing. An exception is raised for every caller; where it
        concerns only the client of the one who began, the others try again (ClientThrottled).
        With `elsewhere`, `work` also runs in one process at a time, and only if `elsewhere` returns
        None: another process may just have done the same work.
        """
        while (task := self._flights.get(key)) is not None:
            try:
                return await asyncio.shield(task)
            except ClientThrottled as error:
                if error.concerns_caller() or self._flights.get(key) is task:
                    raise
        task = self.start(
            work()
            if elsewhere is None or self._leases is None
            else self._take_turn(self._leases, key, work, elsewhere)
        )
        self._flights[key] = task
        task.add_done_callback(lambda done: self._remove(key, done))
        return await asyncio.shield(task)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end, whether or not a caller waits; an unexpected error is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_retrieve)
        return task

    async def _take_turn(
        self,
        leases: Leases,
        key: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        elsewhere: Callable[[], Coroutine[Any, Any, T | None]],
    ) -> T:
        lease = await self._lease(leases, key)
        try:
            # Also if there was nothing to wait for: another process may have finished after the
            # caller looked, and before the lease was claimed.
            found = await elsewhere()
            return await work() if found is None else found
        finally:
            if lease is not None:
                lease.release()

    async def _lease(self, leases: Leases, key: str) -> Lease | None:
        """Return the lease when it is free; None if there can be none, on a full disk."""
        try:
            while True:
                lease = await leases.claim(key)
                if lease is not None:
                    return lease
                await self._clock.sleep(with_jitter(_POLL_LEASE))
        except StoreError as error:
            # Doing the work once in each process is better than not doing it.
            _log.error("lease.not_claimed", error=str(error))
            return None

    def _remove(self, key: str, task: asyncio.Task[Any]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]

    async def finish(self, grace: float) -> None:
        """Wait up to `grace` seconds for what still runs, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await self.close()

    async def close(self) -> None:
        """Cancel all tasks, and return when they have ended."""
        # A task that ends may start another one.
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            # A library that is cancelled while it cleans up may raise an error of its own instead.
            # A task that takes this for an outage continues, so cancel again.
            await asyncio.wait(tasks, timeout=_CANCEL_AGAIN)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """A failure that was the result of a flight is its callers' to report; a bug is logged here."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    if not isinstance(error, RegistryError | ConversionRefused | WouldAsk):
        _log.error("task.failed", exc_info=error)
