"""The upstreams as the settings describe them: a part of the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy import telemetry
from proxy.breaker import Breaker
from proxy.service import trace
from proxy.service.budget import Budget
from proxy.service.guarded import Guarded
from proxy.service.refusals import Refusals
from proxy.upstream.client import RegistryClient, Transport
from proxy.upstream.credentials import Credentials, CredentialsError
from proxy.upstream.docker_config import credentials_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.config import Settings, UpstreamSettings
    from proxy.ports import ManifestCache
    from proxy.service.singleflight import Flights
    from proxy.upstream.observation import Observed
    from proxy.upstream.token_board import Sharing


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
    credentials = _credentials(chosen, name)

    def account() -> str | None:
        login = credentials()
        return None if login is None else login.username

    budget = Budget(cache, flights, upstream=name, reserve=settings.budget.reserve, account=account)
    client = RegistryClient(
        name=name,
        url=chosen.url,
        credentials=credentials,
        transport=Transport(
            connect_timeout=chosen.connect_timeout, idle_timeout=chosen.idle_timeout
        ),
        realms=chosen.realms,
        observe=_observer(name, budget),
        shared=sharing,
    )
    return Guarded(
        client,
        name=name,
        breaker=Breaker(first=_FIRST_PROBE, longest=_LONGEST_BETWEEN_PROBES),
        refusals=Refusals(
            not_found=settings.refusals.not_found,
            denied=settings.refusals.denied,
            login=credentials,
        ),
        budget=budget,
        offline=chosen.offline,
    )


def _credentials(chosen: UpstreamSettings, name: str) -> Callable[[], Credentials | None]:
    """Read when they are needed, so that a changed file is noticed."""
    given = chosen.credentials
    if given is None:
        return lambda: None
    hosts = (urlsplit(chosen.url).netloc, name)

    def read() -> Credentials:
        if given.docker_config_file is not None:
            return credentials_for(hosts, given.docker_config_file.read_text())
        if given.token_file is not None:
            token = _secret(given.token_file)
            return Credentials(given.username or "", token, identity=True)
        if given.password_file is not None:
            return Credentials(given.username or "", _secret(given.password_file))
        return Credentials(given.username or "", given.password or "")

    return read


def _secret(file: Path) -> str:
    """What is in it, but for the end of its line; an empty file is being written, or a mistake."""
    secret = file.read_text().rstrip("\r\n")
    if not secret:
        raise CredentialsError("the file is empty")
    return secret


def _observer(upstream: str, budget: Budget) -> Callable[[Observed], None]:
    def observe(seen: Observed) -> None:
        telemetry.UPSTREAM_REQUESTS.labels(upstream, seen.kind, seen.outcome).inc()
        telemetry.UPSTREAM_SECONDS.labels(upstream, seen.kind).observe(seen.seconds)
        telemetry.RECEIVED_BYTES.labels(upstream).inc(seen.received)
        trace.current().upstream_calls += 1
        if seen.rate_limit is not None:
            budget.saw(seen.rate_limit)

    return observe
