"""How many connections one principal may have, wherever they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.kit.shares import Shares
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from proxy.web.admission import Admission
    from proxy.web.connection import Connection

_RETRY_AFTER: Final = 2.0


class PrincipalConnections:
    """The connections of each principal: those whose last request was let through for it."""

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is for each principal; None for no limit."""
        self._limit = limit
        self._shares: Shares[Connection] = Shares()

    def count(self, connection: Connection, admission: Admission) -> None:
        """Count the connection for the admission's principal; Overloaded if it has too many.

        An idle one of them is closed instead, if there is one.
        """
        if admission.is_counted_on(connection):
            return
        self.remove(connection)
        holder = admission.limited
        if self._limit is not None and self._shares.count(holder) >= self._limit:
            self._make_room(holder)
        self._shares.add(holder, connection)
        connection.principal, connection.counts_for = admission.principal, holder
        connection.counted_in = self

    def remove(self, connection: Connection) -> None:
        """Stop counting the connection."""
        self._shares.remove(connection.counts_for, connection)
        connection.principal = connection.counts_for = ""
        connection.counted_in = None

    def _make_room(self, holder: str) -> None:
        idle = next((one for one in self._shares.of(holder) if one.is_idle), None)
        if idle is None:
            metrics.TURNED_AWAY.labels("principal_connections").inc()
            raise Overloaded(
                "this user has as many connections as it may", retry_after=_RETRY_AFTER
            )
        self.remove(idle)
        idle.force_close()
