"""A circuit breaker: it decides whether a failing service may be called."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from proxy.kit.backoff import with_jitter

if TYPE_CHECKING:
    from collections.abc import Callable


class CircuitBreaker:
    """Opens after consecutive failures; while open it allows one attempt per interval.

    The interval doubles with every attempt, and the first success closes the breaker. A cancelled
    attempt, which reports nothing, does not delay the next one.
    """

    __slots__ = (
        *("_chance", "_clock", "_failures", "_first_interval", "_held_until"),
        *("_interval", "_limit", "_max_interval", "_retry_at"),
    )

    def __init__(
        self,
        *,
        failures: int = 3,
        first_interval: float = 0.5,
        max_interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Open after `failures` in a row; the intervals are in seconds of `clock`.

        Each is shortened by up to a tenth, as `chance` (in [0, 1)) has it: processes whose
        breakers opened together do not try the service together.
        """
        self._chance = chance
        self._limit = failures
        self._first_interval = self._interval = first_interval
        self._max_interval = max_interval
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self._held_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open."""
        return self._failures >= self._limit

    @property
    def retry_in(self) -> float:
        """Seconds until the next attempt is allowed; 0 if it is allowed now."""
        return max(0.0, self._retry_at - self._clock()) if self.is_open else 0.0

    def allows(self) -> bool:
        """Whether to call the service now; while open, True claims the interval's one attempt."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        # Not doubled in `record_failure`: late failures of earlier attempts must not lengthen it.
        self._interval = min(2 * self._interval, self._max_interval)
        self._retry_at = now + with_jitter(self._interval, self._chance)
        return True

    def record_failure(self) -> bool:
        """Record a failure; whether it opened the breaker."""
        self._failures += 1
        if self._failures != self._limit:
            return False
        self._retry_at = self._clock() + with_jitter(self._interval, self._chance)
        return True

    def open(self) -> bool:
        """Open the breaker, whatever was recorded; whether it was closed."""
        if self.is_open:
            return False
        self._failures = self._limit
        self._retry_at = self._clock() + with_jitter(self._interval, self._chance)
        return True

    def hold(self, seconds: float) -> bool:
        """Allow no attempt for `seconds`, such as for `Retry-After`; whether that opened it.

        The success of an earlier attempt does not close the breaker before that time.
        """
        opened = not self.is_open
        self._failures = max(self._failures, self._limit)
        self._held_until = max(self._held_until, self._clock() + seconds)
        self._retry_at = max(self._retry_at, self._held_until)
        return opened

    def record_success(self) -> bool:
        """Record a success, which closes the breaker; whether it was open."""
        was_open = self.is_open
        if was_open and self._clock() < self._held_until:
            return False
        self._failures = 0
        self._interval = self._first_interval
        return was_open
