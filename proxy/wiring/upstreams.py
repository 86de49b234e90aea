"""The upstreams as the settings describe them: a part of the composition root."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.kit.circuit_breaker import Breaker
from proxy.telemetry import metrics, trace
from proxy.upstream.client import RegistryClient
from proxy.upstream.health.failover import Mirrored
from proxy.upstream.health.negative_cache import Refusals
from proxy.upstream.health.rate_limit import Budget
from proxy.upstream.health.resilient import Guarded
from proxy.upstream.health.verified_mirror import Mirror
from proxy.wiring.endpoints import credentials_of, place_of, transport_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config import PlaceSettings, Settings
    from proxy.kit.singleflight import Flights
    from proxy.ports import ManifestCache, Upstream
    from proxy.upstream.auth.token_board import Sharing
    from proxy.upstream.observation import Observed


# When a registry that fails is tried again, in seconds: one that works again is used again within
# the longer of the two.
_FIRST_PROBE: Final = 1.0
_LONGEST_BETWEEN_PROBES: Final = 10.0


def guarded(
    name: str,
    settings: Settings,
    cache: ManifestCache,
    flights: Flights,
    sharing: Sharing | None = None,
) -> Guarded:
    """The registry that the settings call `name`; it is not dialled yet.

    `sharing` is how its tokens are those of other processes, too.
    """
    chosen = settings.upstreams[name]
    at = partial(_guarded, settings=settings, cache=cache, flights=flights, sharing=sharing)
    mirrors = [
        at(f"{name} mirror {place_of(mirror)}", mirror, is_mirror=True) for mirror in chosen.mirrors
    ]
    return at(name, chosen, aliases=(name,), mirrors=mirrors, offline=chosen.offline)


def _guarded(
    name: str,
    place: PlaceSettings,
    *,
    settings: Settings,
    cache: ManifestCache,
    flights: Flights,
    sharing: Sharing | None,
    aliases: Sequence[str] = (),
    mirrors: Sequence[Guarded] = (),
    is_mirror: bool = False,
    offline: bool = False,
) -> Guarded:
    """The registry at one place; with `mirrors` those are asked before it."""
    credentials = credentials_of(place, aliases)

    def account() -> str | None:
        login = credentials()
        return None if login is None else login.username

    budget = Budget(cache, flights, upstream=name, reserve=settings.budget.reserve, account=account)
    client = RegistryClient(
        name=name,
        url=place.url,
        prefix=place.prefix,
        credentials=credentials,
        transport=transport_of(place),
        realms=place.realms,
        observe=_observer(name, budget),
        shared=sharing,
    )
    upstream: Upstream = Mirror(client, name=name) if is_mirror else client
    return Guarded(
        Mirrored(upstream, mirrors=mirrors) if mirrors else upstream,
        name=name,
        breaker=Breaker(first=_FIRST_PROBE, longest=_LONGEST_BETWEEN_PROBES),
        refusals=Refusals(
            not_found=settings.refusals.not_found,
            denied=settings.refusals.denied,
            login=credentials,
        ),
        budget=budget,
        offline=offline,
        mirrors=mirrors,
    )


def _observer(upstream: str, budget: Budget) -> Callable[[Observed], None]:
    def observe(seen: Observed) -> None:
        metrics.UPSTREAM_REQUESTS.labels(upstream, seen.kind, seen.outcome).inc()
        metrics.UPSTREAM_SECONDS.labels(upstream, seen.kind).observe(seen.seconds)
        metrics.RECEIVED_BYTES.labels(upstream).inc(seen.received)
        trace.current().upstream_calls += 1
        if seen.rate_limit is not None:
            budget.saw(seen.rate_limit)

    return observe
