"""What belongs to the images that are pulled stays longest: the blob store is told, now and then.

A client that has an image's layers already asks for its manifest only. Without this they would
look unused, and the next node that starts would have to wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from proxy.oci.manifest import Index

if TYPE_CHECKING:
    from proxy.blobs.serve import Blobs
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest

# A manifest that is served all the time is told of so often, in seconds: a store that is small for
# what is pulled through it may have other blobs within some more of them.
_EVERY: Final = 1.0


@dataclass(slots=True)
class BlobUse:
    """The blobs that one manifest names, and when the store is to be told of them next."""

    blobs: tuple[Digest, ...]
    due: float = 0.0

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Of a manifest; what an index names has manifests of its own, which are asked for."""
        return cls(() if isinstance(manifest, Index) else manifest.references)


class RecencyTracker:
    """Tells the store, without anybody waiting for it."""

    def __init__(self, blobs: Blobs, flights: SingleFlight) -> None:
        self._blobs = blobs
        self._flights = flights

    def tell(self, use: BlobUse, now: float) -> None:
        """It is used `now`, in seconds of any clock that is always the same."""
        if now >= use.due and use.blobs:
            use.due = now + _EVERY
            self._flights.start(self._blobs.used(use.blobs))
