"""A clock that a test holds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.kit.clock import Clock

# After so many turns of the event loop everything has happened that needs no time.
_TURNS = 50


class ManualClock:
    """Time that passes only when the test says so. Fits Clock."""

    def __init__(self, *, wall: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        """Both in seconds; they advance together."""
        self._wall = wall
        self._monotonic = monotonic
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        # How long each sleep was, in the order in which they were begun.
        self.slept: list[float] = []

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Let so much time pass; every sleep that ends meanwhile returns in the next turn."""
        self._wall += seconds
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def run(self, seconds: float) -> None:
        """Let so much time pass, stopping at the end of each sleep for what follows from it."""
        until = self._monotonic + seconds
        await idle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.advance(max(0.0, self._sleepers[0][0] - self._monotonic))
            await idle()
        self.advance(until - self._monotonic)
        await idle()


async def idle() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


if TYPE_CHECKING:
    _fits: Clock = ManualClock()
