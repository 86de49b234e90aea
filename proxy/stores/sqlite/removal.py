"""Removing the content of one repository from the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator

# Values in one statement.
_PORTION: Final = 500

# Claims before contents, whose rows they name; tags, grants, then the bytes that nobody has.
_REMOVALS: Final = """
DELETE FROM tags WHERE repository = :repository AND digest IN {digests};
DELETE FROM claims WHERE repository = :repository AND digest IN {digests};
DELETE FROM claims WHERE repository = :repository AND manifest IN
    (SELECT id FROM contents WHERE digest IN {digests});
DELETE FROM grants WHERE repository = :repository AND digest IN {digests};
DELETE FROM representations WHERE derived IN {digests};
DELETE FROM contents WHERE digest IN {digests} AND NOT EXISTS
    (SELECT 1 FROM grants WHERE grants.digest = contents.digest)
"""


def remove_content(
    database: sqlite3.Connection, repository: str, digests: Collection[bytes]
) -> None:
    """Forget what the repository has of it, and bytes that no other one has been granted."""
    row = database.execute("SELECT id FROM repositories WHERE name = ?", (repository,)).fetchone()
    if row is None:
        return
    for portion in _portions(digests):
        values: dict[str, object] = {f"d{number}": key for number, key in enumerate(portion)}
        names = f"({', '.join(f':{name}' for name in values)})"
        for statement in _REMOVALS.split(";"):
            database.execute(
                statement.replace("{digests}", names), {**values, "repository": row[0]}
            )


def find_granted(database: sqlite3.Connection, digests: Collection[bytes]) -> set[bytes]:
    """Those that some repository has been granted."""
    found: set[bytes] = set()
    for portion in _portions(digests):
        marks = ", ".join("?" * len(portion))
        statement = f"SELECT DISTINCT digest FROM grants WHERE digest IN ({marks})"  # noqa: S608 -- marks only
        found.update(key for (key,) in database.execute(statement, portion))
    return found


def granted_to(database: sqlite3.Connection, repository: str) -> Iterator[bytes]:
    """What the repository has been granted."""
    statement = (
        "SELECT digest FROM grants WHERE repository = (SELECT id FROM repositories WHERE name = ?)"
    )
    return (key for (key,) in database.execute(statement, (repository,)).fetchall())


def _portions(digests: Collection[bytes]) -> Iterator[list[bytes]]:
    every = list(digests)
    for start in range(0, len(every), _PORTION):
        yield every[start : start + _PORTION]
