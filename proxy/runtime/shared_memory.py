"""A directory and anonymous memory that the processes of one supervisor share."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Metrics are in mapped files, which are written at every request. In this directory, if the system
# has one, they cannot hit a full disk, which would kill the process.
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- only where a private directory is made
_PREFIX: Final = "lighterage-"
_ALIVE: Final = "alive"


@contextmanager
def private_directory(data: Path) -> Iterator[Path]:
    """An empty directory while the block runs; removes directories of killed supervisors.

    It is in shared memory, or else below `data`, which is created. OSError if that is impossible.
    """
    data.mkdir(parents=True, exist_ok=True)
    place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else data
    for left in place.glob(f"{_PREFIX}*/{_ALIVE}"):
        # Skip directories of other users, of running supervisors, and ones that are just removed.
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        with (directory / "new").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Renamed after the lock is taken: without the lock it would look abandoned.
            (directory / "new").rename(directory / _ALIVE)
            yield directory


@contextmanager
def private_memory() -> Iterator[int | None]:
    """A descriptor of anonymous memory, for child processes; None if the system has none."""
    if not hasattr(os, "memfd_create"):
        yield None
        return
    descriptor = os.memfd_create("lighterage")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
