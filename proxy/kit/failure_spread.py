"""How many different things have failed lately, with no success between."""

from __future__ import annotations


class FailureSpread:
    """Counts different keys within a window; holds no more keys than its limit."""

    __slots__ = ("_failed", "_limit", "_window")

    def __init__(self, limit: int, window: float) -> None:
        """`limit` different keys within `window` seconds are many."""
        self._limit = limit
        self._window = window
        self._failed: dict[str, float] = {}

    def add(self, key: str, now: float) -> bool:
        """Record that `key` failed; whether as many as the limit did within the window."""
        since = now - self._window
        recent = {other: at for other, at in self._failed.items() if at > since}
        recent[key] = now
        many = len(recent) >= self._limit
        self._failed = {} if many else recent
        return many

    def clear(self) -> None:
        """Record a success."""
        self._failed.clear()
