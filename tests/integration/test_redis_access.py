"""How Redis is reached and convinced: TLS both ways, a socket, and a password that changes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from structlog.testing import capture_logs

from proxy.stores.redis.cache import RedisManifests
from proxy.stores.redis.cluster import RedisClusterServers
from proxy.stores.redis.options import Login, RedisOptions
from proxy.stores.redis.servers import standalone
from tests.kit.certificates import pem
from tests.kit.processes import LOOPBACK, free_port
from tests.kit.redis import RedisServer, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from proxy.stores.redis.servers import Servers

MANNER: Final = RedisOptions(connect_timeout=30.0, timeout=30.0)


@asynccontextmanager
async def opened(servers: Servers) -> AsyncIterator[RedisManifests]:
    cache = RedisManifests(servers, on_error=lambda _: None)
    try:
        yield cache
    finally:
        await cache.close()


async def works(cache: RedisManifests) -> bool:
    await cache.put("key", b"value", life=60)
    return await cache.get("key") == b"value"


class Secured(RedisServer):
    """On a second port it speaks TLS, with those who show a certificate that it trusts."""

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir()
        self.key, self.certificate = directory / "key.pem", directory / "certificate.pem"
        for file, content in zip((self.key, self.certificate), pem(), strict=True):
            file.write_bytes(content)
        self.tls_port = free_port()
        super().__init__(
            directory,
            f"tls-port {self.tls_port}",
            f"tls-key-file {self.key}",
            f"tls-cert-file {self.certificate}",
            f"tls-ca-cert-file {self.certificate}",
            *options,
        )

    @property
    def tls_url(self) -> str:
        return f"rediss://{LOOPBACK}:{self.tls_port}"

    @property
    def manner(self) -> RedisOptions:
        """Of somebody who has all that is needed."""
        return replace(
            MANNER, ca_file=self.certificate, certificate_file=self.certificate, key_file=self.key
        )


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    with Secured(tmp_path / "redis") as secured:
        yield secured


async def test_tls_with_certificates_on_both_sides(secured: Secured) -> None:
    async with opened(standalone(secured.tls_url, secured.manner)) as cache:
        assert await works(cache)
    assert secured.ask("DBSIZE") == 1


@pytest.mark.parametrize(
    "lacking", [{"ca_file": None}, {"certificate_file": None, "key_file": None}]
)
async def test_tls_without_a_certificate(secured: Secured, lacking: dict[str, Any]) -> None:
    manner = replace(secured.manner, **lacking)
    async with opened(standalone(secured.tls_url, manner)) as cache:
        assert not await works(cache)
        assert not (await cache.status()).connected
    assert secured.ask("DBSIZE") == 0


async def test_a_certificate_for_another_name(secured: Secured) -> None:
    url = secured.tls_url.replace(LOOPBACK, "localhost")
    async with opened(standalone(url, secured.manner)) as cache:
        assert not await works(cache)
    async with opened(standalone(url, replace(secured.manner, check_hostname=False))) as cache:
        assert await works(cache)


async def test_a_cluster_over_tls(tmp_path: Path) -> None:
    options = (
        "cluster-enabled yes",
        f"cluster-port {free_port()}",
        f"cluster-announce-ip {LOOPBACK}",
        "tls-cluster yes",
    )
    with Secured(tmp_path / "redis", *options) as node:
        node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: node.ask("CLUSTER INFO")["cluster_state"] == "ok", "no cluster")
        async with opened(RedisClusterServers([node.tls_url], node.manner)) as cache:
            assert await works(cache)


async def test_a_socket_and_a_database(short_path: Path) -> None:
    socket = short_path / "redis.sock"
    with RedisServer(short_path, f"unixsocket {socket}") as server:
        for url in (f"unix://{socket}?db=3", f"{server.url}/5"):
            async with opened(standalone(url, MANNER)) as cache:
                assert await works(cache)
        assert server.ask("INFO", "keyspace").keys() == {"db3", "db5"}


async def test_a_password_changes(tmp_path: Path) -> None:
    file = tmp_path / "password"
    with RedisServer(tmp_path / "redis", password="first") as server:
        login = Login(username="default", password_file=file)
        async with opened(standalone(server.url, replace(MANNER, login=login))) as cache:
            status = await cache.status()
            assert status.last_error == "AuthenticationError"  # there is no such file yet
            file.write_text("first\n")
            assert await works(cache)
            server.ask("CONFIG", "SET", "requirepass", "second")
            server.password = "second"
            server.ask("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.05)
            assert not await works(cache)
            file.write_text("second\n")
            assert await works(cache)


async def test_passwords_are_not_shown(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="right") as server:
        url = server.url.replace("redis://", "redis://somebody:secret@")
        with capture_logs() as lines:
            async with opened(standalone(url, MANNER)) as cache:
                assert not await works(cache)
                assert not await works(cache)
    assert [line["event"] for line in lines] == ["redis.circuit_opened"]
    assert "secret" not in str(lines)
    assert "secret" not in repr(Login(password="secret"))
