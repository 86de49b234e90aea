"""Detects changes of files while the proxy runs.

The directory entry is compared every two seconds: Kubernetes replaces a link, an editor the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# The interval, in seconds.
LOOK_EVERY: Final = 2.0


def entry(path: Path) -> object:
    """A value that changes with the file or a link in its path; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
