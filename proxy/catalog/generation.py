"""The generation: a mark that all processes read, and that changes when memory is out of date.

It is read instead of announced: a process that could not reach the cache for a while sees the
change when it can again, and nothing is lost on the way.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Final

from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ports import ManifestCache

KEY: Final = "generation"
_LIFE: Final = 400 * 86400.0
# Of nanoseconds since 1970, for some centuries to come.
_MAX_DIGITS: Final = 19


class Generation:
    """One process's view of the mark."""

    def __init__(self, cache: ManifestCache, forget: Callable[[], None]) -> None:
        """`forget` drops every mutable fact from this process's memory."""
        self._cache = cache
        self._forget = forget
        self._seen: bytes | None = None
        self._due = False

    async def advance(self) -> bool:
        """Make every process drop its mutable facts: this one now, the others when they look.

        False if the cache does not take the new mark; then every look tries again.
        """
        self._forget()
        self._due = True
        await self.look()
        return not self._due

    async def look(self) -> None:
        """Drop mutable facts if the mark has changed. None: the cache may be unreachable."""
        mark = await self._read()
        if self._due:
            await self._cache.put(KEY, _after(mark), life=_LIFE)
            before, mark = mark, await self._read()
            # Somebody else's newer mark serves as well as ours.
            self._due = mark in {None, before}
        if mark is not None and mark != self._seen:
            self._seen = mark
            self._forget()

    async def _read(self) -> bytes | None:
        """The mark in the cache; None, and counted, for what no proxy has written there."""
        mark = await self._cache.get(KEY)
        if mark is not None and not _is_mark(mark):
            metrics.CACHE_ERRORS.labels("decode").inc()
            return None
        return mark


def _is_mark(value: bytes) -> bool:
    # Without a bound somebody could have us count to numbers that Python refuses to print.
    return len(value) <= _MAX_DIGITS and value.isdigit()


def _after(mark: bytes | None) -> bytes:
    """Return a mark that was never used, even if the last one was lost with the cache."""
    last = 0 if mark is None else int(mark)
    after = str(max(last + 1, time_ns())).encode()
    return after if _is_mark(after) else str(time_ns()).encode()
