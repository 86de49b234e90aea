"""The parts that serve manifests, on a catalog that takes no writes, for one question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from proxy.blobs.grants import BlobGrants
from proxy.blobs.serve import Blobs
from proxy.catalog.catalog import Catalog
from proxy.catalog.known_layers import KnownLayers
from proxy.catalog.read_only import ReadOnlyDerived, ReadOnlyLayer
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.singleflight import SingleFlight
from proxy.manifests.convert import Conversions
from proxy.manifests.derived_configs import DerivedConfigs
from proxy.manifests.dry_run import (
    CheapMeasuring,
    DryRunPending,
    DryRunTransfers,
)
from proxy.manifests.fetch import UpstreamManifests
from proxy.manifests.measuring import LayerMeasuring
from proxy.manifests.serve import Manifests
from proxy.manifests.tags import Tags
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from proxy.blobs.transfers import Transfers
    from proxy.catalog.routing import Standby
    from proxy.kit.clock import Clock
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.manifests.measuring import LayerOwners
    from proxy.manifests.pending import PendingConversions
    from proxy.oci.manifest import Manifest
    from proxy.oci.negotiation import Policy
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Repository, Tag
    from proxy.oci.schema1.libtrust import SigningKey
    from proxy.ports import BlobStore, MonitoredUpstream
    from proxy.ports.catalog import DerivedStore, Layer

# The memory for what one question makes, in bytes.
_MEMORY: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Reach:
    """What one question asks. `following` says where what HEAD of a tag names would come from.

    `owners` are the replicas that own layers; None if there are no others.
    """

    upstreams: Mapping[str, MonitoredUpstream]
    standby: Standby
    owners: LayerOwners | None = None
    following: Callable[[str], str] = lambda _registry: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What questions are answered from.

    `reach` makes what one question asks: upstreams that raise WouldAsk in place of asking anything.
    `head_first` is as in `Tags`. `check_layers` raises ConversionRefused for an image whose layers
    requests have had refused.
    """

    layers: Sequence[Layer]
    derived: DerivedStore
    store: BlobStore
    reach: Callable[[], Reach]
    head_first: Collection[str]
    check_layers: Callable[[Repository, Digest], None]
    lifetimes: Lifetimes
    policy: Policy
    key: SigningKey
    platforms: Sequence[Platform]
    max_children: int
    max_depth: int
    max_input: int
    max_unpacked: int
    clock: Clock = SYSTEM_CLOCK


class Question:
    """What one question needs; its memory ends with it. `close` it."""

    def __init__(self, sources: Sources) -> None:
        reach = sources.reach()
        upstreams = reach.upstreams
        self.standby = reach.standby
        self.following = reach.following
        layers = [ReadOnlyLayer(layer) for layer in sources.layers]
        self.catalog = Catalog(
            layers,
            ReadOnlyDerived(sources.derived),
            memory=_MEMORY,
            clock=sources.clock,
        )
        self._flights = SingleFlight(clock=sources.clock)
        upstream_manifests = self.upstream_manifests = UpstreamManifests(
            catalog=self.catalog, upstreams=upstreams, flights=self._flights
        )
        blobs = Blobs(
            grants=BlobGrants(
                catalog=self.catalog,
                store=sources.store,
                upstreams=upstreams,
                flights=self._flights,
            ),
            store=sources.store,
            transfers=cast("Transfers", DryRunTransfers(upstreams)),
            upstreams=upstreams,
            registries=upstreams,
            flights=self._flights,
            derived=DerivedConfigs(self.catalog, upstream_manifests, reach.standby),
        )
        known = KnownLayers(layers)
        measuring = LayerMeasuring(
            blobs=blobs,
            known=known,
            max_input=sources.max_input,
            max_unpacked=sources.max_unpacked,
            concurrency=1,
        )
        self.tags = Tags(
            catalog=self.catalog,
            upstream_manifests=upstream_manifests,
            upstreams=upstreams,
            flights=self._flights,
            lifetimes=sources.lifetimes,
            head_first=sources.head_first,
            clock=sources.clock,
        )
        self.conversions = Conversions(
            catalog=self.catalog,
            upstream_manifests=upstream_manifests,
            blobs=blobs,
            flights=self._flights,
            measuring=cast(
                "LayerMeasuring",
                CheapMeasuring(measuring, known, blobs, reach.owners, check=sources.check_layers),
            ),
            pending=cast("PendingConversions", DryRunPending()),
            key=sources.key,
            platforms=sources.platforms,
            max_children=sources.max_children,
            max_depth=sources.max_depth,
            is_counted=False,
        )
        self.manifests = Manifests(
            catalog=self.catalog,
            tags=self.tags,
            upstream_manifests=upstream_manifests,
            conversions=self.conversions,
            standby=reach.standby,
            policy=sources.policy,
        )

    async def find_stored(self, repository: Repository, reference: Digest | Tag) -> Manifest | None:
        """The manifest that is stored under `reference`, as the registry has it."""
        if isinstance(reference, Digest):
            return (await self.catalog.look_manifest(repository, reference)).manifest
        return (await self.catalog.look(repository, reference, fresh=lambda _: True)).manifest

    async def close(self) -> None:
        """End what was started for the question."""
        await self._flights.close()
