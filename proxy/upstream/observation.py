"""What is told to whoever counts: each operation, how it ended, and how much came."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OUTCOMES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (UpstreamUnavailable, "unavailable"),
    (UpstreamDenied, "denied"),
    (UpstreamThrottled, "throttled"),
    (UpstreamInvalid, "invalid"),
    (RegistryError, "unknown"),
    (BaseException, "abandoned"),
)


@dataclass(slots=True)
class Tally:
    """One operation while it runs. `received` counts bytes of content."""

    outcome: str = "ok"
    received: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """Reports to `report(kind, outcome, received)`.

    Kinds: `manifest_head`, `manifest`, `blob_head`, `blob`, `tags`, `referrers`,
    `token`. Outcomes: `ok`, `unknown`,
    `denied`, `throttled`, `unavailable`, `invalid`, `abandoned`.
    """

    report: Callable[[str, str, int], None]

    @contextmanager
    def of(self, kind: str) -> Iterator[Tally]:
        """Report one operation when it ends, however it ends."""
        tally = Tally()
        try:
            yield tally
        except BaseException as error:
            tally.outcome = next(word for types, word in _OUTCOMES if isinstance(error, types))
            raise
        finally:
            self.report(kind, tally.outcome, tally.received)
