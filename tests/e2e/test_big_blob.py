"""Many clients at one big blob that is not there yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import inside
from tests.e2e.download import Download
from tests.kit import images
from tests.kit.images import MEBIBYTE
from tests.kit.processes import Proxy
from tests.kit.registry import Registry, Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLIENTS: Final = 50
SIZE: Final = 256  # MiB
MEMORY: Final = 200 * MEBIBYTE
WITHIN: Final = 120.0  # seconds


@pytest.fixture(scope="module")
def image() -> images.Content:
    """With one layer of more than `SIZE` MiB."""
    return images.big(SIZE)


@pytest.fixture
def registry(image: images.Content, tmp_path: Path) -> Iterator[Registry]:
    """The upstream, with the image."""
    with Registry(tmp_path / "registry") as registry:
        registry.push("cargo/big", "1", image)
        yield registry


async def test_fifty_clients_share_one_transfer(
    registry: Registry, image: images.Content, tmp_path: Path
) -> None:
    """Each gets the right bytes, though the one for whom it began leaves in the middle."""
    layer = max(image.blobs, key=lambda digest: len(image.blobs[digest]))
    path = f"/v2/cargo/big/blobs/{layer}"
    registry.forget()
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
        async with asyncio.timeout(WITHIN):
            leaver = await Download.begun(proxy.port, path, leaves_after=4 * MEBIBYTE)
            clients = [await Download.begun(proxy.port, path) for _ in range(CLIENTS)]
            digests = await asyncio.gather(*(client.done for client in clients))
            await leaver.done
        assert set(digests) == {layer}
        assert leaver.received < leaver.length
        assert sum(client.shared for client in clients) > CLIENTS / 2, "it was not cold"
        assert inside.peak_memory(proxy.pid) < MEMORY
    assert [request for request in registry.requests() if request.method == "GET"] == [
        Request("GET", path, 200)
    ]
