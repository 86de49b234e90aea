"""When everybody has been served, nothing is left over: no task, no transfer, no place taken."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

IMAGES: Final = 20
ACCEPTS: Final = (MediaType.V2S2, MediaType.OCI_MANIFEST, MediaType.V2S1_SIGNED)
LARGE: Final = images.noise("large", 500_000)
LARGE_PATH: Final = f"/v2/cargo/0/blobs/{images.digest(LARGE)}"


async def test_nothing_is_left_over(data_dir: Path) -> None:
    """Pulls of every kind; clients that leave; what there is not; and more than there is room."""
    async with ScriptedUpstream() as upstream:
        for number in range(IMAGES):
            push(upstream, f"cargo/{number}", "1", images.docker(str(number)))
        upstream.add_blob("cargo/0", LARGE)
        upstream.fault("GET", LARGE_PATH, Fault(pace=0.01))
        chosen = settings(upstream, data_dir, limits={"downloads": 4, "passed_through": 1})
        async with Proxy(chosen) as proxy:
            before = asyncio.all_tasks()
            readers = metric("transfer_readers")
            await asyncio.gather(*(_pull(proxy, number) for number in range(5 * IMAGES)))
            await asyncio.gather(*(_leave(proxy) for _ in range(5)))
            await until(lambda: len(proxy.services.transfers) == 0)
            await until(lambda: not _more(before))
            assert metric("transfer_readers") == readers
            assert metric("transfers_in_flight") == 0
            # Every place is free again.
            upstream.heal()
            for content in (images.noise("next", 300_000), images.noise("last", 300_000)):
                upstream.add_blob("cargo/0", content)
                path = f"/v2/cargo/0/blobs/{images.digest(content)}"
                assert (await proxy.get(path)).cache == "Lighterage; fwd=miss; stored"


async def test_a_range_that_cannot_be_had_leaves_no_file_open(data_dir: Path) -> None:
    """Neither of a blob that is here, nor of one on its way."""
    far = images.noise("far", 4_000_000)
    path = f"/v2/cargo/0/blobs/{images.digest(far)}"
    async with ScriptedUpstream() as upstream:
        for content in (LARGE, far):
            upstream.add_blob("cargo/0", content)
        async with Proxy(settings(upstream, data_dir)) as proxy:
            await proxy.get(LARGE_PATH)
            upstream.fault("GET", path, Fault(status=500))
            upstream.fault("GET", path, Fault(cut=100_000, stall=True), times=1)
            async with proxy.open("GET", path) as running:
                await running.content.readexactly(100_000)
                readers, before = metric("transfer_readers"), _open_files()
                for _ in range(2):
                    answer = await proxy.get(LARGE_PATH, Range="bytes=500000-")
                    assert answer.status == 416
                    answer = await proxy.get(path, Range="bytes=4000000-")
                    assert answer.status == 416
                    answer = await proxy.get(path, Range="bytes=3999999-")
                    assert answer.status == 502
                await until(lambda: _open_files() == before)
                assert metric("transfer_readers") == readers
                upstream.heal()
                running.close()


async def _pull(proxy: Proxy, number: int) -> None:
    name, accept = f"/v2/cargo/{number % IMAGES}", ACCEPTS[number % len(ACCEPTS)]
    await proxy.get(f"{name}/manifests/1", Accept=accept)
    await proxy.get(f"{name}/manifests/none", Accept=accept)
    for digest in images.docker(str(number % IMAGES)).blobs:
        # Some are told to come back: there is not room for all.
        answer = await proxy.get(f"{name}/blobs/{digest}")
        assert answer.status in {200, 503}
        assert (await proxy.get(f"{name}/blobs/{digest}", Range="bytes=1-3")).status in {206, 503}


async def _leave(proxy: Proxy) -> None:
    async with proxy.open("GET", LARGE_PATH) as response:
        await response.content.readany()
        response.close()


def _open_files() -> list[str]:
    """What this process has open below a data directory, deleted or not."""
    found = []
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- not a directory of files
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
    return sorted(name for name in found if "/blobs/" in name or "/spool/" in name)


def _more(before: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """Tasks that there were not before, but for connections that are kept for the next request."""
    kept = ("RequestHandler.start", "_Connection.start")
    return {
        task
        for task in asyncio.all_tasks() - before
        if getattr(task.get_coro(), "__qualname__", "") not in kept
    }
