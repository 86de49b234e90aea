"""Redis Cluster: each key has a node, and each node has its own circuit."""

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
# The number of nodes that one operation may query for the cluster's layout.
_MAX_START_NODES: Final = 2


class RedisClusterServers:
    """The Cluster that the nodes at `urls` belong to. Fits Servers.

    The credentials of the first URL are used for all nodes.
    """

    def __init__(self, urls: Sequence[str], options: RedisOptions) -> None:
        """Connections are opened by the first command."""
        self.timeout = options.total_timeout(_MAX_START_NODES)
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
        client.commands_parser = _KeyComesFirst()  # type: ignore[assignment]  # it has the methods that are used
        return client

    def node_of(self, key: str) -> str:
        """The node's address; empty for all keys in slots without a known node."""
        try:
            node = self._client.get_node_from_key(key)
        except RedisClusterException:
            return ""
        return node.name if node else ""

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        """Execute a command on the key's node, or on the node that it redirects to."""
        client = self._client
        try:
            await client.initialize()
        except Exception:
            # redis-py tries only the nodes found last, and all may have moved since.
            if client is self._client:
                self._client = self._open()
            raise
        try:
            node = client.get_node_from_key(key)
        except SlotNotCoveredError:
            await client.nodes_manager.initialize()  # another node may have the slot by now
            node = client.get_node_from_key(key)
        return await client.execute_command(command, key, *arguments, target_nodes=node)

    async def memory(self) -> Mapping[str, Any]:
        """The section `memory` of one node's INFO; all nodes are configured alike."""
        found: Mapping[str, Any] = await self._client.info("memory")
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class _KeyComesFirst:
    """Locates the key in a command; redis-py would query a node, which may be the failed one."""

    async def initialize(self, _node: ClusterNode | None = None) -> None:
        """Do nothing: the key is always the first argument."""

    async def get_keys(self, _command: str, *arguments: object) -> tuple[object, ...]:
        return arguments[:1]
