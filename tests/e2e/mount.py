"""A ConfigMap that is mounted into a pod, changed as the kubelet changes it."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "lighterage.yaml"


class Mount:
    """`DIRECTORY/lighterage.yaml -> ..data/lighterage.yaml`, and `..data -> ..GENERATION`."""

    def __init__(self, directory: Path, text: str) -> None:
        """The file has `text` in it."""
        directory.mkdir(parents=True)
        self._directory = directory
        self._generations = itertools.count(1)
        self._old: Path | None = None
        self.write(text)
        self.path.symlink_to(f"..data/{FILE}")

    @property
    def path(self) -> Path:
        """As an argument of the proxy."""
        return self._directory / FILE

    def write(self, text: str) -> None:
        """Put `text` in its place: a new directory, one rename of a link, and the old one goes."""
        generation = self._directory / f"..{next(self._generations)}"
        generation.mkdir()
        (generation / FILE).write_text(text)
        link = self._directory / "..data_tmp"
        link.symlink_to(generation.name)
        link.rename(self._directory / "..data")
        if self._old is not None:
            shutil.rmtree(self._old)
        self._old = generation
