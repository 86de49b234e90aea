"""Blobs of the store, each opened only for a repository that may serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.blobs.self_healing import discard, open_verified
from proxy.errors import StoreError, UpstreamUnavailable
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.blobs.grants import BlobGrants
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import Blob, BlobStore, Upstream


class StoredBlobs:
    """Opens what is stored, where there is a grant, or one can be had."""

    def __init__(
        self, store: BlobStore, grants: BlobGrants, registries: Mapping[str, Upstream]
    ) -> None:
        """`registries` are asked for what is not stored yet: mirrors cannot say who has it."""
        self._store = store
        self._grants = grants
        self._registries = registries

    async def open(
        self, repository: Repository, digest: Digest, *, in_parts: bool = False
    ) -> Blob | None:
        """Open the blob if it is stored and the repository may serve it; BlobUnknown if not."""
        opened = open_verified(self._store, digest) if in_parts else self._store.open(digest)
        if (blob := await opened) is None:
            return None
        try:
            await self._grants.require(repository, digest, blob)
        except StoreError as error:
            await discard(self._store, digest, blob, str(error))
            return None
        except BaseException:
            blob.close()
            raise
        trace.current().outcome = Outcome.HIT
        return blob

    async def open_granted(self, repository: Repository, digest: Digest) -> Blob | None:
        """The blob, if it is stored, and the repository is known to have it."""
        if not await self._grants.exists(repository, digest):
            return None
        return await self._store.open(digest)

    async def require_access(self, repository: Repository, digest: Digest) -> None:
        """Return if the repository may serve a blob that this process has not fetched through it.

        Another process, or a transfer of another repository, has stored it. BlobUnknown or an
        UpstreamFailure otherwise.
        """
        if await self._grants.exists(repository, digest):
            return
        blob = await self._store.open(digest)
        if blob is None:
            # It is not complete yet: the upstream says whether this repository has it.
            registry = self._registries.get(repository.registry)
            if registry is None:
                raise UpstreamUnavailable("a mirror is sending it for another repository")
            await registry.blob_size(repository.name, digest)
            return
        try:
            await self._grants.require(repository, digest, blob)
        finally:
            blob.close()
