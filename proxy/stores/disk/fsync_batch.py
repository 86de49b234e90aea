"""fsync of directories, so that their entries survive a power failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FsyncBatch:
    """The directories that a batch of changes touches: each is fsynced once, at the end."""

    __slots__ = ("_touched",)

    def __init__(self) -> None:
        """Begin an empty batch."""
        self._touched: set[Path] = set()

    def prepare(self, file: Path) -> None:
        """Create the directory of `file`, which will be created or removed, and add it."""
        folder = file.parent
        if folder not in self._touched:
            self._make(folder)
            self._touched.add(folder)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        self._touched.add(folder.parent)

    def flush(self) -> None:
        """Fsync the directories; returns when all changes are on disk."""
        for folder in self._touched:
            fsync_directory(folder)
        self._touched.clear()


def fsync_directory(directory: Path) -> None:
    """Have the names in `directory` on disk. Blocks."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
