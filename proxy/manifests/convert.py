"""Derived manifests: made when a client needs them, recorded before their digest is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import (
    ConversionRefused,
    StorageFailure,
    StoreError,
)
from proxy.manifests.nesting import NestedIndexes
from proxy.manifests.walk import GraphWalk
from proxy.oci import conversion
from proxy.oci.derivation import ConversionInputs, Derived, Origin
from proxy.oci.index import for_platform
from proxy.oci.manifest import Index, Schema1
from proxy.oci.mediatype import MediaType
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from proxy.blobs.serve import Blobs
    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.measuring import LayerMeasuring
    from proxy.manifests.pending import PendingConversions
    from proxy.oci.conversion import Conversion
    from proxy.oci.manifest import Descriptor, Manifest
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.oci.schema1.libtrust import SigningKey

_log = structlog.get_logger()

# docker up to 1.9 refuses an image of more steps, with a layer or without (moby graph/history.go).
_DEEPEST: Final = 125


class Conversions:
    """Conversions, by the graph of `oci/conversion.py`, and the memory of what they made."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        upstream_manifests: UpstreamManifests,
        blobs: Blobs,
        flights: SingleFlight,
        measuring: LayerMeasuring,
        pending: PendingConversions,
        key: SigningKey,
        platforms: Sequence[Platform],
        max_children: int,
        max_depth: int,
        is_counted: bool = True,
    ) -> None:
        """`is_counted`: conversions and refusals are in the metrics."""
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._flights = flights
        self._pending = pending
        self._key = key
        self._platforms = tuple(platforms)
        self._max_children = max_children
        self._max_depth = max_depth
        self._nested = NestedIndexes(upstream_manifests)
        self._walk = GraphWalk(
            upstream_manifests=upstream_manifests,
            blobs=blobs,
            measuring=measuring,
            nested=self._nested,
            key=key,
            is_counted=is_counted,
        )

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
        ConversionPending or Overloaded if it reads layers, and that takes too long.
        """
        target = path[-1].target
        if isinstance(source, Schema1) and target.is_schema1:
            return await self.sign(source)
        inputs = self._inputs(repository, tag, target)

        async def find() -> Manifest | None:
            known = await self._catalog.representation(repository, source, target, inputs)
            # Somebody may have pushed the same payload unsigned: it has the same digest.
            return known if known is not None and known.media_type == target else None

        if (known := await find()) is not None:
            return known

        def work() -> Coroutine[None, None, Manifest]:
            return self._record(repository, source, path, inputs)

        key = f"convert:{repository}:{source.digest}:{target}:{inputs.cache_key_for(target)}"
        if any(edge.needs_layers for edge in path):
            return await self._pending.run(key, work, find)
        return await self._flights.do(key, work)

    async def sign(self, manifest: Schema1) -> Manifest:
        """Sign unsigned schema 1: the payload stays the same, and so does the digest.

        It is signed again when it is needed, to the same bytes, and never stored.
        """
        path = conversion.path(manifest.media_type, MediaType.V2S1_SIGNED)
        if path is None:
            return manifest
        return path[0].apply(manifest, {}, ConversionInputs(key=self._key)).manifest

    async def images_for(
        self, repository: Repository, index: Index, platform: Platform
    ) -> tuple[Descriptor, ...]:
        """The images for one platform, best first; ConversionRefused if there is none."""
        expanded, _ = await self._nested.expand(
            repository,
            index,
            (platform,),
            max_depth=self._max_depth,
            max_indexes=self._max_children,
        )
        return for_platform(expanded, platform)[: self._max_children]

    async def rebuild(
        self, repository: Repository, digest: Digest, origin: Origin
    ) -> Manifest | None:
        """Make the derived manifest again, from its origin; None if that gives other bytes."""
        try:
            source = await self._upstream_manifests.get(repository, origin.source)
            path = conversion.path(source.media_type, origin.target) or ()
            made = await self._walk.make(repository, source, path, origin.inputs) if path else None
        except ConversionRefused as refusal:
            made = None
            _log.error("manifest.not_rebuilt", digest=digest, reason=str(refusal))
        if made is None or made.manifest.digest != digest:
            metrics.REBUILD_MISMATCHES.inc()
            _log.error("manifest.rebuilt_differently", digest=digest, converter=origin.converter)
            return None
        return await self._store(repository, made, origin, replaces=True)

    def _inputs(self, repository: Repository, tag: Tag, target: MediaType) -> ConversionInputs:
        """Only what bears on the target, so that equal results have equal origins."""
        if target.is_schema1:
            return ConversionInputs(name=repository.addressed, tag=tag)
        if target.is_index:
            return ConversionInputs(
                platforms=self._platforms,
                max_children=self._max_children,
                max_depth=self._max_depth,
            )
        return ConversionInputs()

    async def _record(
        self,
        repository: Repository,
        source: Manifest,
        path: tuple[Conversion, ...],
        inputs: ConversionInputs,
    ) -> Manifest:
        """Convert, and store the result before anybody learns its digest."""
        made = await self._walk.make(repository, source, path, inputs)
        steps = len(made.manifest.layers) if isinstance(made.manifest, Schema1) else 0
        if steps > _DEEPEST:
            _log.warning(
                "manifest.too_deep", repository=str(repository), tag=inputs.tag, steps=steps
            )
        target = path[-1].target
        # Without what is missing now, so that it can be made again when that is there; and with
        # what was found out about layers, so that they are not needed for that.
        origin = Origin(
            source=source.digest,
            target=target,
            inputs=replace(inputs, absent=made.absent, layers=made.layers),
        )
        return await self._store(repository, made, origin, source=source)

    async def _store(
        self,
        repository: Repository,
        made: Derived,
        origin: Origin,
        *,
        replaces: bool = False,
        source: Manifest | None = None,
    ) -> Manifest:
        """What is stored under the digest now: another process may have signed it first.

        What the manifest names is durable before the manifest is. With `source` it is found again.
        """
        try:
            await asyncio.gather(
                *(
                    self._catalog.derive_blob(repository, blob, origin, replaces=replaces)
                    for blob in made.blobs
                ),
                *(
                    self._catalog.derive(repository, child, child_origin)
                    for child, child_origin in made.children
                ),
            )
            return await self._catalog.derive(
                repository, made.manifest, origin, replaces=replaces, source=source
            )
        except StoreError as error:
            _log.error("manifest.not_recorded", digest=made.manifest.digest, error=str(error))
            raise StorageFailure(
                "a converted manifest cannot be recorded, so it is not served"
            ) from None
