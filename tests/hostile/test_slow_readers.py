"""Clients that do not read what they asked for keep nobody else from it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.hostile import bystander
from tests.hostile.slow_readers import addresses, read_slowly, reading_nothing
from tests.kit import images, load, processes
from tests.kit.proxy import Proxy, metric, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

SIZE: Final = 16 * images.MEBIBYTE
LARGE: Final = images.noise("large", SIZE)


def large(upstream: ScriptedUpstream) -> str:
    return f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, LARGE)}"


def cut(reason: str) -> float:
    return metric("connections_cut_total", reason=reason)


@pytest.mark.parametrize("count", [1, 64], ids=["one address", "64 addresses"])
async def test_all_connections_are_taken_by_readers_of_a_stored_blob(
    upstream: ScriptedUpstream, data_dir: Path, count: int
) -> None:
    limits = {"connections": 300}
    async with Proxy(settings(upstream, data_dir, limits=limits)) as proxy:
        path = large(upstream)
        assert (await proxy.get(path)).body == LARGE
        await proxy.restart()
        port = proxy.address[1]
        async with reading_nothing(port, path, 300, sources=addresses(count)):
            await asyncio.sleep(1)
            before = cut("gave_way")
            for _ in range(3):
                await bystander.pull(proxy)
            assert cut("gave_way") > before
            async with reading_nothing(port, path, 50, sources=addresses(count)):
                await bystander.pull(proxy)


@pytest.mark.parametrize("count", [1, 64], ids=["one address", "64 addresses"])
async def test_hundreds_of_readers_of_a_range_of_a_cold_blob(
    upstream: ScriptedUpstream, tmp_path: Path, count: int
) -> None:
    """At defaults: the upstream has connections left, and the proxy has memory."""
    path = large(upstream)
    with processes.Proxy(tmp_path, upstream=upstream.url) as proxy:
        headers = f"Range: bytes={SIZE // 2}-\r\n"
        sources = addresses(count)
        async with reading_nothing(proxy.port, path, 512, sources=sources, headers=headers):
            await asyncio.sleep(2)
            # passed_through, the transfer of the blob, and what is idle.
            assert upstream.open_connections < 100
            await bystander.pull_from(proxy.port)
            assert _resident(proxy.pid) < 300 * images.MEBIBYTE


async def test_a_reader_that_takes_nothing_is_disconnected(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    chosen = settings(upstream, data_dir, limits={"connections": 3, "send_timeout": "2s"})
    async with Proxy(chosen) as proxy:
        path = large(upstream)
        before = cut("stalled")
        async with reading_nothing(proxy.address[1], path, 3):
            await until(lambda: cut("stalled") == before + 3)
            await bystander.pull(proxy)
        line = (await proxy.lines(3, status=200, error="the client reads too slowly"))[0]
        assert line["bytes"] < SIZE


async def test_a_reader_below_the_minimum_rate_is_disconnected_and_another_is_not(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    limits = {"send_timeout": "2s", "minimum_rate": "256KiB"}
    async with Proxy(settings(upstream, data_dir, limits=limits)) as proxy:
        path, port = large(upstream), proxy.address[1]
        before = cut("rate")
        async with (
            reading_nothing(port, path, 1) as (slow,),
            proxy.open("GET", path) as steady,
        ):
            dripping = asyncio.ensure_future(read_slowly(slow, size=2048, every=0.1))
            received = 0
            async for piece in steady.content.iter_chunked(64 * 1024):
                received += len(piece)
                await asyncio.sleep(0.02)
            assert received == SIZE
            assert await dripping < SIZE
        assert cut("rate") == before + 1


async def test_the_clients_of_a_load_balancer_are_told_apart(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    limits = {"connections": 20, "trusted_proxies": ["127.0.0.0/8"]}
    async with Proxy(settings(upstream, data_dir, limits=limits)) as proxy:
        path, port = large(upstream), proxy.address[1]
        forwarded = "X-Forwarded-For: 127.0.0.2, 198.51.100.1\r\n"
        async with reading_nothing(port, path, 20, headers=forwarded):
            await asyncio.sleep(1)
            for _ in range(3):
                manifest = await proxy.get(bystander.MANIFEST, X_Forwarded_For="198.51.100.2")
                assert manifest.status == 200
        lines = await proxy.lines(3, client="198.51.100.2")
        assert [line["status"] for line in lines] == [200] * 3


async def test_a_client_has_no_more_than_its_fixed_share(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    limits = {"per_client": {"connections": 10, "cold": 2}}
    async with Proxy(settings(upstream, data_dir, limits=limits)) as proxy:
        path, port = large(upstream), proxy.address[1]
        upstream.fault("GET", path, Fault(cut=2 * images.MEBIBYTE, stall=True))
        async with reading_nothing(port, path, 2):
            await asyncio.sleep(0.5)
            refused = await proxy.get(path)
            assert (refused.status, refused.code) == (503, "TOOMANYREQUESTS")
            await bystander.pull(proxy)
            async with reading_nothing(port, "/v2/", 8):
                assert (await load.get(port, "/v2/")).status == 503
                await bystander.pull(proxy)


def _resident(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
