"""What a client unpacked, in a form that can be compared whichever way it was read.

Each path's value is its mode in octal, and then its content's digest, its target, or a slash for
a directory.
"""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Final

from tests.kit.images import digest

if TYPE_CHECKING:
    from pathlib import Path

# What docker adds to every container, whatever the image.
_DOCKERS_OWN: Final = (".dockerenv", "dev", "proc", "sys")
_DOCKERS_OWN_FILES: Final = ("etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf")


def tree(root: Path) -> dict[str, str]:
    """What is below `root`."""
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode & 0o7777
        if path.is_symlink():
            content = f"-> {path.readlink()}"
        else:
            content = digest(path.read_bytes()) if path.is_file() else "/"
        found[str(path.relative_to(root))] = f"{mode:o} {content}"
    return found


def exported(archive: bytes) -> dict[str, str]:
    """What is in docker's tar of a container, without what docker put there."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for entry in tar:
            if entry.name.partition("/")[0] in _DOCKERS_OWN or entry.name in _DOCKERS_OWN_FILES:
                continue
            if entry.issym():
                content = f"-> {entry.linkname}"
            else:
                file = tar.extractfile(entry)
                content = digest(file.read()) if file else "/"
            found[entry.name] = f"{entry.mode & 0o7777:o} {content}"
    return dict(sorted(found.items()))
