"""The blobs that the settings describe: a part of the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.blobs.grants import BlobGrants
from proxy.blobs.serve import Blobs
from proxy.blobs.transfers import Transfers
from proxy.wiring.limits import max_size_of, transfer_limits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.blobs.source import DerivedBlobs
    from proxy.catalog.catalog import Catalog
    from proxy.config import Settings
    from proxy.kit.singleflight import SingleFlight
    from proxy.ports import BlobStorage, Leases, Upstream


@dataclass(frozen=True, slots=True)
class OpenBlobs:
    """Blobs, the transfers that bring them, and who may have which."""

    blobs: Blobs
    transfers: Transfers
    grants: BlobGrants


def open_blobs(
    settings: Settings,
    *,
    catalog: Catalog,
    store: BlobStorage,
    leases: Leases,
    upstreams: Mapping[str, Upstream],
    registries: Mapping[str, Upstream],
    flights: SingleFlight,
    derived: DerivedBlobs,
) -> OpenBlobs:
    """The blobs of `store`, brought from `upstreams`."""
    grants = BlobGrants(
        catalog=catalog,
        store=store,
        upstreams=upstreams,
        flights=flights,
        is_shared=settings.workers > 1,
    )
    transfers = Transfers(
        grants=grants,
        store=store,
        leases=leases,
        upstreams=upstreams,
        flights=flights,
        limits=transfer_limits_of(
            settings.limits.share(settings.workers), max_size_of(settings.blobs)
        ),
        finish_abandoned=settings.blobs.finish_abandoned,
    )
    blobs = Blobs(
        grants=grants,
        store=store,
        transfers=transfers,
        upstreams=upstreams,
        registries=registries,
        flights=flights,
        derived=derived,
    )
    return OpenBlobs(blobs, transfers, grants)
