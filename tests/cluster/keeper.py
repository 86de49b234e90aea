"""Keeps a cluster: starts its node in namespaces of its own, and clears up after it.

    python -m tests.cluster.keeper STATE

It ends the cluster on SIGTERM, SIGINT and SIGHUP, when the node has ended, and when its standard
input ends: then its owner is gone. An owner that writes a line to it first lets the cluster stay.
If the keeper is killed, the kernel ends the cluster, and `remove_leftovers` does the rest.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.cluster import cgroups, programs

if TYPE_CHECKING:
    from types import FrameType

# `unshare` ends the namespaces when it ends itself; the kernel ends it with its parent.
_SEPARATED: Final = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts"),
    *("--fork", "--kill-child=KILL", "--mount-proc", "--propagation=private"),
)
# Joins the control groups, all of them, before `--cgroup` makes them the root of what it sees.
_JOIN: Final = 'for file in $0; do echo $$ >"$file" || exit; done; exec "$@"'
_POLL: Final = 0.5
_PID: Final = "keeper.pid"
_NODE: Final = "node.pid"
_EXPLANATION: Final = {"failure", "logs"}


class _EndedError(Exception):
    """A signal has come."""


def states() -> Path:
    """Below it, each cluster of this user has a directory."""
    return programs.cache() / "run"


def keeper(state: Path) -> int | None:
    """The process that keeps the cluster of this directory, if it still runs."""
    return _running(state / _PID)


def node(state: Path) -> int | None:
    """The first process of the cluster's namespaces, seen from outside."""
    return _running(state / _NODE)


def new_state() -> Path:
    """An empty directory for a cluster, which this process keeps until a keeper does."""
    states().mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=programs.cache()))
    (made / _PID).write_text(_identity(os.getpid()))
    return made.rename(states() / secrets.token_hex(4))


def abandon(state: Path) -> None:
    """Clear up what is left of a cluster that nothing keeps any more."""
    (state / _PID).unlink(missing_ok=True)
    remove_leftovers()


def remove_leftovers() -> None:
    """Clear up after keepers that were killed."""
    own = set(states().glob("*"))
    for state in own:
        if not keeper(state):
            cgroups.remove(state.name)
            shutil.rmtree(state, ignore_errors=True)
    # Those of other users, and of other caches, may be running.
    for name in cgroups.names() - {state.name for state in own}:
        cgroups.remove_empty(name)


def run(state: Path) -> None:
    """Run the node until one of the reasons above, and leave nothing behind."""
    (state / _PID).write_text(_identity(os.getpid()))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    process = None
    try:
        joined = " ".join(str(group / "cgroup.procs") for group in cgroups.create(state.name))
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                _JOIN,
                joined,
                *_SEPARATED,
                sys.executable,
                "-m",
                "tests.cluster.node",
                state,
            ],
            stdin=subprocess.DEVNULL,
        )
        _watch(state, process)
    except _EndedError:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _clear_up(state, process)


def _watch(state: Path, process: subprocess.Popen[bytes]) -> None:
    owned = True
    while process.poll() is None:
        if not (state / _NODE).exists() and (first := _first_child(process.pid)):
            (state / _NODE).write_text(_identity(first))
        if not owned:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
        elif select.select([sys.stdin], [], [], _POLL)[0]:
            owned = False
            if not os.read(sys.stdin.fileno(), 64):
                return


def _clear_up(state: Path, process: subprocess.Popen[bytes] | None) -> None:
    """End the namespaces, and remove what the kernel does not remove with them."""
    if process is not None:
        process.kill()
        process.wait()
    failure = state / "failure"
    if left := cgroups.remove(state.name):
        failure.write_text(f"control groups that cannot be removed: {left}")
    elif not failure.exists():
        shutil.rmtree(state)
        return
    # The reason and the logs are for the command that waits, or that starts the next cluster.
    for path in state.iterdir():
        if path.name not in _EXPLANATION:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _first_child(pid: int) -> int | None:
    with contextlib.suppress(OSError, IndexError):
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        # Before it has become the node it is still in the namespaces of its parent.
        namespace = Path(f"/proc/{child}/ns/pid").readlink()
        if namespace != Path("/proc/self/ns/pid").readlink():
            return child
    return None


def _identity(pid: int) -> str:
    """The process, and when it was started: numbers are used again."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{pid} {stat[19]}"


def _running(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        written = file.read_text()
        pid = int(written.split()[0])
        if _identity(pid) == written:
            return pid
    return None


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _EndedError


if __name__ == "__main__":
    run(Path(sys.argv[1]))
