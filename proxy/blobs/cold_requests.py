"""How many requests for uncached content one client may have at once: blobs and conversions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.kit.shares import Shares
from proxy.telemetry import metrics, trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRY_AFTER: Final = 5.0


class ColdRequests:
    """Counts them by client, and by principal."""

    def __init__(self, per_client: int | None, per_principal: int | None = None) -> None:
        """How many each may have at once; None for no limit."""
        self._per_client = per_client
        self._per_principal = per_principal
        self._of_clients: Shares[object] = Shares()
        self._of_principals: Shares[object] = Shares()

    @contextmanager
    def count(self, *, is_cold: bool = False) -> Iterator[None]:
        """Count the current request while the block runs; Overloaded.

        A hit does not count, unless what it needs `is_cold`.
        """
        current = trace.current()
        if current.outcome is Outcome.HIT and not is_cold:
            yield
            return
        client = "" if current.holder is None else current.holder.client
        principal, place = trace.principal(), object()
        _check(self._of_clients, client, self._per_client, "cold")
        _check(self._of_principals, principal, self._per_principal, "principal_cold")
        self._of_clients.add(client, place)
        self._of_principals.add(principal, place)
        try:
            yield
        finally:
            self._of_clients.remove(client, place)
            self._of_principals.remove(principal, place)


def _check(shares: Shares[object], holder: str, limit: int | None, name: str) -> None:
    if limit is not None and shares.count(holder) >= limit:
        metrics.TURNED_AWAY.labels(name).inc()
        raise Overloaded(
            "this client has as many requests for uncached content as it may have at once",
            retry_after=_RETRY_AFTER,
        )
