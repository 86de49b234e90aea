"""The server for a command: one Redis, or the master that Sentinel names.

redis-py must not retry and has short timeouts: waiting for a cache would defeat its purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio import ConnectionPool, Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError

from proxy.stores.redis.exchanges import Exchanges
from proxy.stores.redis.options import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.stores.redis.options import Login, RedisOptions


class Servers(Protocol):
    """One or more Redis servers. Every method may raise any error of redis-py."""

    timeout: float

    def node_of(self, key: str) -> str:
        """The name of the node that has `key`; each node has its own circuit."""
        ...

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        """Execute one command with one key; the server's reply."""
        ...

    async def memory(self) -> Mapping[str, Any]:
        """The section `memory` of a server's INFO."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class _Master:
    """One Redis server, or the master behind Sentinel."""

    def __init__(self, client: Redis, timeout: float, sentinel: Sentinel | None = None) -> None:
        self.timeout = timeout
        self._client = client
        self._sentinel = sentinel
        self._exchanges = Exchanges(client)

    def node_of(self, _key: str) -> str:
        return ""

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        try:
            return await self._exchanges.execute((command, key, *arguments))
        except ReadOnlyError:
            # The master has changed. A new connection resolves its name again.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    async def memory(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._client.info("memory")
        return found

    async def close(self) -> None:
        await self._client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def standalone(url: str, options: RedisOptions) -> Servers:
    """The Redis at `url`: redis://, rediss:// or unix://."""
    arguments = options.arguments(options.login, tls=url.startswith("rediss:"))
    pool = ConnectionPool.from_url(url, max_connections=CONNECTIONS, **arguments)
    return _Master(Redis.from_pool(pool), options.total_timeout())


def behind_sentinel(
    sentinels: Sequence[tuple[str, int]],
    service: str,
    options: RedisOptions,
    *,
    sentinel_login: Login,
    tls: bool,
) -> Servers:
    """The master that `sentinels` name for `service`; a sentinel that responds is tried first."""
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # it has none
        sentinels,
        sentinel_kwargs={
            **options.arguments(sentinel_login, tls=tls),
            "ssl": tls,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    client = sentinel.master_for(
        service,
        ssl=tls,
        max_connections=CONNECTIONS,
        **options.arguments(options.login, tls=tls),
    )
    return _Master(client, options.total_timeout(len(sentinels)), sentinel)
