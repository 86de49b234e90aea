"""The suite of every ManifestCache, with Redis: one server, behind Sentinel, and as a Cluster."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.config import load
from proxy.stores.redis.cache import RedisManifests
from proxy.stores.redis.cluster import RedisClusterServers
from proxy.stores.redis.options import Login, RedisOptions
from proxy.stores.redis.servers import behind_sentinel, standalone
from proxy.wiring.cache import open_redis
from tests.contract.test_manifest_cache import *  # noqa: F403 -- the suite
from tests.contract.test_manifest_cache import Opened, _at_once
from tests.kit.redis import ClusterServers, RedisServer, SentinelSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from proxy.stores.redis.servers import Servers

# What is shown here is not speed.
MANNER: Final = RedisOptions(connect_timeout=2.0, timeout=2.0)

# Redis has no command that reads, and extends but never shortens. Every caller extends by the life
# that it gave, for which GETEX, one command, is right.
del test_extending_never_shortens_a_life  # noqa: F821 -- it is one of the suite


@dataclass(frozen=True, slots=True)
class Setup:
    """Servers that run, how they are reached, and the settings that say so."""

    masters: Sequence[RedisServer]
    reach: Callable[[], Servers]
    settings: Mapping[str, object]


@contextmanager
def _standalone(directory: Path) -> Iterator[Setup]:
    with RedisServer(directory) as server:
        yield Setup([server], lambda: standalone(server.url, MANNER), {"url": server.url})


@contextmanager
def _sentinel(directory: Path) -> Iterator[Setup]:
    files = directory / "redis-password", directory / "sentinel-password"
    for file, password in zip(files, ("masters", "sentinels"), strict=True):
        file.write_text(f"{password}\n")
    manner = replace(MANNER, login=Login(password_file=files[0]))
    with SentinelSet(directory, password="masters", sentinel_password="sentinels") as found:
        yield Setup(
            [found.master],
            lambda: behind_sentinel(
                found.addresses,
                found.service,
                manner,
                sentinel_login=Login(password_file=files[1]),
                tls=False,
            ),
            {
                "sentinels": [f"{host}:{port}" for host, port in found.addresses],
                "service": found.service,
                "password_file": files[0],
                "sentinel_password_file": files[1],
            },
        )


@contextmanager
def _cluster(directory: Path) -> Iterator[Setup]:
    with ClusterServers(directory, password="p/w") as nodes:
        url = nodes.urls[0].replace("redis://", "redis://:p%2Fw@")
        settings = {"url": url, "cluster": True}
        yield Setup(nodes.servers, lambda: RedisClusterServers([url], MANNER), settings)


SETUPS: Final = {"standalone": _standalone, "sentinel": _sentinel, "cluster": _cluster}


@pytest.fixture(scope="module", params=SETUPS)
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    with SETUPS[request.param](tmp_path_factory.mktemp(request.param)) as setup:
        yield setup


@pytest.fixture  # type: ignore[no-redef]  # in the place of the suite's own
async def opened(setup: Setup) -> AsyncIterator[Opened]:
    errors: list[str] = []
    cache = RedisManifests(setup.reach(), on_error=errors.append)

    async def elapse(seconds: float) -> None:
        """Take the time from every life: nobody can wind Redis' clock."""
        for server in setup.masters:
            for key in server.ask("KEYS", "*"):
                server.ask("PEXPIRE", key, server.ask("PTTL", key) - int(seconds * 1000))

    yield Opened(cache, _at_once, elapse)
    await cache.close()
    for server in setup.masters:
        server.ask("FLUSHALL")
    assert errors == []


async def test_the_settings_lead_to_it(setup: Setup, tmp_path: Path) -> None:
    manifests = {"store": "redis", "redis": setup.settings}
    settings = load(environ={}, arguments={"data": tmp_path, "manifests": manifests})
    cache = open_redis(settings)
    assert cache is not None
    await cache.put("key", b"value", life=60)
    assert await cache.get("key") == b"value"
    await cache.delete("key")
    await cache.close()


async def test_keys_name_the_format(opened: Opened, setup: Setup) -> None:
    await opened.cache.put("manifest:sha256:0", b"{}", life=60)
    keys = [key for server in setup.masters for key in server.ask("KEYS", "*")]
    assert keys == [b"lighterage:2:manifest:sha256:0"]


async def test_extending_gives_the_life_that_is_asked_for(opened: Opened) -> None:
    await opened.cache.put("key", b"value", life=60)
    assert await opened.cache.get("key", extend=600) == b"value"
    await opened.elapse(599)
    assert await opened.cache.get("key") == b"value"
    await opened.elapse(2)
    assert await opened.cache.get("key") is None


@pytest.mark.parametrize("life", [0.0, 1e-9, 1e12, float("inf")])
async def test_no_life_is_refused(opened: Opened, life: float) -> None:
    await opened.cache.put("key", b"value", life=life)
    assert await opened.cache.get("key", extend=life) in {b"value", None}


async def test_the_status_is_that_of_a_server_that_answers(opened: Opened) -> None:
    assert isinstance(opened.cache, RedisManifests)
    status = await opened.cache.status()
    assert status.connected
    assert status.last_error is None
    assert (
        status.warning
        == "Redis has no maxmemory, so it grows without bound; set one, with allkeys-lru"
    )
