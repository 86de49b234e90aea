"""Which upstreams have delivered a blob, in an extended attribute of its file.

Where the file system has none, or the list is lost, an upstream has to prove again that it has the
blob.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = "user.lighterage.upstreams"
# Some file systems have room for 4 KiB in all of a file's attributes.
_LONGEST: Final = 2048


def read_upstreams(file: int | Path) -> frozenset[str]:
    """The upstreams' names; none if the file does not exist, or says nothing. Blocks."""
    try:
        return frozenset(os.getxattr(file, _NAME).decode().split())
    except (OSError, ValueError):
        return frozenset()


def write_upstreams(file: int | Path, upstreams: frozenset[str]) -> None:
    """Write the upstreams' names, if the file system has room for them. Blocks."""
    value = " ".join(sorted(upstreams)).encode()
    if len(value) <= _LONGEST:
        with suppress(OSError):
            os.setxattr(file, _NAME, value)
