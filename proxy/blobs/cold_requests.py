"""How much that is not cached one client may request at once: blobs, and conversions of layers."""

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
    """Counts them by client."""

    def __init__(self, limit: int | None) -> None:
        """`limit` is for each client; None for no limit."""
        self._limit = limit
        self._shares: Shares[object] = Shares()

    @contextmanager
    def count(self, *, is_cold: bool = False) -> Iterator[None]:
        """Count the current request while the block runs; Overloaded.

        A hit does not count, unless what it needs `is_cold`.
        """
        current = trace.current()
        is_free = current.outcome is Outcome.HIT and not is_cold
        if self._limit is None or current.holder is None or is_free:
            yield
            return
        client, place = current.holder.client, object()
        if self._shares.count(client) >= self._limit:
            metrics.TURNED_AWAY.labels("cold").inc()
            raise Overloaded(
                "this client requests as much uncached content as it may at once",
                retry_after=_RETRY_AFTER,
            )
        self._shares.add(client, place)
        try:
            yield
        finally:
            self._shares.remove(client, place)
