"""`explain` names the replica that a pull would ask; the pull then asks it, and nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest

from proxy.oci.clients import CLIENTS
from tests.kit.manifest_kinds import KINDS
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import Request, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.processes import Proxy

NAME: Final = "library/ship"
# Until a line is in the log, or a replica that ended is left out, in seconds.
SOON: Final = 60.0
_BY_WAY: Final = ", by way of the replica "


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for kind in KINDS:
            push(upstream, NAME, _tag(kind), KINDS[kind])
        yield upstream


def _tag(kind: str) -> str:
    return kind.replace(" ", "-")


async def _explain(proxy: Proxy, tag: str, client: str) -> dict[str, Any]:
    query = urlencode({"image": f"{NAME}:{tag}", "as": client})
    answer = await asyncio.to_thread(ask, f"{proxy.admin_url}/explain?{query}")
    assert answer.status == 200, answer.body
    said: dict[str, Any] = json.loads(answer.body)
    return said


async def _pull(proxy: Proxy, tag: str, client: str) -> tuple[int, str | None]:
    """The status and the digest."""
    headers = [("Accept", line) for line in CLIENTS[client]]
    url = f"{proxy.url}/v2/{NAME}/manifests/{tag}"
    answer = await asyncio.to_thread(ask, url, headers=headers)
    return answer.status, answer.headers["Docker-Content-Digest"]


async def _asked(proxy: Proxy) -> tuple[float, float]:
    """How many requests a replica has sent upstream, and what others have sent it, in bytes."""
    answer = await asyncio.to_thread(ask, f"{proxy.admin_url}/metrics")
    lines = answer.body.decode().splitlines()
    names = ("lighterage_upstream_requests_total{", "lighterage_peer_received_bytes_total{")
    upstream, received = (
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
        for name in names
    )
    return upstream, received


async def test_what_is_said_is_what_is_then_asked(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """For every kind and client, cold, half cached and cached, at either replica."""
    upstreams = {"docker.io": {"url": upstream.url, "default": True}}
    named = 0
    settings = {"tags": {"ttl": "1h"}}
    peers = {"timeout": "30s"}
    with Replicas(tmp_path, 2, upstreams=upstreams, peers=peers, settings=settings) as replicas:
        for number, kind in enumerate(KINDS):
            here, tag = number % 2, _tag(kind)
            proxy, other = replicas.running[here], replicas.addresses[1 - here]
            sent, received = await _asked(proxy)
            for client in CLIENTS:
                before = len(upstream.requests)
                said = await _explain(proxy, tag, client)
                assert len(upstream.requests) == before, "a question asks nobody"
                status, digest = await _pull(proxy, tag, client)
                sent_now, received_now = await _asked(proxy)
                requests = [_sentence(each) for each in upstream.requests[before:]]
                context = kind, client, said["calls"], requests
                if not said["calls"]:
                    assert (requests, sent_now) == ([], sent), context
                else:
                    first = said["calls"][0].partition(",")[0]
                    assert first.startswith("look into layer") or first in requests, context
                if any(_BY_WAY in call for call in said["calls"][:1]):
                    named += 1
                    assert f"{_BY_WAY}{other}, its owner" in said["calls"][0], context
                    assert received_now > received, context
                elif said["calls"]:
                    assert said["calls"][0].endswith(f", unless {other} has it"), context
                    assert sent_now > sent, context
                made = said["representation"]
                if made is not None and "digest" in made:
                    assert (status, digest) == (200, made["digest"]), context
                elif made is not None:
                    assert status != 200, context
                sent, received = sent_now, received_now
    assert named >= len(KINDS) // 4


def _sentence(request: Request) -> str:
    name, kind, reference = request.path.removeprefix("/v2/").rsplit("/", 2)
    return f"{request.method} of {kind.removesuffix('s')} {name} {reference}"


async def test_a_replica_that_is_left_out_is_not_named(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    upstreams = {"docker.io": {"url": upstream.url, "default": True}}
    with Replicas(tmp_path, 2, upstreams=upstreams) as replicas:
        proxy, other = replicas.running
        tags = [f"none-{number}" for number in range(64)]
        first = [(await _explain(proxy, tag, "containerd"))["calls"][0] for tag in tags]
        owned = [call for call in first if f"{replicas.addresses[1]}, its owner" in call]
        assert 0 < len(owned) < len(tags)
        other.stop()
        async with asyncio.timeout(SOON):
            while not await asyncio.to_thread(_left_out, proxy):  # noqa: ASYNC110 -- its metrics
                await asyncio.sleep(0.05)
        for tag in tags:
            said = await _explain(proxy, tag, "containerd")
            assert said["calls"][0] == f"HEAD of manifest {NAME} {tag}"


def _left_out(proxy: Proxy) -> bool:
    metrics = ask(f"{proxy.admin_url}/metrics").body.decode()
    return 'lighterage_peers{state="left_out"} 1.0' in metrics
