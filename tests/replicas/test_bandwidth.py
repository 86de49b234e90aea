"""What a replica sends to others is within `peers.bandwidth`, for all of them together."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from proxy.peers.owners import rank
from proxy.peers.questions import Question, Subject
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = "library/cargo"
_MIB: Final = 2**20
_BANDWIDTH: Final = 2 * _MIB
_SIZE: Final = 3 * _MIB
_COUNT: Final = 3
# All but the pieces that are sent last need so long, in seconds, however fast the machine is.
_AT_LEAST: Final = (_COUNT * _SIZE - _MIB) / _BANDWIDTH


def _content_of(owner: str, addresses: list[str]) -> bytes:
    """A blob that this replica owns."""
    while True:
        content = os.urandom(_SIZE)
        key = Question(Subject.BLOB, "docker.io", _NAME, Digest.of(content)).key
        if rank(key, addresses)[0] == owner:
            return content


@pytest.mark.parametrize("workers", [1, 2])
async def test_blobs_for_another_replica_share_the_bandwidth(tmp_path: Path, workers: int) -> None:
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        # On a busy machine none of them is taken for silent.
        chosen = {"bandwidth": _BANDWIDTH, "timeout": 20.0}
        with Replicas(tmp_path, 2, upstreams=upstreams, workers=workers, peers=chosen) as replicas:
            one, other = replicas.running
            blobs = [_content_of(replicas.addresses[0], replicas.addresses) for _ in range(_COUNT)]
            paths = [f"/v2/{_NAME}/blobs/{upstream.add_blob(_NAME, each)}" for each in blobs]

            async def pull(url: str) -> list[bytes]:
                answers = [asyncio.to_thread(ask, f"{url}{path}") for path in paths]
                return [answer.body for answer in await asyncio.gather(*answers)]

            assert await pull(one.url) == blobs
            asked = len(upstream.requests)
            began = monotonic()
            assert await pull(other.url) == blobs
            assert monotonic() - began > _AT_LEAST
            # To clients it sends as fast as it can, and nothing of it came from upstream.
            assert len(upstream.requests) == asked
