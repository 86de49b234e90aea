"""The conversions that the settings describe: a part of the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.manifests.convert import Conversions
from proxy.manifests.measuring import LayerMeasuring
from proxy.manifests.pending import PendingConversions
from proxy.wiring.policies import signing_key_of

if TYPE_CHECKING:
    from proxy.blobs.cold_requests import ColdRequests
    from proxy.blobs.serve import Blobs
    from proxy.config import Settings
    from proxy.kit.singleflight import SingleFlight
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.manifests.measuring import LayerOwners
    from proxy.wiring.catalog import OpenCatalog


def open_measuring(
    settings: Settings, opened: OpenCatalog, *, blobs: Blobs, owners: LayerOwners | None
) -> LayerMeasuring:
    """What finds the facts of layers."""
    return LayerMeasuring(
        blobs=blobs,
        known=opened.known_layers,
        max_input=settings.conversion.max_input,
        max_unpacked=settings.conversion.max_unpacked,
        concurrency=_concurrency(settings),
        owners=owners,
    )


def _concurrency(settings: Settings) -> int:
    """The threads of one worker."""
    return -(-settings.conversion.concurrency // settings.workers)


def open_conversions(
    settings: Settings,
    opened: OpenCatalog,
    *,
    upstream_manifests: UpstreamManifests,
    blobs: Blobs,
    measuring: LayerMeasuring,
    flights: SingleFlight,
    cold: ColdRequests,
) -> Conversions:
    """The conversions; the signing key is created where there is none."""
    return Conversions(
        catalog=opened.catalog,
        upstream_manifests=upstream_manifests,
        blobs=blobs,
        flights=flights,
        measuring=measuring,
        pending=PendingConversions(
            flights=flights,
            cold=cold,
            concurrency=_concurrency(settings),
            timeout=settings.conversion.timeout,
        ),
        key=signing_key_of(settings),
        platforms=settings.conversion.platforms,
        max_children=settings.conversion.max_children,
        max_depth=settings.conversion.max_depth,
    )
