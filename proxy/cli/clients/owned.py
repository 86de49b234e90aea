"""Clients' files that are marked as somebody's: nothing else is changed or removed."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from proxy.cli.clients.installed import path_below
from proxy.cli.clients.mark import Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxy.cli.clients.files import ClientFile


class CannotBeMarkedError(Exception):
    """A file has no room for a comment; the message says which."""


class OwnedFiles:
    """The files of an owner below a directory, written and removed by this process.

    A file without the owner's mark is never touched. One that another process of the same owner has
    written since is that process's.
    """

    def __init__(self, files: Sequence[ClientFile], root: Path, owner: str) -> None:
        """CannotBeMarkedError for files of JSON."""
        self._files = {path_below(root, file): file.text for file in files}
        self._mark = Mark(owner, secrets.token_hex(4))
        for path in self._files:
            if path.suffix == ".json":
                raise CannotBeMarkedError(f"{path} has no room for a mark: JSON has no comments")

    def adopt(self) -> None:
        """Take over what earlier processes of this owner have left, as it is."""
        for path, text in self._with_mark():
            _replace(path, self._mark.on(text))

    def write(self) -> list[Path]:
        """Write what is missing or has changed, and remove the rest of ours; what was changed."""
        done = []
        for path, text in self._files.items():
            there, wanted = _read(path), self._mark.on(text)
            if there is None or (Mark.of(there) == self._mark and there != wanted):
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, wanted)
                done.append(path)
        for path, _ in self._files_of_this_process():
            if path not in self._files:
                _remove(path)
                done.append(path)
        return done

    def foreign(self) -> Iterator[Path]:
        """Files in the places of ours that say something else, and are not this owner's."""
        for path, text in self._files.items():
            there = _read(path)
            if there is not None and there != text:
                mark = Mark.of(there)
                if mark is None or mark.owner != self._mark.owner:
                    yield path

    def remove(self) -> list[Path]:
        """Remove what this process has written or adopted; the paths."""
        own = [path for path, _ in self._files_of_this_process()]
        for path in own:
            _remove(path)
        return own

    def _with_mark(self) -> Iterator[tuple[Path, str]]:
        """Every file with the mark of this owner where ours are, and beside them."""
        for directory in {path.parent.parent for path in self._files}:
            for path in sorted(directory.glob("*/[!.]*")):
                text = _read(path)
                mark = text and Mark.of(text)
                if text and mark and mark.owner == self._mark.owner:
                    yield path, text

    def _files_of_this_process(self) -> list[tuple[Path, str]]:
        return [each for each in self._with_mark() if Mark.of(each[1]) == self._mark]


def _read(path: Path) -> str | None:
    """What the file says; None if there is none, or it is no text file."""
    try:
        return path.read_text()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return None


def _replace(path: Path, text: str) -> None:
    """Write the file so that a client that reads it meanwhile sees the old one or the new one."""
    partial = _partial(path)
    partial.write_text(text)
    partial.replace(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _partial(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there are other files in it, such as certificates
        path.parent.rmdir()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.lighterage")
