"""Images that are not evicted until an operator says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.oci.kept_image import KeptImage


class KeptStore(Protocol):
    """Which blobs eviction passes over. StoreError if the storage fails."""

    @property
    def limit(self) -> int | None:
        """The bytes that all kept blobs may take; None if there is no limit."""
        ...

    async def put(self, image: KeptImage) -> KeptImage:
        """Keep it, in place of what was kept under that name; with its size.

        RequestInvalid if a blob is not stored, or if that would be more than the limit.
        """
        ...

    async def images(self) -> Sequence[KeptImage]:
        """All that are kept, by name."""
        ...

    async def remove(self, repository: str, reference: str) -> bool:
        """Keep it no longer; whether it was."""
        ...
