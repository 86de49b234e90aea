"""Limits of the process: connections, file descriptors, and a disk that is full."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.web.server import MAX_OVER_LIMIT
from tests import tools
from tests.e2e import inside
from tests.kit import images, load
from tests.kit.processes import Proxy
from tests.kit.proxy import push, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.e2e

IMAGE: Final = images.docker()
LARGE: Final = images.noise("large", 8 * images.MEBIBYTE)
LARGE_PATH: Final = f"/v2/cargo/blobs/{images.digest(LARGE)}"
SLOWLY: Final = Fault(pace=0.01)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, "cargo", "1", IMAGE)
        upstream.add_blob("cargo", LARGE)
        yield upstream


def limited(directory: Path, upstream: ScriptedUpstream, **limits: int) -> Proxy:
    settings = {"limits": limits, "shutdown": {"grace": "2s"}}
    return Proxy(directory, upstream=upstream.url, settings=settings)


async def test_one_client_too_many_is_told_to_come_back(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", LARGE_PATH, SLOWLY)
    with limited(tmp_path, upstream, connections=3) as proxy:
        busy = [asyncio.ensure_future(load.get(proxy.port, LARGE_PATH)) for _ in range(3)]
        await until(lambda: inside.clients(proxy) == 3)
        refused = await load.get(proxy.port, "/v2/")
        assert (refused.status, refused.is_last) == (503, True)
        assert int(refused.headers["retry-after"]) >= 1
        assert json.loads(refused.body)["errors"][0]["code"] == "TOOMANYREQUESTS"
        assert [answer.body == LARGE for answer in await asyncio.gather(*busy)] == [True] * 3
        assert (await load.get(proxy.port, "/v2/")).status == 200
        metrics = await inside.metrics(proxy)
        assert 'lighterage_turned_away_total{limit="connections"} 1.0' in metrics


async def test_a_client_that_only_waits_makes_room(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    with limited(tmp_path, upstream, connections=3) as proxy:
        async with AsyncExitStack() as stack:
            waiting = [
                await stack.enter_async_context(load.Connection(proxy.port)) for _ in range(3)
            ]
            for connection in waiting:
                assert (await connection.get("/v2/")).status == 200
            assert (await load.get(proxy.port, "/v2/")).status == 200
            with pytest.raises(load.NotBegunError):
                await waiting[0].get("/v2/")
            assert (await waiting[2].get("/v2/")).status == 200


async def test_far_too_many_are_not_even_answered(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", LARGE_PATH, Fault(pace=0.04))
    with limited(tmp_path, upstream, connections=1) as proxy:
        # Who looked whether it listens has the only place for a moment.
        await until(lambda: inside.clients(proxy) == 0)
        await asyncio.sleep(0.2)
        busy = asyncio.ensure_future(load.get(proxy.port, LARGE_PATH))
        await until(lambda: upstream.count("GET", LARGE_PATH) == 1)
        async with AsyncExitStack() as stack:
            crowd = [
                await stack.enter_async_context(load.Connection(proxy.port))
                for _ in range(MAX_OVER_LIMIT + 20)
            ]
            for connection in crowd:
                await connection.open()
            await until(lambda: inside.clients(proxy) == 1 + MAX_OVER_LIMIT)
            answers = await asyncio.gather(
                *(connection.get("/v2/") for connection in crowd), return_exceptions=True
            )
        told, not_told = answers[:MAX_OVER_LIMIT], answers[MAX_OVER_LIMIT:]
        assert all(isinstance(answer, load.Answer) and answer.status == 503 for answer in told)
        assert all(isinstance(answer, load.NotBegunError) for answer in not_told)
        assert (await busy).body == LARGE


async def test_file_descriptors_are_raised_and_a_shortage_is_said(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    proxy = limited(tmp_path, upstream)
    proxy.command = ["sh", "-c", 'ulimit -n 700; ulimit -Sn 300; exec "$0" "$@"', *proxy.command]
    with proxy:
        limits = _limits(proxy)
        assert limits == ["700", "700"]
        answer = await load.get(proxy.admin_port, "/readyz")
        assert answer.status == 200
        assert "the system allows 700" in json.loads(answer.body)["warnings"]["file_descriptors"]
    (warning,) = inside.log(proxy, "file_descriptors.limited")
    assert warning["level"] == "warning"


async def test_limits_that_fit_the_system_warn_of_nothing(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    proxy = limited(tmp_path, upstream, connections=50, downloads=10, passed_through=5)
    proxy.command = ["sh", "-c", 'ulimit -n 700; exec "$0" "$@"', *proxy.command]
    with proxy:
        answer = await load.get(proxy.admin_port, "/readyz")
        assert json.loads(answer.body)["warnings"] == {}


async def test_a_full_disk_keeps_no_image_from_anybody(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    """All of it: the spool, the records and SQLite; but what is derived cannot be handed out."""
    with _small_disk(tmp_path / "data", mebibytes=6), limited(tmp_path, upstream) as proxy:
        for _ in range(2):
            assert (await load.get(proxy.port, LARGE_PATH)).body == LARGE
        _fill(tmp_path / "data")
        manifest = await load.get(proxy.port, "/v2/cargo/manifests/1", MediaType.V2S2)
        assert (manifest.status, manifest.body) == (200, IMAGE.manifest)
        for digest, content in IMAGE.blobs.items():
            blob = await load.get(proxy.port, f"/v2/cargo/blobs/{digest}")
            assert (blob.status, blob.body) == (200, content)
        derived = await load.get(proxy.port, "/v2/cargo/manifests/1", MediaType.V2S1_SIGNED)
        assert derived.status == 503
        metrics = await inside.metrics(proxy)
        assert 'lighterage_blobs_passed_through_total{reason="disk"}' in metrics
        (tmp_path / "data" / "ballast").unlink()
        await asyncio.sleep(5.1)
        for digest, content in IMAGE.blobs.items():
            path = f"/v2/cargo/blobs/{digest}"
            assert (await load.get(proxy.port, path)).body == content
            blob = await load.get(proxy.port, path)
            assert blob.body == content
            assert blob.headers["cache-status"] == "Lighterage; hit"
        converted = await load.get(proxy.port, "/v2/cargo/manifests/1", MediaType.V2S1_SIGNED)
        assert converted.status == 200
    assert inside.log(proxy, "request.crashed") == []
    assert proxy.errors.read_bytes() == b""


@contextmanager
def _small_disk(directory: Path, *, mebibytes: int) -> Iterator[None]:
    tools.require_root("mount")
    directory.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", directory], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def _fill(directory: Path) -> None:
    with (directory / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass


def _limits(proxy: Proxy) -> list[str]:
    (line,) = (
        line
        for line in Path(f"/proc/{proxy.pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    )
    return line.split()[3:5]
