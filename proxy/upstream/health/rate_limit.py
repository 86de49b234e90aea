"""How many pulls an upstream still allows, and how many are reserved for uncached images.

All processes that share the cache share the newest reading: every answer of the upstream has one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.oci.headers.ratelimit import RateLimit
from proxy.ports.catalog import MAX_CLOCK_SKEW
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.ports import ManifestCache

# The window of a limit that does not state one, in seconds.
_DEFAULT_WINDOW: Final = 3600
# The size of a reading in the cache, in bytes.
_LARGEST: Final = 1024


@dataclass(frozen=True, slots=True)
class MeterReading:
    """A rate limit as the upstream stated it, and when (seconds since 1970)."""

    rate: RateLimit
    at: float

    def encode(self) -> bytes:
        """Return JSON for the cache."""
        return json.dumps({**asdict(self.rate), "at": self.at}).encode()

    @classmethod
    def decode(cls, value: bytes, now: float) -> MeterReading | None:
        """Return the reading in the cache; None if no proxy can have written it before `now`."""
        try:
            read = json.loads(value) if len(value) <= _LARGEST else None
        except (ValueError, RecursionError):
            return None
        match read:
            case {
                "limit": int(limit),
                "remaining": int(remaining),
                "window": int(window),
                "source": str(source),
                "at": int(at) | float(at),
            }:
                rate = RateLimit(limit, remaining, window, source)
                # One in the future would stay the newest.
                is_sane = rate.is_sane() and 0 <= at <= now + MAX_CLOCK_SKEW
                return cls(rate, float(at)) if is_sane else None
        return None

    def is_over(self, now: float) -> bool:
        """Whether the window has passed, so that the whole limit is granted again."""
        return now - self.at > (self.rate.window or _DEFAULT_WINDOW)


class UpstreamMeter:
    """The newest reading of one upstream's rate limit."""

    def __init__(
        self,
        cache: ManifestCache,
        flights: SingleFlight,
        *,
        upstream: str,
        reserve: float,
        account: Callable[[], str | None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`reserve` is a share of the limit. `account` returns the login's name; None for none.

        Without a login the upstream counts by address, and states which.
        """
        self._cache = cache
        self._flights = flights
        self._upstream = upstream
        self.reserve = reserve
        self._account = account
        self._clock = clock
        self._newest: MeterReading | None = None
        self._limit = metrics.BUDGET_LIMIT.labels(upstream)
        self._remaining = metrics.BUDGET_REMAINING.labels(upstream)

    @property
    def newest(self) -> MeterReading | None:
        """The newest reading of this process; None before the first one, or after its window."""
        newest = self._newest
        return None if newest is None or newest.is_over(self._clock.wall()) else newest

    def record(self, rate: RateLimit) -> None:
        """Take what the upstream has just stated, and share it with other processes."""
        reading = MeterReading(rate, self._clock.wall())
        changed = self._newest is None or self._newest.rate != rate
        self._take(reading)
        if changed and (key := self._key()) is not None:
            life = float(rate.window or _DEFAULT_WINDOW)
            self._flights.start(self._cache.put(key, reading.encode(), life=life))

    async def is_at_its_reserve(self) -> bool:
        """Whether the rest of the limit should be kept for images that are not cached."""
        if self._newest is None:
            return False
        key = self._key()
        value = await self._cache.get(key) if key is not None else None
        if value is not None:
            shared = MeterReading.decode(value, self._clock.wall())
            if shared is None:
                metrics.CACHE_ERRORS.labels("decode").inc()
            elif shared.at > self._newest.at:
                self._take(shared)
        rate = self._newest.rate
        return (
            not self._newest.is_over(self._clock.wall())
            and rate.remaining <= rate.limit * self.reserve
        )

    def _take(self, reading: MeterReading) -> None:
        self._newest = reading
        self._limit.set(reading.rate.limit)
        self._remaining.set(reading.rate.remaining)

    def _key(self) -> str | None:
        try:
            account = self._account()
        except (OSError, ValueError):
            account = None
        account = account or (self._newest.rate.source if self._newest else "")
        return f"budget:{self._upstream}:{account}" if account else None
