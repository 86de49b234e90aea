"""The signing key of schema 1: generated once and then kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.oci.schema1.libtrust import SigningKey
from proxy.stores.disk.secret_file import create_once

if TYPE_CHECKING:
    from pathlib import Path


def load_key(path: Path) -> SigningKey:
    """Load the operator's key; ValueError or OSError if it cannot be used."""
    return SigningKey.load(path.read_bytes())


def load_or_create_key(path: Path) -> SigningKey:
    """Load the key at `path`, or generate it; all processes get the same key.

    ValueError if the file is not a key, OSError if it cannot be written.
    """
    if not path.exists():
        create_once(path, SigningKey.generate().pem())
    return SigningKey.load(path.read_bytes())
