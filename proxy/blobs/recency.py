"""Tell the blob store which blobs belong to images that are pulled: they are evicted last.

A client that has an image's layers already requests its manifest only. Without this they would
look unused, and the next node that starts would have to wait for them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from proxy.oci.manifest import Index

if TYPE_CHECKING:
    from proxy.blobs.serve import Blobs
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest

# How often the blobs of one manifest are touched, in seconds. It is short because a store that is
# small for what is pulled through it replaces its blobs within a few more seconds.
_EVERY: Final = 1.0
# How long the uses of many manifests are collected, in seconds, to be written together.
_COLLECTED: Final = 0.1


@dataclass(slots=True)
class BlobUse:
    """The blobs that one manifest names, and when they are due to be touched next."""

    blobs: tuple[Digest, ...]
    due: float = 0.0

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return the blobs of a manifest. An index has none: its manifests are pulled, too."""
        return cls(() if isinstance(manifest, Index) else manifest.references)


class RecencyTracker:
    """Touches blobs in the background, those of many manifests at once."""

    def __init__(self, blobs: Blobs, flights: SingleFlight) -> None:
        self._blobs = blobs
        self._flights = flights
        self._waiting: set[Digest] = set()
        self._is_touching = False

    def tell(self, use: BlobUse, now: float) -> None:
        """Note that the manifest is served `now`, in seconds of one monotonic clock."""
        if now >= use.due and use.blobs:
            use.due = now + _EVERY
            self._waiting.update(use.blobs)
            if not self._is_touching:
                self._is_touching = True
                self._flights.start(self._touch())

    async def _touch(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, set()
                await self._blobs.touch(waiting)
                await asyncio.sleep(_COLLECTED)
        finally:
            self._is_touching = False
