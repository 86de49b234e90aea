"""Removal of orphaned spools, and eviction after the limit has been lowered."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import DigestInvalid
from proxy.kit.threads import in_thread
from proxy.oci.reference import Digest
from proxy.stores.disk.layout import ANNOUNCEMENT, TEMPORARY, Layout
from proxy.stores.disk.leases import LEASE, try_lock
from proxy.stores.disk.open_file import OpenFile
from proxy.stores.disk.orphans import remove_file, remove_if_unlocked, remove_orphans
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.stored_blob import disk_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_log = structlog.get_logger()

# Interrupted transfers can be resumed, and damaged files inspected, for this long, in seconds.
_MAX_ORPHAN_AGE: Final = 86400.0
# A temporary file is renamed long before this age, in seconds.
_MAX_TEMPORARY_AGE: Final = 600.0


@dataclass(frozen=True, slots=True)
class Swept:
    """The result of a sweep; `freed` is in bytes on the disk."""

    freed: int = 0
    blobs: int = 0
    spools: int = 0


class Janitor:
    """Sweeps a disk store, in one process at a time. Never removes a record."""

    __slots__ = ("_clock", "_layout", "_lock", "_presence", "_quota")

    def __init__(
        self,
        path: Path,
        *,
        lock: Path,
        max_size: int | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the blobs below `path` within `max_size` bytes; a sweep holds `lock`."""
        self._layout = Layout(path)
        self._quota = DiskQuota(self._layout, max_size=max_size, clock=clock)
        self._lock = lock
        self._clock = clock
        self._presence: OpenFile | None = None

    async def open(self) -> None:
        """Register this process as a user of the store, until `close`; call it before any write.

        The first process removes the temporary files of killed processes. Later they cannot be
        told from files in use. Without file locks, none are removed.
        """
        try:
            await in_thread(self._open)
        except OSError as error:
            _log.warning("janitor.open_failed", error=str(error))

    def close(self) -> None:
        """Unregister this process."""
        if self._presence is not None:
            self._presence.close()
            self._presence = None

    async def recount(self) -> int:
        """Recount the bytes that the blobs take, which may take a while. OSError."""
        return await in_thread(self._quota.recount)

    async def sweep(self) -> Swept:
        """Evict blobs and remove old files, unless another process is sweeping. OSError."""
        return await in_thread(self._sweep)

    def _open(self) -> None:
        presence = OpenFile(os.open(self._layout.presence, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            try:
                fcntl.flock(presence.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                list(self._clear_spools(leftover_after=0.0))
            fcntl.flock(presence.fileno(), fcntl.LOCK_SH)
        except BaseException:
            presence.close()
            raise
        self._presence = presence

    def _sweep(self) -> Swept:
        lock_file = try_lock(self._lock)
        if lock_file is None:
            return Swept()
        try:
            evicted = [blob.size for blob in self._quota.shrink()]
            orphans = list(self._clear_spools(leftover_after=_MAX_TEMPORARY_AGE))
            if self._quota.shortfall(0) > 0:
                # The rest of the disk is reserved for records.
                orphans += remove_orphans(self._layout)
            self._clear_quarantine()
        finally:
            lock_file.close()
        return Swept(sum(evicted) + sum(orphans), len(evicted), len(orphans))

    def _clear_spools(self, *, leftover_after: float) -> Iterator[int]:
        """Remove orphans from the spool directory; yields the sizes of removed spools, in bytes.

        Other leftovers are removed once they are `leftover_after` seconds old: they cannot be
        resumed, but a younger one may still be in use.
        """
        for path, status in self._incomplete_files():
            age = self._clock() - status.st_mtime
            if path.name.startswith(TEMPORARY):
                if age >= leftover_after:
                    remove_file(path)
            elif path.name.endswith(ANNOUNCEMENT):
                # An announcement is removed with its spool; this one lost its spool in a crash.
                if age >= leftover_after and not path.with_suffix("").exists():
                    remove_file(path)
            elif path.name.startswith(LEASE) or status.st_size == 0 or self._is_complete(path.name):
                if age >= leftover_after:
                    remove_if_unlocked(path)
            elif age > _MAX_ORPHAN_AGE and remove_if_unlocked(path):
                yield disk_usage(status)

    def _incomplete_files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files in the spool directory, and in that of each upstream below it."""
        spools = self._layout.spools
        for path in sorted((*spools.glob("*"), *spools.glob("*/*"))):
            with suppress(FileNotFoundError):
                status = path.stat()
                if not stat.S_ISDIR(status.st_mode):
                    yield path, status

    def _is_complete(self, name: str) -> bool:
        """Whether the spool's blob is stored already, so that the spool is not resumed."""
        try:
            return self._layout.blob(Digest(name)).exists()
        except DigestInvalid:
            return False

    def _clear_quarantine(self) -> None:
        for path in self._layout.quarantine.glob("*"):
            if self._clock() - path.stat().st_ctime > _MAX_ORPHAN_AGE:
                remove_file(path)
