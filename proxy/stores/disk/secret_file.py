"""A secret that is generated once and then kept: the same for all processes."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from proxy.stores.disk.fsync_batch import fsync_directory


def load_or_create_secret(path: Path) -> str:
    """The text of the file, which is generated if there is none; OSError if that fails."""
    if not path.exists():
        create_once(path, f"{secrets.token_urlsafe(48)}\n".encode())
    return path.read_text()


def create_once(path: Path, content: bytes) -> None:
    """Create the file atomically, readable by the owner only; an existing one is kept."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        fsync_directory(path.parent)
    finally:
        Path(temporary).unlink()
