"""What a running proxy shows of itself: its log, its metrics, its processes and connections."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.kit import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.kit.processes import Proxy

_SAMPLE: Final = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
# How long two processes may take to start on a busy machine, in seconds.
_START: Final = 60.0
_ESTABLISHED: Final = "01"


def log(proxy: Proxy, event: str) -> list[dict[str, Any]]:
    """The lines of an `event` so far. Every line is one object, whichever process wrote it."""
    whole = proxy.output.read_bytes().rpartition(b"\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if line["event"] == event]


async def metrics(proxy: Proxy) -> str:
    """All of them, as text."""
    return (await load.get(proxy.admin_port, "/metrics")).body.decode()


def total(metrics: str, name: str, **labels: str) -> float:
    """The sum of all samples that have these labels."""
    samples = filter(None, map(_SAMPLE.fullmatch, metrics.splitlines()))
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    return sum(
        float(sample["value"])
        for sample in samples
        if sample["name"] == name and wanted <= set((sample["labels"] or "").split(","))
    )


async def all_serve(proxy: Proxy) -> None:
    """Return when both workers take connections; one process alone does from the start."""
    serving = "lighterage_workers_serving"
    async with asyncio.timeout(_START):
        while True:
            measured = await metrics(proxy)
            if f"# TYPE {serving}" not in measured or total(measured, serving) == 2:
                return
            await asyncio.sleep(0.05)


def workers(proxy: Proxy) -> list[int]:
    """The supervisor's children."""
    children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()
    return [int(child) for child in children]


def lives(process: int) -> bool:
    """Whether it has not ended, waited for or not."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def peak_memory(process: int) -> int:
    """The most that was ever resident of it, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def descriptors(process: int) -> list[str]:
    """What it has open, as the system calls it."""
    links = Path(f"/proc/{process}/fd").iterdir()
    return [str(link.readlink()) for link in links if link.is_symlink()]


def clients(proxy: Proxy) -> int:
    """How many connections to it are established, those included that it has not accepted yet."""
    return sum(
        local == proxy.port and state == _ESTABLISHED for local, _, state, _ in _connections()
    )


def sockets(proxy: Proxy) -> set[str]:
    """The proxy's ends of its clients' connections, as the system calls them."""
    return {socket for local, remote, _, socket in _connections() if local == proxy.port and remote}


def owner(processes: Iterable[int], *, local: int, remote: int) -> int:
    """The process that has the end at `local` of the connection to `remote`."""
    for here, there, _, socket in _connections():
        if (here, there) == (local, remote):
            for process in processes:
                if socket in descriptors(process):
                    return process
    raise AssertionError(f"nobody has the connection from {local} to {remote}")


def _connections() -> Iterator[tuple[int, int, str, str]]:
    """Local port, remote port, state and socket of all over IPv4."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(end.partition(":")[2], 16) for end in fields[1:3])
        yield local, remote, fields[3], f"socket:[{fields[9]}]"
