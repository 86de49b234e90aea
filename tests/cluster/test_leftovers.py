"""However a cluster ends, nothing of it stays, and the machine is as it was before."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools
from tests.cluster import cgroups, keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("machine")

_ROOT: Final = Path(__file__).parents[2]
# Starts a cluster, says where it is, and waits for what will happen to it.
_OWNER: Final = """\
import os, time
from tests.cluster.cluster import Cluster
with Cluster.start(os.environ.get("KUBERNETES_VERSION", "")) as cluster:
    print(cluster.state, flush=True)
    while not cluster.failed:
        time.sleep(0.1)
"""
# What a kubelet or a kube-proxy sets.
_SETTINGS: Final = (
    *("kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxbytes"),
    *("kernel/keys/root_maxkeys", "vm/overcommit_memory", "vm/panic_on_oom"),
    *("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max"),
)
_NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
# Seconds until everything must have gone, and between two looks.
_GONE: Final = 60.0
_POLL: Final = 0.1


@dataclass(frozen=True, slots=True)
class Machine:
    """What a cluster could change for everybody."""

    mounts: frozenset[str]
    rules: str
    links: frozenset[str]
    settings: dict[str, str]

    @classmethod
    def now(cls) -> Machine:
        """As it is."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        rules = subprocess.run(
            [tools.require("iptables"), "--list-rules"], capture_output=True, check=True
        )
        return cls(
            frozenset(line.split(" - ")[0].split()[4] for line in mounts),
            rules.stdout.decode(),
            frozenset(path.name for path in Path("/sys/class/net").iterdir()),
            {name: Path("/proc/sys", name).read_text() for name in _SETTINGS},
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that another process owns."""

    owner: subprocess.Popen[str]
    state: Path
    namespaces: frozenset[str]

    @property
    def keeper(self) -> int:
        found = keeper.keeper(self.state)
        assert found
        return found

    def program(self, name: str) -> int:
        """The process of this name in the cluster."""
        (found,) = (
            pid
            for pid in processes(self.namespaces)
            if Path(f"/proc/{pid}/comm").read_text().strip() == name
        )
        return found


@pytest.fixture
def running() -> Iterator[Running]:
    """A cluster with a ready node, whose owner ends with the test."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # What runs these tests may ignore it, as a shell does for what it runs in the background.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert owner.stdout
    try:
        line = owner.stdout.readline().strip()
        assert line, "the cluster did not start"
        state = Path(line)
        node = keeper.node(state)
        links = [Path(f"/proc/{node}/ns/{name}").readlink() for name in _NAMESPACES]
        yield Running(owner, state, frozenset(map(str, links)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            owner.terminate()
        owner.wait()
        owner.stdout.close()


def stopped(running: Running) -> None:
    running.owner.send_signal(signal.SIGINT)


def terminated(running: Running) -> None:
    running.owner.send_signal(signal.SIGTERM)


def killed(running: Running) -> None:
    running.owner.kill()


def keeper_terminated(running: Running) -> None:
    os.kill(running.keeper, signal.SIGTERM)


def program_failed(running: Running) -> None:
    os.kill(running.program("kubelet"), signal.SIGKILL)


def keeper_killed(running: Running) -> None:
    os.kill(running.keeper, signal.SIGKILL)
    running.owner.wait()


@pytest.mark.parametrize(
    "happens", [stopped, terminated, killed, keeper_terminated, program_failed, keeper_killed]
)
def test_nothing_stays(
    before: Machine, running: Running, happens: Callable[[Running], None]
) -> None:
    assert processes(running.namespaces)
    assert running.state.name in cgroups.names()
    happens(running)
    if happens is keeper_killed:
        # What the kernel does not end with it is removed before the next cluster starts.
        keeper.remove_leftovers()
    ended = time.clock_gettime(time.CLOCK_BOOTTIME)
    deadline = time.monotonic() + _GONE
    while left := (processes(running.namespaces, ended) or remains(running.state)):
        assert time.monotonic() < deadline, left
        time.sleep(_POLL)
    assert Machine.now() == before


@pytest.fixture
def before() -> Machine:
    """The machine before the cluster is started."""
    return Machine.now()


def processes(namespaces: frozenset[str], until: float = math.inf) -> list[int]:
    """Those in one of these namespaces, which live as long as a process is in them.

    The kernel gives the number of a namespace that has gone to a new one. So processes are left out
    that were started later than `until`, in seconds since the machine was.
    """
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            own = {str((directory / "ns" / name).readlink()) for name in _NAMESPACES}
            stat = (directory / "stat").read_text().rpartition(")")[2].split()
            if own & namespaces and int(stat[19]) / os.sysconf("SC_CLK_TCK") < until:
                found.append(int(directory.name))
    return found


def remains(state: Path) -> list[str]:
    """What is still there of a cluster that has ended."""
    mounted = str(state) in Path("/proc/self/mountinfo").read_text()
    found = {"directory": state.exists(), "groups": state.name in cgroups.names()}
    return [name for name, there in {**found, "mounts": mounted}.items() if there]
