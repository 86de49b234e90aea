"""An owner that fails in the middle of a blob costs the upstream nothing that has been sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.peers.owners import rank
from proxy.peers.questions import Question, Subject
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

_LARGE: Final = 6 * 2**20


async def test_the_next_owner_takes_what_has_arrived_from_a_replica_that_has_it(
    tmp_path: Path,
) -> None:
    """No client of it has asked for the blob, and the upstream sends nothing twice."""
    async with ScriptedUpstream() as upstream:
        content = os.urandom(_LARGE)
        digest = upstream.add_blob("library/cargo", content)
        upstream.fault("GET", "*/blobs/*", Fault(pace=0.05))
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams) as replicas:
            key = Question(Subject.BLOB, "docker.io", "library/cargo", digest).key
            owner, _, last = (
                replicas.running[replicas.addresses.index(address)]
                for address in rank(key, replicas.addresses)
            )
            url = f"{last.url}/v2/library/cargo/blobs/{digest}"
            received = bytearray()
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                async for chunk in response.content.iter_any():
                    received += chunk
                    if len(received) > _LARGE // 2 and owner.running:
                        owner.kill()
            assert received == content
        first, second = [one for one in upstream.requests if one.method == "GET"]
        assert "Range" not in first.headers
        begin = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        assert begin >= _LARGE // 2
