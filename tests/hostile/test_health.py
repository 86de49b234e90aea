"""Probes are answered while the registry listener is at its limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.hostile import bystander
from tests.hostile.slow_readers import reading_nothing
from tests.kit import images, load, processes
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

LARGE: Final = images.noise("large", 8 * images.MEBIBYTE)


async def test_probes_are_answered_beside_540_slow_readers_and_a_busy_pool(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    path = f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, LARGE)}"
    # The upstream takes every connection, and answers none.
    upstream.fault("*", "/v2/library/silent/*", Fault(delay=60))
    limits = {"connections": 600}
    with processes.Proxy(tmp_path, upstream=upstream.url, settings={"limits": limits}) as proxy:
        await bystander.pull_from(proxy.port)
        silent = "/v2/library/silent/manifests/1"
        async with (
            reading_nothing(proxy.port, path, 540),
            reading_nothing(proxy.port, silent, 60, sources=("127.0.1.1",)),
            reading_nothing(proxy.port, path, 100),
        ):
            await asyncio.sleep(1)
            for probe in ("/healthz", "/readyz", "/metrics", "/status"):
                answer = await asyncio.wait_for(load.get(proxy.admin_port, probe), 10)
                assert answer.status == 200
            await bystander.pull_from(proxy.port)
