"""The files of a catalog, changed while no proxy uses them: what was lost or damaged."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def derived_file(data: Path, digest: str) -> Path:
    """The file of a derived manifest."""
    return data / "derived" / digest


def damage_derived(data: Path, digest: str, raw: bytes = b"garbage") -> None:
    """Have other bytes than the manifest's in its file, and none of it in the index."""
    file = derived_file(data, digest)
    head, _, _ = file.read_bytes().partition(b"\n")
    file.write_bytes(head + b"\n" + raw)
    forget_content(data, digest)


def derived_in(data: Path) -> list[str]:
    """The digests of all that was made."""
    return sorted(file.name for file in data.glob("derived/sha256*"))


def remove_blob(data: Path, digest: str) -> None:
    """Lose a stored blob."""
    (found,) = data.glob(f"blobs/**/{digest.partition(':')[2]}")
    found.unlink()


def edit_origin(data: Path, digest: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change what a derived manifest is said to be made from."""
    file = derived_file(data, digest)
    line, _, raw = file.read_bytes().partition(b"\n")
    head = json.loads(line)
    head["origin"] = edit(head["origin"])
    file.write_bytes(json.dumps(head).encode() + b"\n" + raw)


def forget_content(data: Path, digest: str) -> None:
    """Have the manifest's bytes in the index no more."""
    execute(data, "DELETE FROM contents WHERE digest = ?", bytes.fromhex(digest.partition(":")[2]))


def damage_content(data: Path, digest: str, raw: bytes) -> None:
    """Have other bytes in the index than the manifest's."""
    key = bytes.fromhex(digest.partition(":")[2])
    execute(data, "UPDATE contents SET raw = ? WHERE digest = ?", raw, key)


def remove_index(data: Path) -> None:
    """Lose the whole index."""
    for file in data.glob("index.sqlite3*"):
        file.unlink()


def manifests_in(data: Path) -> int:
    """How many manifests are stored, in the index and derived; the proxy may be running."""
    derived = [file for file in data.glob("derived/*") if not file.name.startswith(".")]
    with closing(sqlite3.connect(data / "index.sqlite3")) as database:
        (count,) = database.execute("SELECT count(*) FROM contents").fetchone()
    return len(derived) + int(count)


def execute(data: Path, statement: str, *arguments: object) -> None:
    """Change the index of a proxy that is stopped."""
    with closing(sqlite3.connect(data / "index.sqlite3")) as database:
        database.execute(statement, arguments)
        database.commit()
