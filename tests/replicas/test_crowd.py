"""Sixteen replicas pull one large blob at once: the upstream sends it once, and each a little."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.peers.owners import rank
from proxy.peers.questions import Question, Subject
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from tests.kit.processes import Proxy

_REPLICAS: Final = 16
_SIZE: Final = 64 * 2**20
_BLOB: Final = 2**20
_SOON: Final = 60.0
_MAX_GROWTH: Final = 60 * 2**20
# The median first byte from another replica, compared with that from the owner, in the best round.
_MAX_DELAY: Final = 1.5
_ROUNDS: Final = 5


def _resident(proxy: Proxy) -> int:
    pages = Path(f"/proc/{proxy.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _bytes(proxy: Proxy, name: str) -> float:
    """The sum of the samples of a metric whose line begins so."""
    lines = ask(f"{proxy.admin_url}/metrics").body.decode().splitlines()
    samples = (line for line in lines if line.startswith(f"lighterage_peer_{name}"))
    return sum(float(line.rpartition(" ")[2]) for line in samples)


class _Crowd:
    """Clients of all replicas that pull one blob at the same moment."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.before = {proxy: _resident(proxy) for proxy in replicas.running}
        self.largest = dict(self.before)
        # When the first byte came from each replica, of the last blob.
        self.first: dict[str, float] = {}

    async def pull(self, digest: Digest) -> set[str]:
        """What the clients got; one digest if all is well."""
        self.first.clear()
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            began = monotonic()
            pulls = (
                self._pull(session, proxy, address, digest, began)
                for proxy, address in zip(
                    self.replicas.running, self.replicas.addresses, strict=True
                )
            )
            return set(await asyncio.gather(*pulls))

    async def _pull(
        self,
        session: aiohttp.ClientSession,
        proxy: Proxy,
        address: str,
        digest: Digest,
        began: float,
    ) -> str:
        hasher = hashlib.sha256()
        async with session.get(f"{proxy.url}/v2/library/cargo/blobs/{digest}") as response:
            async for chunk in response.content.iter_any():
                self.first.setdefault(address, monotonic() - began)
                hasher.update(chunk)
                self.largest[proxy] = max(self.largest[proxy], _resident(proxy))
        return f"sha256:{hasher.hexdigest()}"

    def delay(self, digest: Digest) -> float:
        """How much later the first byte came from another replica than from the owner."""
        key = Question(Subject.BLOB, "docker.io", "library/cargo", digest).key
        owner = rank(key, self.replicas.addresses)[0]
        others = [first for address, first in self.first.items() if address != owner]
        return median(others) / self.first[owner]


async def test_a_crowd_is_a_tree(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(
            tmp_path, _REPLICAS, upstreams=upstreams, peers={"fan_out": 2, "timeout": "10s"}
        ) as replicas:
            crowd = _Crowd(replicas)
            delay, rounds = math.inf, 0
            # How soon a process gets a core when others want it, too, is chance.
            while delay > _MAX_DELAY and rounds < _ROUNDS:
                digest = upstream.add_blob("library/cargo", os.urandom(_SIZE))
                assert await crowd.pull(digest) == {digest}
                delay, rounds = min(delay, crowd.delay(digest)), rounds + 1
            sent = {
                proxy.directory.name: _bytes(proxy, "sent_bytes_total") / _SIZE
                for proxy in replicas.running
            }
    assert upstream.count("GET", "*/blobs/*") == rounds
    assert max(sent.values()) <= 2.5 * rounds, sent
    growth = {proxy: crowd.largest[proxy] - crowd.before[proxy] for proxy in crowd.before}
    assert max(growth.values()) <= _MAX_GROWTH, growth
    assert delay <= _MAX_DELAY


async def test_a_blob_crosses_to_a_zone_once(tmp_path: Path) -> None:
    """As soon as the replicas have told each other where they are."""
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 6, upstreams=upstreams, zones=["a", "b"]) as replicas:
            crossed = 6.0
            async with asyncio.timeout(_SOON), aiohttp.ClientSession() as session:
                while crossed > 1.1:
                    digest = upstream.add_blob("library/cargo", os.urandom(_BLOB))
                    before = _crossed(replicas)
                    for proxy in replicas.running:
                        url = f"{proxy.url}/v2/library/cargo/blobs/{digest}"
                        async with session.get(url) as response:
                            assert len(await response.read()) == _BLOB
                    crossed = (_crossed(replicas) - before) / _BLOB
    assert crossed > 0.9


def _crossed(replicas: Replicas) -> float:
    name = 'received_bytes_total{zone="other"}'
    return sum(_bytes(proxy, name) for proxy in replicas.running)
