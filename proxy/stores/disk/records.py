"""Small durable records, a file each. Every method blocks: `DiskBlobs` calls them in a thread."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.stores.disk.fsync_batch import FsyncBatch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from proxy.stores.disk.layout import Layout


class RecordFiles:
    """Records by key. A file that has its name is complete, and on disk before its name is."""

    __slots__ = ("_layout",)

    def __init__(self, layout: Layout) -> None:
        """Keep them where `layout` says."""
        self._layout = layout

    def get(self, key: str) -> bytes | None:
        """The record, or None."""
        return _content(self._layout.record(key))

    def put(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Keep them all, in their order; one flush of each directory for the whole batch."""
        batch = FsyncBatch()
        try:
            for key, value in records:
                path = self._layout.record(key)
                if not _holds(path, value):
                    batch.prepare(path)
                    self._put(path, value)
        finally:
            # Also after a failure: whoever tries again takes what it finds for durable.
            batch.flush()

    def put_new(self, key: str, value: bytes) -> bytes:
        """Keep the record unless there is one; whichever is there now, durably."""
        path = self._layout.record(key)
        batch = FsyncBatch()
        temporary = self._written(value)
        try:
            while True:
                batch.prepare(path)
                # A link never takes another file's place, whoever else tries at this moment.
                with suppress(FileExistsError):
                    path.hardlink_to(temporary)
                # The other writer's file may have been deleted since; then it is our turn again.
                if (kept := _content(path)) is not None:
                    batch.flush()
                    return kept
        finally:
            temporary.unlink()

    def delete(self, key: str) -> None:
        """Forget the record, if there is one."""
        path = self._layout.record(key)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            batch = FsyncBatch()
            batch.prepare(path)
            batch.flush()

    def _put(self, path: Path, value: bytes) -> None:
        if not value:
            # Nothing is in it, so nothing of it but its name has to reach the disk.
            with suppress(FileExistsError):
                path.touch(exist_ok=False)
                return
        temporary = self._written(value)
        try:
            temporary.rename(path)
        except OSError:
            temporary.unlink()
            raise

    def _written(self, value: bytes) -> Path:
        """A new file with this content, on disk, under a name that says that it is not in use."""
        path = self._layout.temporary()
        try:
            with path.open("xb", buffering=0) as file:
                rest = memoryview(value)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _holds(path: Path, value: bytes) -> bool:
    try:
        # A record of another size need not be read to know that it differs.
        return path.stat().st_size == len(value) and (not value or path.read_bytes() == value)
    except (FileNotFoundError, NotADirectoryError):
        return False
