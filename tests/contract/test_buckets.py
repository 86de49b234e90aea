"""A bucket that fails, is slow, or refuses the login, and one that is there again."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.oci.reference import Digest
from proxy.stores.bucket.calls import BucketError
from proxy.stores.bucket.providers import Secret
from tests.kit.blob_stores import (
    CONTENT,
    DIGEST,
    keep,
    stored,
)
from tests.kit.interceptor import interceptor
from tests.kit.processes import LOOPBACK, free_port
from tests.kit.s3_gateway import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.stores.bucket.blobs import ObjectBlobs
    from tests.kit.interceptor import Forward
    from tests.kit.s3_gateway import Gateway

KEY: Final = "again/tags/docker.io/library/alpine/+/latest"


async def test_a_bucket_that_is_not_there_has_nothing_and_costs_nothing_after_a_moment(
    at: Callable[..., ObjectBlobs],
) -> None:
    errors: list[str] = []
    tried = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, LOOPBACK, free_port())
    port = server.sockets[0].getsockname()[1]
    store = at(endpoint=f"http://{LOOPBACK}:{port}", on_error=errors.append, clock=lambda: 0.0)
    async with server:
        with capture_logs() as log:
            for _ in range(3):
                assert await store.open(DIGEST) is None
            before = tried
            with pytest.raises(OSError, match="circuit is open"):
                await store.bucket.get(KEY)
            assert await store.size(DIGEST) is None
            assert await store.url(DIGEST) is None
            await keep(store, CONTENT)
            with pytest.raises(OSError, match="circuit is open"):
                await store.bucket.put(KEY, b"x")
            with pytest.raises(OSError, match="circuit is open"):
                await store.bucket.create(KEY, b"x")
            with pytest.raises(OSError, match="circuit is open"):
                await store.bucket.delete(KEY)
            with pytest.raises(OSError, match="circuit is open"):
                await store.bucket.delete("blobs/x")
            assert tried == before > 0
    assert errors[:3] == ["look"] * 3
    assert len([line for line in log if line["event"] == "bucket.circuit_opened"]) == 1


async def test_a_bucket_that_takes_no_connection_is_told_of(
    at: Callable[..., ObjectBlobs],
) -> None:
    store = at(endpoint=f"http://{LOOPBACK}:{free_port()}")
    with capture_logs() as log:
        for _ in range(3):
            assert await store.open(DIGEST) is None
    assert [line["reason"] for line in log if line["event"] == "bucket.circuit_opened"] == [
        "the connection failed"
    ]
    assert await store.bucket.warning() == "s3://lighterage cannot be used: the connection failed"


async def test_a_missing_bucket_does_not_work_again(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    """The 404 of a HEAD does not say what is missing, and is no sign that the bucket is there."""
    missing, now = True, 0.0

    async def answer(request: web.BaseRequest, forward: Forward) -> web.Response:
        if not missing:
            return await forward(request)
        code = "" if request.method == "HEAD" else "<Error><Code>NoSuchBucket</Code></Error>"
        return web.Response(status=404, text=code, content_type="application/xml")

    async with interceptor(gateway, answer) as endpoint:
        store = at(endpoint=endpoint)
        store.bucket._calls._breaker._clock = lambda: now
        reason = "there is no such bucket; create it, or name another one"
        assert await store.bucket.warning() == f"s3://lighterage cannot be used: {reason}"
        with capture_logs() as log:
            for _ in range(6):
                assert await store.size(DIGEST) is None
                now += 1000.0
        assert "bucket.circuit_closed" not in [line["event"] for line in log]
        assert {line["reason"] for line in log if "reason" in line} == {reason}
        missing = False
        seen = []
        for _ in range(4):
            now += 1000.0
            seen.append(await store.bucket.warning())
        assert seen[-1] is None, seen


async def test_a_url_that_is_made_without_the_bucket_says_nothing_of_how_it_is(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    broken = False

    async def sometimes(request: web.BaseRequest, forward: Forward) -> web.Response:
        return web.Response(status=403) if broken else await forward(request)

    async with interceptor(gateway, sometimes) as endpoint:
        store = at(endpoint=endpoint)
        await keep(store, CONTENT)
        broken = True
        for _ in range(3):
            assert await store.size(Digest.of(b"other")) is None
            await store.url(DIGEST)
        assert await store.url(DIGEST) is None, "nobody is sent to a bucket that fails"
        with pytest.raises(OSError, match="circuit is open"):
            await store.bucket.put(KEY, b"x")


async def test_a_bucket_that_says_nothing_is_waited_for_for_seconds(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    ended = asyncio.Event()

    async def silent(request: web.BaseRequest, forward: Forward) -> web.Response:
        await ended.wait()
        return await forward(request)

    async with interceptor(gateway, silent) as endpoint:
        store = at(endpoint=endpoint, timeout=0.3)
        began = time.monotonic()
        assert await store.open(DIGEST) is None, "though there is no answer yet"
        assert time.monotonic() - began > 0.2
        assert (
            await store.bucket.warning() == "s3://lighterage cannot be used: the request timed out"
        )
        ended.set()


async def test_a_bucket_that_comes_back_is_used_again(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    broken = True

    async def sometimes(request: web.BaseRequest, forward: Forward) -> web.Response:
        return web.Response(status=403) if broken else await forward(request)

    async with interceptor(gateway, sometimes) as endpoint:
        store = at(endpoint=endpoint)
        with capture_logs() as log:
            for _ in range(5):
                assert await store.open(DIGEST) is None
            broken = False
            async with asyncio.timeout(60):
                while (warning := await store.bucket.warning()) and "cannot" in warning:  # noqa: ASYNC110 -- nothing but time brings it back
                    await asyncio.sleep(0.05)
            assert (
                warning
                == "s3://lighterage failed recently, or refuses some requests: 403 Forbidden"
            )
            assert await store.bucket.warning() is None
        await keep(store, CONTENT)
        assert await stored(store, DIGEST) == CONTENT
    assert [line["event"] for line in log] == ["bucket.circuit_opened", "bucket.circuit_closed"]


async def test_no_credential_is_in_what_is_said_of_a_login_that_is_not_good(
    at: Callable[..., ObjectBlobs], tmp_path: Path
) -> None:
    store = at(secret=Secret("a-wrong-secret"))
    with capture_logs() as log:
        assert await store.open(DIGEST) is None
        with pytest.raises(BucketError) as said:
            await store.bucket.put(KEY, b"x")
        warning = await store.bucket.warning()
    text = f"{log} {said.value} {warning}"
    assert "403 Forbidden SignatureDoesNotMatch" in text
    for word in ("a-wrong-secret", SECRET_KEY, ACCESS_KEY, "AWS4-HMAC", tmp_path.name):
        assert word not in text


async def test_a_bucket_that_does_not_exist_is_said_to_be_missing(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    store = at(name="elsewhere")
    gateway.bucket("elsewhere").rmdir()
    assert await store.bucket.warning() == (
        "s3://elsewhere cannot be used: there is no such bucket; create it, or name another one"
    )
    with pytest.raises(OSError, match="there is no such bucket"):
        await store.bucket.put(KEY, b"x")


async def test_a_secret_in_a_file_may_change(
    tmp_path: Path,
    at: Callable[..., ObjectBlobs],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.stores.bucket.providers._RELOAD_INTERVAL", timedelta(seconds=-1))
    file = tmp_path / "secret"
    store = at(secret=Secret(file=file))
    assert await store.bucket.warning() == (
        f"s3://lighterage cannot be used: {file} cannot be read"
    )
    file.write_text("a-wrong-secret\n")
    assert "403" in str(await store.bucket.warning())
    file.write_text(f"{SECRET_KEY}\n")
    await store.bucket.put(KEY, b"x")
    assert await store.bucket.get(KEY) == b"x"
