"""A replica may be asked for a blob whose manifest another one has pulled: mirrors deliver it."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING

from tests.kit import images
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.images import Content
    from tests.kit.processes import Proxy
    from tests.kit.raw_http import Answer

_NAME = "library/cargo"


async def _get(proxy: Proxy, path: str) -> Answer:
    return await asyncio.to_thread(
        ask, f"{proxy.url}/v2/{_NAME}/{path}", headers=[("Accept", "*/*")]
    )


async def _pull(proxies: Iterator[Proxy], image: Content, tag: str) -> None:
    """Pull all of the image, each part of it from the next replica."""
    answer = await _get(next(proxies), f"manifests/{tag}")
    assert (answer.status, answer.body) == (200, image.manifest)
    for child in image.children:
        answer = await _get(next(proxies), f"manifests/{child.digest}")
        assert (answer.status, answer.body) == (200, child.manifest)
        for digest, content in child.blobs.items():
            answer = await _get(next(proxies), f"blobs/{digest}")
            assert (answer.status, answer.body) == (200, content)


async def test_what_one_replica_knows_to_be_named_a_mirror_gives_to_all(tmp_path: Path) -> None:
    named, unnamed = images.docker_list("named"), images.docker_list("unnamed")
    stranger = images.docker("stranger")
    async with ScriptedUpstream() as registry, ScriptedUpstream() as mirror:
        push(registry, _NAME, "1", named)
        push(mirror, _NAME, None, named)
        push(mirror, _NAME, "2", unnamed)
        push(mirror, _NAME, None, stranger)
        upstreams = {
            "docker.io": {"url": registry.url, "default": True, "mirrors": [{"url": mirror.url}]}
        }
        with Replicas(tmp_path, 3, upstreams=upstreams, peers={"timeout": "30s"}) as replicas:
            proxies = cycle(replicas.running)
            await _pull(proxies, named, "1")
            assert registry.count("GET", "*/blobs/*") == 0
            assert registry.count("GET", "*/manifests/*") == 0
            await registry.stop()
            await _pull(proxies, unnamed, "2")
            for proxy in replicas.running:
                for digest in stranger.blobs:
                    assert (await _get(proxy, f"blobs/{digest}")).status == 502
            assert mirror.count(path=f"*{next(iter(stranger.blobs))}") == 0
