"""Keeping the index within its bounds: the least recently used rows are deleted first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_TABLES: Final = ("contents", "grants", "tags", "representations", "listings", "layers")
# Rows are deleted in portions, so that no transaction keeps other processes waiting, nor writes
# more than a small part of all pages: each row may be on some pages of its own.
_PORTION: Final = 500
_SMALLEST_PORTION: Final = 10
_PAGES_PER_ROW: Final = 100
# Eviction begins when so much of the limit is in use, and ends at the lower share.
_HIGH: Final = 0.94
_LOW: Final = 0.90
# A repository's row is small: they are looked through only when there are so many.
_MANY_REPOSITORIES: Final = 10_000
# In seconds; no row waits for its commit as long.
_LONGEST_WRITE: Final = 600.0

_KEYS: Final = {
    "contents": "id",
    "grants": "digest, repository",
    "tags": "repository, name",
    "representations": "key",
    "listings": "repository, name",
    "layers": "digest",
}
_ORPHANS: Final = """
DELETE FROM repositories WHERE max(tags_purged, listings_purged) < ? AND id NOT IN (
    SELECT repository FROM tags UNION SELECT repository FROM grants
    UNION SELECT repository FROM claims UNION SELECT repository FROM listings
)
"""
_CLAIMS_OF_GRANTS: Final = """
DELETE FROM claims WHERE (manifest, repository) IN (
    SELECT contents.id, given.repository FROM ({chosen}) AS given JOIN contents USING (digest)
)
"""


def is_over(database: sqlite3.Connection) -> bool:
    """Whether rows have to be evicted to stay within `PRAGMA max_page_count`."""
    return _used_share(database) > _HIGH


def evict(database: sqlite3.Connection) -> bool:
    """Delete one portion of the least recently used rows; whether more has to go.

    Runs in the transaction that is open.
    """
    oldest = {
        table: used
        for table in _TABLES
        if (used := database.execute(f"SELECT min(used) FROM {table}").fetchone()[0]) is not None  # noqa: S608 -- our own tables
    }
    if not oldest:
        return False
    _delete(database, min(oldest, key=lambda table: oldest[table]), before=None)
    return _used_share(database) > _LOW


def expire(database: sqlite3.Connection, before: int, now: float) -> None:
    """Delete portions of what was not used since `before`, in seconds since 1970."""
    for table in _TABLES:
        _delete(database, table, before=before)
    database.execute("DELETE FROM shared WHERE expires <= ?", (now,))


def forget_orphans(database: sqlite3.Connection, now: float) -> None:
    """Delete the names of repositories of which nothing is stored, if there are many.

    Where nothing is stored a purge voids nothing, except what other processes have yet to write.
    """
    (count,) = database.execute("SELECT count(*) FROM repositories").fetchone()
    if count > _MANY_REPOSITORIES:
        database.execute(_ORPHANS, (now - _LONGEST_WRITE,))


def _delete(database: sqlite3.Connection, table: str, *, before: int | None) -> None:
    keys = _KEYS[table]
    bound = "" if before is None else f"WHERE used < {before:d}"
    (pages,) = database.execute("PRAGMA max_page_count").fetchone()
    portion = min(_PORTION, max(_SMALLEST_PORTION, pages // _PAGES_PER_ROW))
    chosen = f"SELECT {keys} FROM {table} {bound} ORDER BY used LIMIT {portion}"  # noqa: S608 -- our own tables
    # Claims go with the manifest that makes them, and with the repository's right to it.
    if table == "contents":
        database.execute(f"DELETE FROM claims WHERE manifest IN ({chosen})")  # noqa: S608
    elif table == "grants":
        database.execute(_CLAIMS_OF_GRANTS.replace("{chosen}", chosen))
    database.execute(f"DELETE FROM {table} WHERE ({keys}) IN ({chosen})")  # noqa: S608


def _used_share(database: sqlite3.Connection) -> float:
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    (most,) = database.execute("PRAGMA max_page_count").fetchone()
    return (int(pages) - int(free)) / int(most)
