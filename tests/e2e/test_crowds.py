"""Crowds at blobs that are not here yet: all are served at once, from one transfer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median
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

    from tests.kit.images import Content

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.serial]

# What all processes may take together.
MEMORY: Final = 300 * MEBIBYTE
# How much later than directly from the registry the first byte may come.
LATER: Final = 1.3
# And this much for the scheduling of a machine that others use, in seconds; where that was not
# enough, it is tried again.
NOISE: Final = 0.02
ROUNDS: Final = 3
# How much of the time that the whole blob takes the end of it may take.
AT_ONCE: Final = 0.5
WITHIN: Final = 240.0  # seconds


@dataclass(frozen=True, slots=True)
class Big:
    """A registry with one large blob."""

    registry: Registry
    image: Content
    layer: str

    @property
    def size(self) -> int:
        """Of the blob, in bytes."""
        return len(self.image.blobs[self.layer])

    @property
    def path(self) -> str:
        """Of the blob."""
        return self.path_of(self.layer)

    def path_of(self, digest: str) -> str:
        """Of any blob of the image."""
        return f"/v2/cargo/big/blobs/{digest}"


@pytest.fixture(scope="module", params=[64, 512], ids="{}MiB".format)
def big(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Big]:
    """Of so many MiB."""
    image = images.big(request.param)
    layer = max(image.blobs, key=lambda digest: len(image.blobs[digest]))
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        registry.push("cargo/big", "1", image)
        yield Big(registry, image, layer)


async def crowd(port: int, big: Big, *, count: int) -> float:
    """Have so many clients get the blob at once; the median of the seconds to their first byte."""
    async with asyncio.timeout(WITHIN):
        clients = await asyncio.gather(*(Download.begun(port, big.path) for _ in range(count)))
        assert {await client.done for client in clients} == {big.layer}
    return median(client.seconds[0] for client in clients)


async def test_a_crowd_is_one_client_to_the_registry_and_waits_no_longer(
    big: Big, tmp_path: Path
) -> None:
    count = 200 if big.size < 100 * MEBIBYTE else 8
    ratios = []
    for round_ in range(ROUNDS):
        directly = await crowd(big.registry.port, big, count=count)
        big.registry.forget()
        with Proxy(tmp_path / str(round_), upstream=big.registry.url, workers=2) as proxy:
            await inside.all_serve(proxy)
            first_byte = await crowd(proxy.port, big, count=count)
            processes = [proxy.pid, *inside.workers(proxy)]
            assert sum(map(inside.peak_memory, processes)) < MEMORY
            received = inside.total(await inside.metrics(proxy), "lighterage_received_bytes_total")
            assert received == big.size
        # The worker that reads along asks by HEAD whether this repository has the blob.
        asked = [request for request in big.registry.requests() if request.method == "GET"]
        assert asked == [Request("GET", big.path, 200)]
        ratios.append((first_byte - NOISE) / directly)
        if ratios[-1] < LATER:
            return
    pytest.fail(f"the first byte came {ratios} times later than from the registry")


async def test_the_end_of_a_large_blob_is_there_at_once(big: Big, tmp_path: Path) -> None:
    """Who pulls lazily begins there: the table of contents is at the end."""
    first = big.size - MEBIBYTE
    wanted = f"bytes={first}-{big.size - 1}"

    config = next(digest for digest in big.image.blobs if digest != big.layer)

    async def end_of_it(port: int) -> float:
        # Code and connections are warm; the blob is not.
        assert await (await Download.begun(port, big.path_of(config))).done == config
        client = await Download.begun(port, big.path, wanted=wanted)
        await client.done
        assert (client.status, client.received) == (206, MEBIBYTE)
        return client.seconds[1]

    whole, through = [], []
    for number in range(5):
        with Proxy(tmp_path / str(number), upstream=big.registry.url) as proxy:
            client = await Download.begun(big.registry.port, big.path)
            assert await client.done == big.layer
            whole.append(client.seconds[1])
            through.append(await end_of_it(proxy.port))
            proxy.kill()
    assert median(through) < median(whole) * AT_ONCE
