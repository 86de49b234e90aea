"""A replica that cannot reach the others, and serves on: it is in a network of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.kit.namespace import Namespace
from tests.replicas.fleet import fleet

if TYPE_CHECKING:
    from pathlib import Path

# How long it is cut off, in seconds.
_CUT_OFF: Final = 20.0
_HALVES: Final = 2


async def test_both_halves_serve_and_nothing_fails_when_they_meet_again(tmp_path: Path) -> None:
    with Namespace(tmp_path / "namespace") as apart:
        async with fleet(tmp_path, apart=apart) as ships:
            loop = asyncio.get_running_loop()
            pulling = asyncio.ensure_future(ships.pull())
            await ships.begun(0.3)
            await asyncio.to_thread(apart.cut, apart.peers)
            mended = loop.time() + _CUT_OFF
            assert await pulling == []
            assert ships.egress <= _HALVES
            ships.load_others(10, seed=2)
            assert await ships.pull() == []
            assert ships.egress <= 1.02 * _HALVES
            await asyncio.sleep(mended - loop.time())
            ships.load_others(10, seed=3)
            pulling = asyncio.ensure_future(ships.pull())
            await ships.begun(0.3)
            await asyncio.to_thread(apart.mend)
            assert await pulling == []
            await asyncio.to_thread(ships.replicas.wait_until_they_know)
            ships.load_others(10, seed=4)
            assert await ships.pull() == []
            assert ships.egress <= 1.02
