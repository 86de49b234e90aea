"""The generation: a mark that all processes read, and that changes when memory is out of date.

It is read instead of announced: a process that could not reach the cache for a while sees the
change when it can again, and nothing is lost on the way.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ports import ManifestCache

KEY: Final = "generation"
_LIFE: Final = 400 * 86400.0


class Generation:
    """One process's view of the mark."""

    def __init__(self, cache: ManifestCache, forget: Callable[[], None]) -> None:
        """`forget` drops whatever is mutable from this process's memory."""
        self._cache = cache
        self._forget = forget
        self._seen: bytes | None = None
        self._due = False

    async def advance(self) -> bool:
        """Have every process forget: this one now, the others when they look.

        False if the cache does not take the new mark; then every look tries it again.
        """
        self._forget()
        self._due = True
        await self.look()
        return not self._due

    async def look(self) -> None:
        """Forget if the mark is another one. None is no news: the cache may just be away."""
        mark = await self._cache.get(KEY)
        if self._due:
            await self._cache.put(KEY, _after(mark), life=_LIFE)
            before, mark = mark, await self._cache.get(KEY)
            # Somebody else's newer mark serves as well as ours.
            self._due = mark in {None, before}
        if mark is not None and mark != self._seen:
            self._seen = mark
            self._forget()


def _after(mark: bytes | None) -> bytes:
    """A mark that there has never been, also where the last one was lost with the cache."""
    last = int(mark) if mark is not None and mark.isdigit() else 0
    return str(max(last + 1, time_ns())).encode()
