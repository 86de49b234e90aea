"""The size and time of verification of a blob's file, in an extended attribute.

The attribute stays with the file when it is renamed. On a file system without extended attributes,
a truncated file is found only by reading all of it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from proxy.stores.disk.open_file import OpenFile

_NAME: Final = "user.lighterage"


@dataclass(frozen=True, slots=True)
class VerifiedStamp:
    """The verified size in bytes, and the time of verification in seconds since 1970."""

    size: int
    verified_at: float

    @classmethod
    def of(cls, file: OpenFile) -> Self | None:
        """Read the stamp of an open file, or None."""
        try:
            size, verified_at = os.getxattr(file.fileno(), _NAME).split()
            return cls(int(size), float(verified_at))
        except (OSError, ValueError):
            return None


def stamp(file: OpenFile) -> None:
    """Stamp the file's current content as verified now, if the file system supports it."""
    with suppress(OSError):
        os.setxattr(file.fileno(), _NAME, f"{file.size} {time.time():.0f}".encode())
