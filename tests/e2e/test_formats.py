"""Two releases side by side, on one Redis and one directory, serve each other's content.

The older one is what it left behind: a copy for each number of the format is kept.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import formats
from tests.kit.raw_http import ask
from tests.kit.redis import RedisServer
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

OURS: Final = formats.KEPT / str(formats.NUMBER)
GIVEN: Final[dict[str, list[str]]] = json.loads((OURS / "answers.json").read_text())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def copied(number: int, directory: Path) -> Path:
    """The directory that a release with this format left behind."""
    data = directory / "data"
    shutil.copytree(formats.KEPT / str(number) / "data", data)
    return data


async def test_what_a_release_left_in_its_directory_is_served(tmp_path: Path) -> None:
    """All of it, when no upstream answers."""
    data = copied(formats.NUMBER, tmp_path)
    with formats.proxy(tmp_path / "proxy", data=data, server=None) as proxy:
        assert await formats.answers(proxy) == GIVEN


async def test_what_a_release_left_in_redis_is_served(tmp_path: Path, server: RedisServer) -> None:
    """All but the blobs, without the index and the derived manifests."""
    data = copied(formats.NUMBER, tmp_path)
    for path in data.glob(f"{formats.DATABASE}*"):
        path.unlink()
    shutil.rmtree(data / "derived")
    formats.restore(OURS / "redis.json", server)
    with formats.proxy(tmp_path / "proxy", data=data, server=server) as proxy:
        assert await formats.answers(proxy) == GIVEN


async def test_what_is_written_now_is_what_a_release_of_the_same_format_wrote(
    tmp_path: Path, server: RedisServer
) -> None:
    """So the older one can read it. If this fails on purpose, the format needs a new number."""
    key = OURS / "data/signing-key.pem"
    in_files = await formats.make(tmp_path / "one", key=key, server=None)
    in_redis = await formats.make(tmp_path / "two", key=key, server=server)
    assert in_files == in_redis == GIVEN
    kept = formats.files(OURS / "data")
    assert formats.files(tmp_path / "one") == kept
    assert formats.files(tmp_path / "two") == kept
    assert formats.rows(tmp_path / "one" / formats.DATABASE) == formats.rows(
        OURS / "data" / formats.DATABASE
    )
    now = formats.entries(server)
    formats.restore(OURS / "redis.json", server)
    assert formats.entries(server) == now


async def test_of_an_older_directory_the_blobs_are_kept_and_a_warning_says_so(
    tmp_path: Path, server: RedisServer
) -> None:
    """Nothing else of it counts: it is learned again, also from a Redis that both share."""
    data = copied(1, tmp_path)
    before = formats.blob_inodes(data)
    formats.restore(formats.KEPT / "1" / "redis.json", server)
    async with ScriptedUpstream() as upstream:
        formats.push_all(upstream)
        url = upstream.url
        with formats.proxy(tmp_path / "proxy", url=url, data=data, server=server) as proxy:
            warnings = json.loads(ask(f"{proxy.admin_url}/readyz").body)["warnings"]
            assert "earlier format" in warnings["data_directory"]
            found = await formats.answers(proxy)
            # The older directory has a signing key of its own: digests are equal, signatures not.
            assert {path: each[:2] for path, each in found.items()} == {
                path: each[:2] for path, each in GIVEN.items()
            }
        # Small blobs are compared with the upstream's, large ones by three ranges: none is stored
        # again.
        assert formats.blob_inodes(data) == before
