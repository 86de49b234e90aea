"""Reads from the page cache need no thread; others do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.errors import StoreError
from proxy.kit.threads import in_thread
from proxy.stores.disk import open_file
from proxy.stores.disk.open_file import OpenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTENT = os.urandom(1_000_000)
_MEMORY = Path("/dev/shm")  # noqa: S108 -- a file system without RWF_NOWAIT, in many kernels


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each read that went to a thread."""
    counted: list[None] = []

    async def counting(work: Callable[[], int]) -> int:
        counted.append(None)
        return await in_thread(work)

    monkeypatch.setattr(open_file, "in_thread", counting)
    # What one file system taught must not reach another test.
    monkeypatch.setattr(OpenFile, "_nowait_flag", getattr(os, "RWF_NOWAIT", 0))
    return counted


def opened(path: Path) -> OpenFile:
    return OpenFile(os.open(path, os.O_RDONLY))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux can ask the page cache")
async def test_a_read_from_the_page_cache_needs_no_thread(path: Path, hops: list[None]) -> None:
    file = opened(path)
    assert await file.read(1000, 256 * 1024) == CONTENT[1000 : 1000 + 256 * 1024]
    assert hops == []
    file.close()


async def test_a_read_from_the_disk_uses_a_thread(path: Path, hops: list[None]) -> None:
    file = opened(path)
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    content = b""
    while piece := await file.read(len(content), 256 * 1024):
        content += piece
    assert content == CONTENT
    assert len(hops) >= 1
    file.close()


async def test_the_end_is_an_empty_read(path: Path) -> None:
    file = opened(path)
    assert len(await file.read(len(CONTENT), 10)) == 0
    assert len(await file.read(len(CONTENT) - 3, 10)) == 3
    file.close()


@pytest.fixture
def in_memory() -> Iterator[Path]:
    if not _MEMORY.is_dir():
        pytest.skip("there is no file system in memory")
    with tempfile.TemporaryDirectory(dir=_MEMORY) as directory:
        yield Path(directory)


async def test_a_file_system_without_the_flag_is_read_in_threads(
    in_memory: Path, hops: list[None]
) -> None:
    path = in_memory / "file"
    path.write_bytes(CONTENT)
    file = opened(path)
    for _ in range(3):
        assert await file.read(5, 256 * 1024) == CONTENT[5 : 5 + 256 * 1024]
    assert len(hops) == (0 if OpenFile._nowait_flag else 3)
    file.close()


async def test_a_closed_file_does_not_read_a_reused_descriptor(path: Path, tmp_path: Path) -> None:
    file = opened(path)
    number = file.fileno()
    file.close()
    file.close()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    other = opened(secret)
    assert other.fileno() == number, "the system gave the number to the next file"
    with pytest.raises(StoreError, match="Bad file descriptor"):
        await file.read(0, 10)
    assert bytes(await other.read(0, 10)) == b"secret"
    other.close()


def test_a_file_knows_whether_a_path_still_names_it(path: Path, tmp_path: Path) -> None:
    file = opened(path)
    assert file.is_at(path)
    moved = path.rename(tmp_path / "moved")
    assert file.is_at(moved)
    assert not file.is_at(path)
    path.write_bytes(b"another")
    assert not file.is_at(path)
    file.close()
