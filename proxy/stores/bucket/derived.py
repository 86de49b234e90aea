"""Derived manifests and configs in a bucket, below `keep/`, which no lifecycle rule may touch.

`keep/derived/DIGEST` is the record. A repository that was granted the manifest later has an empty
object, `keep/grants/DIGEST/+/REPOSITORY`: objects cannot be changed by two proxies at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import ManifestInvalid, StoreError
from proxy.oci.derived_record import DerivedRecord
from proxy.stores.bucket.calls import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.oci.reference import Digest
    from proxy.stores.bucket.bucket import Bucket

_log = structlog.get_logger()

# An object that may exist once only: see `_creates_once`.
_PROBE: Final = "keep/created-once"


class DerivedObjects:
    """Fits DerivedStore, for proxies anywhere."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._conditional: bool | None = None

    async def get(self, digest: Digest, repository: str | None = None) -> DerivedRecord | None:
        """The record: one request, and another one if it does not name the repository."""
        try:
            record = await self._read(digest)
            if record is None or repository is None or repository in record.repositories:
                return record
            if await self._bucket.size(_grant(digest, repository)) is None:
                return record
        except OSError as error:
            raise StoreError(str(error)) from error
        return replace(record, repositories=record.repositories | {repository})

    async def put(self, record: DerivedRecord) -> DerivedRecord:
        """Store it, or grant the record that is there to the repositories of this one."""
        try:
            if await self._create(record):
                return record
            there = await self._read(record.digest)
            stored = record.over(there)
            if there is None or stored.content != there.content:
                await self._bucket.put(_key(record.digest), stored.encode())
            for repository in record.repositories - (there.repositories if there else set()):
                await self._bucket.put(_grant(record.digest, repository), b"")
        except OSError as error:
            raise StoreError(str(error)) from error
        return stored

    async def replace(self, record: DerivedRecord) -> None:
        """Store it in place of one whose bytes are damaged."""
        try:
            there = await self._read(record.digest)
            others = frozenset[str]() if there is None else there.repositories
            whole = replace(record, repositories=record.repositories | others)
            await self._bucket.put(_key(record.digest), whole.encode())
        except OSError as error:
            raise StoreError(str(error)) from error

    async def remove(self, digest: Digest, repository: str) -> None:
        """Nothing: which repositories have it cannot be listed."""

    async def records(self) -> AsyncIterator[DerivedRecord]:
        """None: with a bucket each record is found when it is asked for."""
        nothing: tuple[DerivedRecord, ...] = ()
        for record in nothing:
            yield record

    async def _create(self, record: DerivedRecord) -> bool:
        key, value = _key(record.digest), record.encode()
        if self._conditional is None:
            self._conditional = await self._creates_once()
        if self._conditional:
            return await self._bucket.create(key, value)
        # Two proxies at once may both get here: the later one's signature stays, then.
        if await self._bucket.size(key) is not None:
            return False
        await self._bucket.put(key, value)
        return True

    async def _creates_once(self) -> bool:
        """Whether the server refuses to create an object twice: some ignore the condition."""
        try:
            return not (
                await self._bucket.create(_PROBE, b"") and await self._bucket.create(_PROBE, b"")
            )
        except UnsupportedError:
            return False

    async def _read(self, digest: Digest) -> DerivedRecord | None:
        value = await self._bucket.get(_key(digest))
        if value is None:
            return None
        try:
            return DerivedRecord.decode(digest, value)
        except ManifestInvalid as error:
            _log.error("derived.unreadable", digest=digest, reason=error.message)
            return None


def _key(digest: Digest) -> str:
    return f"keep/derived/{digest}"


def _grant(digest: Digest, repository: str) -> str:
    return f"keep/grants/{digest}/+/{repository}"
