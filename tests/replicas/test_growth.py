"""One replica more costs nothing, and one less loses nothing: not even what it alone has made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.kit import images
from tests.kit.accept_lines import EVERYTHING, NOTHING, ONLY_V2S2
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.replicas.fleet import fleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.accept_lines import Lines
    from tests.kit.processes import Proxy
    from tests.kit.raw_http import Answer


async def _manifest(proxy: Proxy, reference: str, lines: Lines) -> Answer:
    url = f"{proxy.url}/v2/library/old/manifests/{reference}"
    return await asyncio.to_thread(ask, url, headers=lines)


async def test_from_three_to_four_replicas_and_back(tmp_path: Path) -> None:
    """Warm all the time, at last without an upstream."""
    unchanging = {"tags": {"ttl": "1d"}}
    async with fleet(tmp_path, delay=0.0, joining=1, settings=unchanging) as ships:
        assert await ships.pull() == []
        push(ships.upstream, "library/old", "1", images.oci())
        for proxy in ships.replicas.running:
            await _manifest(proxy, "1", EVERYTHING)
        asked = len(ships.upstream.requests)
        (fourth,) = ships.replicas.joining
        await asyncio.to_thread(fourth.start)
        assert await ships.pull(fourth) == []
        assert ships.upstream.requests[asked:] == []
        made = [await _manifest(fourth, "1", lines) for lines in (NOTHING, ONLY_V2S2)]
        await ships.upstream.stop()
        assert await ships.pull(*ships.replicas.running, fourth) == []
        await asyncio.to_thread(fourth.stop)
        assert await ships.pull() == []
        for before in made:
            assert before.status == 200
            for proxy in ships.replicas.running:
                digest = before.headers["Docker-Content-Digest"]
                answer = await _manifest(proxy, digest, NOTHING)
                assert (answer.status, answer.body) == (200, before.body)
