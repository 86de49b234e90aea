"""How many upstream requests each client, and each principal, may cause in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import ClientThrottled
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.kit.clock import Clock

_MINUTE: Final = 60.0
# The memory for those who are counted, and for each of them, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 256


@dataclass(slots=True)
class _Account:
    """How many requests one client or principal has left, as of `at`."""

    left: float
    at: float


class _Accounts:
    """The rates of all clients, or of all principals. `current` is the one that work is for now."""

    def __init__(
        self, name: str, per_minute: int, current: Callable[[], str], clock: Clock
    ) -> None:
        self.name = name
        self.per_minute = per_minute
        self.current = current
        self._clock = clock
        self._accounts: LruCache[str, _Account] = LruCache(_MEMORY)

    def find(self) -> _Account | None:
        """The account to charge; None if the work is for nobody."""
        who = self.current()
        if not who:
            return None
        now, limit = self._clock.monotonic(), float(self.per_minute)
        account = self._accounts.get(who)
        if account is None:
            account = _Account(limit, now)
            self._accounts.put(who, account, _COST)
        account.left = min(limit, account.left + (now - account.at) * limit / _MINUTE)
        account.at = now
        return account

    def refusal(self, account: _Account) -> ClientThrottled:
        """What is answered when nothing is left."""
        who, current = self.current(), self.current
        return ClientThrottled(
            f"this {self.name} has caused {self.per_minute} requests to upstreams in a minute, "
            "which is as many as it may; what is cached is served",
            retry_after=(1 - account.left) * _MINUTE / self.per_minute,
            concerns_caller=lambda: current() == who,
        )


class ClientRate:
    """The rates of all clients, at all upstreams together. What no client causes is free."""

    def __init__(
        self,
        per_client: int | None,
        per_principal: int | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Each client may cause this many requests at once, and as many again a minute later."""
        kinds = (
            ("client", per_client, trace.client),
            ("principal", per_principal, trace.principal),
        )
        self._kinds = [
            _Accounts(name, limit, current, clock)
            for name, limit, current in kinds
            if limit is not None
        ]

    def spend(self, upstream: str) -> None:
        """Count a request to `upstream` that the current client causes; ClientThrottled."""
        charged = list(self._find())
        for accounts, account in charged:
            if account.left < 1:
                metrics.WITHHELD.labels(upstream, accounts.name).inc()
                raise accounts.refusal(account)
        for _, account in charged:
            account.left -= 1

    def charge(self) -> None:
        """Count a request that had to be sent on the way, such as one for a token."""
        for _, account in self._find():
            account.left -= 1

    def _find(self) -> Iterator[tuple[_Accounts, _Account]]:
        for accounts in self._kinds:
            if (account := accounts.find()) is not None:
                yield accounts, account
