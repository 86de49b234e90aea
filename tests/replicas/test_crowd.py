"""Sixteen replicas pull one large blob at once: the upstream sends it once, and each a little."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from tests.kit.processes import Proxy

_REPLICAS: Final = 16
_SIZE: Final = 64 * 2**20
_BLOB: Final = 2**20
_SOON: Final = 60.0
_MAX_GROWTH: Final = 60 * 2**20


def _resident(proxy: Proxy) -> int:
    pages = Path(f"/proc/{proxy.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _bytes(proxy: Proxy, name: str) -> float:
    """The sum of the samples of a metric whose line begins so."""
    lines = ask(f"{proxy.admin_url}/metrics").body.decode().splitlines()
    samples = (line for line in lines if line.startswith(f"lighterage_peer_{name}"))
    return sum(float(line.rpartition(" ")[2]) for line in samples)


async def test_a_crowd_is_a_tree(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        content = os.urandom(_SIZE)
        digest = upstream.add_blob("library/cargo", content)
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(
            tmp_path, _REPLICAS, upstreams=upstreams, peers={"fan_out": 2, "timeout": "10s"}
        ) as replicas:
            before = {proxy: _resident(proxy) for proxy in replicas.running}
            largest = dict(before)

            async def pull(session: aiohttp.ClientSession, proxy: Proxy) -> str:
                hasher = hashlib.sha256()
                url = f"{proxy.url}/v2/library/cargo/blobs/{digest}"
                async with session.get(url) as response:
                    async for chunk in response.content.iter_any():
                        hasher.update(chunk)
                        largest[proxy] = max(largest[proxy], _resident(proxy))
                return f"sha256:{hasher.hexdigest()}"

            timeout = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                found = await asyncio.gather(*(pull(session, one) for one in replicas.running))
            sent = {
                proxy.directory.name: _bytes(proxy, "sent_bytes_total") / _SIZE
                for proxy in replicas.running
            }
    assert set(found) == {digest}
    assert upstream.count("GET", "*/blobs/*") == 1
    assert max(sent.values()) <= 2.5, sent
    assert max(largest[proxy] - before[proxy] for proxy in before) <= _MAX_GROWTH


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
