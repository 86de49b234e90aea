"""What the index lists: every tag, with what it names. Read only; a proxy may be writing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from proxy.errors import StoreError
from proxy.oci.reference import Digest
from proxy.stores.sqlite.rows import digest_key
from proxy.stores.sqlite.schema import FORMAT, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ALGORITHMS: Final = {32: "sha256", 64: "sha512"}
_TAGS: Final = """
SELECT r.name, tags.name, tags.digest, validated,
    max(tags.used, coalesce(contents.used, 0)), grants.type, raw
FROM tags
JOIN repositories AS r ON r.id = tags.repository
LEFT JOIN grants ON grants.digest = tags.digest AND grants.repository = r.id
LEFT JOIN contents ON contents.digest = tags.digest
WHERE validated > tags_purged
"""
_ALL_TAGS: Final = f"{_TAGS} ORDER BY r.name, tags.name"
_TAG: Final = f"{_TAGS} AND r.name = ? AND tags.name = ?"
_MANIFEST: Final = "SELECT raw FROM contents WHERE digest = ?"
_REPOSITORIES: Final = "SELECT count(*) FROM repositories"


@dataclass(frozen=True, slots=True)
class StoredTag:
    """A tag: when its upstream has confirmed it, and when it was used (seconds since 1970).

    `repository` is `registry/name`. `raw` is the manifest, None where it was evicted.
    """

    repository: str
    tag: str
    digest: Digest
    media_type: str | None
    validated_at: float
    used_at: float
    raw: bytes | None


class Inventory:
    """The index at `path`, open for reading; use it as a context manager. Blocks."""

    def __init__(self, path: Path) -> None:
        """StoreError if there is no index of this format."""
        self._path = path
        try:
            self._database = open_for_reading(path)
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be read: {error}") from None
        if version != FORMAT:
            self._database.close()
            raise StoreError(f"{path} has another format: a proxy of this release makes a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._database.close()

    def tags(self) -> Iterator[StoredTag]:
        """Every tag, by name; StoreError if the index is damaged."""
        for row in self._rows(_ALL_TAGS):
            yield _read(row)

    def tag(self, repository: str, tag: str) -> StoredTag | None:
        """What the tag names; None if that is not stored."""
        row = next(self._rows(_TAG, repository, tag), None)
        return None if row is None else _read(row)

    def manifest(self, digest: Digest) -> bytes | None:
        """The bytes of a manifest; None if it is not stored."""
        row = next(self._rows(_MANIFEST, digest_key(digest)), None)
        return None if row is None else bytes(row[0])

    def count_repositories(self) -> int:
        """Of how many repositories there is something."""
        return int(next(self._rows(_REPOSITORIES))[0])

    def _rows(self, statement: str, *arguments: object) -> Iterator[Any]:
        try:
            yield from self._database.execute(statement, arguments)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be read: {error}") from None


def _read(row: Any) -> StoredTag:
    name, tag, digest, validated, used, media_type, raw = row
    named = Digest(f"{_ALGORITHMS.get(len(digest), '')}:{digest.hex()}")
    return StoredTag(name, tag, named, media_type, validated, used, raw)
