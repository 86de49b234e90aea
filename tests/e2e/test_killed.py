"""kill -9 at any moment of any number of transfers: nothing wrong is kept, and nothing is left."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.e2e import inside
from tests.kit import images, load
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KILLS: Final = 12
# Those of one moment, each with two blobs: no proxy has seen them before.
IMAGES: Final = 3
LONGEST: Final = 0.3  # seconds until a kill


def contents(moment: int) -> list[images.Content]:
    layers = [
        images.layer({"srv/cargo": images.noise(f"{moment}-{number}", 2 * images.MEBIBYTE)})
        for number in range(IMAGES)
    ]
    return [images.image(images.DOCKER, [layer]) for layer in layers]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.fault("GET", "*/blobs/*", Fault(pace=0.002))
        yield upstream


async def pull(port: int, name: str, content: images.Content, accept: str | None) -> None:
    """By tag, as schema 1 or as it is, and then every blob."""
    manifest = await load.get(port, f"/v2/{name}/manifests/1", accept)
    assert manifest.status == 200
    for digest, blob in content.blobs.items():
        answer = await load.get(port, f"/v2/{name}/blobs/{digest}")
        assert (answer.status, answer.body) == (200, blob)


async def pulls(port: int, moment: int, all_of_them: list[images.Content]) -> None:
    async with asyncio.TaskGroup() as group:
        for number, content in enumerate(all_of_them):
            for accept in (content.media_type, None):
                group.create_task(pull(port, f"cargo/{moment}-{number}", content, accept))


def wrong_blobs(data: Path) -> list[Path]:
    return [
        path
        for path in data.glob("blobs/*/*/*")
        if Digest.of(path.read_bytes()) != f"{path.parents[1].name}:{path.name}"
    ]


@pytest.mark.parametrize("workers", [1, 2])
async def test_whenever_it_is_killed_what_is_stored_is_right_and_all_can_be_pulled(
    tmp_path: Path, upstream: ScriptedUpstream, workers: int
) -> None:
    chance = random.Random(workers)  # noqa: S311 -- moments, the same in every run
    proxy = Proxy(tmp_path, upstream=upstream.url, workers=workers)
    for moment in range(KILLS):
        all_of_them = contents(moment)
        for number, content in enumerate(all_of_them):
            push(upstream, f"cargo/{moment}-{number}", "1", content)
        with proxy:
            await inside.all_serve(proxy)
            pulling = asyncio.ensure_future(pulls(proxy.port, moment, all_of_them))
            await asyncio.wait({pulling}, timeout=chance.uniform(0, LONGEST))
            proxy.kill()
            with suppress(ExceptionGroup):
                await pulling
        assert wrong_blobs(proxy.data) == []
        with proxy:
            await inside.all_serve(proxy)
            await pulls(proxy.port, moment, all_of_them)
        assert list((proxy.data / "spool").glob("*/*")) == []
    assert wrong_blobs(proxy.data) == []
    assert inside.log(proxy, "request.crashed") == []
