"""The signing key of schema 1: generated once and then kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from proxy.oci.schema1.libtrust import SigningKey
from proxy.stores.disk.fsync_batch import fsync_directory


def load_key(path: Path) -> SigningKey:
    """Load the operator's key; ValueError or OSError if it cannot be used."""
    return SigningKey.load(path.read_bytes())


def load_or_create_key(path: Path) -> SigningKey:
    """Load the key at `path`, or generate it; all processes get the same key.

    ValueError if the file is not a key, OSError if it cannot be written.
    """
    if not path.exists():
        _create(path, SigningKey.generate().pem())
    return SigningKey.load(path.read_bytes())


def _create(path: Path, pem: bytes) -> None:
    """Create the file atomically, readable by the owner only; an existing one is kept."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        fsync_directory(path.parent)
    finally:
        Path(temporary).unlink()
