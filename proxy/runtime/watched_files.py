"""Files that are looked at while the proxy runs: has one changed?

The file's entry in its directory is looked at, as often as a person would: Kubernetes replaces a
link, an editor the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# In seconds.
LOOK_EVERY: Final = 2.0


def entry(path: Path) -> object:
    """What changes with the file or with a link on the way to it; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
