"""How many upstream requests each client may cause in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import ClientThrottled
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from proxy.kit.clock import Clock

_MINUTE: Final = 60.0
# The memory for clients, and for each of them, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 256


@dataclass(slots=True)
class _Account:
    """How many requests are left to a client, as of `at`."""

    left: float
    at: float


class ClientRate:
    """The rates of all clients, at all upstreams together. What no client causes is free."""

    def __init__(self, per_minute: int, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """A client may cause `per_minute` requests at once, and as many again a minute later."""
        self._per_minute = per_minute
        self._clock = clock
        self._accounts: LruCache[str, _Account] = LruCache(_MEMORY)

    def spend(self, upstream: str) -> None:
        """Count a request to `upstream` that the current client causes; ClientThrottled."""
        client = trace.client()
        account = self._account(client)
        if account is None:
            return
        if account.left < 1:
            metrics.WITHHELD.labels(upstream, "client").inc()
            raise ClientThrottled(
                f"this client has caused {self._per_minute} requests to upstreams in a minute, "
                "which is as many as it may; what is cached is served",
                retry_after=(1 - account.left) * _MINUTE / self._per_minute,
                concerns_caller=lambda: trace.client() == client,
            )
        account.left -= 1

    def charge(self) -> None:
        """Count a request that had to be sent on the way, such as one for a token."""
        account = self._account(trace.client())
        if account is not None:
            account.left -= 1

    def _account(self, client: str) -> _Account | None:
        if not client:
            return None
        now, limit = self._clock.monotonic(), float(self._per_minute)
        account = self._accounts.get(client)
        if account is None:
            account = _Account(limit, now)
            self._accounts.put(client, account, _COST)
        account.left = min(limit, account.left + (now - account.at) * limit / _MINUTE)
        account.at = now
        return account
