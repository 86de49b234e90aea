"""What the proxy stores is for its own user only: directories 0700, files 0600."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from proxy.config import Settings

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def keep_files_private(settings: Settings) -> None:
    """Create everything for this user only, and take the rights of others on what is there."""
    os.umask(_OTHERS)
    for root in {settings.data, settings.blobs.path or settings.data}:
        _tighten([root])
        with suppress(OSError):
            _tighten(root.iterdir())


def _tighten(directories: Iterable[Path]) -> None:
    """Tighten the directories that we own: a volume's own root may be somebody else's."""
    for directory in directories:
        with suppress(OSError):
            found = directory.lstat()
            # One with the sticky bit, such as /tmp, is shared on purpose.
            is_ours = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX
            if stat.S_ISDIR(found.st_mode) and is_ours and found.st_mode & _OTHERS:
                directory.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
