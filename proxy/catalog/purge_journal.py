"""Recent purges, for other replicas: each applies what one was asked to do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from proxy.catalog.known_purges import KnownPurges
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ports import ManifestCache

KEY: Final = "purges"
_LIFE: Final = 400 * 86400.0


class PurgeJournal:
    """The purges that were done here, which all processes of a machine share."""

    def __init__(self, cache: ManifestCache) -> None:
        """`cache` is what the processes share, and no other machine."""
        self._cache = cache
        self._known = KnownPurges()
        self._is_current = False
        self._writing = asyncio.Lock()

    def forget(self) -> None:
        """Another process may have added some."""
        self._is_current = False

    async def entries(self) -> KnownPurges:
        """Return the purges of this machine; those read last if they cannot be read now."""
        if not self._is_current and (value := await self._cache.get(KEY)) is not None:
            try:
                self._known = KnownPurges.read(json.loads(value))
            except ValueError:
                metrics.CACHE_ERRORS.labels("decode").inc()
            self._is_current = True
        return self._known

    async def update(self, done: Callable[[KnownPurges], KnownPurges]) -> None:
        """Store what `done` makes of those that are known."""
        async with self._writing:
            # Another process may have added some a moment ago.
            self.forget()
            before = await self.entries()
            known = done(before)
            if known == before:
                return
            value = json.dumps(known.encode(), separators=(",", ":"))
            await self._cache.put(KEY, value.encode(), life=_LIFE)
            self._known = known
