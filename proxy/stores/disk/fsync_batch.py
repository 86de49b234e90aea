"""Directories whose entries must survive a power failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class FsyncBatch:
    """The directories that one batch of changes touches: each is flushed once, at the end."""

    __slots__ = ("_touched",)

    def __init__(self) -> None:
        """Begin a batch that has touched nothing."""
        self._touched: set[Path] = set()

    def prepare(self, file: Path) -> None:
        """Make the directory that `file` will appear in, or vanish from, and remember it."""
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
        """Return when every change in them is on disk."""
        for folder in self._touched:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._touched.clear()
