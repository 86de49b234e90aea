"""Derived manifests: made when a client needs them, recorded before their digest is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import (
    BlobUnknown,
    ConversionRefused,
    ManifestUnknown,
    RefusalReason,
    StorageFailure,
)
from proxy.oci import conversion
from proxy.oci.derivation import ConversionInputs, Derived, Origin
from proxy.oci.manifest import MANIFEST_LIMIT, Schema1
from proxy.oci.mediatype import MediaType
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.blobs.serve import Blobs
    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.oci.conversion import Conversion
    from proxy.oci.manifest import Descriptor, Manifest
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.oci.schema1.libtrust import SigningKey

_log = structlog.get_logger()

# docker up to 1.9 refuses an image of more steps, with a layer or without (moby graph/history.go).
_DEEPEST: Final = 125
# Above it a conversion takes longer than other requests should wait for the loop.
_SMALL: Final = 64 * 1024


class Conversions:
    """Conversions, by the graph of `oci/conversion.py`, and the memory of what they made."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        upstream_manifests: UpstreamManifests,
        blobs: Blobs,
        flights: SingleFlight,
        key: SigningKey,
        platforms: Sequence[Platform],
        max_children: int,
    ) -> None:
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._blobs = blobs
        self._flights = flights
        self._key = key
        self._platforms = tuple(platforms)
        self._max_children = max_children

    async def convert(
        self,
        repository: Repository,
        tag: Tag,
        source: Manifest,
        path: tuple[Conversion, ...],
    ) -> Manifest:
        """What `path` makes of `source`, durable and linked to the repository.

        ConversionRefused if the content does not allow it; StorageFailure if it cannot be
        recorded, because a digest that cannot be pulled later must not be handed out.
        """
        target = path[-1].target
        if isinstance(source, Schema1):
            return await self.signed(source)
        inputs = self._inputs(repository, tag, target)
        known = await self._catalog.representation(source.digest, target, inputs)
        # Somebody may have pushed the same payload unsigned: it has the same digest.
        if (
            known is not None
            and known.media_type == target
            and await self._catalog.linked(repository, known.digest)
        ):
            return known
        key = f"convert:{repository}:{source.digest}:{target}:{inputs.cache_key_for(target)}"
        return await self._flights.do(key, lambda: self._recorded(repository, source, path, inputs))

    async def signed(self, manifest: Schema1) -> Manifest:
        """Unsigned schema 1 with our signature: the same payload, and so the same digest.

        It is made anew when needed, always alike, and never takes the place of what was stored.
        """
        path = conversion.path(manifest.media_type, MediaType.V2S1_SIGNED)
        if path is None:
            return manifest
        return path[0].apply(manifest, {}, ConversionInputs(key=self._key)).manifest

    async def rebuilt(self, repository: Repository, digest: Digest) -> Manifest | None:
        """The derived manifest again, from its origin; None if that gives other bytes."""
        origin = await self._catalog.origin(digest)
        if origin is None:
            return None
        try:
            source = await self._upstream_manifests.get(repository, origin.source)
            path = conversion.path(source.media_type, origin.target) or ()
            made = await self._made(repository, source, path, origin.inputs) if path else None
        except ConversionRefused as refusal:
            made = None
            _log.error("manifest.not_rebuilt", digest=digest, reason=str(refusal))
        if made is None or made.manifest.digest != digest:
            metrics.REBUILD_MISMATCHES.inc()
            _log.error("manifest.rebuilt_differently", digest=digest, converter=origin.converter)
            return None
        await self._record(repository, made, origin)
        return made.manifest

    def _inputs(self, repository: Repository, tag: Tag, target: MediaType) -> ConversionInputs:
        """Only what bears on the target, so that equal results have equal origins."""
        if target.is_schema1:
            return ConversionInputs(name=repository.addressed, tag=tag)
        if target.is_index:
            return ConversionInputs(platforms=self._platforms, max_children=self._max_children)
        return ConversionInputs()

    async def _recorded(
        self,
        repository: Repository,
        source: Manifest,
        path: tuple[Conversion, ...],
        inputs: ConversionInputs,
    ) -> Manifest:
        made = await self._made(repository, source, path, inputs)
        # The same payload may be here already, signed by another process with a key of its own.
        first = await self._catalog.manifest(made.manifest.digest)
        if first is not None and first.media_type == made.manifest.media_type:
            made = replace(made, manifest=first)
        steps = len(made.manifest.layers) if isinstance(made.manifest, Schema1) else 0
        if steps > _DEEPEST:
            _log.warning(
                "manifest.too_deep", repository=str(repository), tag=inputs.tag, steps=steps
            )
        origin = Origin(source=source.digest, target=path[-1].target, inputs=inputs)
        await self._record(repository, made, origin)
        await self._catalog.put_representation(
            source.digest, origin.target, inputs, made.manifest.digest
        )
        return made.manifest

    async def _made(
        self,
        repository: Repository,
        source: Manifest,
        path: tuple[Conversion, ...],
        inputs: ConversionInputs,
    ) -> Derived:
        signing = replace(inputs, key=self._key)
        made = Derived(source)
        for edge in path:
            name = f"{edge.source.short}-{edge.target.short}"
            try:
                content = {
                    need.digest: await self._content(repository, edge, need)
                    for need in edge.needs(made.manifest, inputs)
                }
                step = await _apply(edge, made.manifest, content, signing)
            except ConversionRefused as refusal:
                metrics.REFUSALS.labels(name, refusal.reason).inc()
                raise
            metrics.CONVERSIONS.labels(name).inc()
            made = Derived(step.manifest, (*made.children, *step.children))
        return made

    async def _content(self, repository: Repository, edge: Conversion, need: Descriptor) -> bytes:
        try:
            if edge.needs_manifests:
                return (await self._upstream_manifests.get(repository, need.digest)).raw
            return await self._blobs.read(repository, need.digest, limit=MANIFEST_LIMIT)
        except (ManifestUnknown, BlobUnknown):
            raise ConversionRefused(
                f"the upstream has no {need.digest}, which it names", RefusalReason.ABSENT
            ) from None

    async def _record(self, repository: Repository, made: Derived, origin: Origin) -> None:
        try:
            for child, child_origin in made.children:
                await self._catalog.keep(repository, child, origin=child_origin)
            await self._catalog.keep(repository, made.manifest, origin=origin)
        except OSError as error:
            _log.error("manifest.not_recorded", digest=made.manifest.digest, error=str(error))
            raise StorageFailure(
                "a converted manifest cannot be recorded, so it is not served"
            ) from None


async def _apply(
    edge: Conversion, manifest: Manifest, content: dict[Digest, bytes], inputs: ConversionInputs
) -> Derived:
    if sum(map(len, content.values())) <= _SMALL:
        return edge.apply(manifest, content, inputs)
    return await asyncio.to_thread(edge.apply, manifest, content, inputs)
