"""Where a command for a key is sent: one Redis, the master that Sentinel names, or a Cluster.

redis-py is told not to retry, and to give up soon: a cache that must be waited for is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisClusterException

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Where redis-py would fail; `RedisManifests` never has as many operations at once.
_CONNECTIONS: Final = 128
_PORT: Final = 6379
# How many servers may have to be tried for the layout of a Cluster within one operation.
_START_NODES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A password, or the file that has it; none of both where Redis wants none."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """As redis-py calls them."""
        if self.password_file is not None:
            return {"credential_provider": _PasswordFile(self.username, self.password_file)}
        return {"username": self.username, "password": self.password}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How every server is spoken to. The timeouts are in seconds."""

    login: Login = Login()
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    connect_timeout: float = 0.5
    timeout: float = 0.25

    def options(self, login: Login, *, tls: bool) -> dict[str, Any]:
        """As redis-py calls them; RESP2, for RESP3 needs another round trip and gives nothing."""
        options = {
            **login.options(),
            "protocol": 2,
            "socket_connect_timeout": self.connect_timeout,
            "socket_timeout": self.timeout,
        }
        if tls:
            options |= {
                "ssl_ca_certs": self.ca_file and str(self.ca_file),
                "ssl_certfile": self.certificate_file and str(self.certificate_file),
                "ssl_keyfile": self.key_file and str(self.key_file),
                "ssl_check_hostname": self.check_hostname,
            }
        return options

    def patience(self, asked_first: int = 0) -> float:
        """How long an operation may take in all: connect, log in, and be answered.

        `asked_first` is how many servers may have to be asked, and not answer, before that.
        """
        once = self.connect_timeout + self.timeout
        return once + self.timeout + asked_first * once


class Servers(Protocol):
    """What a command is sent through. Every method may raise whatever redis-py raises."""

    patience: float

    def node_of(self, key: str) -> str:
        """A name for what answers for `key`, and fails or works as one."""
        ...

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        """The server's answer to one command with one key."""
        ...

    async def memory(self) -> Mapping[str, Any]:
        """The section `memory` of a server's INFO."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class _Master:
    """One Redis, wherever its connections lead."""

    def __init__(self, client: Redis, patience: float, sentinel: Sentinel | None = None) -> None:
        self.patience = patience
        self._client = client
        self._sentinel = sentinel

    def node_of(self, _key: str) -> str:
        return ""

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        try:
            reply: object = await self._client.execute_command(  # type: ignore[no-untyped-call]  # it has none
                command, key, *arguments
            )
        except ReadOnlyError:
            # Another one is the master now. Its name is resolved when a connection is made.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise
        return reply

    async def memory(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._client.info("memory")
        return found

    async def close(self) -> None:
        await self._client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


def standalone(url: str, manner: Manner) -> Servers:
    """The Redis at `url`: redis://, rediss:// or unix://."""
    options = manner.options(manner.login, tls=url.startswith("rediss:"))
    pool = ConnectionPool.from_url(url, max_connections=_CONNECTIONS, **options)
    return _Master(Redis.from_pool(pool), manner.patience())


def behind_sentinel(
    sentinels: Sequence[tuple[str, int]],
    service: str,
    manner: Manner,
    *,
    sentinel_login: Login,
    tls: bool,
) -> Servers:
    """The master that `sentinels` name for `service`; the one that answers is asked first."""
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # it has none
        sentinels,
        sentinel_kwargs={
            **manner.options(sentinel_login, tls=tls),
            "ssl": tls,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    client = sentinel.master_for(
        service,
        ssl=tls,
        max_connections=_CONNECTIONS,
        **manner.options(manner.login, tls=tls),
    )
    return _Master(client, manner.patience(len(sentinels)), sentinel)


class _Cluster:
    """The nodes of a Redis Cluster, found through any of them."""

    def __init__(self, urls: Sequence[str], manner: Manner) -> None:
        self.patience = manner.patience(_START_NODES)
        self._urls = urls
        self._manner = manner
        self._client = self._open()

    def _open(self) -> RedisCluster:
        parts = [urlsplit(url) for url in self._urls]
        tls = parts[0].scheme == "rediss"
        options = self._manner.options(self._manner.login, tls=tls)
        if parts[0].password is not None:
            options["username"] = unquote(parts[0].username or "") or None
            options["password"] = unquote(parts[0].password)
        client = RedisCluster(
            startup_nodes=[
                ClusterNode(part.hostname or "localhost", part.port or _PORT) for part in parts
            ],
            ssl=tls,
            max_connections=_CONNECTIONS,
            require_full_coverage=False,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        client.commands_parser = _KeyComesFirst()  # type: ignore[assignment]  # all of it that is used
        return client

    def node_of(self, key: str) -> str:
        try:
            node = self._client.get_node_from_key(key)
        except RedisClusterException:  # nobody has the slot, or no layout is known yet
            return ""
        return node.name if node else ""

    async def execute(self, command: str, key: str, *arguments: bytes | str | int) -> object:
        client = self._client
        try:
            await client.initialize()
        except Exception:
            # It looks only where it found nodes last, and all may have moved since.
            if client is self._client:
                self._client = self._open()
            raise
        # A target named by us is not tried again and again.
        node = client.get_node_from_key(key)
        return await client.execute_command(command, key, *arguments, target_nodes=node)

    async def memory(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._client.info("memory")
        return found

    async def close(self) -> None:
        await self._client.aclose()


def cluster(urls: Sequence[str], manner: Manner) -> Servers:
    """The Cluster that the nodes at `urls` belong to; the first one's user logs in to all."""
    return _Cluster(urls, manner)


class _KeyComesFirst:
    """Which argument is the key: redis-py would ask a node that may just be the lost one."""

    async def initialize(self, _node: ClusterNode | None = None) -> None:
        """Nothing has to be known."""

    async def get_keys(self, _command: str, *arguments: object) -> tuple[object, ...]:
        return arguments[:1]


class _PasswordFile(CredentialProvider):
    """Reads the file for every new connection, so that a changed password needs no restart."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            # redis-py keeps a half open connection after any error that is not its own.
            raise AuthenticationError(f"{self._path} cannot be read: {error}") from None
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()
