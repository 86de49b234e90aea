"""Work that may block, done in a thread and always to its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@overload
async def in_thread(
    work: Callable[[], T], *, dropped: Callable[[T], object] | None = None
) -> T: ...


@overload
async def in_thread(
    work: Callable[[], T | None], *, dropped: Callable[[T], object]
) -> T | None: ...


async def in_thread(
    work: Callable[[], T | None], *, dropped: Callable[[T], object] | None = None
) -> T | None:
    """What `work` returns or raises, from a thread of the loop's pool.

    A caller that is cancelled meanwhile leaves only when the thread has ended: nobody closes a
    file, or lets go of a lease, under a thread that still writes. What `work` made for it then,
    `dropped` is called with.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled() and future.exception() is None and dropped is not None:
            made = future.result()
            if made is not None:
                dropped(made)
        raise
