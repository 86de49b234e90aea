"""What is known of a blob's file beside its content: how long it must be, and when it was verified.

It is in an extended attribute, and so stays with the file whatever its name is. Where the file
system has none, a file that is too short is found only by reading all of it.
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
    """Size in bytes, and when the content was verified last, in seconds since 1970."""

    size: int
    verified_at: float

    @classmethod
    def of(cls, file: OpenFile) -> Self | None:
        """What an open file carries, or None."""
        try:
            size, verified_at = os.getxattr(file.fileno(), _NAME).split()
            return cls(int(size), float(verified_at))
        except (OSError, ValueError):
            return None


def stamp(file: OpenFile) -> None:
    """Note that all that is in the file now was verified now, where that can be noted."""
    with suppress(OSError):
        os.setxattr(file.fileno(), _NAME, f"{file.size} {time.time():.0f}".encode())
