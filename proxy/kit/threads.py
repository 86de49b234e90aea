"""Blocking work in a thread, which is always awaited to its end."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

T = TypeVar("T")

# How much less of a busy processor a thread that gives way gets (setpriority(2), of a thread).
_NICE: Final = 10


def threads_that_give_way(count: int, name: str, *, nice: int = _NICE) -> ThreadPoolExecutor:
    """Threads for long computations: the event loop has the processor before them.

    All else that the machine does has it too: a smaller `nice` is for what somebody waits for.
    """
    return ThreadPoolExecutor(count, name, initializer=_give_way, initargs=(nice,))


def _give_way(nice: int) -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


@overload
async def in_thread(
    work: Callable[[], T],
    *,
    cleanup: Callable[[T], object] | None = None,
    executor: Executor | None = None,
) -> T: ...


@overload
async def in_thread(
    work: Callable[[], T | None], *, cleanup: Callable[[T], object]
) -> T | None: ...


async def in_thread(
    work: Callable[[], T | None],
    *,
    cleanup: Callable[[T], object] | None = None,
    executor: Executor | None = None,
) -> T | None:
    """Run `work` in a thread of the loop's pool or of `executor`; return or raise its outcome.

    If the caller is cancelled, the cancellation waits for the thread to end: so no file is closed
    and no lease released while the thread still writes. The unused result goes to `cleanup`.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled() and future.exception() is None and cleanup is not None:
            result = future.result()
            if result is not None:
                cleanup(result)
        raise
