"""Kept images as files: `kept/NAME`, each with the digests that eviction passes over."""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import DigestInvalid, RequestInvalid
from proxy.oci.kept_image import KeptImage
from proxy.stores.disk.io import in_store_thread
from proxy.stores.disk.stored_blob import disk_usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout

_log = structlog.get_logger()

# The rest is for what clients pull besides.
_SHARE: Final = 0.75


class KeptFiles:
    """Fits KeptStore, for all processes of one machine."""

    def __init__(self, layout: Layout, *, max_size: int | None) -> None:
        """`max_size` is that of all blobs, in bytes."""
        self._layout = layout
        self._limit = None if max_size is None else int(max_size * _SHARE)

    @property
    def limit(self) -> int | None:
        """Three quarters of what all blobs may take."""
        return self._limit

    async def put(self, image: KeptImage) -> KeptImage:
        """Keep it. What is kept for several images counts once."""

        def work() -> KeptImage:
            with self._lock():
                sizes = {digest: self._size(digest) for digest in image.blobs}
                others = [each for each in read_kept(self._layout) if not each.is_same_name(image)]
                held = {digest for each in others for digest in each.blobs} - sizes.keys()
                before = sum(map(self._size_if_stored, held))
                taken = before + sum(sizes.values())
                if self._limit is not None and taken > self._limit:
                    raise RequestInvalid(
                        f"kept images may take {self._limit} bytes, which is three quarters of "
                        f"blobs.max_size; with this one they would take {taken}"
                    )
                kept = replace(image, size=sum(sizes.values()))
                self._write(kept)
                return kept

        return await in_store_thread(work)

    async def images(self) -> Sequence[KeptImage]:
        """All that are kept."""

        def work() -> list[KeptImage]:
            return sorted(
                read_kept(self._layout), key=lambda image: (image.repository, image.reference)
            )

        return await in_store_thread(work)

    async def remove(self, repository: str, reference: str) -> bool:
        """Delete its file."""

        def work() -> bool:
            with self._lock():
                try:
                    self._path(repository, reference).unlink()
                except FileNotFoundError:
                    return False
                return True

        return await in_store_thread(work)

    def _size(self, digest: Digest) -> int:
        try:
            return disk_usage(self._layout.blob(digest).stat())
        except FileNotFoundError:
            raise RequestInvalid(
                f"{digest} is not stored, or was evicted meanwhile; pull it again"
            ) from None

    def _size_if_stored(self, digest: Digest) -> int:
        with suppress(FileNotFoundError):
            return disk_usage(self._layout.blob(digest).stat())
        return 0

    def _path(self, repository: str, reference: str) -> Path:
        name = hashlib.sha256(f"{repository} {reference}".encode()).hexdigest()
        return self._layout.kept / name

    def _write(self, image: KeptImage) -> None:
        temporary = self._layout.temporary()
        temporary.write_bytes(image.encode())
        temporary.rename(self._path(image.repository, image.reference))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time; the kernel releases the lock of a process that dies."""
        self._layout.kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._layout.kept / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def read_kept(layout: Layout) -> list[KeptImage]:
    """All kept images; a file that is none is logged and left out. Blocks."""
    images = []
    for path in layout.kept.glob("[0-9a-f]*"):
        try:
            images.append(KeptImage.decode(path.read_bytes()))
        except FileNotFoundError:
            continue
        except (ValueError, DigestInvalid) as error:
            _log.error("kept.unreadable", path=str(path), error=str(error))
    return images


def kept_paths(layout: Layout) -> frozenset[Path]:
    """The files of the blobs that are kept. Blocks."""
    return frozenset(layout.blob(digest) for image in read_kept(layout) for digest in image.blobs)
