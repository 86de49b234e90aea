"""All that answers requests for manifests, over a catalog in memory and a scripted upstream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from proxy.blobs.cold_requests import ColdRequests
from proxy.blobs.grants import BlobGrants
from proxy.blobs.limits import TransferLimits
from proxy.blobs.serve import Blobs
from proxy.blobs.transfers import Transfers
from proxy.catalog.catalog import Catalog
from proxy.catalog.known_layers import KnownLayers
from proxy.catalog.routing import Standby
from proxy.kit.singleflight import SingleFlight
from proxy.manifests.convert import Conversions
from proxy.manifests.derived_configs import DerivedConfigs
from proxy.manifests.fetch import UpstreamManifests
from proxy.manifests.lifetimes import Lifetimes
from proxy.manifests.listings import Listings
from proxy.manifests.measuring import LayerMeasuring
from proxy.manifests.pending import PendingConversions
from proxy.manifests.serve import Manifests
from proxy.manifests.tags import Tags
from proxy.oci.manifest import read_manifest
from proxy.oci.negotiation import Policy
from proxy.oci.platform import Platform
from proxy.ports import Fetched
from proxy.stores.memory.blobs import MemoryBlobs
from proxy.stores.memory.index import MemoryIndex
from proxy.stores.memory.leases import MemoryLeases
from proxy.telemetry import trace
from tests.kit.catalogs import MemoryDerived
from tests.kit.manifest_kinds import KEY
from tests.kit.manual_clock import ManualClock
from tests.kit.memory_upstream import MemoryUpstream
from tests.kit.watched_layer import WatchedLayer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.errors import UpstreamFailure
    from proxy.manifests.freshness import Lifetime
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import Head, MonitoredUpstream
    from proxy.ports.catalog import DerivedStore
    from proxy.telemetry.trace import Trace
    from tests.kit.images import Content

AMD64 = Platform("linux", "amd64")


@dataclass(slots=True)
class MonitoredMemoryUpstream(MemoryUpstream):
    """Fits MonitoredUpstream. What it says of itself, the test sets."""

    trouble: UpstreamFailure | None = None
    offline: bool = False
    at_reserve: bool = False
    # Whether HEAD names a digest, and a length.
    names_digests: bool = True
    names_sizes: bool = True

    async def is_at_its_reserve(self) -> bool:
        return self.at_reserve

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        # `super()` does not work in a class with slots that dataclass makes anew.
        head = await MemoryUpstream.head_manifest(self, name, reference)
        size = len(self.manifests[str(reference)].raw) if self.names_sizes else None
        return replace(head, digest=head.digest if self.names_digests else None, size=size)

    def push(self, content: Content, tag: str | None = None) -> Manifest:
        """Have an image or index with all that it names."""
        for child in content.children:
            self.push(child)
        for blob in content.blobs.values():
            self.add(blob)
        manifest = read_manifest(content.manifest, content.media_type)
        fetched = Fetched(content.manifest, content.media_type, manifest.digest)
        self.manifests[manifest.digest] = fetched
        if tag is not None:
            self.manifests[tag] = fetched
        return manifest


if TYPE_CHECKING:

    def _fits(upstream: MonitoredMemoryUpstream) -> MonitoredUpstream:
        return upstream


class ManifestWorld:
    """One process of a proxy, without a socket; `another` is one more with the same catalog."""

    # The transfers that run at once.
    downloads: ClassVar[int] = 8

    def __init__(
        self, life: Lifetime, *, timeout: float = 30.0, clock: ManualClock | None = None
    ) -> None:
        self.upstream = MonitoredMemoryUpstream()
        self.other_upstream = MonitoredMemoryUpstream()
        self.clock = clock or ManualClock()
        self.layer = WatchedLayer(MemoryIndex())
        self.derived = MemoryDerived()
        self.lifetimes = Lifetimes(life, revalidation_timeout=timeout)
        self.store = MemoryBlobs()
        self.max_input = self.max_unpacked = 2**24
        self.conversion_timeout = 30.0
        self.cold: int | None = None
        # None where no other process of the machine shares the catalog.
        self.leases: MemoryLeases | None = None
        # The upstreams that have mirrors.
        self.head_first: set[str] = set()
        self.restart()

    def reach(self) -> Mapping[str, MonitoredUpstream]:
        """The upstreams as the process asks them."""
        return {"docker.io": self.upstream, "quay.io": self.other_upstream}

    def share(self) -> DerivedStore:
        """The derived manifests, and those of others if there are any."""
        return self.derived

    def restart(self) -> None:
        """Forget all that is in the memory of the process."""
        upstreams = self.upstreams = self.reach()
        flights = self.flights = SingleFlight(self.leases, clock=self.clock)
        self.catalog = Catalog([self.layer], self.share(), memory=2**20, clock=self.clock)
        self.fetches = UpstreamManifests(
            catalog=self.catalog, upstreams=upstreams, flights=flights, clock=self.clock
        )
        grants = BlobGrants(
            catalog=self.catalog, store=self.store, upstreams=upstreams, flights=flights
        )
        transfers = Transfers(
            grants=grants,
            store=self.store,
            leases=MemoryLeases(),
            upstreams=upstreams,
            flights=flights,
            limits=TransferLimits(downloads=self.downloads, spool=2**30, passed_through=8),
            finish_abandoned=True,
            clock=self.clock,
        )
        self.blobs = Blobs(
            grants=grants,
            store=self.store,
            transfers=transfers,
            upstreams=upstreams,
            registries=upstreams,
            flights=flights,
            derived=DerivedConfigs(self.catalog, self.fetches, Standby(upstreams)),
            clock=self.clock,
        )
        self.tags = Tags(
            catalog=self.catalog,
            upstream_manifests=self.fetches,
            upstreams=upstreams,
            flights=flights,
            lifetimes=self.lifetimes,
            head_first=self.head_first,
            clock=self.clock,
        )
        self.measuring = LayerMeasuring(
            blobs=self.blobs,
            known=KnownLayers([self.layer]),
            max_input=self.max_input,
            max_unpacked=self.max_unpacked,
            concurrency=1,
        )
        self.conversions = Conversions(
            catalog=self.catalog,
            upstream_manifests=self.fetches,
            blobs=self.blobs,
            flights=flights,
            measuring=self.measuring,
            pending=PendingConversions(
                flights=flights,
                cold=ColdRequests(self.cold),
                concurrency=1,
                timeout=self.conversion_timeout,
            ),
            key=KEY,
            platforms=[AMD64],
            max_children=8,
            max_depth=3,
        )
        self.manifests = Manifests(
            catalog=self.catalog,
            tags=self.tags,
            upstream_manifests=self.fetches,
            conversions=self.conversions,
            standby=Standby(upstreams),
            policy=Policy(AMD64),
        )
        self.listings = Listings(
            catalog=self.catalog,
            tags=self.tags,
            upstreams=upstreams,
            flights=flights,
            lifetimes=self.lifetimes,
            clock=self.clock,
        )

    async def resolve(
        self, repository: Repository, tag: Tag, *, by_head: bool = False
    ) -> tuple[Manifest, Trace]:
        """What the tag names, and how that was found out, as a request records it."""
        current = trace.begin()
        return await self.tags.resolve(repository, tag, by_head=by_head), current

    def asked(self) -> list[str]:
        """What the upstream was asked since the last look."""
        kinds = [question.kind for question in self.upstream.asked]
        self.upstream.asked.clear()
        return kinds

    async def close(self) -> None:
        """End all that still runs."""
        await self.flights.close()
