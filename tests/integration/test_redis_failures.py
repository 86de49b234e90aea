"""Whatever becomes of Redis is a miss, costs little, and is over when Redis is back."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from proxy.stores.redis.cache import RedisManifests
from proxy.stores.redis.cluster import RedisClusterServers
from proxy.stores.redis.options import Login, RedisOptions
from proxy.stores.redis.servers import behind_sentinel, standalone
from tests.kit.processes import LOOPBACK, free_port
from tests.kit.redis import ClusterServers, RedisServer, SentinelSet
from tests.kit.redis_faults import answering, link_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from proxy.stores.redis.servers import Servers

_SECONDS: Final = 60.0
MANNER: Final = RedisOptions()
# What two hundred operations may take that are not even tried, in seconds: a twentieth of what
# waiting in each would.
_NOTHING: Final = 10 * MANNER.timeout


class Counted:
    """A cache, and the operations that failed."""

    def __init__(self, servers: Servers) -> None:
        self.errors: list[str] = []
        self.cache = RedisManifests(servers, on_error=self.errors.append)

    async def works(self, key: str = "probe") -> bool:
        await self.cache.put(key, b"value", life=60)
        return await self.cache.get(key, extend=60) == b"value"

    async def works_again(self, key: str = "probe") -> float:
        """How long it took, in seconds."""
        started = time.monotonic()
        while not await self.works(key):
            assert time.monotonic() - started < _SECONDS, f"{key} is a miss for {_SECONDS} s"
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def fails_for_nothing(self, key: str = "probe") -> None:
        """Some failures, and then nothing is tried and nothing is waited for."""
        for _ in range(3):
            assert await self.cache.get(key, extend=60) is None
        del self.errors[:]
        started = time.monotonic()
        for _ in range(100):
            assert await self.cache.get(key) is None
            await self.cache.put(key, b"value", life=60)
        assert time.monotonic() - started < _NOTHING
        assert self.errors == ["get", "put"] * 100


@asynccontextmanager
async def opened(servers: Servers) -> AsyncIterator[Counted]:
    counted = Counted(servers)
    try:
        yield counted
    finally:
        await counted.cache.close()
        gc.collect()  # a connection that was left open says so now


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(
        tmp_path / "redis", "maxmemory 64mb", "maxmemory-policy allkeys-lru"
    ) as server:
        yield server


async def test_killed_and_back_again(server: RedisServer) -> None:
    async with opened(standalone(server.url, MANNER)) as redis:
        assert await redis.works()
        assert redis.errors == []
        server.kill()
        await redis.fails_for_nothing()
        status = await redis.cache.status()
        assert not status.connected
        assert status.warning == "Redis cannot be reached"
        server.start()
        assert await redis.works_again() < 6
        status = await redis.cache.status()
        assert status.connected
        assert status.last_error == "ConnectionError"
        assert (await redis.cache.status()).warning is None


async def test_not_there_when_the_proxy_starts(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with opened(standalone(server.url, MANNER)) as redis:
        await redis.fails_for_nothing()
        with server:
            await redis.works_again()


async def test_restarted_between_two_operations(server: RedisServer) -> None:
    """The connections in the pool are dead, and are replaced before they are used."""
    async with opened(standalone(server.url, MANNER)) as redis:
        await asyncio.gather(*(redis.works(str(number)) for number in range(20)))
        server.kill()
        server.start()
        await asyncio.sleep(0.05)  # the loop hears of the end of its connections
        await asyncio.gather(*(redis.works(str(number)) for number in range(20)))
        assert redis.errors == []


async def test_full_without_eviction(tmp_path: Path) -> None:
    options = ("maxmemory 4mb", "maxmemory-policy noeviction")
    with RedisServer(tmp_path, *options) as server:
        async with opened(standalone(server.url, MANNER)) as redis:
            await redis.cache.put("kept", b"value", life=60)
            for number in range(40):
                await redis.cache.put(f"filling:{number}", b"x" * 200_000, life=60)
            assert redis.errors
            assert set(redis.errors) == {"put"}
            assert await redis.cache.get("kept", extend=60) == b"value"
            status = await redis.cache.status()
            assert status.last_error == "OutOfMemoryError"
            assert status.warning is not None
            assert "noeviction" in status.warning


async def test_become_a_replica(server: RedisServer) -> None:
    async with opened(standalone(server.url, MANNER)) as redis:
        assert await redis.works()
        server.ask("REPLICAOF", LOOPBACK, free_port())
        for _ in range(10):
            await redis.cache.put("probe", b"other", life=60)
            assert await redis.cache.get("probe") == b"value"
        assert redis.errors == ["put"] * 10
        status = await redis.cache.status()
        assert status.warning == (
            "Redis failed recently, or refuses some commands: it is a replica, and takes no writes"
        )
        server.ask("REPLICAOF", "NO", "ONE")
        assert await redis.works()


async def test_flushed(server: RedisServer) -> None:
    async with opened(standalone(server.url, MANNER)) as redis:
        assert await redis.works()
        server.ask("FLUSHALL")
        assert await redis.cache.get("probe", extend=60) is None
        assert await redis.works()
        assert redis.errors == []


async def test_slow_by_two_seconds(server: RedisServer) -> None:
    async with link_to(server.port) as link, opened(standalone(link.url, MANNER)) as redis:
        assert await redis.works()
        link.delay = 2.0
        started = time.monotonic()
        assert await redis.cache.get("probe") is None
        assert time.monotonic() - started < link.delay
        started = time.monotonic()
        found = await asyncio.gather(*(redis.cache.get("probe") for _ in range(500)))
        assert set(found) == {None}
        assert time.monotonic() - started < link.delay
        await redis.fails_for_nothing()
        link.delay = 0.0
        await redis.works_again()


async def test_stopped_in_the_middle(server: RedisServer) -> None:
    """It accepts connections, as the kernel does for it, and says nothing."""
    async with opened(standalone(server.url, MANNER)) as redis:
        assert await redis.works()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await redis.fails_for_nothing()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await redis.works_again()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        bytes(range(256)) * 64,
        b":1\r\n",
        b"*2\r\n$1\r\na\r\n:1\r\n",
        b"-MOVED nowhere\r\n",
        b"-ERR \xff\xfe\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"$100\r\nonly the beginning",
        b"$99999999999999999999\r\n",
        b"\r\n",
    ],
    ids=lambda answer: repr(answer[:12]),
)
@pytest.mark.parametrize("then_close", [False, True], ids=["stays", "closes"])
async def test_something_that_is_no_redis(answer: bytes, *, then_close: bool) -> None:
    async with (
        answering(answer, then_close=then_close) as url,
        opened(standalone(url, RedisOptions(connect_timeout=0.1, timeout=0.05))) as redis,
    ):
        for _ in range(5):
            assert await redis.cache.get("key") is None
            assert await redis.cache.get("key", extend=60) is None
            await redis.cache.put("key", b"value", life=60)
            await redis.cache.delete("key")
        assert redis.errors.count("put") == 5
        assert redis.errors.count("get") == 10
        await redis.cache.status()


async def test_a_cancelled_operation_leaves_no_answer_for_the_next(server: RedisServer) -> None:
    async with link_to(server.port) as link, opened(standalone(link.url, MANNER)) as redis:
        for number in range(50):
            await redis.cache.put(str(number), b"%d" % number, life=60)
        link.delay = 0.004
        for number in range(50):
            left = asyncio.create_task(redis.cache.get(str(number), extend=60))
            await asyncio.sleep(0.0002 * number)
            left.cancel()
            other = (number + 7) % 50
            assert await redis.cache.get(str(other), extend=60) == b"%d" % other
            await asyncio.wait([left])
        assert redis.errors == []


async def test_closed(server: RedisServer) -> None:
    async with opened(standalone(server.url, MANNER)) as redis:
        assert await redis.works()
        await redis.cache.close()
        assert await redis.cache.get("probe") is None
        assert redis.errors == ["get"]
        assert server.ask("INFO", "clients")["connected_clients"] == 1


# -- Sentinel --------------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[SentinelSet]:
    with SentinelSet(tmp_path) as watched:
        yield watched


async def test_the_master_dies_and_sentinel_makes_another(watched: SentinelSet) -> None:
    servers = behind_sentinel(
        watched.addresses, watched.service, MANNER, sentinel_login=Login(), tls=False
    )
    async with opened(servers) as redis:
        assert await redis.works("before")
        watched.master.kill()
        watched.sentinels[0].kill()  # the one that is asked first
        assert await redis.cache.get("before") is None
        await redis.works_again("after")
        assert watched.replica.ask("GET", "lighterage:2:after") == b"value"


async def test_a_master_that_is_demoted_is_left(watched: SentinelSet) -> None:
    servers = behind_sentinel(
        watched.addresses, watched.service, MANNER, sentinel_login=Login(), tls=False
    )
    async with opened(servers) as redis:
        assert await redis.works("before")
        watched.fail_over()
        # Sentinel does this too, when it has waited for ten seconds.
        watched.master.ask("REPLICAOF", LOOPBACK, watched.replica.port)
        await redis.works_again("after")
        assert watched.replica.ask("GET", "lighterage:2:after") == b"value"


async def test_a_sentinel_that_hangs_delays_only_once(watched: SentinelSet) -> None:
    os.kill(watched.sentinels[0].pid, signal.SIGSTOP)
    try:
        servers = behind_sentinel(
            watched.addresses, watched.service, MANNER, sentinel_login=Login(), tls=False
        )
        async with opened(servers) as redis:
            assert await redis.works()
            assert redis.errors == []
    finally:
        os.kill(watched.sentinels[0].pid, signal.SIGCONT)


# -- Cluster ---------------------------------------------------------------------------------


async def test_a_cluster_goes_on_without_one_of_its_nodes(tmp_path: Path) -> None:
    with ClusterServers(tmp_path) as nodes:
        keys = [f"manifest:{number}" for number in range(60)]
        lost_node = nodes.servers[0]
        owners = {key: nodes.owner_of(f"lighterage:2:{key}") for key in keys}
        kept = [key for key in keys if owners[key] is not lost_node]
        lost = [key for key in keys if owners[key] is lost_node]
        async with opened(RedisClusterServers(nodes.urls[:1], MANNER)) as redis:
            for key in keys:
                assert await redis.works(key)
            assert redis.errors == []
            lost_node.kill()
            for _ in range(5):
                for key in lost:
                    assert not await redis.works(key)
                del redis.errors[:]
                for key in kept:
                    assert await redis.works(key)
                assert redis.errors == []
                await asyncio.sleep(0.3)
            async with opened(RedisClusterServers(nodes.urls, MANNER)) as restarted:
                for key in kept:
                    assert await restarted.works(key)
                assert restarted.errors == []
            lost_node.start()
            await redis.works_again(lost[0])
            for key in keys:
                await redis.works_again(key)


async def test_a_slot_without_a_node_is_a_miss_until_it_has_one(tmp_path: Path) -> None:
    with ClusterServers(tmp_path) as nodes:
        slot = nodes.servers[0].ask("CLUSTER", "KEYSLOT", "lighterage:2:key")
        owner = nodes.owner_of("lighterage:2:key")
        for node in nodes.servers:
            node.ask("CLUSTER", "DELSLOTS", slot)
        async with opened(RedisClusterServers(nodes.urls, MANNER)) as redis:
            assert not await redis.works("key")
            assert await redis.works("another")
            owner.ask("CLUSTER", "ADDSLOTS", slot)
            await redis.works_again("key")


async def test_a_slot_that_moves_is_followed(tmp_path: Path) -> None:
    with ClusterServers(tmp_path) as nodes:
        slot = nodes.servers[0].ask("CLUSTER", "KEYSLOT", "lighterage:2:key")
        async with opened(RedisClusterServers(nodes.urls, MANNER)) as redis:
            assert await redis.works("key")
            new = next(
                node for node in nodes.servers if node is not nodes.owner_of("lighterage:2:key")
            )
            identity = new.ask("CLUSTER", "MYID")
            # Of two nodes that claim a slot, the one with the newer epoch has it.
            new.ask("CLUSTER", "BUMPEPOCH")
            nodes.owner_of("lighterage:2:key").ask("FLUSHALL")
            for node in (new, *nodes.servers):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", identity)
            assert await redis.works("key")
            assert redis.errors == []
            assert new.ask("GET", "lighterage:2:key") == b"value"
