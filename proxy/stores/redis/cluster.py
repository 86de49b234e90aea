"""A Redis Cluster: every key has a node, and every node fails on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, SlotNotCoveredError

from proxy.stores.redis.options import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.stores.redis.options import RedisOptions

_PORT: Final = 6379
# How many nodes may have to be tried for the layout within one operation.
_START_NODES: Final = 2


class RedisClusterServers:
    """The nodes of the Cluster that the nodes at `urls` belong to. Fits Servers.

    The user of the first URL logs in to all.
    """

    def __init__(self, urls: Sequence[str], options: RedisOptions) -> None:
        """Nothing is connected before the first command."""
        self.timeout = options.total_timeout(_START_NODES)
        self._urls = urls
        self._options = options
        self._client = self._open()

    def _open(self) -> RedisCluster:
        parts = [urlsplit(url) for url in self._urls]
        tls = parts[0].scheme == "rediss"
        options = self._options.arguments(self._options.login, tls=tls)
        if parts[0].password is not None:
            options["username"] = unquote(parts[0].username or "") or None
            options["password"] = unquote(parts[0].password)
        client = RedisCluster(
            startup_nodes=[
                ClusterNode(part.hostname or "localhost", part.port or _PORT) for part in parts
            ],
            ssl=tls,
            max_connections=CONNECTIONS,
            require_full_coverage=False,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        client.commands_parser = _KeyComesFirst()  # type: ignore[assignment]  # all of it that is used
        return client

    def node_of(self, key: str) -> str:
        """The node's address; what nobody has, as far as is known, fails as one."""
        try:
            node = self._client.get_node_from_key(key)
        except RedisClusterException:
            return ""
        return node.name if node else ""

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        """Ask the key's node, or the one that it says has the key now."""
        client = self._client
        try:
            await client.initialize()
        except Exception:
            # It looks only where it found nodes last, and all may have moved since.
            if client is self._client:
                self._client = self._open()
            raise
        try:
            node = client.get_node_from_key(key)
        except SlotNotCoveredError:
            await client.nodes_manager.initialize()  # somebody may have the slot by now
            node = client.get_node_from_key(key)
        return await client.execute_command(command, key, *arguments, target_nodes=node)

    async def memory(self) -> Mapping[str, Any]:
        """What one node says: they are set up alike."""
        found: Mapping[str, Any] = await self._client.info("memory")
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class _KeyComesFirst:
    """Which argument is the key: redis-py would ask a node that may just be the lost one."""

    async def initialize(self, _node: ClusterNode | None = None) -> None:
        """Nothing has to be known."""

    async def get_keys(self, _command: str, *arguments: object) -> tuple[object, ...]:
        return arguments[:1]
