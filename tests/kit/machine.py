"""A lock on the machine: tests in parallel share it, and one marked `serial` has it alone."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def occupied(directory: Path, *, alone: bool) -> Iterator[None]:
    """Have the machine, alone or beside others that share it, once it is free for that.

    Locks in `directory` hold among processes, and end with them. Everybody passes a turnstile, so
    while one waits to be alone, no other begins.
    """
    with _lockable(directory / "machine") as machine:
        with _lockable(directory / "turnstile") as turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_EX)
            fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def _lockable(path: Path) -> Iterator[int]:
    """A descriptor for locks of the file, which end with this context."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        # Closing alone would not do: a child that was forked meanwhile has the same lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
