"""Pauses between attempts, with jitter so that processes do not act at the same time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# An interval is shortened by up to this share and never lengthened, so it stays a maximum.
_SPREAD: Final = 0.1
# Beyond this many doublings every back-off has reached its maximum.
_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from `first` to `longest`, in seconds.

    Each is shortened by a random part of up to a half ("equal jitter"): processes that failed
    together do not retry together, and no retry follows at once.
    """

    first: float
    longest: float

    def pause(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """The pause in seconds after `failures` (at least 1) in a row; `chance` returns [0, 1)."""
        whole = min(self.first * 2.0 ** min(failures - 1, _DOUBLINGS), self.longest)
        return whole * (1 - chance() / 2)


def with_jitter(interval: float, chance: Callable[[], float] = random.random) -> float:
    """Shorten `interval` at random by up to a tenth, for polling that processes share."""
    return interval * (1 - _SPREAD * chance())
