"""What an operator sees of the other replicas."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.kit.faults import Fault
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.processes import Proxy

_SOON: Final = 60.0
_SIZE: Final = 200_000


async def _ask(proxy: Proxy, path: str) -> dict[str, Any]:
    answer = await asyncio.to_thread(ask, f"{proxy.admin_url}/{path}")
    found: dict[str, Any] = json.loads(answer.body)
    return found


def _lines(proxy: Proxy) -> list[dict[str, Any]]:
    """Of the log, as far as they are complete."""
    complete, _, _ = proxy.output.read_text().rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]


async def _rows(proxy: Proxy) -> dict[str, dict[str, Any]]:
    return {row["address"]: row for row in (await _ask(proxy, "status"))["peers"]}


async def _all_rows(replicas: Replicas) -> list[dict[str, Any]] | None:
    """Of all replicas, if each of them has heard all others say their names."""
    found: list[dict[str, Any]] = []
    for proxy, own in zip(replicas.running, replicas.addresses, strict=True):
        rows = await _rows(proxy)
        if set(rows) != set(replicas.addresses) - {own}:
            return None
        found += rows.values()
    return found if all(row["name"] for row in found) else None


def _count(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] >= _SIZE for row in rows)


@pytest.mark.parametrize("workers", [1, 2])
async def test_each_replica_shows_how_the_others_are_doing(tmp_path: Path, workers: int) -> None:
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 3, upstreams=upstreams, workers=workers, zones=["a"]) as replicas:
            digest = upstream.add_blob("library/cargo", os.urandom(_SIZE))
            for proxy in replicas.running:
                url = f"{proxy.url}/v2/library/cargo/blobs/{digest}"
                answer = await asyncio.to_thread(ask, url)
                assert len(answer.body) == _SIZE
            async with asyncio.timeout(_SOON):
                # Two of them have read it from another one, which they see within a second.
                while (seen := await _all_rows(replicas)) is None or (  # noqa: ASYNC110
                    _count(seen, "received"),
                    _count(seen, "sent"),
                ) != (2, 2):
                    await asyncio.sleep(0.1)
            for row in seen:
                assert (row["name"], row["zone"]) == (socket.gethostname(), "a")
                assert row["state"] == "live"
                assert row["since"] <= time.time()
            first, _, third = replicas.running
            gone = replicas.addresses[2]
            await asyncio.to_thread(third.kill)
            async with asyncio.timeout(_SOON):
                while (  # noqa: ASYNC110
                    state := (await _rows(first))[gone]["state"]
                ) == "live":
                    await asyncio.sleep(0.1)
            assert state in {"refused", "silent"}
            warnings = (await _ask(first, "readyz"))["warnings"]
            assert gone in warnings["peers"]


async def test_the_log_says_that_another_replica_has_answered(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 2, upstreams=upstreams) as replicas:
            digest = upstream.add_blob("library/cargo", os.urandom(_SIZE))
            for proxy in replicas.running:
                url = f"{proxy.url}/v2/library/cargo/blobs/{digest}"
                assert len((await asyncio.to_thread(ask, url)).body) == _SIZE
            via: list[str] = []
            async with asyncio.timeout(_SOON):
                while len(via) < 2:
                    await asyncio.sleep(0.1)
                    via = [
                        line.get("via", "")
                        for proxy in replicas.running
                        for line in _lines(proxy)
                        if line.get("reference") == digest
                    ]
            assert sorted(via) == ["", "peer"]


async def test_a_transfer_s_source_is_the_replica_or_the_registry(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream:
        digest = upstream.add_blob("library/cargo", os.urandom(4 * 2**20))
        # The transfer goes on until nobody looks any more.
        upstream.fault("GET", "*/blobs/*", Fault(cut=2**20, stall=True))
        upstreams = {"docker.io": {"url": upstream.url, "default": True, "idle_timeout": "10m"}}
        with Replicas(tmp_path, 2, upstreams=upstreams) as replicas:
            urls = [f"{each.url}/v2/library/cargo/blobs/{digest}" for each in replicas.running]
            reading = [asyncio.create_task(asyncio.to_thread(ask, url)) for url in urls]
            sources: list[str] = []
            async with asyncio.timeout(_SOON):
                while len(sources) < 2 or "docker.io" not in sources or len(set(sources)) < 2:
                    await asyncio.sleep(0.1)
                    rows = [(await _ask(each, "status"))["transfers"] for each in replicas.running]
                    sources = [row["source"] for transfers in rows for row in transfers]
            owner = sources.index("docker.io")
            assert sources[1 - owner] == f"replica {replicas.addresses[owner]}"
        await asyncio.gather(*reading, return_exceptions=True)
