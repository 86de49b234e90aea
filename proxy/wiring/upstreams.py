"""The upstreams that the settings describe, with their mirrors and circuit breakers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.telemetry import metrics, trace
from proxy.upstream.client import RegistryClient
from proxy.upstream.client_rate import ClientRate
from proxy.upstream.health.circuits import Circuits
from proxy.upstream.health.failover import FailoverUpstream
from proxy.upstream.health.negative_cache import NegativeCache
from proxy.upstream.health.rate_limit import UpstreamMeter
from proxy.upstream.health.resilient import ResilientUpstream
from proxy.upstream.health.verified_mirror import VerifiedMirror
from proxy.upstream.operation import Kind
from proxy.wiring.endpoints import credentials_of, endpoint_name, transport_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config import EndpointSettings, Settings
    from proxy.kit.singleflight import SingleFlight
    from proxy.ports import ManifestCache, Upstream
    from proxy.upstream.auth.token_board import Sharing
    from proxy.upstream.observation import Observed


# Seconds until the first probe of a failing registry, and at most between two probes. A registry
# that works again is used again within the longer one.
_FIRST_PROBE_INTERVAL: Final = 1.0
_MAX_PROBE_INTERVAL: Final = 10.0


def resilient_upstreams(
    settings: Settings,
    cache: ManifestCache,
    flights: SingleFlight,
    sharing: Sharing | None = None,
) -> dict[str, ResilientUpstream]:
    """Build the upstreams of the settings, by name, without connecting to them.

    `sharing` shares their tokens with other processes.
    """
    per_minute = settings.limits.per_client.upstream_per_minute
    rate = None if per_minute is None else ClientRate(per_minute)
    at = partial(
        _resilient_upstream,
        settings=settings,
        cache=cache,
        flights=flights,
        rate=rate,
        sharing=sharing,
    )
    found = {}
    for name, chosen in settings.upstreams.items():
        mirrors = [
            at(f"{name} mirror {endpoint_name(mirror)}", mirror, is_mirror=True)
            for mirror in chosen.mirrors
        ]
        found[name] = at(name, chosen, aliases=(name,), mirrors=mirrors, offline=chosen.offline)
    return found


def _resilient_upstream(
    name: str,
    endpoint: EndpointSettings,
    *,
    settings: Settings,
    cache: ManifestCache,
    flights: SingleFlight,
    rate: ClientRate | None,
    sharing: Sharing | None,
    aliases: Sequence[str] = (),
    mirrors: Sequence[ResilientUpstream] = (),
    is_mirror: bool = False,
    offline: bool = False,
) -> ResilientUpstream:
    """Build the upstream at one endpoint; `mirrors` are asked before it."""
    credentials = credentials_of(endpoint, aliases)

    def account() -> str | None:
        login = credentials()
        return None if login is None else login.username

    budget = UpstreamMeter(
        cache, flights, upstream=name, reserve=settings.budget.reserve, account=account
    )
    client = RegistryClient(
        name=name,
        url=endpoint.url,
        prefix=endpoint.prefix,
        credentials=credentials,
        transport=transport_of(endpoint),
        realms=endpoint.realms,
        observe=_observer(name, budget, rate),
        rate=rate,
        shared=sharing,
    )
    upstream: Upstream = VerifiedMirror(client, name=name) if is_mirror else client
    return ResilientUpstream(
        FailoverUpstream(upstream, mirrors=mirrors) if mirrors else upstream,
        name=name,
        circuits=Circuits(
            name=name, first_interval=_FIRST_PROBE_INTERVAL, max_interval=_MAX_PROBE_INTERVAL
        ),
        negative_cache=NegativeCache(
            not_found=settings.negative_cache.not_found,
            denied=settings.negative_cache.denied,
            login=credentials,
        ),
        budget=budget,
        offline=offline,
        mirrors=mirrors,
    )


def count_requests(upstream: str) -> Callable[[Observed], None]:
    """Count each request to the upstream in the metrics, and for the current request."""

    def observe(seen: Observed) -> None:
        metrics.UPSTREAM_REQUESTS.labels(upstream, seen.kind, seen.outcome).inc()
        metrics.UPSTREAM_SECONDS.labels(upstream, seen.kind).observe(seen.seconds)
        metrics.RECEIVED_BYTES.labels(upstream).inc(seen.received)
        trace.current().upstream_calls += 1

    return observe


def _observer(
    upstream: str, budget: UpstreamMeter, rate: ClientRate | None
) -> Callable[[Observed], None]:
    count = count_requests(upstream)

    def observe(seen: Observed) -> None:
        count(seen)
        if rate is not None and seen.kind is Kind.TOKEN:
            rate.charge()
        if seen.rate_limit is not None:
            budget.record(seen.rate_limit)

    return observe
