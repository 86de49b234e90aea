"""The upstreams that the settings describe, with their mirrors and circuit breakers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.oci.reference import Repository, mirrors_of
from proxy.ports.catalog import Claim
from proxy.telemetry import metrics, trace
from proxy.upstream.auth.login_watch import LoginWatch
from proxy.upstream.client import RegistryClient
from proxy.upstream.client_rate import ClientRate
from proxy.upstream.health.circuits import Circuits
from proxy.upstream.health.failover import FailoverUpstream
from proxy.upstream.health.mirrors import Mirrors
from proxy.upstream.health.mirrors_alone import MirrorsAlone
from proxy.upstream.health.negative_cache import NegativeCache
from proxy.upstream.health.rate_limit import UpstreamMeter
from proxy.upstream.health.resilient import ResilientUpstream
from proxy.upstream.health.verified_mirror import VerifiedMirror
from proxy.upstream.operation import Kind
from proxy.wiring.endpoints import credentials_of, endpoint_name, transport_of
from proxy.wiring.watched import watch_upstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence

    from proxy.catalog.catalog import Catalog
    from proxy.config import EndpointSettings, Settings
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest
    from proxy.ports import ManifestCache
    from proxy.ports.catalog import Grant
    from proxy.report.upstreams import WatchedUpstream
    from proxy.upstream.auth.token_board import Sharing
    from proxy.upstream.observation import Observed


# Seconds until the first probe of a failing registry, and at most between two probes. A registry
# that works again is used again within the longer one.
_FIRST_PROBE_INTERVAL: Final = 1.0
_MAX_PROBE_INTERVAL: Final = 10.0

Registry: TypeAlias = ResilientUpstream | FailoverUpstream
# What other replicas know a registry to have named in one of its repositories.
NamedElsewhere: TypeAlias = "Callable[[str, str, Digest], Awaitable[Claim | None]]"


@dataclass(frozen=True, slots=True)
class Places:
    """The registry itself, and its mirrors in order: each with what verifies it."""

    registry: ResilientUpstream
    mirrors: Sequence[tuple[ResilientUpstream, VerifiedMirror]]


@dataclass(frozen=True, slots=True)
class Upstreams:
    """All of them, without a connection yet.

    `places` are where each of them has its content. `registries` are those that clients can name,
    each with its mirrors.
    `standing_in` are the mirrors of a registry that is down, under `mirrors_of` its name. `rate`
    limits what each client causes.
    """

    places: Mapping[str, Places]
    registries: Mapping[str, Registry]
    standing_in: Mapping[str, MirrorsAlone]
    parts: Sequence[ResilientUpstream]
    watched: Sequence[WatchedUpstream]
    catalog: Catalog
    rate: ClientRate | None

    @property
    def without_mirrors(self) -> Mapping[str, ResilientUpstream]:
        """Those that have mirrors, each without them."""
        return {name: each.registry for name, each in self.places.items() if each.mirrors}

    async def naming(self, repository: Repository, digest: Digest) -> Grant | Claim | None:
        """What is known here of what the registry has named."""
        registry = self.registries.get(repository.registry)
        if isinstance(registry, FailoverUpstream):
            media_type = registry.type_by_tag(repository.name, digest)
            if media_type is not None:
                return Claim(media_type, None)
        return await self.catalog.naming(repository, digest)

    def forget(self) -> None:
        """Drop the negative caches of the registries and their mirrors."""
        for part in self.parts:
            part.forget()

    def adopt(self, settings: Settings) -> None:
        """Apply the changed settings that are live."""
        for part in self.parts:
            part.adopt(
                not_found=settings.negative_cache.not_found,
                denied=settings.negative_cache.denied,
                reserve=settings.budget.reserve,
            )
        for name, each in self.places.items():
            each.registry.offline = settings.upstreams[name].offline

    async def close(self) -> None:
        """Close every connection."""
        for registry in self.registries.values():
            await registry.close()


def open_upstreams(
    settings: Settings,
    catalog: Catalog,
    cache: ManifestCache,
    flights: SingleFlight,
    *,
    sharing: Sharing | None = None,
    named_elsewhere: NamedElsewhere | None = None,
    warnings: MutableMapping[str, str] | None = None,
) -> Upstreams:
    """Build the upstreams of the settings, without connecting to them.

    `catalog` knows what they have named, and so do other replicas; `sharing` shares their tokens
    with other processes. `warnings` get the logins that do not work.
    """
    names = partial(_names, catalog, named_elsewhere)
    per_client = settings.limits.per_client.upstream_per_minute
    per_principal = settings.limits.per_principal.upstream_per_minute
    is_limited = per_client is not None or per_principal is not None
    rate = ClientRate(per_client, per_principal) if is_limited else None
    watched: list[WatchedUpstream] = []
    at = partial(
        _resilient_upstream,
        settings=settings,
        cache=cache,
        flights=flights,
        rate=rate,
        sharing=sharing,
        watched=watched,
        warnings={} if warnings is None else warnings,
    )
    places: dict[str, Places] = {}
    registries: dict[str, Registry] = {}
    deputies: dict[str, MirrorsAlone] = {}
    parts: list[ResilientUpstream] = []
    for name, chosen in settings.upstreams.items():
        registry = at(name, chosen, aliases=(name,), offline=chosen.offline)
        parts.append(registry)
        verified: list[tuple[ResilientUpstream, VerifiedMirror]] = []
        for mirror in chosen.mirrors:
            label = f"{name} mirror {endpoint_name(mirror)}"
            part = at(label, mirror)
            parts.append(part)
            answers_tags = mirror.tags == "when_down"
            verified.append((part, VerifiedMirror(part, name=label, answers_tags=answers_tags)))
        places[name] = Places(registry, verified)
        mirrors = Mirrors([mirror for _, mirror in verified])
        registries[name] = (
            FailoverUpstream(registry, mirrors=mirrors, names=names(name)) if verified else registry
        )
        alone = mirrors_of(name)
        if alone in standing_in(settings):
            deputies[alone] = MirrorsAlone(mirrors, name=name, names=names(alone))
    return Upstreams(places, registries, deputies, parts, watched, catalog, rate)


def standing_in(settings: Settings) -> list[str]:
    """The names of the mirrors that are asked what a tag names while their registry is down."""
    return [
        mirrors_of(name)
        for name, upstream in settings.upstreams.items()
        if any(mirror.tags == "when_down" for mirror in upstream.mirrors)
    ]


def _names(
    catalog: Catalog, named_elsewhere: NamedElsewhere | None, registry: str
) -> Callable[[str, Digest], Awaitable[Grant | Claim | None]]:
    async def names(name: str, digest: Digest) -> Grant | Claim | None:
        known = await catalog.naming(Repository(registry, name, name), digest)
        if known is None and named_elsewhere is not None:
            known = await named_elsewhere(registry, name, digest)
        return known

    return names


def _resilient_upstream(
    name: str,
    endpoint: EndpointSettings,
    *,
    settings: Settings,
    cache: ManifestCache,
    flights: SingleFlight,
    rate: ClientRate | None,
    sharing: Sharing | None,
    warnings: MutableMapping[str, str],
    watched: list[WatchedUpstream],
    aliases: Sequence[str] = (),
    offline: bool = False,
) -> ResilientUpstream:
    """Build the upstream at one endpoint: a registry or a mirror."""
    credentials = credentials_of(endpoint, aliases)

    def account() -> str | None:
        login = credentials()
        return None if login is None else login.username

    budget = UpstreamMeter(
        cache, flights, upstream=name, reserve=settings.budget.reserve, account=account
    )
    circuits = Circuits(
        name=name, first_interval=_FIRST_PROBE_INTERVAL, max_interval=_MAX_PROBE_INTERVAL
    )
    login = LoginWatch(name, warnings)
    watch = watch_upstream(
        name,
        circuits=circuits,
        login=None if endpoint.credentials is None else login,
        budget=budget,
        is_offline=lambda: upstream.offline,
    )
    watched.append(watch)
    client = RegistryClient(
        name=name,
        url=endpoint.url,
        prefix=endpoint.prefix,
        credentials=credentials,
        transport=transport_of(endpoint),
        realms=endpoint.realms,
        observe=_observer(name, budget, rate, watch),
        rate=rate,
        shared=sharing,
        login=login,
    )
    upstream = ResilientUpstream(
        client,
        name=name,
        circuits=circuits,
        negative_cache=NegativeCache(
            not_found=settings.negative_cache.not_found,
            denied=settings.negative_cache.denied,
            login=credentials,
        ),
        budget=budget,
        offline=offline,
    )
    return upstream


def count_requests(upstream: str, rate: ClientRate | None) -> Callable[[Observed], None]:
    """Count each request to the upstream in the metrics, and for the current request.

    One for a token is charged to the `rate` of the client.
    """

    def observe(seen: Observed) -> None:
        metrics.UPSTREAM_REQUESTS.labels(upstream, seen.kind, seen.outcome).inc()
        metrics.UPSTREAM_SECONDS.labels(upstream, seen.kind).observe(seen.seconds)
        metrics.RECEIVED_BYTES.labels(upstream).inc(seen.received)
        trace.current().upstream_calls += 1
        if rate is not None and seen.kind is Kind.TOKEN:
            rate.charge()

    return observe


def _observer(
    upstream: str, budget: UpstreamMeter, rate: ClientRate | None, watch: WatchedUpstream
) -> Callable[[Observed], None]:
    count = count_requests(upstream, rate)

    def observe(seen: Observed) -> None:
        count(seen)
        watch.record(seen.seconds, seen.received)
        if seen.rate_limit is not None:
            budget.record(seen.rate_limit)

    return observe
