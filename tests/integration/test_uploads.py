"""What clients see of a blob while it is uploaded, and of uploads that fail."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web

from tests.kit import images
from tests.kit.interceptor import interceptor
from tests.kit.proxy import Proxy, settings
from tests.kit.s3_gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.interceptor import Forward
    from tests.kit.scripted_upstream import ScriptedUpstream

CONFIG: Final = json.loads(images.docker_with_empty_steps().manifest)["config"]["digest"]
BLOB: Final = f"/v2/library/cargo/blobs/{CONFIG}"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "gateway") as gateway:
        yield gateway


def blobs(gateway: Gateway, endpoint: str) -> dict[str, Any]:
    chosen = gateway.settings()
    chosen["s3"]["endpoint"] = endpoint
    return chosen


async def test_nobody_waits_for_an_upload_and_the_end_does(
    upstream: ScriptedUpstream, gateway: Gateway, data_dir: Path
) -> None:
    """As long as one runs, the proxy counts a transfer, for which it waits when it drains."""
    may_end, asked = asyncio.Event(), asyncio.Event()

    async def held(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.method == "PUT" and "/blobs/" in request.path:
            asked.set()
            await may_end.wait()
        return await forward(request)

    async with (
        interceptor(gateway, held) as endpoint,
        Proxy(settings(upstream, data_dir, blobs=blobs(gateway, endpoint))) as proxy,
    ):
        first = await proxy.get(BLOB)
        await asyncio.wait_for(asked.wait(), 60)
        during = await proxy.get(BLOB)
        assert (first.status, during.status) == (200, 200)
        assert first.body == during.body
        assert first.cache == "Lighterage; fwd=miss"
        assert len(proxy.services.transfers) == 1
        may_end.set()
        async with asyncio.timeout(60):
            while len(proxy.services.transfers):  # noqa: ASYNC110 -- nothing tells a test
                await asyncio.sleep(0.01)
        assert (await proxy.get(BLOB)).status == 307
        assert upstream.count("GET", BLOB) == 1


async def test_many_clients_are_one_transfer_also_where_nothing_can_be_uploaded(
    upstream: ScriptedUpstream, gateway: Gateway, data_dir: Path
) -> None:
    everybody_is_served = asyncio.Event()

    async def refusing(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.method == "PUT" and "/blobs/" in request.path:
            await everybody_is_served.wait()
            return web.Response(status=403)
        return await forward(request)

    async with (
        interceptor(gateway, refusing) as endpoint,
        Proxy(settings(upstream, data_dir, blobs=blobs(gateway, endpoint))) as proxy,
    ):
        for round_ in (1, 2):
            everybody_is_served.clear()
            answers = await asyncio.gather(*(proxy.get(BLOB) for _ in range(20)))
            assert {answer.status for answer in answers} == {200}
            assert not any("stored" in answer.cache for answer in answers)
            assert len({answer.body for answer in answers}) == 1
            everybody_is_served.set()
            async with asyncio.timeout(60):
                while len(proxy.services.transfers):  # noqa: ASYNC110 -- nothing tells a test
                    await asyncio.sleep(0.01)
            assert upstream.count("GET", BLOB) == round_
    assert list((data_dir / "spool").glob("*/*")) == []
    assert [line["event"] for line in proxy.log() if "upload" in line["event"]] == [
        "blob.upload_failed"
    ] * 2
