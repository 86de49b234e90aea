"""Random schedules of faults for real replicas: every pull is right, and ends well at last.

`make chaos` runs ten; `make chaos SEED=7` runs that one.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.kit.namespace import Namespace
from tests.kit.redis import RedisServer
from tests.replicas.chaos import IMAGES, Chaos
from tests.replicas.fleet import SLOW, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.processes import Proxy

pytestmark = [*SLOW]
_SEEDS: Final = [int(os.environ["SEED"])] if os.environ.get("SEED") else list(range(10))


@pytest.mark.parametrize("seed", _SEEDS)
async def test_every_pull_is_right_whatever_happens(tmp_path: Path, seed: int) -> None:
    with Namespace(tmp_path / "namespace") as apart, RedisServer(tmp_path / "redis") as redis:
        async with fleet(
            tmp_path / "fleet", images=IMAGES, delay=0.0, apart=apart, redis=redis.url
        ) as ships:
            log = await Chaos(seed, ships, redis, apart).run()
            _say(
                f"seed {seed}: {'; '.join(log.faults)}",
                f"  {log.pulls} pulls, {len(log.attempts)} attempts more, egress "
                f"{ships.total_egress:.2f}, the longest pull {log.slowest:.1f} s",
            )
            assert log.wrong == []
            assert log.failures == []
            assert log.pulls > 0
            stored = [path for one in ships.replicas.running for path in _blobs(one)]
            assert stored
            for path in stored:
                assert Digest(f"sha256:{path.name}").matches(path.read_bytes())


def _blobs(replica: Proxy) -> Iterator[Path]:
    """The files of whole blobs."""
    for path in replica.data.rglob("*"):
        if path.is_file() and len(path.name) == 64 and "spool" not in path.parts:
            yield path


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(["", *lines, ""]))
