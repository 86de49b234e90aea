"""What is told to whoever counts: each operation, how it ended, how long it took, what came."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    RegistryError,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.oci.headers.ratelimit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OUTCOMES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (UpstreamUnavailable, "unavailable"),
    (UpstreamDenied, "denied"),
    (UpstreamThrottled, "throttled"),
    (UpstreamInvalid, "invalid"),
    (RegistryError, "unknown"),
    (BaseException, "abandoned"),
)


@dataclass(frozen=True, slots=True)
class Observed:
    """One operation, when it has ended.

    Kinds: `manifest_head`, `manifest`, `blob_head`, `blob`, `tags`, `referrers`, `token`. Outcomes:
    `ok`, `unknown`, `denied`, `throttled`, `unavailable`, `invalid`, `abandoned`. `received` counts
    bytes of content. `seconds` are those until the answer began, or until there was none.
    """

    kind: str
    outcome: str
    received: int
    seconds: float
    rate_limit: RateLimit | None = None


@dataclass(slots=True)
class Tally:
    """One operation while it runs."""

    outcome: str = "ok"
    received: int = 0
    began: float | None = None
    rate_limit: RateLimit | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """The answer has begun, with these headers."""
        self.began = perf_counter()
        self.rate_limit = RateLimit.parse(headers)


@dataclass(frozen=True, slots=True)
class Observation:
    """Reports each operation to `report`."""

    report: Callable[[Observed], None]

    @contextmanager
    def of(self, kind: str) -> Iterator[Tally]:
        """Report one operation when it ends, however it ends."""
        tally = Tally()
        started = perf_counter()
        try:
            yield tally
        except BaseException as error:
            tally.outcome = next(word for types, word in _OUTCOMES if isinstance(error, types))
            raise
        finally:
            seconds = (tally.began or perf_counter()) - started
            self.report(Observed(kind, tally.outcome, tally.received, seconds, tally.rate_limit))
