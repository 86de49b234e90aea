"""The proxy as the first process of its container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools
from tests.kit.processes import LOOPBACK, Program, free_port
from tests.kit.redis import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
# A shell that ends before what it has started.
_LEAVE: Final = "sleep 0.2 & sleep 0.3 & exit"


@pytest.mark.parametrize("workers", [1, 2])
def test_orphans_are_waited_for(tmp_path: Path, workers: int) -> None:
    """And the proxy's own processes are not taken for orphans: a killed worker is replaced."""
    tools.require_root("unshare")
    tools.require("nsenter")
    ports = free_port(), free_port()
    proxy = Program(
        [
            *(tools.require("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(LIGHTERAGE, "serve", f"--data={tmp_path / 'data'}", f"--workers={workers}"),
            *(f"--listen={LOOPBACK}:{ports[0]}", f"--admin-listen={LOOPBACK}:{ports[1]}"),
            f"--upstream=http://{LOOPBACK}:9",
        ],
        directory=tmp_path,
        listens=ports,
    )
    with proxy:
        (first,) = children(proxy.pid)
        try:
            find(first, ports)
            watch(first, workers)
        finally:
            # unshare itself ignores the signal, and ends with what it has started.
            os.kill(first, signal.SIGTERM)


def find(first: int, ports: tuple[int, int]) -> None:
    """Commands beside it find both listeners by the arguments that it was given."""
    enter = [str(tools.require("nsenter")), f"--target={first}", "--pid", "--mount"]

    def run(*command: str) -> str:
        done = subprocess.run(
            [*enter, str(LIGHTERAGE), *command], capture_output=True, text=True, check=False
        )
        return f"{done.stdout}{done.stderr}"

    assert run("health") == "alive\n"
    assert "the proxy is ready" in run("status")
    assert f"127.0.0.1:{ports[0]}" in run("client-config", "docker")
    warmed = run("warm", "none:1")
    assert "none:1" in warmed
    assert "no proxy answers" not in warmed


def test_a_listener_that_is_not_found_is_one_of_other_arguments() -> None:
    for command, option in (("warm", "listen"), ("status", "admin-listen")):
        section = "ADMIN__LISTEN" if command == "status" else "LISTEN"
        environment = {**os.environ, f"LIGHTERAGE_{section}": f"{LOOPBACK}:{free_port()}"}
        arguments = [command] if command == "status" else [command, "none:1"]
        missed = subprocess.run(
            [LIGHTERAGE, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        assert (missed.returncode, missed.stdout) == (1, "")
        assert missed.stderr.endswith(f" or --config (was it started with --{option}?)\n")


def watch(first: int, workers: int) -> None:
    own = set(children(first))
    assert len(own) == (0 if workers == 1 else workers)
    inside(first, "sh", "-c", _LEAVE)
    assert set(children(first)) - own
    eventually(lambda: set(children(first)) == own, "they are still there", within=30)
    if own:
        killed = min(own)
        os.kill(killed, signal.SIGKILL)
        eventually(
            lambda: killed not in children(first) and len(children(first)) == workers,
            "the worker was not replaced",
            within=30,
        )


def children(pid: int) -> Sequence[int]:
    """Processes whose parent it is, also those that have ended."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def inside(pid: int, *command: str) -> None:
    """Run a command among the processes that have `pid` as their first one."""
    subprocess.run([tools.require("nsenter"), f"--target={pid}", "--pid", *command], check=True)
