"""Why a directory cannot be the data directory, or that of the blobs; each reason with a remedy."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
# By the names that Linux has for them; `fuse.` stands before those of a process.
_NETWORK: Final = {
    "nfs": "NFS",
    "nfs4": "NFS",
    "ceph": "CephFS",
    "ceph-fuse": "CephFS",
    "cifs": "SMB",
    "smb3": "SMB",
    "smbfs": "SMB",
}


def why_unwritable(path: Path, remedy: str) -> str | None:
    """Why no file can be made in `path`, or in what it would be made in; None if one can."""
    there = _existing(path)
    if not there.is_dir():
        return f"{there} is not a directory; {remedy}"
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return f"the disk with {path} is full; free some of it, or {remedy}"
        if error.errno == errno.EROFS:
            return (
                f"{path} is on a read-only file system: mount a volume there that {_us()} may "
                f"write, or {remedy}"
            )
        return f"{path} is not writable by {_us()}{_rights(there, remedy)}"


def why_not_local(path: Path, remedy: str) -> str | None:
    """Why SQLite's write-ahead log cannot be in `path`: all of its users must be on one host."""
    try:
        mounts = _MOUNTS.read_text()
    except OSError:  # another system than Linux
        return None
    network = network_file_system(_existing(path).resolve(), mounts)
    if network is None:
        return None
    return (
        f"{path} is on {network}, where the index (SQLite) cannot be used safely: use a local disk "
        f"or a block volume, and set blobs.path to store only blobs there, or {remedy}"
    )


def network_file_system(path: Path, mounts: str) -> str | None:
    """Return what `path` is on if that is a network file system. PURE.

    `mounts` is /proc/self/mountinfo (proc(5)): the longest mount point above `path` counts, and the
    last one mounted there.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        mount, separator, source = line.partition(" - ")
        fields = mount.split(" ")
        if not separator or len(fields) < 5:  # noqa: PLR2004 -- the mount point is the fifth
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), source.split(" ")[0]
    return _NETWORK.get(kind.removeprefix("fuse."))


def _existing(path: Path) -> Path:
    there = path.absolute()
    while not _exists(there) and there != there.parent:
        there = there.parent
    return there


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a directory above may not be searched
        return False


def _us() -> str:
    """Who this process is to the kernel."""
    groups = sorted({os.getegid(), *os.getgroups()})
    number = "group" if len(groups) == 1 else "groups"
    return f"uid {os.geteuid()} ({number} {', '.join(map(str, groups))})"


def _rights(path: Path, remedy: str) -> str:
    """Who owns `path`, and what to do about it."""
    try:
        found = path.stat()
    except OSError:
        return f"; {remedy}"
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    return (
        f": {path} belongs to uid {found.st_uid}, group {found.st_gid}, with mode {mode}; run "
        f"chown -R {os.geteuid()}:{os.getegid()} {path} (for a container, on the host: on what is "
        f"mounted there), run as its owner, or {remedy}"
    )
