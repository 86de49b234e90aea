"""A disk on which directories vanish or cannot be read: each is a miss, and nothing more."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.catalog_files import derived_file, remove_index
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

IMAGE: Final = images.docker_with_empty_steps("stored")
SMALL: Final = images.noise("small", 5_000)
LARGE: Final = images.noise("large", 500_000)
STORED: Final = "Lighterage; fwd=miss; stored"
NOT_STORED: Final = "Lighterage; fwd=miss; detail=not-stored"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/cargo", "1", IMAGE)
        push(upstream, "library/cargo", "2", images.docker("another"))
        for content in (SMALL, LARGE):
            upstream.add_blob("library/cargo", content)
        yield upstream


def blob(content: bytes) -> str:
    return f"/v2/library/cargo/blobs/{Digest.of(content)}"


def file_of(data: Path, content: bytes) -> Path:
    digest = Digest.of(content)
    return data / "blobs/sha256" / digest.hex[:2] / digest.hex


def remove(data: Path, pattern: str) -> None:
    for directory in list(data.glob(pattern)):
        shutil.rmtree(directory)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["spool", "blobs", "blobs/sha256", "blobs/sha256/*", "derived"])
async def test_a_directory_that_vanishes_is_made_again(
    upstream: ScriptedUpstream, data_dir: Path, name: str, workers: int
) -> None:
    """With `workers: 2` tags and tokens have leases, which are files, too."""
    chosen = settings(upstream, data_dir).model_copy(update={"workers": workers})
    async with Proxy(chosen) as proxy:
        await proxy.get("/v2/library/cargo/manifests/1")
        await proxy.get(blob(LARGE))
        remove(data_dir, name)
        # docker 1.8, which gets what was just made, and what is made now.
        legacy = [await proxy.get(f"/v2/library/cargo/manifests/{tag}") for tag in ("1", "2")]
        for made in legacy:
            assert made.status == 200
            again = await proxy.get(f"/v2/library/cargo/manifests/{made.digest}")
            assert (again.status, again.body) == (200, made.body)
        small = await proxy.get(blob(SMALL))
        assert (small.body, small.cache) == (SMALL, STORED)
        large = await proxy.get(blob(LARGE))
        assert large.body == LARGE
        for content in (SMALL, LARGE):
            answer = await proxy.get(blob(content))
            assert (answer.body, answer.cache) == (content, "Lighterage; hit")
        await proxy.restart()
        for made in legacy:
            assert (await proxy.get(f"/v2/library/cargo/manifests/{made.digest}")).status == 200


def _file_in_place_of(name: str) -> Callable[[Path], None]:
    def replace(data: Path) -> None:
        shutil.rmtree(data / name, ignore_errors=True)
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"")

    return replace


def _loop_in_place_of(name: str) -> Callable[[Path], None]:
    def replace(data: Path) -> None:
        shutil.rmtree(data / name)
        (data / name).symlink_to(data / name)

    return replace


UNREADABLE: Final = {
    "blobs is a file": _file_in_place_of("blobs"),
    "blobs is a link to itself": _loop_in_place_of("blobs"),
    "blobs/sha256 is a file": _file_in_place_of("blobs/sha256"),
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_directory_that_cannot_be_read_is_a_miss_and_a_warning(
    proxy: Proxy, data_dir: Path, damage: Callable[[Path], None]
) -> None:
    await proxy.get(blob(LARGE))
    failures = metric("disk_errors_total", operation="open")
    damage(data_dir)
    for content in (LARGE, SMALL):
        for _ in range(2):
            answer = await proxy.get(blob(content))
            assert (answer.body, answer.cache) == (content, NOT_STORED)
        head = await proxy.head(blob(content))
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))
        part = await proxy.get(blob(content), Range="bytes=10-19")
        assert (part.status, part.body) == (206, content[10:20])
    assert (await proxy.get("/v2/library/cargo/manifests/2", Accept="*/*")).status == 200
    assert metric("disk_errors_total", operation="open") > failures
    assert (await proxy.line("disk.failed"))["level"] == "warning"
    warning = await proxy.services.dependencies["disk"].warning()
    assert warning is not None
    assert "blobs" in warning


async def test_a_spool_that_cannot_be_used_is_no_reason_for_an_error(
    proxy: Proxy, data_dir: Path
) -> None:
    _file_in_place_of("spool")(data_dir)
    for content in (SMALL, LARGE):
        answer = await proxy.get(blob(content))
        assert (answer.body, answer.cache) == (content, NOT_STORED)
        part = await proxy.get(blob(content), Range="bytes=10-19")
        assert (part.status, part.body) == (206, content[10:20])
    assert await proxy.services.dependencies["disk"].warning() is not None
    (data_dir / "spool").unlink()


@pytest.mark.parametrize("kind", ["directory", "pipe", "link to nothing", "link to itself"])
async def test_what_is_no_file_is_no_blob(proxy: Proxy, data_dir: Path, kind: str) -> None:
    await proxy.get(blob(LARGE))
    path = file_of(data_dir, LARGE)
    path.unlink()
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link to nothing":
            path.symlink_to(data_dir / "nothing")
        case _:
            path.symlink_to(path)
    for _ in range(2):
        assert (await proxy.head(blob(LARGE))).headers["Content-Length"] == str(len(LARGE))
        assert (await proxy.get(blob(LARGE))).body == LARGE
        assert (await proxy.get(blob(LARGE), Range="bytes=-9")).body == LARGE[-9:]


async def test_a_derived_manifest_that_cannot_be_read_is_made_again(
    proxy: Proxy, data_dir: Path
) -> None:
    legacy = await proxy.get("/v2/library/cargo/manifests/1")
    file = derived_file(data_dir, legacy.digest)
    await proxy.stop()
    remove_index(data_dir)
    file.unlink()
    file.symlink_to(file)
    await proxy.start()
    again = await proxy.get("/v2/library/cargo/manifests/1")
    assert (again.status, again.body) == (200, legacy.body)
    by_digest = await proxy.get(f"/v2/library/cargo/manifests/{legacy.digest}")
    assert (by_digest.status, by_digest.body) == (200, legacy.body)
