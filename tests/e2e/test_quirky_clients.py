"""Real clients pull from a registry with quirks, through the proxy: cold, and from the cache."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.e2e.every_client import CLIENTS, ggcr
from tests.e2e.quirky_registry import (
    PULLED,
    SIGNATURE,
    QuirkyRegistry,
    add_listings,
    quirky_registry,
)
from tests.kit import images
from tests.kit.clients import ClientError
from tests.kit.processes import Program
from tests.kit.proxy import Proxy, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.e2e


@pytest.fixture
async def registry() -> AsyncIterator[QuirkyRegistry]:
    async with quirky_registry() as registry:
        yield registry


@pytest.fixture
async def proxy(registry: QuirkyRegistry, tmp_path: Path) -> AsyncIterator[Proxy]:
    chosen = {"url": registry.upstream.url, "default": True}
    fresh = {"ttl": "0s", "revalidation_timeout": "30s"}
    async with Proxy(settings({"docker.io": chosen}, tmp_path / "data", tags=fresh)) as proxy:
        yield proxy


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_pulls_in_spite_of_every_quirk(
    registry: QuirkyRegistry, proxy: Proxy, short_path: Path, name: str
) -> None:
    host = ":".join(map(str, proxy.address))
    client = CLIENTS[name](short_path / "c")
    with client if isinstance(client, Program) else nullcontext():
        for repository in PULLED:
            pulled = []
            for state in ("cold", "cached"):
                try:
                    image = await asyncio.to_thread(client.pull, f"{host}/{repository}:1")
                except ClientError as error:
                    raise AssertionError(f"{repository}, {state}: {error}") from None
                pulled.append(image)
            assert pulled[0] == pulled[1], repository
    assert registry.elsewhere.count("GET", "/v2/*/blobs/*") > 0


async def test_go_containerregistry_asks_for_manifests(proxy: Proxy) -> None:
    host = ":".join(map(str, proxy.address))
    for repository in PULLED:
        head = await asyncio.to_thread(ggcr, "head", f"{host}/{repository}:1")
        got = await asyncio.to_thread(ggcr, "manifest", f"{host}/{repository}:1")
        assert head == got, repository
        named = f"{host}/{repository}@{got['digest']}"
        assert await asyncio.to_thread(ggcr, "manifest", named) == got


async def test_go_containerregistry_lists_all_tags_or_is_told_why_not(
    registry: QuirkyRegistry, proxy: Proxy
) -> None:
    add_listings(registry)
    host = ":".join(map(str, proxy.address))
    found = await asyncio.to_thread(ggcr, "list", f"{host}/cargo/pages")
    assert found["tags"] == ["a", "b", "c"]
    with pytest.raises(ClientError, match=r"TOO_MANY_TAGS_REQUESTED: .*at most 100 tags"):
        await asyncio.to_thread(ggcr, "list", f"{host}/cargo/large")


@pytest.mark.parametrize("status", [404, 405, 406, 501])
async def test_go_containerregistry_finds_referrers(
    registry: QuirkyRegistry, proxy: Proxy, status: int
) -> None:
    add_listings(registry)
    host = ":".join(map(str, proxy.address))
    name = f"cargo/referrers-{status}"
    digest = images.oci(name).digest
    found = await asyncio.to_thread(ggcr, "referrers", f"{host}/{name}@{digest}")
    assert [each["digest"] for each in found["referrers"]] == [SIGNATURE["digest"]]
