"""Two releases side by side, on one Redis and one directory, serve each other's content.

The older one is what it left behind: a copy for each number of the format is kept.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import formats
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

NUMBERS: Final = sorted(path.name for path in formats.KEPT.iterdir() if path.name.isdigit())
OURS: Final = formats.KEPT / str(formats.NUMBER)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def copied(number: str, directory: Path, *, without: str) -> Path:
    """What that release left behind, but for a part of it."""
    data = directory / "data"
    shutil.copytree(formats.KEPT / number / "data", data)
    part = data / without
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    return data


def given(number: str) -> dict[str, list[str]]:
    """What clients got from that release."""
    answers: dict[str, list[str]] = json.loads((formats.KEPT / number / "answers.json").read_text())
    return answers


@pytest.mark.parametrize("number", NUMBERS)
async def test_what_an_older_release_left_in_files_is_served(number: str, tmp_path: Path) -> None:
    """All of it, when no cache is left, and no upstream answers."""
    data = copied(number, tmp_path, without=formats.DATABASE)
    with formats.proxy(tmp_path / "proxy", data=data, server=None) as proxy:
        assert await formats.answers(proxy) == given(number)


@pytest.mark.parametrize("number", NUMBERS)
async def test_what_an_older_release_left_in_sqlite_is_served(number: str, tmp_path: Path) -> None:
    """All but the blobs, without the records."""
    data = copied(number, tmp_path, without="records")
    formats.renew(data / formats.DATABASE)
    with formats.proxy(tmp_path / "proxy", data=data, server=None) as proxy:
        assert await formats.answers(proxy) == given(number)


@pytest.mark.parametrize("number", NUMBERS)
async def test_what_an_older_release_left_in_redis_is_served(
    number: str, tmp_path: Path, server: RedisServer
) -> None:
    """All but the blobs, without the records."""
    data = copied(number, tmp_path, without="records")
    (data / formats.DATABASE).unlink()
    formats.restore(formats.KEPT / number / "redis.json", server)
    with formats.proxy(tmp_path / "proxy", data=data, server=server) as proxy:
        assert await formats.answers(proxy) == given(number)


async def test_what_is_written_now_is_what_a_release_of_the_same_format_wrote(
    tmp_path: Path, server: RedisServer
) -> None:
    """So the older one can read it. If this fails on purpose, the format needs a new number."""
    key = OURS / "data/signing-key.pem"
    in_files = await formats.make(tmp_path / "one", key=key, server=None)
    in_redis = await formats.make(tmp_path / "two", key=key, server=server)
    assert in_files == in_redis == given(str(formats.NUMBER))
    kept = formats.files(OURS / "data")
    assert formats.files(tmp_path / "one") == kept
    assert formats.files(tmp_path / "two") == kept
    kept_rows = formats.rows(OURS / "data" / formats.DATABASE)
    assert formats.rows(tmp_path / "one" / formats.DATABASE) == kept_rows
    now = formats.entries(server)
    formats.restore(OURS / "redis.json", server)
    assert formats.entries(server) == now
    assert {key.split(":", 2)[2]: value for key, value in now.items()} == kept_rows


async def test_side_by_side_each_serves_what_the_other_was_asked_for_first(
    tmp_path: Path, server: RedisServer
) -> None:
    """The older one's directory and Redis, and a newer replica with a directory of its own."""
    formats.restore(OURS / "redis.json", server)
    older = copied(str(formats.NUMBER), tmp_path, without=formats.DATABASE)
    newer = tmp_path / "newer"
    shutil.copytree(older / "blobs", newer / "blobs")
    for data in (older, newer):
        with formats.proxy(tmp_path / data.name, data=data, server=server) as proxy:
            assert await formats.answers(proxy) == given(str(formats.NUMBER))
