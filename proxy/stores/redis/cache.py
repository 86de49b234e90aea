"""The manifest cache in Redis, where replicas share what they know.

One key for every command, so that a Cluster serves too. Whatever goes wrong is a miss, and soon.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.exceptions import ClusterDownError, InvalidResponse, ResponseError

from proxy.kit.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.stores.redis.servers import Servers

_log = structlog.get_logger()

# The format's version is in every key, so that two releases can share one Redis.
_PREFIX: Final = "lighterage:1:"
# Operations of this process at once. More would only wait in Redis, which runs one at a time.
_AT_ONCE: Final = 32
# What Redis may answer; anything else does not come from Redis.
_PLAUSIBLE: Final[Mapping[str, Callable[[object], bool]]] = {
    "GET": lambda reply: reply is None or isinstance(reply, bytes),
    "GETEX": lambda reply: reply is None or isinstance(reply, bytes),
    "SET": lambda reply: reply is True,
    "DEL": lambda reply: isinstance(reply, int),
}
# No life is longer, in seconds: Redis refuses what does not fit its clock.
_LONGEST: Final = 100 * 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Status:
    """What an operator may want to know of the cache.

    `last_error` is the kind of the last error since the status before this one.
    """

    connected: bool
    last_error: str | None
    warning: str | None


class RedisManifests:
    """Entries under `lighterage:1:`, in whatever `servers` lead to. Fits ManifestCache.

    `on_error` gets the operation's name for every miss that says nothing about the entry: Redis
    failed, or was not asked because it failed a moment ago.
    """

    def __init__(self, servers: Servers, *, on_error: Callable[[str], None]) -> None:
        """Nothing is connected before the first operation."""
        self._servers = servers
        self._on_error = on_error
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._breakers: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)
        self._last_error: str | None = None
        self._troubled = asyncio.Event()
        self._closed = False

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, or None; with `extend` it lives for that many seconds from now."""
        if extend is None:
            value = await self._ask("get", "GET", key)
        else:
            value = await self._ask("get", "GETEX", key, "PX", _milliseconds(extend))
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Keep `value` for `life` seconds, if Redis takes it."""
        await self._ask("put", "SET", key, value, "PX", _milliseconds(life))

    async def delete(self, key: str) -> None:
        """Forget `key`."""
        await self._ask("delete", "DEL", key)

    async def close(self) -> None:
        """Close every connection; what is asked from now on is a miss."""
        self._closed = True
        try:
            await self._servers.close()
        except Exception as error:  # noqa: BLE001 -- as below; and they are closed all the same
            _log.warning("redis.close_failed", error=_described(error))

    async def status(self) -> Status:
        """Ask Redis how it is set up: one command, for whoever asks now and then."""
        try:
            async with asyncio.timeout(self._servers.timeout):
                warning = _warning(await self._servers.memory())
        except ResponseError:  # INFO is not for everybody
            warning = None
        except Exception as error:  # noqa: BLE001 -- as below
            last = type(error).__name__
            return Status(connected=False, last_error=last, warning=f"Redis fails: {last}")
        recent = self._last_error if self._troubled.is_set() else None
        self._troubled.clear()
        if recent and not warning:
            warning = f"Redis failed for a while, or refuses some commands: {recent}"
        return Status(connected=True, last_error=recent, warning=warning)

    async def warning(self) -> str | None:
        """What is wrong with Redis or how it is set up, or was wrong since the last time."""
        return (await self.status()).warning

    async def trouble(self) -> None:
        """Wait for an operation to fail; at once if one did since Redis last gave its status."""
        await self._troubled.wait()

    async def _ask(
        self, operation: str, command: str, key: str, *arguments: bytes | str | int
    ) -> object:
        """The answer, or None if none is to be had now; in every case within the time allowed."""
        key = _PREFIX + key
        node = self._servers.node_of(key)
        breaker = self._breakers[node]
        try:
            async with asyncio.timeout(self._servers.timeout), self._turns:
                if self._closed or not breaker.allows():
                    self._missed(operation)
                    return None
                reply = await self._servers.execute(command, key, *arguments)
                if not _PLAUSIBLE[command](reply):
                    raise InvalidResponse(f"{reply!r:.40} is no answer to {command}")  # noqa: TRY301 -- it is treated like redis-py's own
        # Besides its own errors redis-py lets out OSError, ValueError, KeyError and the like, when
        # connections break and answers are garbled: all of it is an outage, none of it a fault
        # that a client should see.
        except Exception as error:  # noqa: BLE001
            self._last_error = type(error).__name__
            self._missed(operation)
            if not _is_answer(error):
                if breaker.record_failure():
                    _log.warning("redis.circuit_opened", node=node, error=_described(error))
                return None
            reply = None
        if breaker.record_success():
            _log.info("redis.circuit_closed", node=node)
        return reply

    def _missed(self, operation: str) -> None:
        self._on_error(operation)
        self._troubled.set()


def _is_answer(error: Exception) -> bool:
    """Whether the server is there, and quick, and only refuses: it is full, or a replica."""
    return isinstance(error, ResponseError) and not isinstance(error, ClusterDownError)


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(1000 * min(seconds, _LONGEST)))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _warning(memory: Mapping[str, Any]) -> str | None:
    """What is wrong with how Redis makes room; a service that hides it is trusted."""
    policy = str(memory.get("maxmemory_policy", "allkeys-lru"))
    if memory.get("maxmemory") == 0:
        return "Redis has no maxmemory, and grows without end; set one, with allkeys-lru"
    if not policy.startswith("allkeys-"):
        return f"Redis makes room by maxmemory-policy {policy}; allkeys-lru is meant for this"
    return None
