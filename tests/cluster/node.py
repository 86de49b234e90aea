"""The node: the first process of a cluster's namespaces, and the parent of everything in them.

    python -m tests.cluster.node STATE

It takes from the machine what a cluster would otherwise change for all: mounts, network, control
groups, and the kernel's settings. When it ends, the kernel ends everything else.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.cluster import addresses, cgroups, components, credentials
from tests.cluster.api import Api, ApiError
from tests.cluster.components import SOCKET
from tests.cluster.spec import Spec
from tests.cluster.volumes import STORAGE_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.components import Component

# Seconds until each thing must have come up, on a loaded machine, and between two looks.
_TIMEOUT: Final = 120.0
_POLL: Final = 0.1
# Programs write below these, and no option changes that; it must be gone afterwards.
_WRITTEN: Final = ("/var/lib", "/var/log")
# What the kubelet sets for the whole machine. It sets nothing that is right already, so it is shown
# files that say so.
_KERNEL_SETTINGS: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
# Settings of a network namespace. A pod's Service may be another pod on the same bridge.
_NETWORK_SETTINGS: Final = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")
_QUOTED: Final = 4000


class NodeError(Exception):
    """The node does not come up, or has lost a program."""


class Node:
    """The programs of a node, in the namespaces that this process is in."""

    def __init__(self, spec: Spec) -> None:
        """Nothing runs yet."""
        self._spec = spec
        # Kept, since `subprocess` itself waits for the processes of objects that have gone.
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._environment = dict(os.environ)

    def start(self) -> None:
        """Start everything, in the order in which one needs another; NodeError if that fails."""
        spec = self._spec
        credentials.write(spec.credentials)
        spec.logs.mkdir()
        for each in components.storage(spec):
            self._start(each)
        self._start(components.api_server(spec))
        for each in components.outside(spec):
            self._start(each)
        self._wait("containerd", lambda: Path(SOCKET).exists())
        for archive in spec.archives:
            self._import(archive)
        api = Api(spec.credentials)
        self._wait("the API", lambda: _answers(api))
        api.create("/apis/storage.k8s.io/v1/storageclasses", STORAGE_CLASS)
        for each in components.node(spec):
            self._start(each)
        self._wait("the node", lambda: _is_ready(api))
        spec.ready.touch()

    def run(self) -> None:
        """Collect orphans until a program of the node ends; then NodeError."""
        while True:
            ended, status = os.wait()
            self._check(ended, status)

    def _start(self, component: Component) -> None:
        with self._log(component.name).open("ab") as log:
            process = subprocess.Popen(
                component.command,
                env={**self._environment, **component.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running[process.pid] = (component.name, process)

    def _wait(self, name: str, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not there():
            if time.monotonic() > deadline:
                raise NodeError(f"{name} is not there after {_TIMEOUT:g} s")
            with contextlib.suppress(ChildProcessError):
                ended, status = os.waitpid(-1, os.WNOHANG)
                self._check(ended, status)
            time.sleep(_POLL)

    def _check(self, ended: int, status: int) -> None:
        if ended in self._running:
            name, _ = self._running.pop(ended)
            code = os.waitstatus_to_exitcode(status)
            log = self._log(name).read_text(errors="replace")[-_QUOTED:]
            raise NodeError(f"{name} has ended with status {code}\n{log}")

    def _import(self, archive: Path) -> None:
        ctr = (self._spec.ctr, f"--address={SOCKET}", "--namespace=k8s.io")
        done = subprocess.run(
            [*ctr, "images", "import", archive], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NodeError(f"{archive} cannot be imported: {done.stdout}{done.stderr}")

    def _log(self, name: str) -> Path:
        return self._spec.logs / f"{name}.log"


def separate(scratch: Path) -> None:
    """Make what the node would change in the machine its own; `scratch` is an empty directory."""
    found = cgroups.hierarchies()
    _run("mount", "--make-rshared", "/")
    _run("mount", "--types=tmpfs", "--options=mode=755", "tmpfs", "/run")
    _run("mount", "--types=tmpfs", "tmpfs", scratch)
    for directory in map(Path, _WRITTEN):
        layers = {name: scratch / directory.name / name for name in ("upper", "work")}
        for path in layers.values():
            path.mkdir(parents=True)
        options = ",".join(f"{name}dir={path}" for name, path in layers.items())
        options = f"--options=lowerdir={directory},{options}"
        _run("mount", "--types=overlay", options, "overlay", directory)
    for name, value in _KERNEL_SETTINGS.items():
        file = scratch / name.replace("/", "-")
        file.write_text(f"{value}\n")
        _run("mount", "--bind", file, Path("/proc/sys", name))
    cgroups.mount_own(found)
    _run("ip", "link", "set", "lo", "up")
    # A bridge without anything behind it: an interface that is up, with an address and a route.
    _run("ip", "link", "add", "node0", "type", "bridge")
    width = addresses.NODE_NETWORK.partition("/")[2]
    _run("ip", "address", "add", f"{addresses.NODE}/{width}", "dev", "node0")
    _run("ip", "link", "set", "node0", "up")
    _run("ip", "route", "add", "default", "dev", "node0")
    for name in _NETWORK_SETTINGS:
        Path("/proc/sys", name).write_text("1")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NodeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def _answers(api: Api) -> bool:
    with contextlib.suppress(ApiError):
        api.ask("GET", "/readyz")
        return True
    return False


def _is_ready(api: Api) -> bool:
    with contextlib.suppress(ApiError):
        for found in api.list("/api/v1/nodes"):
            conditions = found["status"].get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return False


def main(state: Path) -> None:
    """Be a node until the kernel ends it, or until one of its programs has ended."""
    spec = Spec.read(state)
    try:
        scratch = state / "scratch"
        scratch.mkdir()
        separate(scratch)
        node = Node(spec)
        node.start()
        node.run()
    except (NodeError, OSError, subprocess.SubprocessError, ApiError) as error:
        partial = spec.failure.with_suffix(".partial")
        partial.write_text(str(error))
        partial.rename(spec.failure)
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
