"""Leases among the processes of one machine: `flock`, which the kernel frees when one dies."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.errors import DigestInvalid
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from pathlib import Path


class FlockLease:
    """A lock on a file that is open here."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Unlock. An empty file was only a lock and goes; a spool's bytes stay for the next one."""
        with suppress(OSError):
            here = os.fstat(self._descriptor)
            if here.st_size == 0 and here.st_ino == self._path.stat().st_ino:
                self._path.unlink()
        os.close(self._descriptor)


class FlockLeases:
    """Locks on the files of one directory. A digest's file is its spool."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when the first lease is claimed."""
        self._directory = directory

    async def claim(self, key: str) -> FlockLease | None:
        """The lease, or None while another process, or this one, has it."""
        return await asyncio.to_thread(self._claim, self._directory / file_name(key))

    def _claim(self, path: Path) -> FlockLease | None:
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
            except FileNotFoundError:
                self._directory.mkdir(parents=True, exist_ok=True)
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_ino == path.stat().st_ino:
                    return FlockLease(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            # Whoever had it has moved or removed the file that we have locked: try the new one.
            os.close(descriptor)


def file_name(key: str) -> str:
    """A digest as it is; anything else hashed, for it may hold slashes and be long."""
    try:
        return Digest(key)
    except DigestInvalid:
        return "lease-" + hashlib.sha256(key.encode()).hexdigest()
