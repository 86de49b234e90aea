"""A store that is much smaller than what is pulled through it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.e2e import inside
from tests.kit import images, load
from tests.kit.images import MEBIBYTE
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Each of two layers, in MiB; five times as much is pulled as the store may have.
LAYER: Final = 2
IMAGES: Final = 80
LIMIT: Final = LAYER * 2 * IMAGES * MEBIBYTE // 5
AT_ONCE: Final = 4
# A small image that is pulled over and over.
FAVOURITE: Final = images.docker("favourite")


def content(number: int) -> images.Content:
    layers = [
        images.layer({"srv/cargo": images.noise(f"{number}-{part}", LAYER * MEBIBYTE)})
        for part in "ab"
    ]
    return images.image(images.DOCKER, layers)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, "cargo/favourite", "1", FAVOURITE)
        yield upstream


async def pull(port: int, name: str, image: images.Content) -> None:
    manifest = await load.get(port, f"/v2/{name}/manifests/1", image.media_type)
    assert (manifest.status, manifest.body) == (200, image.manifest)
    for digest, blob in image.blobs.items():
        answer = await load.get(port, f"/v2/{name}/blobs/{digest}")
        assert (answer.status, answer.body) == (200, blob)


def taken(data: Path) -> int:
    """What the blobs take on the disk, in bytes."""
    sizes = []
    for path in data.glob("blobs/*/*/*"):
        try:
            sizes.append(path.stat().st_blocks * 512)
        except FileNotFoundError:
            continue
    return sum(sizes)


def whole(data: Path, image: images.Content) -> bool:
    digests = map(Digest, image.blobs)
    return all((data / "blobs/sha256" / each.hex[:2] / each.hex).exists() for each in digests)


async def test_what_is_stored_never_exceeds_the_limit_and_the_latest_images_stay_whole(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    most = 0
    settings = {"blobs": {"max_size": LIMIT}}
    proxy = Proxy(tmp_path, upstream=upstream.url, workers=2, settings=settings)
    with proxy:
        await inside.all_serve(proxy)
        pulled: list[images.Content] = []
        for start in range(0, IMAGES, AT_ONCE):
            batch = [content(start + number) for number in range(AT_ONCE)]
            for number, image in enumerate(batch):
                push(upstream, f"cargo/{start + number}", "1", image)
            async with asyncio.TaskGroup() as group:
                for number, image in enumerate(batch):
                    group.create_task(pull(proxy.port, f"cargo/{start + number}", image))
                group.create_task(pull(proxy.port, "cargo/favourite", FAVOURITE))
            pulled += batch
            most = max(most, taken(proxy.data))
        measured = await inside.metrics(proxy)
    assert most <= LIMIT
    put = sum(len(blob) for image in [*pulled, FAVOURITE] for blob in image.blobs.values())
    evicted = inside.total(measured, "lighterage_evicted_bytes_total")
    assert evicted == pytest.approx(put - taken(proxy.data), rel=0.02)
    kept = [whole(proxy.data, image) for image in pulled]
    # A tenth is free after an eviction, and the last of a batch may be the first to go.
    fits = LIMIT * 9 // 10 // (2 * LAYER * MEBIBYTE) - AT_ONCE
    assert kept[-fits:] == [True] * fits
    assert not any(kept[: IMAGES // 2])
    assert whole(proxy.data, FAVOURITE)
    assert list((proxy.data / "spool").glob("*/*")) == []
    asked = [upstream.count("GET", f"*/blobs/{digest}") for digest in FAVOURITE.blobs]
    assert asked == [1] * len(FAVOURITE.blobs)
