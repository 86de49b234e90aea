"""What only the processes of one supervisor share: a directory, and memory without a name."""

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

# Where the system has such a place it is memory, and does not fill up with the data: metrics are
# written to mapped files at every request, and a full disk would end the process that does.
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- only where a private directory is made
_PREFIX: Final = "lighterage-"
_ALIVE: Final = "alive"


@contextmanager
def private_directory(data: Path) -> Iterator[Path]:
    """An empty directory while the block runs; those of supervisors that were killed go.

    In shared memory, or else below `data`, which is made if need be. OSError if it cannot be made.
    """
    data.mkdir(parents=True, exist_ok=True)
    place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else data
    for left in place.glob(f"{_PREFIX}*/{_ALIVE}"):
        # Another user's, or one that has gone at this moment, is not ours to remove.
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        with (directory / "new").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Not before: it would look as if nobody held it.
            (directory / "new").rename(directory / _ALIVE)
            yield directory


@contextmanager
def private_memory() -> Iterator[int | None]:
    """Memory for whoever inherits the descriptor; None where the system has no such thing."""
    if not hasattr(os, "memfd_create"):
        yield None
        return
    descriptor = os.memfd_create("lighterage")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
