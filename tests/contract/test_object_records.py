"""Records as objects: in which order, and where a server can do less."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from proxy.oci.reference import Digest
from tests.contract.objects import KEY
from tests.kit.blob_stores import (
    DIGEST,
)
from tests.kit.interceptor import interceptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.stores.bucket.blobs import ObjectBlobs
    from tests.kit.interceptor import Forward
    from tests.kit.s3_gateway import Gateway

LINK: Final = f"link:docker.io/library/alpine/{DIGEST}"


async def test_links_are_written_at_once_and_after_all_else(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    running, most = 0, 0
    order: list[str] = []

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        nonlocal running, most
        if request.method != "PUT":
            return await forward(request)
        running += 1
        most = max(most, running)
        order.append(request.path.partition("/records/")[2].partition("/")[0])
        await asyncio.sleep(0.05)
        running -= 1
        return await forward(request)

    links = [(f"link:docker.io/library/alpine/{Digest.of(bytes([n]))}", b"") for n in range(20)]
    records = [(f"manifest:{DIGEST}", b"m"), (f"origin:{DIGEST}", b"o"), *links, (KEY, b"t")]
    async with interceptor(gateway, slow) as endpoint:
        store = at(endpoint=endpoint)
        await store.put_records(records)
        assert order == ["manifest", "origin", *["link"] * 20, "tag"]
        assert most == 20
        await store.put_records(records)
        assert len(order) == 23, "what is there is not written again"
    store = at()
    assert [await store.record(key) for key, _ in records] == [value for _, value in records]


async def test_what_comes_after_a_record_that_cannot_be_kept_is_not_there(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    async def refusing(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.method == "PUT" and "/origin/" in request.path:
            return web.Response(status=403)
        return await forward(request)

    async with interceptor(gateway, refusing) as endpoint:
        with pytest.raises(OSError, match="403"):
            await at(endpoint=endpoint).put_records(
                [(f"manifest:{DIGEST}", b"m"), (f"origin:{DIGEST}", b"o"), (LINK, b"")]
            )
    store = at()
    assert await store.record(f"manifest:{DIGEST}") == b"m"
    assert await store.record(LINK) is None


@pytest.mark.parametrize("how", ["says so", "does not say so"])
async def test_a_server_that_cannot_create_once_is_asked_in_another_way(
    gateway: Gateway, at: Callable[..., ObjectBlobs], how: str
) -> None:
    conditional = 0

    async def older(request: web.BaseRequest, forward: Forward) -> web.Response:
        nonlocal conditional
        if "If-None-Match" not in request.headers:
            return await forward(request)
        conditional += 1
        if how == "says so":
            return web.Response(status=501, text="<Error><Code>NotImplemented</Code></Error>")
        return web.Response(status=200, headers={"ETag": '"x"'})

    async with interceptor(gateway, older) as endpoint:
        store = at(endpoint=endpoint)
        assert await store.put_new_record(KEY, b"first") == b"first"
        found_out = conditional
        assert await store.put_new_record(KEY, b"second") == b"first"
        assert await store.put_new_record(LINK, b"other") == b"other"
        assert conditional == found_out > 0, "it is found out once"
        assert await at(endpoint=endpoint).put_new_record(KEY, b"third") == b"first"
    assert await at().record(KEY) == b"first"
