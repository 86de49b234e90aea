"""The configs that conversions from schema 1 have made, for the clients that pull them as blobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from proxy.errors import ConversionRefused, ManifestUnknown, StoreError
from proxy.oci import conversion
from proxy.oci.derivation import DerivedBlob
from proxy.oci.mediatype import MediaType
from proxy.ports.catalog import Proof
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from proxy.catalog.catalog import Catalog
    from proxy.catalog.routing import Standby
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.oci.derivation import Origin
    from proxy.oci.reference import Digest, Repository

_log = structlog.get_logger()


class DerivedConfigs:
    """Finds them by digest. Fits DerivedBlobs."""

    def __init__(
        self, catalog: Catalog, upstream_manifests: UpstreamManifests, standby: Standby
    ) -> None:
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._standby = standby

    async def get(self, repository: Repository, digest: Digest) -> bytes | None:
        """The config that was made for this repository; made again if its bytes are damaged."""
        record = await self._catalog.derived_blob(repository, digest)
        if record is None:
            return await self._adopt(repository, digest)
        blob = record.content
        if not isinstance(blob, DerivedBlob):
            blob = await self._make_again(repository, digest, record.origin)
        if blob is None:
            return None
        if write := self._catalog.grant_blob(repository, digest, Proof.DERIVED):
            await write
        return blob.raw

    async def _adopt(self, repository: Repository, digest: Digest) -> bytes | None:
        """What was made of a mirror's image while the registry was down, if that has it, too."""
        if not self._standby.has(repository):
            return None
        record = await self._catalog.derived_blob(repository.at_mirrors, digest)
        if record is None or not isinstance(record.content, DerivedBlob):
            return None
        try:
            await self._upstream_manifests.get(repository, record.origin.source)
        except ManifestUnknown:
            return None
        await self._catalog.derive_blob(repository, record.content, record.origin)
        return record.content.raw

    async def _make_again(
        self, repository: Repository, digest: Digest, origin: Origin
    ) -> DerivedBlob | None:
        source = await self._upstream_manifests.get(repository, origin.source)
        path = conversion.path(source.media_type, MediaType.V2S2) or ()
        try:
            # What was found out about the layers is in the origin.
            made = [
                await asyncio.to_thread(edge.apply, source, {}, origin.inputs) for edge in path[:1]
            ]
        except ConversionRefused as refusal:
            made = []
            _log.error("config.not_rebuilt", digest=digest, reason=str(refusal))
        blob = next((x for step in made for x in step.blobs if x.digest == digest), None)
        if blob is None:
            metrics.REBUILD_MISMATCHES.inc()
            return None
        try:
            await self._catalog.derive_blob(repository, blob, origin, replaces=True)
        except StoreError as error:
            _log.error("derived.not_stored", digest=digest, error=str(error))
        return blob
