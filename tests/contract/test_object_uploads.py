"""Blobs on their way into a bucket, and uploads that do not end well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.ports.blobs import spool_key
from proxy.stores.disk.leases import FlockLeases
from tests.contract.objects import BIG, BIG_DIGEST, is_big, left, spooled
from tests.kit.another_process import another_process
from tests.kit.blob_stores import (
    committed,
    stored,
    whole,
)
from tests.kit.interceptor import interceptor
from tests.kit.s3_gateway import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.stores.bucket.blobs import ObjectBlobs
    from tests.kit.interceptor import Forward
    from tests.kit.s3_gateway import Gateway


async def test_readers_do_not_wait_for_the_upload_and_nobody_finds_it_before_its_end(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    may_end = asyncio.Event()
    asked = asyncio.Event()

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.method in {"PUT", "POST"}:
            asked.set()
            await may_end.wait()
        return await forward(request)

    async with interceptor(gateway, slow) as endpoint:
        store, elsewhere = at(endpoint=endpoint), at()
        spool = await store.spool("docker.io", BIG_DIGEST)
        await spool.expect(len(BIG))
        await spool.append(BIG)
        blob = await spool.commit()
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(spool.persist())
            await asyncio.wait_for(asked.wait(), 30)
            assert is_big(await whole(blob, blob.size))
            growing = await elsewhere.growing("docker.io", BIG_DIGEST)
            assert growing is not None
            assert await growing.verified()
            assert await elsewhere.open(BIG_DIGEST) is None
            assert await store.url(BIG_DIGEST) is None
            may_end.set()
            while not settling.done():
                assert await elsewhere.size(BIG_DIGEST) in {None, len(BIG)}
                await asyncio.sleep(0.01)
        assert await elsewhere.growing("docker.io", BIG_DIGEST) is None
        assert await growing.verified(), "who reads along need not notice that it has moved"
        assert is_big(await whole(growing, growing.total))
        growing.close()
        blob.close()
        spool.close()
    assert is_big(await stored(elsewhere, BIG_DIGEST))


@pytest.mark.parametrize(
    "fails", ["UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload"]
)
async def test_an_upload_that_fails_fails_nobody_and_leaves_nothing(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path, fails: str
) -> None:
    def is_meant(request: web.BaseRequest) -> bool:
        query = request.query
        match fails:
            case "UploadPart":
                return query.get("partNumber") == "2"
            case "CompleteMultipartUpload":
                return request.method == "POST" and "uploadId" in query
            case _:
                return "uploads" in query

    async def broken(request: web.BaseRequest, forward: Forward) -> web.Response:
        if is_meant(request):
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        return await forward(request)

    errors: list[str] = []
    async with interceptor(gateway, broken) as endpoint:
        store = at(endpoint=endpoint, on_error=errors.append)
        spool = await store.spool("docker.io", BIG_DIGEST)
        await spool.append(BIG)
        blob = await spool.commit()
        with capture_logs() as log:
            await spool.persist()
        assert is_big(await whole(blob, blob.size))
        blob.close()
        spool.close()
    assert errors == ["upload"]
    assert [line["event"] for line in log] == ["bucket.circuit_opened", "blob.upload_failed"]
    assert log[0]["reason"] == "403 Forbidden AccessDenied"
    assert await at().open(BIG_DIGEST) is None
    assert spooled(tmp_path / "local") == []
    assert not {name for name in left(gateway, tmp_path) if name.startswith(tmp_path.name)}


async def test_an_upload_that_is_cancelled_is_aborted_and_can_be_done_again(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    """At the end of a shutdown's grace."""
    hold, asked = asyncio.Event(), asyncio.Event()
    aborted: list[str] = []

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.query.get("partNumber") == "3":
            asked.set()
            await hold.wait()
        if request.method == "DELETE":
            aborted.append(request.query.get("uploadId", ""))
        return await forward(request)

    async with interceptor(gateway, slow) as endpoint:
        store = at(endpoint=endpoint)
        spool = await store.spool("docker.io", BIG_DIGEST)
        await spool.expect(len(BIG))
        await spool.append(BIG)
        (await spool.commit()).close()
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(spool.persist())
            await asyncio.wait_for(asked.wait(), 30)
            settling.cancel()
            await asyncio.sleep(0.05)
            hold.set()
        assert settling.cancelled()
        spool.close()
    assert len(aborted) == 1
    assert await at().open(BIG_DIGEST) is None
    again = await at().spool("docker.io", BIG_DIGEST)
    assert again.size == len(BIG)
    (await committed(again)).close()
    again.close()
    assert is_big(await stored(at(), BIG_DIGEST))
    assert spooled(tmp_path / "local") == []


_UPLOAD = """
    from proxy.stores.bucket.blobs import ObjectBlobs
    from proxy.stores.bucket.bucket import Bucket
    from proxy.stores.bucket.providers import Secret, s3
    endpoint, prefix, access, secret, source = arguments
    place = s3("lighterage", region=None, endpoint=endpoint, path_style=True,
               access_key_id=Secret(access), secret_access_key=Secret(secret), ca_file=None)
    bucket = Bucket(place, name="bucket", prefix=prefix, on_error=say)
    store = ObjectBlobs(directory, bucket, redirect=True)
    content = Path(source).read_bytes()
    digest = Digest.of(content)
    lease = await FlockLeases(directory / "spool").claim(spool_key("docker.io", digest))
    spool = await store.spool("docker.io", digest)
    await spool.expect(len(content))
    await spool.append(content)
    (await spool.commit()).close()
    say("committed")
    await spool.persist()
    say("uploaded")
"""


async def test_kill_9_leaves_no_half_object_and_the_next_process_uploads_it(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    hold, asked = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.query.get("partNumber") == "4":
            asked.set()
            await hold.wait()
        return await forward(request)

    local, source = tmp_path / "local", tmp_path / "upstream"
    source.write_bytes(BIG)
    async with interceptor(gateway, slow) as endpoint:
        async with another_process(
            _UPLOAD, local, endpoint, tmp_path.name, ACCESS_KEY, SECRET_KEY, source
        ) as process:
            assert await process.line() == "committed"
            await asyncio.wait_for(asked.wait(), 30)
            store, leases = at(), FlockLeases(local / "spool")
            assert await leases.claim(spool_key("docker.io", BIG_DIGEST)) is None, (
                "others would fetch it a second time"
            )
            growing = await store.growing("docker.io", BIG_DIGEST)
            assert growing is not None
            assert await growing.verified()
            assert is_big(await whole(growing, growing.total))
            growing.close()
            await process.kill()
        hold.set()
    assert await store.open(BIG_DIGEST) is None
    lease = await leases.claim(spool_key("docker.io", BIG_DIGEST))
    assert lease is not None
    spool = await store.spool("docker.io", BIG_DIGEST)
    assert spool.size == len(BIG)
    await spool.expect(len(BIG))
    (await committed(spool)).close()
    spool.close()
    lease.release()
    assert is_big(await stored(store, BIG_DIGEST))
    assert spooled(local) == []
