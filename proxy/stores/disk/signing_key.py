"""The key that signs schema 1: made once, and then the same for ever."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from proxy.oci.schema1.libtrust import SigningKey


def given_key(path: Path) -> SigningKey:
    """The operator's key; ValueError or OSError if it cannot be used."""
    return SigningKey.load(path.read_bytes())


def own_key(path: Path) -> SigningKey:
    """The key at `path`, made now if there is none; every process gets the same one.

    ValueError if the file is no key, OSError if it cannot be written.
    """
    if not path.exists():
        _create(path, SigningKey.generate().pem())
    return SigningKey.load(path.read_bytes())


def _create(path: Path, pem: bytes) -> None:
    """All of it or nothing, readable by us only, and never in the place of another one."""
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
    finally:
        Path(temporary).unlink()
