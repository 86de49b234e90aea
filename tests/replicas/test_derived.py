"""A digest that one replica has made and handed out is pulled from every other one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13, NOTHING, ONLY_V2S2, accept
from tests.kit.images import OCI
from tests.kit.proxy import push
from tests.kit.raw_http import Answer, ask
from tests.kit.redis import RedisServer
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from tests.kit.processes import Proxy

_KINDS: Final = (images.docker, images.docker_list, images.oci, images.mixed, images.oci_index)
_CONVERSIONS: Final = [
    *((kind, NOTHING) for kind in _KINDS),
    (images.oci, ONLY_V2S2),
    (images.mixed, DOCKER_1_13),
    (images.oci_index, DOCKER_1_13),
    (images.oci_index, ONLY_V2S2),
    (images.docker, accept(OCI.manifest)),
    (images.docker_list, accept(OCI.index, OCI.manifest)),
]
_COLD: Final = 200


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for kind in _KINDS:
            push(upstream, f"cargo/{kind.__name__}", "1", kind())
        yield upstream


def _upstreams(upstream: ScriptedUpstream) -> dict[str, object]:
    return {"docker.io": {"url": upstream.url, "default": True}}


async def _get(
    proxy: Proxy, path: str, headers: Iterable[tuple[str, str]], method: str = "GET"
) -> Answer:
    return await asyncio.to_thread(ask, f"{proxy.url}/v2/{path}", method=method, headers=headers)


async def _check_everywhere(replicas: Replicas, made: dict[str, Answer]) -> None:
    for path, first in made.items():
        for proxy in replicas.running:
            answer = await _get(proxy, path, NOTHING)
            assert (answer.status, answer.body) == (200, first.body), (proxy.directory.name, path)
            assert answer.headers["Content-Type"] == first.headers["Content-Type"]


async def _convert_all(replicas: Replicas) -> dict[str, Answer]:
    """Each conversion by another replica; the answers by the path of their digest."""
    made = {}
    for number, (kind, headers) in enumerate(_CONVERSIONS):
        name = f"cargo/{kind.__name__}"
        proxy = replicas.running[number % len(replicas.running)]
        answer = await _get(proxy, f"{name}/manifests/1", headers)
        assert answer.status == 200
        made[f"{name}/manifests/{answer.headers['Docker-Content-Digest']}"] = answer
    return made


async def test_every_replica_has_what_another_one_has_made(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with Replicas(tmp_path, 3, upstreams=_upstreams(upstream)) as replicas:
        made = await _convert_all(replicas)
        await _check_everywhere(replicas, made)
        # Nor is it lost with the replica that has made it.
        first, *others = replicas.running
        first.stop()
        await upstream.stop()
        for proxy in others:
            proxy.restart()
        for path, before in made.items():
            for proxy in others:
                assert (await _get(proxy, path, NOTHING)).body == before.body


async def test_the_same_bytes_without_redis_as_with_it(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path / "redis") as redis,
        Replicas(
            tmp_path / "replicas", 3, upstreams=_upstreams(upstream), redis=redis.url
        ) as replicas,
    ):
        made = await _convert_all(replicas)
        await _check_everywhere(replicas, made)
        redis.ask("FLUSHALL")
        await _check_everywhere(replicas, made)
        redis.kill()
        for proxy in replicas.running:
            proxy.restart()
        await _check_everywhere(replicas, made)


async def test_pulls_in_two_requests_to_any_replica_while_redis_is_down(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """HEAD of the tag, and GET of the digest, as old clients do, and no request to the same one."""
    for number in range(_COLD):
        layer = images.layer({"srv/number": str(number).encode()})
        push(upstream, f"old/{number}", "1", images.image(OCI, [layer]))
    with (
        RedisServer(tmp_path / "redis") as redis,
        Replicas(
            tmp_path / "replicas", 3, upstreams=_upstreams(upstream), redis=redis.url
        ) as replicas,
    ):
        redis.kill()
        failed = []

        async def pull(number: int) -> None:
            one, other = (replicas.running[(number + turn) % 3] for turn in range(2))
            head = await _get(one, f"old/{number}/manifests/1", ONLY_V2S2, "HEAD")
            digest = head.headers["Docker-Content-Digest"]
            get = await _get(other, f"old/{number}/manifests/{digest}", ONLY_V2S2)
            if get.status != 200 or images.digest(get.body) != digest:
                failed.append((number, get.status, get.body))

        for start in range(0, _COLD, 20):
            await asyncio.gather(*map(pull, range(start, start + 20)))
    assert failed == []
