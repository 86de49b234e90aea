"""The upstreams as the settings describe them: a part of the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import telemetry
from proxy.service import trace
from proxy.upstream.client import Credentials, RegistryClient, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import UpstreamSettings


def client(name: str, chosen: UpstreamSettings) -> RegistryClient:
    """A client of the registry that the settings call `name`; it dials nothing yet."""
    return RegistryClient(
        name=name,
        url=chosen.url,
        credentials=_credentials(chosen),
        transport=Transport(
            connect_timeout=chosen.connect_timeout, idle_timeout=chosen.idle_timeout
        ),
        realms=chosen.realms,
        observe=_observer(name),
    )


def _credentials(chosen: UpstreamSettings) -> Callable[[], Credentials | None]:
    """Read when they are needed, so that a changed file is noticed."""
    given = chosen.credentials
    if given is None:
        return lambda: None

    def read() -> Credentials:
        password = given.password
        if password is None and given.password_file is not None:
            password = given.password_file.read_text().rstrip("\r\n")
        return Credentials(given.username, password or "")

    return read


def _observer(upstream: str) -> Callable[[str, str, int], None]:
    def observe(kind: str, outcome: str, received: int) -> None:
        telemetry.UPSTREAM_REQUESTS.labels(upstream, kind, outcome).inc()
        telemetry.RECEIVED_BYTES.labels(upstream).inc(received)
        trace.current().upstream_calls += 1

    return observe
