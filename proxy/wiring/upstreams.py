"""The upstreams that the settings describe, with their mirrors and circuit breakers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.telemetry import metrics, trace
from proxy.upstream.client import RegistryClient
from proxy.upstream.health.circuits import Circuits
from proxy.upstream.health.failover import FailoverUpstream
from proxy.upstream.health.negative_cache import NegativeCache
from proxy.upstream.health.rate_limit import UpstreamMeter
from proxy.upstream.health.resilient import ResilientUpstream
from proxy.upstream.health.verified_mirror import VerifiedMirror
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


def resilient_upstream(
    name: str,
    settings: Settings,
    cache: ManifestCache,
    flights: SingleFlight,
    sharing: Sharing | None = None,
) -> ResilientUpstream:
    """Build the upstream `name` of the settings, without connecting to it.

    `sharing` shares its tokens with other processes.
    """
    chosen = settings.upstreams[name]
    at = partial(
        _resilient_upstream, settings=settings, cache=cache, flights=flights, sharing=sharing
    )
    mirrors = [
        at(f"{name} mirror {endpoint_name(mirror)}", mirror, is_mirror=True)
        for mirror in chosen.mirrors
    ]
    return at(name, chosen, aliases=(name,), mirrors=mirrors, offline=chosen.offline)


def _resilient_upstream(
    name: str,
    endpoint: EndpointSettings,
    *,
    settings: Settings,
    cache: ManifestCache,
    flights: SingleFlight,
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
        observe=_observer(name, budget),
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


def _observer(upstream: str, budget: UpstreamMeter) -> Callable[[Observed], None]:
    count = count_requests(upstream)

    def observe(seen: Observed) -> None:
        count(seen)
        if seen.rate_limit is not None:
            budget.record(seen.rate_limit)

    return observe
