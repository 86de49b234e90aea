"""What a question asks: as a request would, but a dry run. Composes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.catalog.routing import Standby
from proxy.errors import WouldAsk
from proxy.manifests.question import Reach
from proxy.oci.reference import Repository, mirrors_of
from proxy.upstream.dry_run import DryRunUpstream
from proxy.upstream.health.failover import FailoverUpstream
from proxy.upstream.health.mirrors import Mirrors
from proxy.upstream.health.mirrors_alone import MirrorsAlone

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.catalog.catalog import Catalog
    from proxy.oci.reference import Digest
    from proxy.ports import MonitoredUpstream
    from proxy.ports.catalog import Claim, Grant
    from proxy.upstream.health.naming import Names
    from proxy.wiring.peers import OpenReplicas
    from proxy.wiring.upstreams import Places, Upstreams


def reach_in_dry_run(upstreams: Upstreams, catalog: Catalog, others: OpenReplicas | None) -> Reach:
    """Ask by way of the same mirrors and replicas, in the state in which they are now.

    `catalog` knows what the registries have named.
    """
    dry_run = None if others is None else others.dry_run()
    condition = (lambda: "") if dry_run is None else dry_run.condition
    asked: dict[str, MonitoredUpstream] = {}
    for name, places in upstreams.places.items():
        registry = DryRunUpstream(places.registry, check=places.registry.check, where=condition)
        mirrors = _mirrors(places, condition)
        known = upstreams.registries[name]
        behind: MonitoredUpstream = registry
        if isinstance(known, FailoverUpstream):
            behind = known.asked_by_way_of(
                registry, mirrors=mirrors, names=_names(catalog, others, name)
            )
        asked[name] = behind if dry_run is None else dry_run.behind(name, behind, catalog.is_open)
        alone = mirrors_of(name)
        if alone in upstreams.standing_in:
            asked[alone] = MirrorsAlone(mirrors, name=name, names=_names(catalog, others, alone))

    def following(registry: str) -> str:
        if dry_run is not None:
            return ", by way of the replica that owns it"
        places = upstreams.places[registry]
        if not places.mirrors or places.registry.offline:
            return ""
        return f" at {' or '.join(mirror.name for _, mirror in places.mirrors)}, else the registry"

    owners = None if dry_run is None else dry_run.layers()
    return Reach(asked, Standby(asked), owners, following)


def _mirrors(places: Places, condition: Callable[[], str]) -> Mirrors:
    def at(name: str) -> Callable[[], str]:
        return lambda: f" at {name}{condition()}"

    return Mirrors(
        [
            mirror.asked_by_way_of(DryRunUpstream(part, check=part.check, where=at(mirror.name)))
            for part, mirror in places.mirrors
        ]
    )


def _names(catalog: Catalog, others: OpenReplicas | None, registry: str) -> Names:
    async def names(name: str, digest: Digest) -> Grant | Claim | None:
        known = await catalog.naming(Repository(registry, name, name), digest)
        if known is None and others is not None and others.replicas.others(digest, 1):
            raise WouldAsk(f"question to the other replicas what names {name} {digest}")
        return known

    return names
