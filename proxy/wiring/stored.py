"""What is stored, for the status page and `/images`: a part of the composition root."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from proxy.errors import StoreError
from proxy.report.status import StoreReport
from proxy.stores.disk.usage import read_usage
from proxy.stores.sqlite.stored_images import image_sizes, stored_images
from proxy.wiring.blob_store import blob_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config import Settings


class StoredHere:
    """Reads the data directory that the settings name, beside a proxy that writes there. Blocks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._index = settings.data / "index.sqlite3"

    def store(self) -> StoreReport:
        """What it takes, and its limits."""
        blobs, catalog = self._settings.blobs, self._settings.catalog
        usage = read_usage(blob_path(self._settings), self._index)
        on_disk = blobs.store == "disk"
        return StoreReport(
            kind=blobs.store,
            # A bucket is bounded by its own lifecycle rule, and nobody counts there.
            blobs={
                "bytes": usage.blobs if on_disk else None,
                "limit": blobs.max_size if on_disk else None,
            },
            index={
                "bytes": usage.index,
                "limit": None if usage.index is None else catalog.max_size,
            },
            oldest_use=usage.oldest_use if on_disk else None,
        )

    def sizes(self, images: Sequence[str]) -> dict[str, int | None]:
        """The sizes of those images that the index has."""
        # There may be no index: with a bucket there is none here.
        with suppress(StoreError):
            return image_sizes(self._index, images)
        return {}

    def images(self, pattern: str | None) -> list[dict[str, Any]]:
        """The stored images whose names match; StoreError if the index cannot be read."""
        return [image.document() for image in stored_images(self._index, pattern)]
