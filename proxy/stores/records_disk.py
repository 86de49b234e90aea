"""Durable records as files: small, many, and written before anybody relies on them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from proxy.stores.files import make_directory, sync_directory, write_new

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What a file system takes for one name.
_NAME_MAX: Final = 255


class DiskRecords:
    """Records below one directory. Every method blocks, and raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, key: str) -> bytes | None:
        """The record, or None."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Every record, in order; one flush for each directory at the end."""
        touched: dict[Path, None] = {}
        for key, value in records:
            if self._write(self._path(key), value):
                touched[self._path(key).parent] = None
        for directory in touched:
            sync_directory(directory)

    def write_new(self, key: str, value: bytes) -> bytes:
        """The record that is there in the end: this one, or the one that was first."""
        path = self._path(key)
        make_directory(path.parent)
        temporary = write_new(path, value)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return path.read_bytes()
        finally:
            temporary.unlink()
        sync_directory(path.parent)
        return value

    def delete(self, key: str) -> None:
        """Forget the record, if it is there."""
        path = self._path(key)
        if path.exists():
            path.unlink(missing_ok=True)
            sync_directory(path.parent)

    def _write(self, path: Path, value: bytes) -> bool:
        """Whether there was anything to write."""
        try:
            if path.read_bytes() == value:
                return False
        except FileNotFoundError:
            make_directory(path.parent)
        if value:
            write_new(path, value).replace(path)
        else:
            path.touch()
        return True

    def _path(self, key: str) -> Path:
        """`kind:rest` below a directory of the kind; a digest at the end fans out.

        Names were checked long before; here nothing that climbs or hides can become a path.
        """
        kind, _, rest = key.partition(":")
        parts = rest.split("/")
        *parents, last = parts
        if any(part in {"", ".", ".."} or "\0" in part or part[0] == "." for part in parts):
            raise ValueError(f"{key!r} cannot be the key of a record")
        algorithm, colon, encoded = last.partition(":")
        fan = [f"_{algorithm}", encoded[:2]] if colon and algorithm.startswith("sha") else ["_tags"]
        names = [kind, *parents, *fan, last]
        return self._directory.joinpath(*map(_short, names))


def _short(name: str) -> str:
    encoded = name.encode()
    return name if len(encoded) <= _NAME_MAX else "_" + hashlib.sha256(encoded).hexdigest()
