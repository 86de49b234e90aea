"""The walk along a path of the conversion graph: each edge gets what it needs, and is applied."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import BlobUnknown, ConversionRefused, ManifestUnknown, RefusalReason
from proxy.oci.derivation import Derived
from proxy.oci.manifest import MANIFEST_LIMIT, Index, Schema1
from proxy.oci.schema1.verification import find_damage
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from proxy.blobs.serve import Blobs
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.measuring import LayerMeasuring
    from proxy.manifests.nesting import NestedIndexes
    from proxy.oci.conversion import Conversion
    from proxy.oci.derivation import ConversionInputs
    from proxy.oci.manifest import Descriptor, Manifest
    from proxy.oci.reference import Digest, Repository
    from proxy.oci.schema1.libtrust import SigningKey

_log = structlog.get_logger()

# Above it a conversion takes longer than other requests should wait for the loop.
_SMALL: Final = 64 * 1024


class GraphWalk:
    """Makes manifests; nothing is recorded here."""

    def __init__(
        self,
        *,
        upstream_manifests: UpstreamManifests,
        blobs: Blobs,
        measuring: LayerMeasuring,
        nested: NestedIndexes,
        key: SigningKey,
        is_counted: bool = True,
    ) -> None:
        self._is_counted = is_counted
        self._upstream_manifests = upstream_manifests
        self._blobs = blobs
        self._measuring = measuring
        self._nested = nested
        self._key = key

    async def make(
        self,
        repository: Repository,
        source: Manifest,
        path: tuple[Conversion, ...],
        inputs: ConversionInputs,
    ) -> Derived:
        """What the `path` makes of `source`; ConversionRefused if an edge refuses the content."""
        given = replace(inputs, key=self._key)
        made = Derived(source, layers=inputs.layers)
        for edge in path:
            name = f"{edge.source.short}-{edge.target.short}"
            try:
                made = await self._expand(repository, made, inputs)
                content: dict[Digest, bytes] = {}
                if edge.needs_layers:
                    made = await self._measure(repository, edge, made, given)
                    given = replace(given, layers=made.layers)
                else:
                    content = await self._contents(repository, edge, made.manifest, inputs)
                step = await _apply(edge, made.manifest, content, given)
            except ConversionRefused as refusal:
                if self._is_counted:
                    metrics.REFUSALS.labels(name, refusal.reason).inc()
                raise
            if self._is_counted:
                metrics.CONVERSIONS.labels(name).inc()
            made = replace(
                made,
                manifest=step.manifest,
                children=(*made.children, *step.children),
                absent=made.absent | step.absent,
                blobs=(*made.blobs, *step.blobs),
            )
        return made

    async def _measure(
        self, repository: Repository, edge: Conversion, made: Derived, inputs: ConversionInputs
    ) -> Derived:
        """Find out what the edge needs to know about layers, if it is not among the inputs."""
        image = made.manifest
        needs = await asyncio.to_thread(edge.needs, image, inputs)
        if isinstance(image, Schema1) and (damage := await asyncio.to_thread(find_damage, image)):
            # The digest names the payload, so the image is what it was without the signature.
            _log.warning("manifest.signature_damaged", digest=image.digest, reason=damage)
        layers = [need.digest for need in needs]
        facts = await self._measuring.measure(repository, image.digest, layers) if layers else ()
        return replace(made, layers=(*made.layers, *facts))

    async def _expand(
        self, repository: Repository, made: Derived, inputs: ConversionInputs
    ) -> Derived:
        """Put the entries of nested indexes in their place."""
        if not isinstance(made.manifest, Index) or not made.manifest.nested:
            return made
        index, absent = await self._nested.expand(
            repository,
            made.manifest,
            inputs.platforms,
            max_depth=inputs.max_depth,
            max_indexes=inputs.max_children,
            absent=inputs.absent,
        )
        return replace(made, manifest=index, absent=made.absent | absent)

    async def _contents(
        self, repository: Repository, edge: Conversion, manifest: Manifest, inputs: ConversionInputs
    ) -> dict[Digest, bytes]:
        """Return the content that the edge needs, without children that are not upstream."""
        found: dict[Digest, bytes] = {}
        for need in edge.needs(manifest, inputs):
            try:
                found[need.digest] = await self._content(repository, edge, need)
            except ConversionRefused:
                if not edge.needs_manifests:
                    raise
        return found

    async def _content(self, repository: Repository, edge: Conversion, need: Descriptor) -> bytes:
        try:
            if edge.needs_manifests:
                return (await self._upstream_manifests.get(repository, need.digest)).raw
            return await self._blobs.read(repository, need.digest, limit=MANIFEST_LIMIT)
        except (ManifestUnknown, BlobUnknown):
            raise ConversionRefused(
                f"the upstream has no {need.digest}, which it names", RefusalReason.ABSENT
            ) from None


async def _apply(
    edge: Conversion, manifest: Manifest, content: dict[Digest, bytes], inputs: ConversionInputs
) -> Derived:
    if len(manifest.raw) + sum(map(len, content.values())) <= _SMALL:
        return edge.apply(manifest, content, inputs)
    return await asyncio.to_thread(edge.apply, manifest, content, inputs)
