"""A bound on bytes a second, which all that send share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.kit.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from proxy.kit.clock import Clock


class Bandwidth:
    """Senders wait for each other, in the order in which they come."""

    def __init__(self, rate: float | None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """`rate` is in bytes a second; None is without a bound."""
        self._rate = rate
        self._clock = clock
        # Until then, what was let through before takes all of it.
        self._busy_until = 0.0

    async def spend(self, size: int) -> None:
        """Return when `size` more bytes may be sent."""
        if self._rate is None:
            return
        now = self._clock.monotonic()
        begin = max(now, self._busy_until)
        self._busy_until = begin + size / self._rate
        if begin > now:
            await self._clock.sleep(begin - now)
