"""The time, as something that is handed in: a test holds a clock of its own."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol


class Clock(Protocol):
    """What looks at time, or lets it pass, asks one of these. All times are in seconds."""

    def wall(self) -> float:
        """Seconds since 1970, for what other processes and machines read."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment, never set back: for what this machine measures."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when so much time has passed."""
        ...


class SystemClock:
    """The machine's own. Fits Clock."""

    __slots__ = ()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since the machine was started: the same in all of its processes."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let the event loop do other things for so long."""
        await asyncio.sleep(seconds)


SYSTEM_CLOCK: Final = SystemClock()
