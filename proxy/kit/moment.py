"""Moments as text, in stores that other programs can write to."""

from __future__ import annotations

from typing import Final

# No moment is longer; Python reads numbers of any length, which takes as long.
_LONGEST: Final = 32


def parse_moment(text: bytes) -> float:
    """Seconds since 1970; 0 for text that is none, such as `nan`, `inf` or a negative number."""
    try:
        moment = float(text) if len(text) <= _LONGEST else 0.0
    except ValueError:
        return 0.0
    return moment if 0.0 <= moment < float("inf") else 0.0
