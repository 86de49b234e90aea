"""Clearing away what nobody will finish, and what is too much after a change of the limit."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import DigestInvalid
from proxy.kit.threads import in_thread
from proxy.oci.reference import Digest
from proxy.stores.disk.layout import ANNOUNCEMENT, TEMPORARY, Layout
from proxy.stores.disk.leases import LEASE, locked
from proxy.stores.disk.open_file import OpenFile
from proxy.stores.disk.orphans import abandoned, given_way, removed
from proxy.stores.disk.quota import DiskQuota, taken_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_log = structlog.get_logger()

# An interrupted transfer is worth resuming, and a damaged file worth a look, for so many seconds.
_ORPHAN_AGE: Final = 86400.0
# Whoever writes a temporary file has renamed it long before that, in seconds.
_TEMPORARY_AGE: Final = 600.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep removed; `freed` is in bytes on the disk."""

    freed: int = 0
    blobs: int = 0
    spools: int = 0


class Janitor:
    """Sweeps a disk store, in one process at a time. Never touches a record."""

    __slots__ = ("_clock", "_layout", "_lock", "_presence", "_quota")

    def __init__(
        self,
        path: Path,
        *,
        lock: Path,
        max_size: int | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the blobs below `path` within `max_size` bytes; `lock` says whose turn it is."""
        self._layout = Layout(path)
        self._quota = DiskQuota(self._layout, max_size=max_size, clock=clock)
        self._lock = lock
        self._clock = clock
        self._presence: OpenFile | None = None

    async def move_in(self) -> None:
        """Be one of those who use the store, until `close`; before anything is written.

        The first one clears away what processes left behind that were killed: later there is no
        telling it from what others are writing. Where files cannot be locked, nobody does.
        """
        try:
            await in_thread(self._move_in)
        except OSError as error:
            _log.warning("janitor.not_moved_in", error=str(error))

    def close(self) -> None:
        """Use the store no longer."""
        if self._presence is not None:
            self._presence.close()
            self._presence = None

    async def take_stock(self) -> int:
        """Count the bytes that the blobs take, which may take a while. OSError."""
        return await in_thread(self._quota.take)

    async def sweep(self) -> Swept:
        """Remove what is too much or too old; nothing while another process does. OSError."""
        return await in_thread(self._sweep)

    def _move_in(self) -> None:
        presence = OpenFile(os.open(self._layout.presence, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            try:
                fcntl.flock(presence.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                list(self._cleared(leftover_after=0.0))
            fcntl.flock(presence.fileno(), fcntl.LOCK_SH)
        except BaseException:
            presence.close()
            raise
        self._presence = presence

    def _sweep(self) -> Swept:
        turn = locked(self._lock)
        if turn is None:
            return Swept()
        try:
            evicted = [blob.size for blob in self._quota.shrink()]
            orphans = list(self._cleared(leftover_after=_TEMPORARY_AGE))
            if self._quota.shortfall(0) > 0:
                # What is left of the disk is for records.
                orphans += given_way(self._layout)
            self._clear_damages()
        finally:
            turn.close()
        return Swept(sum(evicted) + sum(orphans), len(evicted), len(orphans))

    def _cleared(self, *, leftover_after: float) -> Iterator[int]:
        """Remove what died in the spool directory; the sizes of the spools among it.

        Leftovers can be of no use to anybody, but may belong to somebody who is busy; so they stay
        for so many seconds.
        """
        for path in sorted(self._layout.spools.glob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            age = self._clock() - status.st_mtime
            if path.name.startswith(TEMPORARY):
                if age >= leftover_after:
                    removed(path)
            elif path.name.endswith(ANNOUNCEMENT):
                # That of a spool goes with it; this one lost its spool in a crash.
                if age >= leftover_after and not path.with_suffix("").exists():
                    removed(path)
            elif path.name.startswith(LEASE) or status.st_size == 0 or self._is_here(path.name):
                if age >= leftover_after:
                    abandoned(path)
            elif age > _ORPHAN_AGE and abandoned(path):
                yield taken_by(status)

    def _is_here(self, name: str) -> bool:
        """Whether the blob of a spool is complete: then nobody will go on with the spool."""
        try:
            return self._layout.blob(Digest(name)).exists()
        except DigestInvalid:
            return False

    def _clear_damages(self) -> None:
        for path in self._layout.damages.glob("*"):
            if self._clock() - path.stat().st_ctime > _ORPHAN_AGE:
                removed(path)
