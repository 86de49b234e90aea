"""How many pulls an upstream still grants, and what of it is kept for images that are not here.

All processes that share the cache share what they know: each answer of the upstream says it anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from time import time
from typing import TYPE_CHECKING, Final

from proxy.oci.headers.ratelimit import RateLimit
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.kit.singleflight import SingleFlight
    from proxy.ports import ManifestCache

# For how many seconds a meter is believed that does not say so itself.
_UNSAID_WINDOW: Final = 3600


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What the meter showed, and when (seconds since 1970)."""

    rate: RateLimit
    at: float

    def encode(self) -> bytes:
        """For the cache: JSON."""
        return json.dumps({**asdict(self.rate), "at": self.at}).encode()

    @classmethod
    def decode(cls, value: bytes | None) -> MeterReading | None:
        """The reading in the cache, or None if there is none that can be understood."""
        try:
            read = json.loads(value or b"")
            rate = RateLimit(
                limit=int(read["limit"]),
                remaining=int(read["remaining"]),
                window=int(read["window"]),
                source=str(read["source"]),
            )
            return cls(rate, float(read["at"]))
        except (ValueError, TypeError, KeyError):
            return None

    def is_over(self, now: float) -> bool:
        """Whether so much time has passed that all of it has been granted again."""
        return now - self.at > (self.rate.window or _UNSAID_WINDOW)


class UpstreamMeter:
    """The meter of one upstream."""

    def __init__(
        self,
        cache: ManifestCache,
        flights: SingleFlight,
        *,
        upstream: str,
        reserve: float,
        account: Callable[[], str | None],
    ) -> None:
        """`reserve` is a share of the limit. `account` is the login's; None for none.

        Without one the upstream counts for an address, and says for which.
        """
        self._cache = cache
        self._flights = flights
        self._upstream = upstream
        self.reserve = reserve
        self._account = account
        self._newest: MeterReading | None = None
        self._limit = metrics.BUDGET_LIMIT.labels(upstream)
        self._remaining = metrics.BUDGET_REMAINING.labels(upstream)

    def saw(self, rate: RateLimit) -> None:
        """The upstream has just said this; let the others know."""
        reading = MeterReading(rate, time())
        changed = self._newest is None or self._newest.rate != rate
        self._take(reading)
        if changed and (key := self._key()) is not None:
            life = float(rate.window or _UNSAID_WINDOW)
            self._flights.start(self._cache.put(key, reading.encode(), life=life))

    async def is_at_its_reserve(self) -> bool:
        """Whether what is left should be kept for what is not here."""
        if self._newest is None:
            return False
        key = self._key()
        shared = MeterReading.decode(await self._cache.get(key)) if key is not None else None
        if shared is not None and shared.at > self._newest.at:
            self._take(shared)
        rate = self._newest.rate
        return not self._newest.is_over(time()) and rate.remaining <= rate.limit * self.reserve

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
