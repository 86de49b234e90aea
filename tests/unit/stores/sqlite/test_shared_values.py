"""The few values that the processes of a machine share by way of the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit.open_index import WallClock, commit_and_upkeep, count, open_index
from tests.kit.pulls import IMAGE, pull_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("unhurried")


async def test_another_process_reads_a_value_once_put_returns(path: Path) -> None:
    async with open_index(path) as one, open_index(path) as other:
        assert await other.get("generation") is None
        for value in (b"1", b"", bytes(range(256)), b"2"):
            await one.put("generation", value, life=60)
            assert await other.get("generation") == value
            assert await other.get("generation", extend=1e6) == value
        await one.delete("generation")
        await one.flush()
        assert await other.get("generation") is None
        await one.delete("unknown")


async def test_a_value_lives_as_long_as_it_was_given(path: Path) -> None:
    clock = WallClock()
    async with open_index(path, clock=clock) as index:
        await commit_and_upkeep(index, pull_of(IMAGE))
        await index.put("key", b"value", life=60)
        clock.now += 59
        assert await index.get("key") == b"value"
        clock.now += 2
        assert await index.get("key") is None
        clock.now += 61
        await commit_and_upkeep(index, pull_of(IMAGE))
    assert count(path, "shared") == 0


async def test_values_are_no_facts_and_are_not_evicted(path: Path) -> None:
    async with open_index(path, max_size=2**20) as index:
        await index.put("generation", b"1", life=1e9)
        for number in range(60):
            await index.commit(pull_of(IMAGE, f"docker.io/team/{number}"))
        assert await index.get("generation") == b"1"
