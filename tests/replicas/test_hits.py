"""A hit asks no other replica, and costs what it costs where there is none."""

from __future__ import annotations

import os
import secrets
import statistics
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import proxy
from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.load import Connection
from tests.kit.namespace import Namespace
from tests.kit.processes import LOOPBACK, free_port
from tests.kit.processes import Proxy as Program
from tests.kit.proxy import Proxy, push, settings
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream
from tests.replicas.fleet import IN_CHAOS, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_HITS: Final = 2_000
_ROUNDS: Final = 15
_IN_A_ROUND: Final = 20_000
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OURS: Final = str(Path(proxy.__file__).parent)
_PATHS: Final = (
    f"manifests/{images.oci().digest}",
    "manifests/1",
    *map("blobs/{}".format, images.oci().blobs),
)


@contextmanager
def _calls() -> Iterator[Counter[str]]:
    """The functions of the proxy that are called while the block runs."""
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OURS):
            name = frame.f_code.co_filename.removeprefix(_OURS)
            called[f"{name}:{frame.f_code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


async def _calls_of_hits(directory: Path, **sections: Any) -> list[Counter[str]]:
    """Those of one hit of each path, as seldom as they are called."""
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/cargo", "1", images.oci())
        chosen = settings(upstream, directory, tags={"ttl": "1d"}, **sections)
        found = []
        async with Proxy(chosen) as running:
            for path in _PATHS:
                seen: list[Counter[str]] = []
                for _ in range(8):
                    with _calls() as called:
                        answer = await running.get(f"/v2/library/cargo/{path}", Accept="*/*")
                    assert answer.status == 200
                    seen.append(called)
                found.append(min(seen[3:], key=Counter.total))
        assert len(upstream.requests) <= len(_PATHS) + 1
        return found


async def test_a_hit_calls_the_same_functions_with_peers_and_without(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(secrets.token_hex(32))
    own, other = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
    peers = {"listen": own, "discover": [own, other], "secret_file": str(tmp_path / "secret")}
    alone = await _calls_of_hits(tmp_path / "alone")
    among = await _calls_of_hits(tmp_path / "among", peers=peers)
    assert among == alone
    assert not [name for called in among for name in called if "/peers/" in name]


async def test_hits_send_nothing_to_other_replicas(tmp_path: Path) -> None:
    """By the packets between them, of which the probes are a few."""
    with Namespace(tmp_path / "namespace") as apart:
        async with fleet(
            tmp_path, images=1, delay=0.0, apart=apart, settings={"tags": {"ttl": "1d"}}
        ) as ships:
            assert await ships.pull() == []
            (image,), replica = ships.images, ships.replicas.running[-1]
            asked = len(ships.upstream.requests)
            before = apart.packets(apart.peers)
            async with Connection(replica.port, address=replica.address) as connection:
                for number in range(_HITS):
                    path = ("manifests/1", f"blobs/{image.blobs[0]}")[number % 2]
                    answer = await connection.get(f"/v2/{image.name}/{path}", "*/*")
                    assert answer.status == 200
            assert apart.packets(apart.peers) - before < _HITS / 2
            assert len(ships.upstream.requests) == asked


def _cpu(process: Program) -> float:
    """The CPU time of the process so far, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def _hit(process: Program) -> float:
    """What many hits cost."""
    before = _cpu(process)
    async with Connection(process.port) as connection:
        for _ in range(_IN_A_ROUND):
            answer = await connection.get("/v2/library/cargo/manifests/1", str(MediaType.V2S2))
            assert answer.status == 200
    return _cpu(process) - before


@pytest.mark.slow
@IN_CHAOS
async def test_a_hit_costs_what_it_costs_without_peers(tmp_path: Path) -> None:
    """By the CPU time of each, in pairs that take turns: their median."""
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/cargo", "1", images.docker())
        shared: dict[str, Any] = {
            "upstreams": {"docker.io": {"url": upstream.url, "default": True}},
            "tags": {"ttl": "1d"},
        }
        upstreams = shared.pop("upstreams")
        alone = Program(tmp_path / "alone", settings={"upstreams": upstreams, **shared})
        with alone, Replicas(tmp_path / "replicas", 2, upstreams=upstreams, settings=shared) as two:
            among = two.running[0]
            ratios = []
            for number in range(_ROUNDS + 1):
                pair = [alone, among] if number % 2 else [among, alone]
                cost = {one: await _hit(one) for one in pair}
                if number:
                    ratios.append(cost[among] / cost[alone])
            memory = [_resident(one) for one in (alone, among)]
        sys.stdout.write(
            f"\nCPU of a hit with peers: {statistics.median(ratios):.3f} times that without "
            f"({min(ratios):.3f} to {max(ratios):.3f}); "
            f"memory {memory[0] / 2**20:.1f} and {memory[1] / 2**20:.1f} MiB\n"
        )
        assert statistics.median(ratios) <= 1.03


def _resident(process: Program) -> int:
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_of_peers_is_listening_without_them(tmp_path: Path) -> None:
    """Nor is anything of it counted."""
    with Program(tmp_path, upstream="http://127.0.0.1:1") as alone:
        lines = ask(f"{alone.admin_url}/metrics").body.decode().splitlines()
        samples = [line for line in lines if line.startswith("lighterage_peer")]
        assert all(line.endswith(" 0.0") for line in samples)
        listening = Path(f"/proc/{alone.pid}/net/tcp").read_text()
        own = {
            f"socket:[{line.split()[9]}]"
            for line in listening.splitlines()[1:]
            if line.split()[3] == "0A"
        }
        held = {str(path.readlink()) for path in Path(f"/proc/{alone.pid}/fd").iterdir()}
        assert len(own & held) == 2
