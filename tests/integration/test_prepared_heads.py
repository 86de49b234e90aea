"""A head that was answered a moment ago is answered without parsing it, and nobody can tell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Repository, Tag
from proxy.web.server import RegistryServer
from tests.kit import images
from tests.kit.access import basic, htpasswd
from tests.kit.kept_connection import KeptConnection, get, lasting
from tests.kit.prepared_heads import watch
from tests.kit.proxy import Proxy, metric, push, settings, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo"
TAGGED: Final = f"{CARGO}/manifests/docker"
IMAGE: Final = images.docker_with_empty_steps()
BLOB: Final = next(iter(IMAGE.blobs))
ACCEPT: Final = f"Accept: {MediaType.V2S2}"
HEAD: Final = get(TAGGED, ACCEPT, "User-Agent: docker/24.0.5")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each head that was prepared could be answered."""
    found: list[bool] = []
    watch(monkeypatch, lambda _head, is_sent: found.append(is_sent))
    return found


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        get(TAGGED, ACCEPT, method="HEAD"),
        get(f"{CARGO}/manifests/{IMAGE.digest}", ACCEPT),
        get(f"{CARGO}/manifests/{IMAGE.digest}", ACCEPT, method="HEAD"),
        get(TAGGED),
        get(f"{CARGO}/manifests/index", ACCEPT),
        get(TAGGED, ACCEPT, "Authorization: Basic czNjcjN0"),
        get(TAGGED, ACCEPT, "Connection: keep-alive"),
        get(f"{CARGO}/blobs/{BLOB}"),
        get(f"{CARGO}/blobs/{BLOB}", method="HEAD"),
    ],
    ids=[
        "tag",
        "head",
        "digest",
        "head of digest",
        "schema 1",
        "platform",
        "login",
        "persistent",
        "blob",
        "head of blob",
    ],
)
async def test_the_next_equal_head_has_the_same_answer_line_and_count(
    proxy: Proxy, prepared: list[bool], head: bytes
) -> None:
    route = "blob" if b"/blobs/" in head else "manifest"
    labels = {"route": route, "status": "200", "cache": "hit"}
    # A blob is kept when it is read from the store.
    for _ in range(2):
        await proxy.get(f"{CARGO}/blobs/{BLOB}")
    async with KeptConnection(proxy.address) as connection:
        answers, counts = [], []
        for _ in range(4):
            before = (
                metric("requests_total", **labels),
                metric("sent_bytes_total", route=route),
            )
            answers.append(await connection.ask(head, head_only=head.startswith(b"HEAD")))
            await proxy.lines(len(answers))
            after = metric("requests_total", **labels), metric("sent_bytes_total", route=route)
            counts.append((after[0] - before[0], after[1] - before[1]))
    assert prepared == [True, True]
    assert b"Cache-Status: Lighterage; hit\r\n" in answers[2]
    assert lasting(answers[3]) == lasting(answers[2]) == lasting(answers[1])
    assert counts[3] == counts[2] == counts[1]
    assert counts[3][0] == 1
    lines = await proxy.lines(6)
    shown = proxy.services.registry.activity.report()["counts"]["totals"]
    assert shown["here"] == sum(line["cache"] == "hit" for line in lines)
    lines = lines[2:]
    assert len({line.pop("id") for line in lines}) == 4
    for line in lines:
        assert 0 < line.pop("seconds") < 5
        assert line.pop("time").startswith("20")
    # The order of their members, too.
    assert list(lines[3].items()) == list(lines[2].items()) == list(lines[1].items())


async def test_another_connection_has_the_answer_at_once(
    proxy: Proxy, prepared: list[bool]
) -> None:
    for _ in range(4):
        async with KeptConnection(proxy.address) as connection:
            # The first head of a connection may come before it is waited for.
            await connection.ask(get("/v2/"))
            await connection.ask(HEAD)
    assert prepared == [True, True]


@pytest.mark.parametrize(
    "head",
    [
        get(TAGGED, ACCEPT, f'If-None-Match: "{IMAGE.digest}"'),
        get(TAGGED, ACCEPT, "Expect: 100-continue"),
        get(TAGGED, ACCEPT, "Content-Length: 0"),
        get(TAGGED, ACCEPT, "Upgrade: h2c", "Connection: Upgrade"),
        get(TAGGED, ACCEPT, f"X-Long: {'x' * 9000}"),
        get(f"{CARGO}/manifests/none", ACCEPT),
        get("/v2/"),
        get(TAGGED, ACCEPT, "Connection: keep-alive", version="1.0"),
    ],
    ids=["conditional", "expects", "body", "upgrade", "long", "error", "ping", "HTTP/1.0"],
)
async def test_what_is_more_than_a_plain_head_is_parsed(
    proxy: Proxy, prepared: list[bool], head: bytes
) -> None:
    async with KeptConnection(proxy.address) as connection:
        await connection.ask(HEAD)
        for _ in range(4):
            answer = await connection.ask(head)
            if b"100 Continue" in answer:
                answer = await connection.read()
            if b"\r\nConnection: close" in answer:
                return
    assert prepared == []


async def test_a_purge_is_noticed(
    proxy: Proxy, upstream: ScriptedUpstream, prepared: list[bool]
) -> None:
    async with KeptConnection(proxy.address) as connection:
        for _ in range(3):
            await connection.ask(HEAD)
        other = push(upstream, "library/cargo", "docker", images.docker("other"))
        await proxy.services.purges.purge("library/cargo", None)
        answer = await connection.ask(HEAD)
        assert f"Docker-Content-Digest: {other}".encode() in answer
    assert prepared == [True]


async def test_an_answer_ends_with_its_tag(
    upstream: ScriptedUpstream, data_dir: Path, prepared: list[bool]
) -> None:
    tags = {"ttl": "1s", "stale_while_revalidate": "0s", "revalidation_timeout": "60s"}
    async with (
        Proxy(settings(upstream, data_dir, tags=tags)) as proxy,
        KeptConnection(proxy.address) as connection,
    ):
        for _ in range(3):
            await connection.ask(HEAD)
        other = push(upstream, "library/cargo", "docker", images.docker("other"))
        await until(lambda: proxy.services.registry._manifests.fresh(*_named()) is None)
        answer = await connection.ask(HEAD)
        assert f"Docker-Content-Digest: {other}".encode() in answer
        assert (prepared or [False])[-1] is False


def _named() -> tuple[Repository, Tag]:
    return Repository("docker.io", "library/cargo", "library/cargo"), Tag("docker")


async def test_blobs_of_what_is_answered_count_as_used(
    proxy: Proxy, prepared: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Digest] = []
    blobs = proxy.services.registry._usage._blobs

    async def touch(digests: tuple[Digest, ...]) -> None:
        used.extend(digests)

    monkeypatch.setattr(blobs, "touch", touch)
    async with KeptConnection(proxy.address) as connection:
        while not any(prepared):
            await connection.ask(HEAD)
        used.clear()
        async with asyncio.timeout(60):
            while not used:
                await connection.ask(HEAD)
                await asyncio.sleep(0.05)
    assert set(used) == set(map(Digest, IMAGE.blobs))


# Closed repositories


@pytest.fixture
async def closed(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Proxy]:
    """One where `library/cargo` is for `ci`, and `library/open` for everybody."""
    push(upstream, "library/open", "docker", IMAGE)
    access = {
        "htpasswd_file": htpasswd(tmp_path / "htpasswd", {"ci": "s3cret"}),
        "rules": [{"match": "docker.io/library/cargo", "mode": "basic", "users": ["ci"]}],
    }
    async with Proxy(settings(upstream, data_dir, access=access)) as proxy:
        yield proxy


async def test_a_closed_repository_is_answered_to_equal_logins_and_to_no_other(
    closed: Proxy, prepared: list[bool]
) -> None:
    mine = get(TAGGED, ACCEPT, f"Authorization: {basic('ci', 's3cret')}")
    labels = {"mode": "basic", "principal": "basic", "decision": "admitted"}
    async with KeptConnection(closed.address) as connection:
        await connection.ask(mine)
        answer = await connection.ask(mine)
        before = metric("access_decisions_total", **labels)
        assert lasting(await connection.ask(mine)) == lasting(answer)
        assert prepared == [True]
        assert metric("access_decisions_total", **labels) == before + 1
        assert b"Cache-Control: private\r\n" in answer
        for other in (HEAD, get(TAGGED, ACCEPT, f"Authorization: {basic('ci', 'wrong')}")):
            for _ in range(4):
                assert b"HTTP/1.1 401 " in await connection.ask(other)
    assert prepared == [True]
    lines = await closed.lines(3, status=200)
    assert [line["principal"] for line in lines] == ["basic:ci"] * 3


async def test_a_login_that_is_taken_away_is_noticed(
    closed: Proxy, prepared: list[bool], tmp_path: Path
) -> None:
    mine = get(TAGGED, ACCEPT, f"Authorization: {basic('ci', 's3cret')}")
    async with KeptConnection(closed.address) as connection:
        for _ in range(3):
            await connection.ask(mine)
        htpasswd(tmp_path / "htpasswd", {"ci": "another"})
        await closed.services.access.look()
        assert b"HTTP/1.1 401 " in await connection.ask(mine)
    assert prepared == [True, False]


async def test_an_audit_log_has_a_line_for_each_request_to_what_is_closed(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path, prepared: list[bool]
) -> None:
    push(upstream, "library/open", "docker", IMAGE)
    access = {
        "htpasswd_file": htpasswd(tmp_path / "htpasswd", {"ci": "s3cret"}),
        "rules": [{"match": "docker.io/library/cargo", "mode": "basic", "users": ["ci"]}],
        "audit": {"file": tmp_path / "audit"},
    }
    mine = get(TAGGED, ACCEPT, f"Authorization: {basic('ci', 's3cret')}")
    async with (
        Proxy(settings(upstream, data_dir, access=access)) as proxy,
        KeptConnection(proxy.address) as connection,
    ):
        for _ in range(5):
            await connection.ask(mine)
        assert prepared == []
        for _ in range(3):
            await connection.ask(get("/v2/library/open/manifests/docker", ACCEPT))
        assert prepared == [True]
    assert (tmp_path / "audit").read_text().count('"admitted"') == 5


# Connections


async def test_a_trusted_proxy_names_the_client_of_each_request(
    upstream: ScriptedUpstream, data_dir: Path, prepared: list[bool]
) -> None:
    limits = {"trusted_proxies": ["127.0.0.0/8"]}
    clients = ["198.51.100.1", "198.51.100.2"]
    async with Proxy(settings(upstream, data_dir, limits=limits)) as proxy:
        async with KeptConnection(proxy.address) as connection:
            for _ in range(4):
                for client in clients:
                    await connection.ask(get(TAGGED, ACCEPT, f"X-Forwarded-For: {client}"))
        lines = await proxy.lines(8)
    assert [line["client"] for line in lines] == clients * 4
    # The first one found nothing in memory.
    assert prepared == [True] * 4


@pytest.fixture
async def listener(proxy: Proxy) -> AsyncIterator[tuple[RegistryServer, tuple[str, int]]]:
    """Another listener of the same proxy, and where it listens."""
    server = RegistryServer(proxy.services.registry, proxy.services.limits)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, runner.addresses[0]
    await runner.cleanup()


async def test_draining_closes_with_the_next_answer(
    listener: tuple[RegistryServer, tuple[str, int]], prepared: list[bool]
) -> None:
    server, address = listener
    async with KeptConnection(address) as connection:
        for _ in range(3):
            assert b"\r\nConnection: close\r\n" not in await connection.ask(HEAD)
        server.finish()
        assert b"\r\nConnection: close\r\n" in await connection.ask(HEAD)
        assert await connection.rest() == b""
    assert prepared == [True]


async def test_a_connection_that_is_used_is_not_idle(
    listener: tuple[RegistryServer, tuple[str, int]], prepared: list[bool]
) -> None:
    """A connection is closed when it has waited too long since its last answer."""
    server, address = listener
    async with KeptConnection(address) as connection:
        for _ in range(2):
            await connection.ask(HEAD)
        (handler,) = server._open
        requests, due = server.requests_count, handler._next_keepalive_close_time
        await asyncio.sleep(0.05)
        await connection.ask(HEAD)
        assert prepared == [True]
        assert server.requests_count == requests + 1
        assert handler._request_count == 3
        assert handler._next_keepalive_close_time >= due + 0.05


async def test_a_client_beyond_the_limit_is_turned_away_whatever_it_asks_for(
    upstream: ScriptedUpstream, data_dir: Path, prepared: list[bool]
) -> None:
    limits = {"per_client": {"connections": 1}}
    async with (
        Proxy(settings(upstream, data_dir, limits=limits)) as proxy,
        KeptConnection(proxy.address) as connection,
        KeptConnection(proxy.address) as another,
    ):
        for _ in range(3):
            await connection.ask(HEAD)
        assert prepared == [True]
        assert b"HTTP/1.1 503 " in await another.ask(HEAD)
    assert prepared == [True]
