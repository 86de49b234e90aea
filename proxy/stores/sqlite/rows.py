"""The rows that one group commit writes, and the statements that write them.

Each statement writes up to some hundred rows: the thread gives up the interpreter's lock once a
statement, so a busy event loop does not slow the writer down row by row, nor the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.ports.catalog import MAX_CLOCK_SKEW
from proxy.stores.sqlite.removal import remove_content

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from proxy.oci.reference import Digest
    from proxy.ports.catalog import Batch

Row = tuple[object, ...]

# Numbers of rows for which a statement is prepared; any number is a sum of these.
_SIZES: Final = (256, 64, 16, 4, 1)
# What a row takes in memory besides its values, in bytes.
_OVERHEAD: Final = 200

_REPOSITORIES: Final = "INSERT OR IGNORE INTO repositories (name) VALUES {rows}"
_CONTENTS: Final = """
INSERT INTO contents (digest, raw, origin, used) VALUES {rows}
ON CONFLICT (digest) DO UPDATE SET
    raw = excluded.raw, origin = coalesce(excluded.origin, origin), used = excluded.used
"""
_GRANTS: Final = """
WITH given (digest, name, proof, type, used) AS (VALUES {rows})
INSERT INTO grants (digest, repository, proof, type, used)
SELECT digest, id, proof, type, used FROM given CROSS JOIN repositories USING (name) WHERE true
ON CONFLICT (digest, repository) DO UPDATE SET
    proof = excluded.proof, type = coalesce(excluded.type, type), used = excluded.used
"""
_CLAIMS: Final = """
WITH given (claimed, name, manifest, type, size) AS (VALUES {rows})
INSERT OR REPLACE INTO claims (digest, repository, manifest, type, size)
SELECT claimed, repositories.id, contents.id, type, size
FROM given CROSS JOIN repositories USING (name) CROSS JOIN contents ON contents.digest = manifest
"""
_TAGS: Final = """
WITH given (name, tag, digest, validated, used) AS (VALUES {rows})
INSERT INTO tags (repository, name, digest, validated, used)
SELECT id, tag, digest, validated, used FROM given CROSS JOIN repositories USING (name) WHERE true
ON CONFLICT (repository, name) DO UPDATE SET
    digest = excluded.digest, validated = excluded.validated, used = excluded.used
WHERE excluded.validated >= validated OR validated > excluded.used + {skew}
""".replace("{skew}", str(MAX_CLOCK_SKEW))
_DROP_TAGS: Final = """
DELETE FROM tags WHERE (repository, name) IN (
    WITH given (name, tag) AS (VALUES {rows})
    SELECT id, tag FROM given CROSS JOIN repositories USING (name)
)
"""
_REPRESENTATIONS: Final = "REPLACE INTO representations (key, derived, used) VALUES {rows}"
_LAYERS: Final = "REPLACE INTO layers (digest, size, diff_id, unpacked, gzip, used) VALUES {rows}"
_LISTINGS: Final = """
WITH given (name, page, value, fetched, used) AS (VALUES {rows})
REPLACE INTO listings (repository, name, value, fetched, used)
SELECT id, page, value, fetched, used FROM given CROSS JOIN repositories USING (name)
"""
_PURGES: Final = """
INSERT INTO repositories (name, tags_purged, listings_purged) VALUES {rows}
ON CONFLICT (name) DO UPDATE SET
    tags_purged = max(tags_purged, excluded.tags_purged),
    listings_purged = max(listings_purged, excluded.listings_purged)
"""
_PURGE_ALL: Final = """
UPDATE repositories SET
    tags_purged = max(tags_purged, :now), listings_purged = max(listings_purged, :now)
"""
_SHARED: Final = "REPLACE INTO shared (key, value, expires) VALUES {rows}"
_DROP_SHARED: Final = "DELETE FROM shared WHERE key IN (VALUES {rows})"
_TOUCHES: Final = (
    "UPDATE contents SET used = {now} WHERE digest IN (VALUES {rows})",
    "UPDATE grants SET used = {now} WHERE digest IN (VALUES {rows})",
)


def digest_key(digest: Digest) -> bytes:
    """The digest as the index has it: its bytes, whose number tells the algorithm."""
    return bytes.fromhex(digest.hex)


@dataclass(slots=True)
class Rows:
    """What waits to be written; of two values for one key the later one."""

    repositories: dict[str, Row] = field(default_factory=dict)
    contents: dict[bytes, Row] = field(default_factory=dict)
    grants: dict[Row, Row] = field(default_factory=dict)
    claims: dict[Row, Row] = field(default_factory=dict)
    tags: dict[tuple[str, str], Row | None] = field(default_factory=dict)
    representations: dict[str, Row] = field(default_factory=dict)
    listings: dict[Row, Row] = field(default_factory=dict)
    layers: dict[bytes, Row] = field(default_factory=dict)
    purges: dict[str, Row] = field(default_factory=dict)
    shared: dict[str, Row | None] = field(default_factory=dict)
    touched: dict[bytes, Row] = field(default_factory=dict)
    removed: dict[str, set[bytes]] = field(default_factory=dict)
    # What all repositories have from before this moment is void, in seconds since 1970.
    all_purged: float = 0.0
    # About how many bytes of memory all of it takes.
    size: int = 0

    def __bool__(self) -> bool:
        return self.size > 0

    def add(self, batch: Batch, now: int) -> None:
        """Take what one pull has taught; `now` is when it was used, in seconds since 1970."""
        size = 0
        for name, tag, entry in batch.tags:
            digest = digest_key(entry.digest)
            self.tags[name, tag] = (name, str(tag), digest, entry.validated_at, now)
            self.repositories[name] = (name,)
            size += _OVERHEAD
        for manifest, origin in batch.manifests:
            digest = digest_key(manifest.digest)
            encoded = None if origin is None else origin.encode()
            self.contents[digest] = (digest, manifest.raw, encoded, now)
            size += _OVERHEAD + len(manifest.raw)
        for name, granted, grant in batch.grants:
            digest = digest_key(granted)
            self.grants[digest, name] = (digest, name, grant.proof.value, grant.media_type, now)
            self.repositories[name] = (name,)
            size += _OVERHEAD
        for name, source, claimed, claim in batch.claims:
            row = (digest_key(claimed), name, digest_key(source), claim.media_type, claim.size)
            self.claims[row[:3]] = row
            size += _OVERHEAD
        for key, derived in batch.representations:
            self.representations[key] = (key, digest_key(derived), now)
            size += _OVERHEAD + len(key)
        for name, page, listing in batch.listings:
            self.listings[name, page] = (name, page, listing.value, listing.fetched_at, now)
            self.repositories[name] = (name,)
            size += _OVERHEAD + len(page) + len(listing.value)
        for facts in batch.layers:
            digest = digest_key(facts.digest)
            values = (facts.size, digest_key(facts.diff_id), facts.unpacked, facts.is_gzip)
            self.layers[digest] = (digest, *values, now)
            size += _OVERHEAD
        for used in batch.touched:
            digest = digest_key(used)
            self.touched[digest] = (digest,)
            size += _OVERHEAD
        self.size += size

    def drop_tag(self, repository: str, tag: str) -> None:
        """Have the tag forgotten."""
        self.tags[repository, tag] = None
        self.size += _OVERHEAD

    def purge(self, repository: str, now: float, *, tags: bool) -> None:
        """Have listings, and with `tags` the tags, count only if they are newer than `now`."""
        self.purges[repository] = (repository, now if tags else 0.0, now)
        self.size += _OVERHEAD

    def purge_all(self, now: float) -> None:
        """Have the listings and tags of all repositories count only if they are newer."""
        self.all_purged = max(self.all_purged, now)
        self.size += _OVERHEAD

    def share(self, key: str, value: bytes | None, expires: float) -> None:
        """Keep a value for the processes of this machine; None forgets it."""
        self.shared[key] = None if value is None else (key, value, expires)
        self.size += _OVERHEAD + len(value or b"")

    def remove(self, repository: str, digests: Iterable[Digest]) -> None:
        """Have content of the repository forgotten; what is added later stays.

        Removals are written first, so what waits is taken back here.
        """
        keys = set(map(digest_key, digests))
        self.removed.setdefault(repository, set()).update(keys)
        self.size += _OVERHEAD * len(keys)
        for key in keys:
            self.grants.pop((key, repository), None)
            self.touched.pop(key, None)
        self.claims = {
            key: row
            for key, row in self.claims.items()
            if key[1] != repository or not keys & {key[0], key[2]}
        }
        self.tags = {
            key: row
            for key, row in self.tags.items()
            if row is None or key[0] != repository or row[2] not in keys
        }
        still = {key for key, _ in self.grants}
        for key in keys - still:
            self.contents.pop(key, None)

    def write(self, database: sqlite3.Connection, now: int) -> None:
        """Write everything, in the transaction that is open; sqlite3.Error."""
        for repository, digests in self.removed.items():
            remove_content(database, repository, digests)
        for statement, rows in (
            (_PURGES, self.purges.values()),
            (_REPOSITORIES, self.repositories.values()),
            (_CONTENTS, self.contents.values()),
            (_GRANTS, self.grants.values()),
            (_CLAIMS, self.claims.values()),
            (_TAGS, [row for row in self.tags.values() if row is not None]),
            (_DROP_TAGS, [key for key, row in self.tags.items() if row is None]),
            (_REPRESENTATIONS, self.representations.values()),
            (_LISTINGS, self.listings.values()),
            (_LAYERS, self.layers.values()),
            (_SHARED, [row for row in self.shared.values() if row is not None]),
            (_DROP_SHARED, [(key,) for key, row in self.shared.items() if row is None]),
        ):
            _execute(database, statement, rows)
        if self.all_purged:
            database.execute(_PURGE_ALL, {"now": self.all_purged})
        for statement in _TOUCHES:
            _execute(database, statement.replace("{now}", str(now)), self.touched.values())


def _execute(database: sqlite3.Connection, statement: str, rows: Iterable[Row]) -> None:
    for chunk in _chunks(list(rows)):
        one = f"({', '.join('?' * len(chunk[0]))})"
        many = ", ".join([one] * len(chunk))
        values = [value for row in chunk for value in row]
        database.execute(statement.replace("{rows}", many), values)


def _chunks(rows: list[Row]) -> Iterator[list[Row]]:
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
