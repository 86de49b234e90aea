"""The composition root: opens everything, connects it, and closes it in the opposite order."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proxy.blobs.closure import ClosureProofs
from proxy.blobs.cold_requests import ColdRequests
from proxy.blobs.recency import RecencyTracker
from proxy.catalog.generation import Generation
from proxy.catalog.purge import Purges
from proxy.catalog.purge_journal import PurgeJournal
from proxy.catalog.routing import Standby
from proxy.kit.singleflight import SingleFlight
from proxy.manifests.derived_configs import DerivedConfigs
from proxy.manifests.fetch import UpstreamManifests
from proxy.manifests.listings import Listings
from proxy.manifests.serve import Manifests
from proxy.manifests.tags import Tags
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.janitor import Janitor
from proxy.stores.disk.leases import FlockLeases
from proxy.stores.disk.scrub import Scrub
from proxy.upstream.auth.token_board import Sharing, TokenBoard
from proxy.web.admin.readiness import Readiness
from proxy.web.principal_connections import PrincipalConnections
from proxy.web.registry import Registry
from proxy.wiring.access import Access, AccessParts, audit_of_purges, open_access
from proxy.wiring.blob_store import blob_path, blob_store
from proxy.wiring.blobs import open_blobs
from proxy.wiring.catalog import CatalogUpkeep, open_catalog
from proxy.wiring.conversions import open_conversions, open_measuring
from proxy.wiring.kept import kept_of
from proxy.wiring.limits import max_size_of, server_limits_of
from proxy.wiring.policies import head_first_of, lifetimes_of, policy_of, routes_of
from proxy.wiring.purges import removal_of
from proxy.wiring.questions import questions_of
from proxy.wiring.startup_warnings import warn_of_settings
from proxy.wiring.upstreams import open_upstreams
from proxy.wiring.watched import open_reporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from proxy.blobs.transfers import Transfers
    from proxy.catalog.catalog import Catalog
    from proxy.catalog.kept import KeptImages
    from proxy.config import Settings
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.manifests.questions import Questions
    from proxy.ports import MonitoredUpstream
    from proxy.report.process import Reporter
    from proxy.stores.bucket.blobs import ObjectBlobs
    from proxy.web.server import ServerLimits
    from proxy.wiring.catalog import OpenCatalog
    from proxy.wiring.dependency import Dependency
    from proxy.wiring.peers import OpenReplicas, Peers
    from proxy.wiring.upstreams import Upstreams


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that listeners and chores need."""

    registry: Registry
    limits: ServerLimits
    transfers: Transfers
    reporter: Reporter
    peers: Peers | None
    readiness: Readiness
    flights: SingleFlight
    generation: Generation
    purges: Purges
    kept: KeptImages
    janitor: Janitor
    scrub: Scrub
    dependencies: Mapping[str, Dependency]
    catalog_upkeep: CatalogUpkeep
    access: Access
    questions: Questions
    adopt: Callable[[Settings], None]


@dataclass(frozen=True, slots=True)
class _Mutable:
    """Something that remembers mutable facts."""

    journal: PurgeJournal | None
    catalog: Catalog
    registry: Registry
    tags: Tags
    upstreams: Upstreams

    def forget(self) -> None:
        """Forget them."""
        if self.journal is not None:
            self.journal.forget()
        self.catalog.forget_mutable()
        self.registry.forget_mutable()
        self.tags.forget()
        self.upstreams.forget()


@asynccontextmanager
async def open_services(
    settings: Settings, *, tokens: int | None = None
) -> AsyncIterator[Services]:
    """Open everything behind the listeners; no upstream is contacted yet.

    `tokens` is a descriptor of the memory in which several workers share theirs.
    """
    async with AsyncExitStack() as stack:
        settings.data.mkdir(parents=True, exist_ok=True)
        root = blob_path(settings)
        janitor = Janitor(
            root, lock=settings.data / "janitor.lock", max_size=max_size_of(settings.blobs)
        )
        store = blob_store(settings)
        stack.callback(janitor.close)
        await janitor.open()
        if not isinstance(store, DiskBlobs):
            stack.push_async_callback(store.close)
        leases = FlockLeases(root / "spool")
        lifetimes = lifetimes_of(settings.tags)
        others = _open_replicas(settings)
        if others is not None:
            stack.push_async_callback(others.replicas.close)
        opened = await stack.enter_async_context(
            open_catalog(
                settings,
                store,
                tag_life=lambda: lifetimes.default.longest,
                share=(lambda derived: derived) if others is None else others.share,
            )
        )
        catalog = opened.catalog
        flights = SingleFlight(leases if settings.workers > 1 else None)
        sharing = None if tokens is None else Sharing(TokenBoard(tokens), leases)
        readiness = Readiness()
        upstreams = open_upstreams(
            settings,
            catalog,
            opened.shared,
            flights,
            sharing=sharing,
            named_elsewhere=None if others is None else others.named_elsewhere,
            warnings=readiness.warnings,
        )
        stack.push_async_callback(upstreams.close)
        asked, registries, standby = _reach(upstreams, others, catalog.is_open)
        stack.push_async_callback(flights.close)
        warn_of_settings(settings, readiness)
        upstream_manifests = UpstreamManifests(catalog=catalog, upstreams=asked, flights=flights)
        held = open_blobs(
            settings,
            catalog=catalog,
            store=store,
            leases=leases,
            upstreams=asked,
            registries=registries,
            flights=flights,
            derived=DerivedConfigs(catalog, upstream_manifests, standby),
        )
        blobs = held.blobs
        tags = Tags(
            catalog=catalog,
            upstream_manifests=upstream_manifests,
            upstreams=asked,
            flights=flights,
            lifetimes=lifetimes,
            head_first=head_first_of(settings),
        )
        cold = ColdRequests(settings.limits.per_client.cold, settings.limits.per_principal.cold)
        owners = None if others is None else others.layers()
        measuring = open_measuring(settings, opened, blobs=blobs, owners=owners)
        manifests = Manifests(
            catalog=catalog,
            tags=tags,
            upstream_manifests=upstream_manifests,
            conversions=open_conversions(
                settings,
                opened,
                upstream_manifests=upstream_manifests,
                blobs=blobs,
                measuring=measuring,
                flights=flights,
                cold=cold,
            ),
            standby=standby,
            policy=policy_of(settings.conversion),
        )
        routes = routes_of(settings)
        guard = await stack.enter_async_context(
            open_access(
                settings,
                rules=opened.rules,
                parts=AccessParts(
                    routes,
                    upstreams.registries,
                    upstreams.rate,
                    flights,
                    readiness.warnings,
                    PrincipalConnections(settings.limits.per_principal.connections),
                ),
            )
        )
        listings = Listings(
            catalog=catalog, tags=tags, upstreams=asked, flights=flights, lifetimes=lifetimes
        )
        registry = Registry(
            routes=routes,
            manifests=manifests,
            blobs=blobs,
            listings=listings,
            standby=standby,
            usage=RecencyTracker(blobs, flights),
            range_on_miss=settings.blobs.range_on_miss,
            memory=settings.manifests.memory,
            cold=cold,
            closure=ClosureProofs(grants=held.grants, store=store, flights=flights),
        )

        journal = PurgeJournal(opened.own) if others is not None else None

        mutable = _Mutable(journal, catalog, registry, tags, upstreams)
        registry.use_access(guard.control)
        generation = Generation(opened.shared, mutable.forget)
        purges = Purges(
            routes=routes,
            catalog=catalog,
            generation=generation,
            standby=standby,
            journal=journal,
            removal=removal_of(settings, opened, store),
            announce=others.replicas.note_purge if others is not None else lambda _, __: None,
            audit=audit_of_purges(guard.audit),
        )
        peers: Peers | None = None
        if others is not None:
            from proxy.wiring.peers import PeerParts, Peers  # noqa: PLC0415 -- see _open_replicas

            parts = PeerParts(
                registries=asked.keys(),
                naming=upstreams.naming,
                tags=tags,
                upstream_manifests=upstream_manifests,
                blobs=blobs,
                listings=listings,
                derived=opened.derived,
                measuring=measuring,
            )
            peers = Peers(settings.peers, others, parts, purges, workers=settings.workers)
        yield Services(
            registry=registry,
            limits=server_limits_of(settings.limits.share(settings.workers)),
            transfers=held.transfers,
            reporter=open_reporter(registry.activity, upstreams.watched, held.transfers),
            peers=peers,
            readiness=readiness,
            flights=flights,
            generation=generation,
            purges=purges,
            kept=kept_of(settings, catalog),
            janitor=janitor,
            scrub=Scrub(root),
            dependencies=_dependencies(opened, store),
            catalog_upkeep=CatalogUpkeep(opened, settings.catalog.derived_unused),
            access=guard,
            questions=questions_of(
                settings,
                opened,
                store,
                upstreams,
                lifetimes,
                others=others,
                check_layers=measuring.check,
            ),
            adopt=partial(_adopt, lifetimes, upstreams, guard, mutable),
        )


def _open_replicas(settings: Settings) -> OpenReplicas | None:
    """The other replicas, if the settings name any."""
    if settings.peers.secret_file is None:
        return None
    # Alone, nothing of it is loaded.
    from proxy.wiring.peers import open_replicas  # noqa: PLC0415

    return open_replicas(settings.peers, settings.peers.secret_file)


def _reach(
    upstreams: Upstreams, others: OpenReplicas | None, is_open: Callable[[str], bool]
) -> tuple[Mapping[str, MonitoredUpstream], Mapping[str, MonitoredUpstream], Standby]:
    """Return all upstreams, those of them without mirrors, and which mirrors stand in for which.

    If a registry is down, each replica asks its mirrors for itself.
    """

    def reach(registries: Mapping[str, MonitoredUpstream]) -> Mapping[str, MonitoredUpstream]:
        if others is None:
            return registries
        return others.behind_owners(registries, upstreams.rate, is_open)

    behind = reach(upstreams.registries)
    alone = {**behind, **reach(upstreams.without_mirrors)}
    asked = {**behind, **upstreams.standing_in}
    return asked, alone, Standby(asked)


def _adopt(
    lifetimes: Lifetimes,
    upstreams: Upstreams,
    guard: Access,
    mutable: _Mutable,
    changed: Settings,
) -> None:
    """Apply the settings that `runtime.reload` calls live.

    OSError or ValueError for a file of `access` that cannot be used: then none is applied.
    """
    if guard.adopt(changed):
        mutable.registry.use_access(guard.control)
        mutable.forget()
    guard.note_settings()
    lifetimes.adopt(lifetimes_of(changed.tags))
    upstreams.adopt(changed)


def _dependencies(opened: OpenCatalog, store: DiskBlobs | ObjectBlobs) -> dict[str, Dependency]:
    found: dict[str, Dependency] = {"disk": store.health}
    if opened.redis is not None:
        found["redis"] = opened.redis
    if not isinstance(store, DiskBlobs):
        found["bucket"] = store.bucket
    return found
