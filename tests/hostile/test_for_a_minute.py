"""Five attacks at the default settings, a minute each, from one address and from 64: `make siege`.

Somebody else pulls all the while, cached images and new ones. After the first 20 s no pull fails,
the median stays within one and a half times what it is without the attack, and the proxy's memory
within 300 MiB. A right login beside the attack takes less than 2 s. Times need a machine with two
idle cores, so these run only when they are asked for: `LIGHTERAGE_SLOW_TESTS=1`, and
`LIGHTERAGE_HOSTILE_SECONDS` for another length.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.hostile import bystander
from tests.hostile.attack import ATTACKS, NON_READERS, log_in
from tests.kit import images, load, processes
from tests.kit.access import basic, htpasswd
from tests.kit.proxy import push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.kit.scripted_upstream import ScriptedUpstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("LIGHTERAGE_SLOW_TESTS"), reason="LIGHTERAGE_SLOW_TESTS=1 runs it"
    ),
]

SECONDS: Final = float(os.environ.get("LIGHTERAGE_HOSTILE_SECONDS", "60"))
RECOVERY: Final = 20.0
SLOWER: Final = 1.5
# How long a right login may take, in seconds, and how many there are.
LOGIN: Final = 2.0
_USERS: Final = 5
MEMORY: Final = 300 * images.MEBIBYTE
ROOT: Final = Path(__file__).parents[2]
# The blob that slow readers ask for; the second half of it begins at 8 MiB.
LARGE: Final = images.noise("large", 16 * images.MEBIBYTE)
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "non-readers": {"limits": {"connections": NON_READERS}}
}


@pytest.fixture(autouse=True)
def _no_variable_is_taken_for_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIGHTERAGE_SLOW_TESTS", "LIGHTERAGE_HOSTILE_SECONDS"):
        monkeypatch.delenv(name, raising=False)


class Puller:
    """Pulls a cached image and a new one in turn, and remembers how that went."""

    def __init__(self, port: int, upstream: ScriptedUpstream) -> None:
        self._port = port
        self._upstream = upstream
        self._number = 0
        self.times: list[float] = []
        # When each pull failed, in seconds since the measurement began, and how.
        self.failures: list[tuple[float, str]] = []

    async def pull(self, seconds: float) -> None:
        """For so many seconds."""
        self.times, self.failures = [], []
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            try:
                async with asyncio.timeout(RECOVERY):
                    await bystander.pull_from(self._port)
                    await self._pull_new()
            except (AssertionError, TimeoutError, load.LostError, load.NotBegunError) as error:
                self.failures.append((now - began, repr(error)[:200]))
            else:
                self.times.append(time.monotonic() - now)
            await asyncio.sleep(0.1)

    async def _pull_new(self) -> None:
        self._number += 1
        image, tag = images.oci(f"new-{self._number}"), f"new-{self._number}"
        push(self._upstream, bystander.NAME, tag, image)
        path = f"/v2/{bystander.NAME}/manifests/{tag}"
        answer = await load.get(self._port, path, image.media_type, source=bystander.ADDRESS)
        assert (answer.status, answer.body) == (200, image.manifest), answer.status


async def alone(puller: Puller) -> float:
    """The median of pulls while nobody attacks, in seconds."""
    await puller.pull(SECONDS / 4)
    assert not puller.failures
    return median(puller.times)


@asynccontextmanager
async def attacking(name: str, port: int, path: str, count: int) -> AsyncIterator[None]:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hostile.attack", name, str(port), path, str(count)),
        cwd=ROOT,
    )
    try:
        yield
        assert program.returncode is None, "the attack has ended by itself"
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


@pytest.mark.parametrize(
    ("name", "count"), [*product(ATTACKS, (1, 64)), ("wrong logins", 500)], ids=str
)
async def test_nobody_else_fails(
    upstream: ScriptedUpstream, tmp_path: Path, record_property: Any, name: str, count: int
) -> None:
    path = f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, LARGE)}"
    chosen = SETTINGS.get(name) or _access(tmp_path)
    with processes.Proxy(tmp_path, upstream=upstream.url, settings=chosen) as proxy:
        if name == "non-readers":
            assert (await load.get(proxy.port, path)).status == 200
        puller = Puller(proxy.port, upstream)
        before = await alone(puller)
        async with attacking(name, proxy.port, path, count):
            await puller.pull(SECONDS)
            logins = [await _log_in(proxy.port, number) for number in range(_USERS)]
            memory = _resident(proxy.pid)
        beside, failures = median(puller.times), puller.failures
        late = [failure for failure in failures if failure[0] > RECOVERY]
        figures: dict[str, float] = {
            "pulls": len(puller.times),
            "failed": len(failures),
            "late": len(late),
            "MiB": memory // images.MEBIBYTE,
            "login": round(max(logins), 2),
        }
        # What else the machine does counts for both.
        slower = beside / max(before, await alone(puller))
        figures["slower"] = round(slower, 2)
        record_property("figures", figures)
        print(f"{name}, {count}: {figures}")  # noqa: T201 -- what the test is for
        assert not late
        assert memory < MEMORY
        assert max(logins) < LOGIN
        assert slower < SLOWER


def _access(directory: Path) -> dict[str, Any]:
    """Users with real hashes, and a repository that is closed."""
    directory.mkdir(exist_ok=True)
    users = {"ann": "anchor", **{f"honest{number}": "right" for number in range(_USERS)}}
    return {
        "access": {
            "htpasswd_file": str(htpasswd(directory / "users", users, rounds=10)),
            "rules": [{"match": "*/closed/*", "mode": "basic"}],
        }
    }


async def _log_in(port: int, number: int) -> float:
    """How long a right login takes that was not seen before, in seconds."""
    began = time.monotonic()
    assert await log_in(port, bystander.ADDRESS, basic(f"honest{number}", "right")) == 200
    return time.monotonic() - began


def _resident(pid: int) -> int:
    """The most that was ever resident of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
