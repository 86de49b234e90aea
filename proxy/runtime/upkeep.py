"""Keeping the disk store in order while the proxy serves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.stores.disk.janitor import Janitor

# Blobs that were removed by hand are noticed after so long, in seconds, at the latest.
_COUNT_EVERY: Final = 6 * 3600.0


class Upkeep:
    """Sweeps in every round, and counts the stored bytes now and then."""

    def __init__(self, janitor: Janitor, clock: Callable[[], float] = time.monotonic) -> None:
        """The first round counts."""
        self._janitor = janitor
        self._clock = clock
        self._due = clock()

    async def tidy(self) -> None:
        """One round. OSError if the disk does not allow it."""
        now = self._clock()
        if now >= self._due:
            await self._janitor.recount()
            self._due = now + _COUNT_EVERY
        await self._janitor.sweep()
