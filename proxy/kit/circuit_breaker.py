"""When to stop asking something that does not answer, and when to try it again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class CircuitBreaker:
    """Open after some failures in a row; then one attempt an interval is let through.

    The interval doubles with every attempt, and the first success closes the breaker. An attempt
    that never reports back, because it was cancelled, blocks nothing: the next one is due anyway.
    """

    __slots__ = (
        *("_clock", "_failures", "_first", "_held_until"),
        *("_limit", "_longest", "_retry_at", "_wait"),
    )

    def __init__(
        self,
        *,
        failures: int = 3,
        first: float = 0.5,
        longest: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first` and `longest` bound the interval, in seconds of `clock`."""
        self._limit = failures
        self._first = self._wait = first
        self._longest = longest
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self._held_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back."""
        return self._failures >= self._limit

    @property
    def retry_in(self) -> float:
        """In how many seconds the next attempt is let through; 0 if it is now."""
        return max(0.0, self._retry_at - self._clock()) if self.is_open else 0.0

    def allows(self) -> bool:
        """Whether to try now; True makes the caller responsible for the interval's one attempt."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        # Lengthened here, not in `failed`: attempts from before the opening fail late, and many.
        self._wait = min(2 * self._wait, self._longest)
        self._retry_at = now + self._wait
        return True

    def failed(self) -> bool:
        """Count a failure; whether it was the one that opened the breaker."""
        self._failures += 1
        if self._failures != self._limit:
            return False
        self._retry_at = self._clock() + self._wait
        return True

    def hold(self, seconds: float) -> bool:
        """Let no attempt through for so long, as was asked of us; whether that opened it.

        Nor does the success of an attempt from before close it sooner.
        """
        opened = not self.is_open
        self._failures = max(self._failures, self._limit)
        self._held_until = max(self._held_until, self._clock() + seconds)
        self._retry_at = max(self._retry_at, self._held_until)
        return opened

    def succeeded(self) -> bool:
        """Close the breaker; whether it was open."""
        was_open = self.is_open
        if was_open and self._clock() < self._held_until:
            return False
        self._failures = 0
        self._wait = self._first
        return was_open
