"""The manifest cache in Redis, shared by replicas.

Every command has one key, so that Redis Cluster works too. Every error is a miss within a timeout.
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
_PREFIX: Final = "lighterage:2:"
# Concurrent operations of this process. More would only wait in Redis, which runs one at a time.
_MAX_CONCURRENT: Final = 32
# The valid replies; another one does not come from Redis.
_VALID_REPLIES: Final[Mapping[str, Callable[[object], bool]]] = {
    "GET": lambda reply: reply is None or isinstance(reply, bytes),
    "GETEX": lambda reply: reply is None or isinstance(reply, bytes),
    "SET": lambda reply: reply is True,
    "DEL": lambda reply: isinstance(reply, int),
}
# The maximum life in seconds: Redis refuses times that its clock cannot represent.
_MAX_LIFE: Final = 100 * 365 * 86400.0


# redis-py's errors, as a person would say it after the server's name.
_REASONS: Final = {
    "AuthenticationError": "refuses the login",
    "AuthenticationWrongNumberOfArgsError": "refuses the login",
    "ClusterDownError": "is a cluster that is down",
    "ConnectionError": "cannot be reached",
    "ConnectionRefusedError": "cannot be reached",
    "InvalidResponse": "does not speak the protocol of Redis",
    "MasterNotFoundError": "has no master",
    "NoPermissionError": "refuses a command to this user",
    "OutOfMemoryError": "has no memory left",
    "ReadOnlyError": "is a replica, and takes no writes",
    "TimeoutError": "does not answer in time",
}


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the cache for operators.

    `last_error` is the class of the last error since the previous status.
    """

    connected: bool
    last_error: str | None
    warning: str | None


class RedisManifests:
    """Entries under `lighterage:2:` on `servers`. Fits ManifestCache.

    `on_error` gets the operation's name for every miss that is due to an error or an open circuit.
    """

    def __init__(
        self, servers: Servers, *, on_error: Callable[[str], None], name: str = "Redis"
    ) -> None:
        """Connections are opened by the first operation. `name` is for warnings."""
        self._name = name
        self._servers = servers
        self._on_error = on_error
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._breakers: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)
        self._last_error: str | None = None
        self._has_failed = asyncio.Event()
        self._closed = False

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, or None; with `extend` it expires that many seconds from now."""
        if extend is None:
            value = await self._ask("get", "GET", key)
        else:
            value = await self._ask("get", "GETEX", key, "PX", _milliseconds(extend))
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Store `value` for `life` seconds; errors are ignored."""
        await self._ask("put", "SET", key, value, "PX", _milliseconds(life))

    async def delete(self, key: str) -> None:
        """Delete `key`."""
        await self._ask("delete", "DEL", key)

    async def close(self) -> None:
        """Close all connections; later operations are misses."""
        self._closed = True
        try:
            await self._servers.close()
        except Exception as error:  # noqa: BLE001 -- as below; and they are closed all the same
            _log.warning("redis.close_failed", error=_describe(error))

    async def status(self) -> Status:
        """Query how Redis is configured, by one command."""
        try:
            async with asyncio.timeout(self._servers.timeout):
                warning = _warning(self._name, await self._servers.memory())
        except ResponseError:  # an ACL may forbid INFO
            warning = None
        except Exception as error:  # noqa: BLE001 -- as below
            last = type(error).__name__
            return Status(
                connected=False,
                last_error=last,
                warning=f"{self._name} {_REASONS.get(last, f'fails: {last}')}",
            )
        recent = self._last_error if self._has_failed.is_set() else None
        self._has_failed.clear()
        if recent and not warning:
            reason = _REASONS.get(recent, f"fails: {recent}")
            warning = f"{self._name} failed recently, or refuses some commands: it {reason}"
        return Status(connected=True, last_error=recent, warning=warning)

    async def warning(self) -> str | None:
        """The problem with Redis or its configuration, now or since the last call; or None."""
        return (await self.status()).warning

    async def trouble(self) -> None:
        """Wait for an operation to fail; at once if one has since the last status."""
        await self._has_failed.wait()

    async def _ask(
        self, operation: str, command: str, key: str, *arguments: bytes | str | int
    ) -> object:
        """Execute a command; None for a miss or an error. Bounded by the servers' timeout."""
        key = _PREFIX + key
        node = self._servers.node_of(key)
        breaker = self._breakers[node]
        try:
            async with asyncio.timeout(self._servers.timeout), self._slots:
                if self._closed or not breaker.allows():
                    self._count_miss(operation)
                    return None
                reply = await self._servers.execute(command, key, *arguments)
                if not _VALID_REPLIES[command](reply):
                    raise InvalidResponse(f"{reply!r:.40} is no answer to {command}")  # noqa: TRY301 -- it is treated like redis-py's own
        # Besides its own errors redis-py raises OSError, ValueError, KeyError and others for broken
        # connections and malformed replies. All of them are outages that no client should notice.
        except Exception as error:  # noqa: BLE001
            self._last_error = type(error).__name__
            self._count_miss(operation)
            if not _is_answer(error):
                if breaker.record_failure():
                    _log.warning("redis.circuit_opened", node=node, error=_describe(error))
                return None
            reply = None
        if breaker.record_success():
            _log.info("redis.circuit_closed", node=node)
        return reply

    def _count_miss(self, operation: str) -> None:
        self._on_error(operation)
        self._has_failed.set()


def _is_answer(error: Exception) -> bool:
    """Whether the server responded with an error, as when it is full or a replica."""
    return isinstance(error, ResponseError) and not isinstance(error, ClusterDownError)


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(1000 * min(seconds, _MAX_LIFE)))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _warning(name: str, memory: Mapping[str, Any]) -> str | None:
    """The problem with Redis' eviction policy; one that hides its configuration is trusted."""
    policy = str(memory.get("maxmemory_policy", "allkeys-lru"))
    if memory.get("maxmemory") == 0:
        return f"{name} has no maxmemory, so it grows without bound; set one, with allkeys-lru"
    if not policy.startswith("allkeys-"):
        return f"{name} evicts by maxmemory-policy {policy}; use allkeys-lru"
    return None
