"""Control groups of a cluster's own: one in each hierarchy, which is all that its node sees.

Version 1, with its many hierarchies, and version 2, with its one, at `/sys/fs/cgroup`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
# Without these the kubelet does not start.
NEEDED: Final = ("cpu", "cpuset", "memory", "pids")
# Seconds until the kernel must have let go of what was killed, and between two looks.
_GONE: Final = 30.0
_POLL: Final = 0.05
_PREFIX: Final = "lighterage-cluster-"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy; of version 2 if it has no `options`, which are those of its mount."""

    mount: Path
    options: str

    @property
    def controllers(self) -> list[str]:
        """What can be controlled by it."""
        if self.options:
            return self.options.removeprefix("none,").split(",")
        return (self.mount / "cgroup.controllers").read_text().split()


def hierarchies() -> list[Hierarchy]:
    """Those of this machine."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mount = Path(before.split()[4])
        if kind == "cgroup":
            words = [word for word in options.split(",") if word not in {"rw", "xattr"}]
            named = [word for word in words if word.startswith("name=")]
            found.append(Hierarchy(mount, f"none,{named[0]}" if named else ",".join(words)))
        elif kind == "cgroup2" and mount == _ROOT:
            found.append(Hierarchy(mount, ""))
    return found


def create(name: str) -> list[Path]:
    """Make the groups of a cluster; a process joins one by its `cgroup.procs`."""
    groups = []
    for hierarchy in hierarchies():
        group = hierarchy.mount / f"{_PREFIX}{name}"
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            # Version 1 lets nobody into a group for which they are not said.
            if hierarchy.options and (group / file).exists():
                (group / file).write_text((hierarchy.mount / file).read_text())
        groups.append(group)
    return groups


def remove(name: str) -> list[Path]:
    """Kill what is still in the groups of a cluster, and remove them; what could not be removed."""
    deadline = time.monotonic() + _GONE
    while left := [group for group in _groups(name) if not _remove(group)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(_POLL)
    return []


def remove_empty(name: str) -> None:
    """Remove the groups of a cluster if no process is in them."""
    for group in _groups(name):
        _remove(group, kill=False)


def names() -> set[str]:
    """Of clusters that have groups here, running or not."""
    found = (each.mount.glob(f"{_PREFIX}*") for each in hierarchies())
    return {group.name.removeprefix(_PREFIX) for groups in found for group in groups}


def mount_own(found: list[Hierarchy]) -> None:
    """Mount `/sys` and the hierarchies `found` anew, as this process's namespaces show them."""
    _mount("sysfs", "/sys")
    if not all(hierarchy.options for hierarchy in found):
        _mount("cgroup2", _ROOT)
        # A group that hands controllers on has no processes in itself.
        leaf = _ROOT / "programs"
        leaf.mkdir()
        for process in (_ROOT / "cgroup.procs").read_text().split():
            (leaf / "cgroup.procs").write_text(process)
        for controller in (_ROOT / "cgroup.controllers").read_text().split():
            (_ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
        return
    _mount("tmpfs", _ROOT)
    for hierarchy in found:
        directory = _ROOT / hierarchy.mount.name
        directory.mkdir()
        _mount("cgroup", directory, f"--options={hierarchy.options}")
        for controller in hierarchy.controllers:
            if "=" not in controller and not (_ROOT / controller).exists():
                (_ROOT / controller).symlink_to(directory.name)


def _mount(kind: str, directory: str | Path, *options: str) -> None:
    subprocess.run(["mount", f"--types={kind}", *options, kind, directory], check=True)


def _groups(name: str) -> list[Path]:
    groups = (each.mount / f"{_PREFIX}{name}" for each in hierarchies())
    return [group for group in groups if group.exists()]


def _remove(group: Path, *, kill: bool = True) -> bool:
    """Whether it has gone, with all that is below it."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            processes = Path(directory, "cgroup.procs").read_text().split() if kill else []
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            Path(directory).rmdir()
    return not group.exists()
