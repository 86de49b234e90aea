"""Leases among the processes of one machine, by flock: the kernel frees them with the process."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.errors import DigestInvalid
from proxy.oci.reference import Digest
from proxy.stores.disk.io import in_store_thread
from proxy.stores.disk.open_file import OpenFile

if TYPE_CHECKING:
    from pathlib import Path

LEASE: Final = "lease-"


class FlockLease:
    """A locked file. Fits Lease."""

    __slots__ = ("_file", "_path")

    def __init__(self, file: OpenFile, path: Path) -> None:
        """Take ownership of `file`, which is locked and was opened at `path`."""
        self._file = file
        self._path = path

    def release(self) -> None:
        """Unlock the file, and remove it if it is empty; a spool with content stays."""
        # Only the lock's holder may rename or unlink the file, so there is no race.
        if self._file.is_at(self._path) and self._file.size == 0:
            self._path.unlink(missing_ok=True)
        self._file.close()


class FlockLeases:
    """Leases as locked files of one directory. Fits Leases; also excludes within a process."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Path) -> None:
        """`directory` is that of the spools: the lease on one is a lock on its file."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

    async def claim(self, key: str) -> FlockLease | None:
        """Claim the lease on `key`; None if it is held, StoreError if files cannot be locked."""
        path = self._directory / _file_name(key)

        def lock() -> FlockLease | None:
            file = try_lock(path)
            return None if file is None else FlockLease(file, path)

        return await in_store_thread(lock, cleanup=FlockLease.release)


def try_lock(path: Path, *, create: bool = True) -> OpenFile | None:
    """Open and lock the file at `path`, exclusively and without waiting; None if it is locked.

    FileNotFoundError if it does not exist and `create` is false.
    """
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    while True:
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            if not create:
                raise
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o666)
        file = OpenFile(descriptor)
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have renamed or unlinked it after we opened it.
            if file.is_at(path):
                return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()


def _file_name(key: str) -> str:
    upstream, slash, digest = key.partition("/")
    with suppress(DigestInvalid):
        if slash and upstream not in {"", ".", ".."}:
            return f"{upstream}/{Digest(digest)}"
    return LEASE + hashlib.sha256(key.encode()).hexdigest()
