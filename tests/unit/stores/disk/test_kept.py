"""Kept images as files: what may be kept, and what eviction then passes over."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxy.errors import RequestInvalid
from proxy.oci.kept_image import KeptImage
from proxy.oci.reference import Digest
from proxy.stores.disk.kept import KeptFiles, kept_paths, read_kept
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.quota import DiskQuota

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64 * 1024


def store(layout: Layout, content: bytes) -> Digest:
    digest = Digest.of(content)
    path = layout.blob(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.ljust(SIZE, b"."))
    return digest


def image(name: str, *blobs: Digest) -> KeptImage:
    return KeptImage(f"docker.io/{name}", "1", (), blobs, at=1.0)


async def test_an_image_is_kept_until_it_is_removed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.spools.mkdir()
    files = KeptFiles(layout, max_size=16 * SIZE)
    one, other = store(layout, b"one"), store(layout, b"other")
    kept = await files.put(image("a", one, other))
    assert kept.size == 2 * SIZE
    assert await files.images() == [kept]
    assert kept_paths(layout) == {layout.blob(one), layout.blob(other)}
    assert (await files.put(image("a", one))).size == SIZE, "in place of what was kept before"
    assert kept_paths(layout) == {layout.blob(one)}
    assert await files.remove("docker.io/a", "1")
    assert not await files.remove("docker.io/a", "1")
    assert kept_paths(layout) == frozenset()


async def test_what_is_not_stored_or_too_much_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.spools.mkdir()
    files = KeptFiles(layout, max_size=4 * SIZE)
    blobs = [store(layout, bytes([number])) for number in range(4)]
    with pytest.raises(RequestInvalid, match="is not stored, or was evicted"):
        await files.put(image("a", Digest.of(b"none")))
    await files.put(image("a", *blobs[:2]))
    await files.put(image("b", *blobs[1:3]))
    with pytest.raises(RequestInvalid, match=f"may take {3 * SIZE} bytes.* take {4 * SIZE}"):
        await files.put(image("c", blobs[3]))
    assert len(await files.images()) == 2


async def test_a_file_that_cannot_be_read_keeps_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.kept.mkdir()
    for number, text in enumerate(("", "[]", "{}", '{"blobs": ["sha256:1"]}')):
        (layout.kept / f"{number:064x}").write_text(text)
    assert read_kept(layout) == []


async def test_a_blob_for_which_kept_ones_leave_no_room_is_refused(tmp_path: Path) -> None:
    """Nothing that is kept goes for it; what is not kept does."""
    layout = Layout(tmp_path)
    layout.spools.mkdir()
    blobs = [store(layout, bytes([number])) for number in range(3)]
    quota = DiskQuota(layout, max_size=4 * SIZE)
    quota.recount()
    await KeptFiles(layout, max_size=None).put(image("a", *blobs))

    def put(content: bytes, size: int) -> None:
        arriving = layout.spools / "arriving"
        arriving.write_bytes(content.ljust(size, b"."))
        path = layout.blob(Digest.of(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        with arriving.open("rb") as file:
            quota.put(file, arriving, path)  # type: ignore[arg-type]

    put(b"fourth", SIZE)
    put(b"fifth", SIZE)
    assert not layout.blob(Digest.of(b"fourth")).exists()
    with pytest.raises(OSError, match="kept images leave no room") as refused:
        put(b"large", 2 * SIZE)
    assert refused.value.errno == errno.EDQUOT
    assert all(layout.blob(digest).exists() for digest in blobs)


def test_a_kept_image_is_one_value() -> None:
    kept = replace(image("a", Digest.of(b"one")), size=7)
    assert KeptImage.decode(kept.encode()) == kept
