"""What a machine must be able to do before it can run a cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.cluster import cgroups

_NAMESPACES: Final = ("--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts")
_BRIDGE: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_KERNEL_LOG: Final = Path("/dev/kmsg")


def missing() -> str | None:
    """The first condition that this machine does not meet, as a sentence; None if it meets all."""
    if os.geteuid() != 0:
        return "a cluster needs root"
    done = _run("unshare", *_NAMESPACES, "--fork", "--mount-proc", "true")
    if done.returncode:
        return f"a cluster needs namespaces of its own: {done.stderr.strip()}"
    controllers = {name for each in cgroups.hierarchies() for name in each.controllers}
    if lacking := [name for name in cgroups.NEEDED if name not in controllers]:
        return f"a cluster needs control groups at /sys/fs/cgroup, with {' and '.join(lacking)}"
    return next((reason for there, reason in _kernel() if not there), None)


def _kernel() -> list[tuple[bool, str]]:
    return [
        (
            "overlay" in Path("/proc/filesystems").read_text(),
            "a cluster needs overlayfs: `modprobe overlay`",
        ),
        (
            _BRIDGE.exists(),
            "a cluster needs iptables for what crosses a bridge: `modprobe br_netfilter`",
        ),
        (_KERNEL_LOG.exists(), f"a cluster's kubelet reads {_KERNEL_LOG}, which is not here"),
    ]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
