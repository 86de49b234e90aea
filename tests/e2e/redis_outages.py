"""What may befall a Redis that a proxy uses, and how it ends: with real servers, every time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.kit.processes import LOOPBACK, free_port
from tests.kit.redis import ClusterServers, RedisServer, SentinelSet
from tests.kit.redis_faults import link_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

# As it is meant to be: nothing to warn of.
_SOUND: Final = ("maxmemory 64mb", "maxmemory-policy allkeys-lru")
_MEGABYTE: Final = 2**20
# More than the smallest `maxmemory` of a test; a script that has begun may write beyond it.
_FILLING: Final = "for i = 1, 400 do redis.call('SET', 'filling:' .. i, string.rep('x', 20000)) end"
_FAILS: Final = (
    "Redis at .+ (cannot be reached|does not answer in time|does not speak"
    "|failed recently|fails: |has no master|is a cluster that is down)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Something that befalls a Redis; `strike` and `mend` may block.

    `redis` are the settings for it. `struck` must be used again once it is over, and `owner` says
    who has a key then. `warning` is what /readyz says meanwhile, as a pattern; without one, no
    operation fails.
    """

    redis: Mapping[str, object]
    strike: Callable[[], object]
    mend: Callable[[], object]
    struck: RedisServer
    owner: Callable[[str], RedisServer]
    warning: str | None = _FAILS


@asynccontextmanager
async def _killed(directory: Path) -> AsyncIterator[Outage]:
    with RedisServer(directory, *_SOUND) as server:
        yield _alone(server, strike=server.kill, mend=server.start)


@asynccontextmanager
async def _full(directory: Path) -> AsyncIterator[Outage]:
    """At `maxmemory`, and told to refuse what does not fit."""
    options = ("maxmemory 3mb", "maxmemory-policy noeviction")
    with RedisServer(directory, *options) as server:
        yield _alone(
            server,
            strike=lambda: server.ask("EVAL", _FILLING, 0),
            mend=lambda: server.ask("CONFIG", "SET", "maxmemory", 64 * _MEGABYTE),
            warning="maxmemory-policy noeviction",
        )


@asynccontextmanager
async def _evicting(directory: Path) -> AsyncIterator[Outage]:
    """At `maxmemory`, and told to make room, which is no failure."""

    def mend() -> None:
        assert server.ask("INFO", "stats")["evicted_keys"] > 0
        server.ask("CONFIG", "SET", "maxmemory", 64 * _MEGABYTE)

    options = ("maxmemory 3mb", "maxmemory-policy allkeys-lru")
    with RedisServer(directory, *options) as server:
        yield _alone(
            server, strike=lambda: server.ask("EVAL", _FILLING, 0), mend=mend, warning=None
        )


@asynccontextmanager
async def _read_only(directory: Path) -> AsyncIterator[Outage]:
    with RedisServer(directory, *_SOUND) as server:
        yield _alone(
            server,
            strike=lambda: server.ask("REPLICAOF", LOOPBACK, free_port()),
            mend=lambda: server.ask("REPLICAOF", "NO", "ONE"),
            # The command also ends connections, and the last error counts.
            warning="is a replica, and takes no writes|failed recently",
        )


@asynccontextmanager
async def _flushed(directory: Path) -> AsyncIterator[Outage]:
    with RedisServer(directory, *_SOUND) as server:
        yield _alone(
            server,
            strike=lambda: server.ask("FLUSHALL"),
            mend=lambda: server.ask("FLUSHALL"),
            warning=None,
        )


@asynccontextmanager
async def _slow(directory: Path) -> AsyncIterator[Outage]:
    with RedisServer(directory, *_SOUND) as server:
        async with link_to(server.port) as link:

            def delay(seconds: float) -> None:
                link.delay = seconds

            yield _alone(server, strike=lambda: delay(2.0), mend=lambda: delay(0.0), url=link.url)


@asynccontextmanager
async def _garbled(directory: Path) -> AsyncIterator[Outage]:
    with RedisServer(directory, *_SOUND) as server:
        async with link_to(server.port) as link:

            def answer(garbage: bytes) -> None:
                link.garbage = garbage

            yield _alone(
                server,
                strike=lambda: answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
                mend=lambda: answer(b""),
                url=link.url,
            )


@asynccontextmanager
async def _failed_over(directory: Path) -> AsyncIterator[Outage]:
    """The master is killed; the sentinels make the replica one, in their own time."""
    with SentinelSet(directory) as watched:
        for server in (watched.master, watched.replica):
            _make_sound(server)
        yield Outage(
            redis={
                "sentinels": [f"{host}:{port}" for host, port in watched.addresses],
                "service": watched.service,
            },
            strike=watched.master.kill,
            mend=watched.wait_for_the_replica,
            struck=watched.replica,
            owner=lambda _: watched.replica,
        )


@asynccontextmanager
async def _a_node_less(directory: Path) -> AsyncIterator[Outage]:
    with ClusterServers(directory) as nodes:
        for server in nodes.servers:
            _make_sound(server)
        lost = nodes.servers[0]

        def mend() -> None:
            lost.start()
            _make_sound(lost)
            nodes.wait_for_all()

        yield Outage(
            redis={"url": list(nodes.urls), "cluster": True},
            strike=lost.kill,
            mend=mend,
            struck=lost,
            owner=nodes.owner_of,
        )


def _alone(
    server: RedisServer,
    *,
    strike: Callable[[], object],
    mend: Callable[[], object],
    url: str | None = None,
    warning: str | None = _FAILS,
) -> Outage:
    return Outage(
        redis={"url": url or server.url},
        strike=strike,
        mend=mend,
        struck=server,
        owner=lambda _: server,
        warning=warning,
    )


def _make_sound(server: RedisServer) -> None:
    for option in _SOUND:
        server.ask("CONFIG", "SET", *option.split())


OUTAGES: Final[dict[str, Callable[[Path], AbstractAsyncContextManager[Outage]]]] = {
    "killed": _killed,
    "full": _full,
    "evicting": _evicting,
    "read-only": _read_only,
    "flushed": _flushed,
    "slow by 2 s": _slow,
    "answering garbage": _garbled,
    "failed over by Sentinel": _failed_over,
    "a node of the Cluster lost": _a_node_less,
}
