"""The catalog's durable index on disk: one SQLite file, shared by the processes of one machine.

Embedded, without Redis, it is the shared cache as well. Rows that were added and are not written
yet are not found: the process that added them has them in memory.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.errors import DigestInvalid
from proxy.kit.threads import in_thread
from proxy.oci.layer import LayerFacts
from proxy.oci.reference import Digest
from proxy.ports.catalog import NOTHING, Claim, Found, Grant, Listing, Proof, TagEntry
from proxy.stores.sqlite.reader import Reader
from proxy.stores.sqlite.removal import find_granted, granted_to
from proxy.stores.sqlite.rows import digest_key
from proxy.stores.sqlite.writer import GroupCommit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection
    from pathlib import Path

    from proxy.oci.reference import Tag
    from proxy.ports.catalog import Batch
    from proxy.stores.sqlite.rows import Rows

T = TypeVar("T")

# How long a request waits for its commit, in seconds. Beyond it the disk is too slow to wait for.
_COMMIT_WITHIN: Final = 0.5
_PURGE_WITHIN: Final = 5.0
# A read in a thread may be late. What no client waits for is read again, after so many seconds.
_READ_ATTEMPTS: Final = 20
_PAUSE: Final = 0.1
# How many other repositories of the same upstream are looked at for a claim.
_OTHERS: Final = 8
_ALGORITHMS: Final = {32: "sha256", 64: "sha512"}

_TAG: Final = """
SELECT tags_purged, tags.digest, validated, proof, type, raw, origin
FROM repositories AS r
LEFT JOIN tags ON tags.repository = r.id AND tags.name = ?
LEFT JOIN grants ON grants.digest = tags.digest AND grants.repository = r.id
LEFT JOIN contents ON contents.digest = tags.digest
WHERE r.name = ?
"""
_MANIFEST: Final = """
SELECT proof, grants.type, claims.manifest, claims.type, size, raw, origin
FROM (SELECT ? AS digest) AS asked
LEFT JOIN contents ON contents.digest = asked.digest
LEFT JOIN repositories AS r ON r.name = ?
LEFT JOIN grants ON grants.digest = asked.digest AND grants.repository = r.id
LEFT JOIN claims ON claims.digest = asked.digest AND claims.repository = r.id
LIMIT 1
"""
_BLOB: Final = """
SELECT proof, grants.type, claims.manifest, claims.type, size, NULL, NULL
FROM repositories AS r
LEFT JOIN grants ON grants.digest = ? AND grants.repository = r.id
LEFT JOIN claims ON claims.digest = ? AND claims.repository = r.id
WHERE r.name = ?
ORDER BY size IS NULL
LIMIT 1
"""
_GRANTED_TO: Final = f"""
SELECT name FROM grants JOIN repositories ON repositories.id = repository
WHERE digest = ? AND substr(name, 1, ?) = ? LIMIT {_OTHERS}
"""  # noqa: S608 -- a number of ours
_REPRESENTATION: Final = "SELECT derived FROM representations WHERE key = ?"
_LISTING: Final = """
SELECT value, fetched, listings_purged FROM repositories AS r
JOIN listings ON listings.repository = r.id AND listings.name = ? WHERE r.name = ?
"""
_LAYER: Final = "SELECT size, diff_id, unpacked, gzip FROM layers WHERE digest = ?"
_SHARED: Final = "SELECT value FROM shared WHERE key = ? AND expires > ?"


class SqliteIndex:
    """Fits Layer, and SharedCache for the few values that the processes of a machine share.

    Whatever SQLite cannot do is a miss, or a write that does not happen, and is counted by
    `on_error`, which gets the operation's name (open, get, write, evict, flush) and may be called
    from another thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_size: int,
        unused: float,
        on_error: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """Nothing is open yet: see `open`."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # Set when the file is a new one: the derived manifests are put back into it.
        self.is_new = asyncio.Event()
        self._writer = GroupCommit(
            path,
            max_size=max_size,
            unused=unused,
            on_error=on_error,
            on_new=lambda: self._call(self.is_new.set),
            clock=clock,
        )
        self._reader = Reader(path, opened=lambda: self._writer.opened, on_error=on_error)
        self._is_slow = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        max_size: int,
        unused: float,
        on_error: Callable[[str], None] = lambda _operation: None,
        clock: Callable[[], float] = time.time,
    ) -> SqliteIndex:
        """The index in the file at `path`, made if need be; `close` it in the end.

        `max_size` is in bytes, `unused` in seconds. If there can be no such file, everything is a
        miss.
        """
        index = cls(path, max_size=max_size, unused=unused, on_error=on_error, clock=clock)
        if await in_thread(index._writer.open):
            index.is_new.set()
        return index

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """The tag's entry, with the manifest and grant for what it names: one read."""

        def work(database: sqlite3.Connection) -> Found:
            row = database.execute(_TAG, (tag, repository)).fetchone()
            if row is None:
                return Found(knows_repository=False)
            purged, digest, validated, *rest = row
            if digest is None or validated <= purged:
                return NOTHING
            proof, media_type, raw, origin = rest
            entry = TagEntry(_digest(digest), validated)
            return Found(entry, _grant(proof, media_type), None, raw, origin)

        return await self._read(work) or NOTHING

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """The manifest's bytes, and the repository's grant or claim: one read."""
        key = digest_key(digest)
        return await self._look(repository, key, _MANIFEST, (key, repository))

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """The repository's grant or claim: one read."""
        key = digest_key(digest)
        return await self._look(repository, key, _BLOB, (key, key, repository))

    async def look_representation(self, key: str) -> Digest | None:
        """What was made under `key`."""

        def work(database: sqlite3.Connection) -> Digest | None:
            row = database.execute(_REPRESENTATION, (key,)).fetchone()
            return None if row is None else _digest(row[0])

        return await self._read(work)

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """The stored page, if it was not purged."""

        def work(database: sqlite3.Connection) -> Listing | None:
            row = database.execute(_LISTING, (name, repository)).fetchone()
            return None if row is None or row[1] <= row[2] else Listing(row[0], row[1])

        return await self._read(work)

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        """What is known of the layer's bytes."""
        key = digest_key(digest)

        def work(database: sqlite3.Connection) -> LayerFacts | None:
            row = database.execute(_LAYER, (key,)).fetchone()
            if row is None:
                return None
            size, diff_id, unpacked, is_gzip = row
            return LayerFacts(digest, size, _digest(diff_id), unpacked, bool(is_gzip))

        return await self._read(work)

    async def commit(self, batch: Batch) -> None:
        """Write all of it; returns when it is written, or when that takes too long."""
        done = asyncio.Event()
        now = int(self._clock())
        if not self._add(lambda rows: rows.add(batch, now), done):
            return
        # After a commit that took too long, nobody waits until one has ended again.
        if not self._is_slow:
            self._is_slow = not await _is_set(done, _COMMIT_WITHIN)

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        self._add(lambda rows: rows.drop_tag(repository, tag))

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Have listings, and with `tags` the tags, count only if they are newer than `now`."""
        done = asyncio.Event()
        if not self._add(lambda rows: rows.purge(repository, now, tags=tags), done):
            return False
        return await _is_set(done, _PURGE_WITHIN)

    async def purge_all(self, now: float) -> bool:
        """Have the listings and tags of all repositories count only if they are newer."""
        done = asyncio.Event()
        if not self._add(lambda rows: rows.purge_all(now), done):
            return False
        return await _is_set(done, _PURGE_WITHIN)

    async def list_content(self, repository: str) -> Collection[Digest]:
        """What the repository has been granted: one read of all grants."""

        def work(database: sqlite3.Connection) -> list[Digest]:
            return list(map(_digest, granted_to(database, repository)))

        await self.flush()
        return await self._read_again(work) or ()

    async def remove(
        self, repository: str, digests: Collection[Digest]
    ) -> Collection[Digest] | None:
        """Forget the content for the repository; what no other one has been granted."""
        done = asyncio.Event()
        if not self._add(lambda rows: rows.remove(repository, digests), done):
            return None
        if not await _is_set(done, _PURGE_WITHIN):
            return None
        keys = {digest_key(digest): digest for digest in digests}

        def work(database: sqlite3.Connection) -> set[bytes]:
            return find_granted(database, keys)

        others = await self._read_again(work)
        return None if others is None else [keys[key] for key in keys.keys() - others]

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """A value that the processes of this machine share; `extend` has no effect."""
        del extend
        now = self._clock()

        def work(database: sqlite3.Connection) -> bytes | None:
            row = database.execute(_SHARED, (key, now)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._read(work)

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Share `value` for `life` seconds; returns when others can read it."""
        expires = self._clock() + life
        done = asyncio.Event()
        if self._add(lambda rows: rows.share(key, value, expires), done):
            await _is_set(done, _COMMIT_WITHIN)

    async def delete(self, key: str) -> None:
        """Forget a shared value."""
        self._add(lambda rows: rows.share(key, None, 0.0))

    def forget_mutable(self) -> None:
        """Nothing is remembered here."""

    async def flush(self) -> None:
        """Return when everything that was added before is in the file, or was dropped."""
        await in_thread(self._writer.flush)

    async def close(self) -> None:
        """Write what waits, and close the file."""
        # The last connection to be closed empties the write-ahead log, and must be able to write.
        await in_thread(self._reader.close)
        await in_thread(self._writer.close)

    def _add(self, fill: Callable[[Rows], None], done: asyncio.Event | None = None) -> bool:
        def finish() -> None:
            self._call(self._finish, done)

        return self._writer.add(fill, finish if done is not None else None)

    def _finish(self, done: asyncio.Event | None) -> None:
        self._is_slow = False
        if done is not None:
            done.set()

    def _call(self, work: Callable[..., object], *arguments: object) -> None:
        """Run `work` on the loop, unless that has ended meanwhile."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, *arguments)

    async def _look(
        self, repository: str, key: bytes, statement: str, arguments: tuple[object, ...]
    ) -> Found:
        registry = repository.partition("/")[0] + "/"

        def work(database: sqlite3.Connection) -> Found:
            row = database.execute(statement, arguments).fetchone()
            proof, granted_type, claiming, claimed_type, size, raw, origin = row or (None,) * 7
            grant = _grant(proof, granted_type)
            claim = None if claiming is None else Claim(claimed_type, size)
            others: list[Any] = []
            if grant is None:
                others = database.execute(_GRANTED_TO, (key, len(registry), registry)).fetchall()
            return Found(None, grant, claim, raw, origin, tuple(name for (name,) in others))

        return await self._read(work) or NOTHING

    async def _read_again(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Read what no client waits for: what was late or failed is read again."""
        for _ in range(_READ_ATTEMPTS):
            if (found := await self._read(work)) is not None:
                return found
            await asyncio.sleep(_PAUSE)
        return None

    async def _read(self, work: Callable[[sqlite3.Connection], T | None]) -> T | None:
        try:
            return await self._reader.read(work)
        except (ValueError, DigestInvalid):
            # A row that this release cannot read: one of a damaged page, most likely.
            return None


def _digest(key: bytes) -> Digest:
    return Digest(f"{_ALGORITHMS.get(len(key), '')}:{key.hex()}")


def _grant(proof: str | None, media_type: str | None) -> Grant | None:
    return None if proof is None else Grant(Proof(proof), media_type)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
