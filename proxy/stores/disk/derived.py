"""Derived manifests and configs as files: `derived/DIGEST`, each with all that makes it again.

The directory and the signing key are the whole backup of a proxy: everything else can be had from
the upstreams again.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from proxy.errors import DigestInvalid, ManifestInvalid
from proxy.oci.derived_record import DerivedRecord
from proxy.oci.reference import Digest
from proxy.stores.disk.fsync_batch import fsync_directory
from proxy.stores.disk.io import in_store_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

T = TypeVar("T")

_log = structlog.get_logger()

_DAY: Final = 86400.0
_TEMPORARY: Final = ".new-"
# So many are read by one thread before others have their turn.
_PORTION: Final = 64


class DerivedFiles:
    """Fits DerivedStore, for all processes of one machine."""

    def __init__(self, directory: Path) -> None:
        """Keep the files in `directory`, which is made when it is needed."""
        self._directory = directory
        # Whether the directory's own name is known to be on disk.
        self._is_durable = False

    async def get(self, digest: Digest, repository: str | None = None) -> DerivedRecord | None:
        """The record; its file's modification time says on which day it was used last."""
        del repository

        def work() -> DerivedRecord | None:
            record = self._read(digest)
            if record is not None:
                self._touch(self._directory / digest)
            return record

        return await in_store_thread(work)

    async def put(self, record: DerivedRecord) -> DerivedRecord:
        """Store it, or add its repositories to the record that is there: two flushes to disk."""

        def work() -> DerivedRecord:
            with self._lock(record.digest):
                there = self._read_or_replace(record.digest)
                stored = record.over(there)
                if stored != there:
                    self._write(stored)
                return stored

        return await in_store_thread(work)

    async def replace(self, record: DerivedRecord) -> None:
        """Store it in place of one whose bytes are damaged."""

        def work() -> None:
            with self._lock(record.digest):
                there = self._read_or_replace(record.digest)
                others = frozenset[str]() if there is None else there.repositories
                self._write(replace(record, repositories=record.repositories | others))

        await in_store_thread(work)

    async def remove(self, digest: Digest, repository: str) -> None:
        """Write the record without the repository; delete it if that was the last one."""

        def work() -> None:
            if not (self._directory / digest).exists():
                return
            with self._lock(digest):
                record = self._read_or_replace(digest)
                if record is None or repository not in record.repositories:
                    return
                others = record.repositories - {repository}
                if others and record.content is not None:
                    self._write(replace(record, repositories=others))
                else:
                    (self._directory / digest).unlink(missing_ok=True)

        await in_store_thread(work)

    async def records(self) -> AsyncIterator[DerivedRecord]:
        """All of them, read in portions."""
        names = await in_store_thread(self._names)
        for start in range(0, len(names), _PORTION):
            portion = names[start : start + _PORTION]
            for record in await in_store_thread(partial(self._read_all, portion)):
                yield record

    async def delete_unused(self, seconds: float) -> int:
        """Delete what was not used for so long; how many files that were."""

        def work() -> int:
            deleted, before = 0, time.time() - seconds
            for name in self._names():
                path = self._directory / name
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()
                        deleted += 1
            return deleted

        return await in_store_thread(work)

    def verify(self) -> Iterator[tuple[Digest, bool]]:
        """Each digest, and whether its file has the content that it names. Blocks."""
        for name in self._names():
            with suppress(DigestInvalid, OSError):
                record = self._read(Digest(name))
                yield Digest(name), record is not None and record.content is not None

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._directory) if not name.startswith(".")]  # noqa: PTH208 -- names are all that is needed
        except FileNotFoundError:
            return []

    def _read_all(self, names: list[str]) -> list[DerivedRecord]:
        records = []
        for name in names:
            with suppress(DigestInvalid, OSError):
                if record := self._read(Digest(name)):
                    records.append(record)
        return records

    def _read(self, digest: Digest) -> DerivedRecord | None:
        try:
            value = (self._directory / digest).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return DerivedRecord.decode(digest, value)
        except ManifestInvalid as error:
            _log.error("derived.unreadable", digest=digest, reason=error.message)
            return None

    def _read_or_replace(self, digest: Digest) -> DerivedRecord | None:
        """The record; None if there is none that can be read, so that another one replaces it."""
        try:
            return self._read(digest)
        except OSError as error:
            _log.error("derived.unreadable", digest=digest, reason=str(error))
            return None

    def _write(self, record: DerivedRecord) -> None:
        """Have a complete file under its name, on disk before its name is."""
        self._make_directory()
        temporary = self._directory / f"{_TEMPORARY}{record.digest}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(record.encode())
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(self._directory / record.digest)
        fsync_directory(self._directory)

    def _make_directory(self) -> None:
        """Have the directory, whose own name is on disk before that of any file in it is."""
        if self._is_durable and self._directory.is_dir():
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fsync_directory(self._directory.parent)
        self._is_durable = True

    def _touch(self, path: Path) -> None:
        now = time.time()
        # A file system that is read-only, or has no room, can still be read.
        with suppress(OSError):
            if now - path.stat().st_mtime > _DAY:
                os.utime(path, (now, now))

    @contextmanager
    def _lock(self, digest: Digest) -> Iterator[None]:
        """One writer at a time for each sixteenth of the digests.

        The kernel releases the lock of a process that dies.
        """
        self._make_directory()
        with (self._directory / f".lock-{digest.hex[0]}").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
