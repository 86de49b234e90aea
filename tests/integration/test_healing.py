"""Blobs that are damaged on the disk: the client gets the right bytes, in the same request."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from proxy.stores.disk.open_file import OpenFile
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push, settings, until
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONTENT: Final = images.noise("healed", 3_000_000)
BLOB: Final = Digest.of(CONTENT)
PATH: Final = f"/v2/library/cargo/blobs/{BLOB}"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.add_blob("library/cargo", CONTENT)
        yield upstream


def file_of(data: Path, digest: Digest = BLOB) -> Path:
    return data / "blobs/sha256" / digest.hex[:2] / digest.hex


def damaged() -> float:
    return metric("blobs_damaged_total", found_by="read")


@pytest.mark.parametrize("left", [0, 1, 2_999_999, None], ids=repr)
@pytest.mark.parametrize("asked", ["", "bytes=2500000-2500099"])
async def test_what_is_missing_or_short_is_fetched_again(
    proxy: Proxy, data_dir: Path, left: int | None, asked: str
) -> None:
    wanted = CONTENT[2_500_000:2_500_100] if asked else CONTENT
    await proxy.get(PATH)
    before = damaged()
    if left is None:
        file_of(data_dir).unlink()
    else:
        os.truncate(file_of(data_dir), left)
    answer = await proxy.get(PATH, Range=asked)
    assert (answer.status, answer.body) == (206 if asked else 200, wanted)
    # One small range is passed on; a second one has the whole blob fetched.
    await proxy.get(PATH, Range=asked)
    await until(lambda: file_of(data_dir).exists() and not len(proxy.services.transfers))
    assert file_of(data_dir).read_bytes() == CONTENT
    assert (await proxy.get(PATH, Range=asked)).cache == "Lighterage; hit"
    if left is not None:
        assert damaged() == before + 1
        assert (await proxy.line("blob.damaged"))["digest"] == BLOB
        assert (data_dir / "damaged" / BLOB).stat().st_size == left


async def test_head_does_not_say_what_get_would_not(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    await proxy.get(PATH)
    os.truncate(file_of(data_dir), 10)
    answer = await proxy.head(PATH)
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert upstream.count("HEAD") == 1


@pytest.mark.parametrize("after", [0, 1_000_000])
async def test_a_reader_does_not_notice_that_the_disk_fails_midway(
    proxy: Proxy,
    upstream: ScriptedUpstream,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    await proxy.get(PATH)
    before = damaged()
    bad = file_of(data_dir).stat().st_ino
    real = OpenFile._read_cached

    def read(file: OpenFile, buffer: bytearray, offset: int) -> int:
        if offset >= after and os.fstat(file.fileno()).st_ino == bad:
            raise OSError(5, "Input/output error")
        return real(file, buffer, offset)

    sendfile = os.sendfile

    def send(target: int, file: int, offset: int, count: int) -> int:
        if offset >= after and os.fstat(file).st_ino == bad:
            raise OSError(5, "Input/output error")
        return sendfile(target, file, offset, min(count, max(1, after - offset)))

    monkeypatch.setattr(OpenFile, "_read_cached", read)
    monkeypatch.setattr(os, "sendfile", send)
    answer = await proxy.get(PATH)
    assert (answer.body, answer.whole) == (CONTENT, True)
    assert (await proxy.line("blob.unreadable"))["offset"] >= after
    assert upstream.count("GET") == 2
    assert damaged() == before + 1
    assert (await proxy.get(PATH)).cache == "Lighterage; hit"


async def test_a_file_that_shrinks_under_its_reader_is_fetched_again(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """As much was there when the answer began."""
    await proxy.get(PATH)
    async with proxy.open("GET", PATH) as response:
        os.truncate(file_of(data_dir), 0)
        assert await response.read() == CONTENT
    assert upstream.count("GET") <= 2
    assert (await proxy.get(PATH)).body == CONTENT


async def test_what_cannot_be_mended_is_cut_off_and_costs_nothing_else(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    await proxy.get(PATH)
    os.truncate(file_of(data_dir), 100)
    await upstream.stop()
    answer = await proxy.get(PATH)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    await upstream.start()
    assert (await proxy.get(PATH)).body == CONTENT


async def test_an_image_that_is_pulled_keeps_its_layers(
    upstream: ScriptedUpstream, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by clients that have them already, and ask for nothing but the manifest."""
    content = images.docker_with_empty_steps()
    push(upstream, "library/image", "1", content)
    monkeypatch.setattr("proxy.blobs.recency._EVERY", 60.0)
    async with Proxy(settings(upstream, data_dir)) as proxy:
        files = [file_of(data_dir, Digest(digest)) for digest in content.blobs]
        for digest in content.blobs:
            await proxy.get(f"/v2/library/image/blobs/{digest}")
        for file in files:
            os.utime(file, (1, 1))
        # The first pull fetches the manifest; the next one finds it, and uses its blobs.
        for _ in range(2):
            await proxy.get("/v2/library/image/manifests/1", Accept="*/*")
        await until(lambda: all(file.stat().st_mtime > 1 for file in files))
        # Of a hit, too, but not of each of a thousand.
        for file in files:
            os.utime(file, (1, 1))
        for _ in range(10):
            await proxy.get("/v2/library/image/manifests/1", Accept="*/*")
        assert all(file.stat().st_mtime == 1 for file in files)
        monkeypatch.setattr("proxy.blobs.recency._EVERY", 0.0)
        await proxy.restart()
        for _ in range(2):
            for file in files:
                os.utime(file, (1, 1))
            await proxy.get("/v2/library/image/manifests/1", Accept="*/*")
            await until(lambda: all(file.stat().st_mtime > 1 for file in files))


async def test_an_image_that_is_pulled_again_outlives_others_of_the_same_minute(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """In a store that is small for what is pulled through it, by its manifest alone."""
    content = images.docker_with_empty_steps()
    push(upstream, "library/image", "1", content)
    async with Proxy(settings(upstream, data_dir, blobs={"max_size": "128KiB"})) as proxy:
        for digest in content.blobs:
            await proxy.get(f"/v2/library/image/blobs/{digest}")
        for number in range(20):
            other = images.noise(str(number), 12_000)
            await asyncio.sleep(0.25)
            await proxy.get(f"/v2/library/cargo/blobs/{upstream.add_blob('library/cargo', other)}")
            await proxy.get("/v2/library/image/manifests/1", Accept="*/*")
        assert all(file_of(data_dir, Digest(digest)).exists() for digest in content.blobs)
