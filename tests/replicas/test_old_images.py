"""Schema 1 that several replicas convert: each layer is measured once, and all have the result."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from tests.kit import images, load, schema1
from tests.kit.accept_lines import CONTAINERD, accept
from tests.kit.images import OCI
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.processes import Proxy
    from tests.kit.raw_http import Answer

LAYERS: Final = [images.layer({"srv/file": f"{n}".encode()}).blob for n in range(8)]
PATH: Final = "/v2/library/ship/manifests/latest"


async def _get(proxy: Proxy, path: str, headers: list[tuple[str, str]] = CONTAINERD) -> Answer:
    return await asyncio.to_thread(ask, f"{proxy.url}{path}", headers=headers)


async def _measured(proxy: Proxy) -> int:
    metrics = (await load.get(proxy.admin_port, "/metrics")).body.decode()
    name = 'lighterage_layers_measured_total{outcome="measured"} '
    return sum(int(float(line[len(name) :])) for line in metrics.splitlines() if name in line)


async def test_each_layer_is_measured_once_and_every_replica_has_the_result(
    tmp_path: Path,
) -> None:
    """At once, and in both forms. Then the replica that made it has gone, and the registry too."""
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/ship", "latest", schema1.old_docker(LAYERS))
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams) as replicas:
            first, *others = replicas.running
            lines = (CONTAINERD, accept(OCI.manifest))
            answers = await asyncio.gather(
                *(_get(proxy, PATH, line) for proxy in replicas.running for line in lines)
            )
            assert {answer.status for answer in answers} == {200}
            assert len({answer.body for answer in answers}) == len(lines)
            assert sum([await _measured(proxy) for proxy in replicas.running]) == len(LAYERS)
            assert upstream.count("GET", "*/blobs/*") == len(LAYERS)
            config = json.loads(answers[0].body)["config"]["digest"]
            blob = await _get(first, f"/v2/library/ship/blobs/{config}")
            assert images.digest(blob.body) == config
            push(upstream, "library/other", "1", schema1.old_docker([*LAYERS, LAYERS[0]]))
            only_here = await _get(others[0], "/v2/library/other/manifests/1")
            await upstream.stop()
            first.kill()
            for proxy in others:
                for answer in (*answers, only_here):
                    digest = answer.headers["Docker-Content-Digest"]
                    name = "other" if answer is only_here else "ship"
                    again = await _get(proxy, f"/v2/library/{name}/manifests/{digest}")
                    assert (again.status, again.body) == (200, answer.body)
                    named = json.loads(answer.body)["config"]["digest"]
                    part = await _get(proxy, f"/v2/library/{name}/blobs/{named}")
                    assert images.digest(part.body) == named


async def test_a_layer_that_its_owner_refuses_is_refused_everywhere(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/ship", "latest", schema1.quay([*LAYERS, b"no archive"]))
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams) as replicas:
            for proxy in replicas.running:
                answer = await _get(proxy, PATH, accept(OCI.manifest))
                assert answer.status == 404
                assert b"is neither gzip nor a tar archive" in answer.body
