"""Each operation as metrics see it: how it ended, how long it took, how much was received."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    RegistryError,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.oci.headers.ratelimit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxy.kit.clock import Clock
    from proxy.upstream.operation import Kind

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

    Outcomes: `ok`, `unknown`, `denied`, `throttled`, `unavailable`, `invalid`, `abandoned`.
    `received` counts bytes of content. `seconds` are those until the answer began, or the failure.
    """

    kind: Kind
    outcome: str
    received: int
    seconds: float
    rate_limit: RateLimit | None = None


@dataclass(slots=True)
class Tally:
    """One operation while it runs. `began` is in seconds of the clock."""

    clock: Clock
    outcome: str = "ok"
    received: int = 0
    began: float | None = None
    rate_limit: RateLimit | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """Note that the answer has begun, with these headers."""
        self.began = self.clock.monotonic()
        self.rate_limit = RateLimit.parse(headers)


@dataclass(frozen=True, slots=True)
class Observation:
    """Reports each operation to `report`."""

    report: Callable[[Observed], None]
    clock: Clock = SYSTEM_CLOCK

    @contextmanager
    def of(self, kind: Kind) -> Iterator[Tally]:
        """Report one operation when it ends, however it ends."""
        tally = Tally(self.clock)
        started = self.clock.monotonic()
        try:
            yield tally
        except BaseException as error:
            tally.outcome = next(word for types, word in _OUTCOMES if isinstance(error, types))
            raise
        finally:
            ended = self.clock.monotonic() if tally.began is None else tally.began
            self.report(
                Observed(kind, tally.outcome, tally.received, ended - started, tally.rate_limit)
            )
