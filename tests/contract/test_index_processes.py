"""The index and its file, shared by real processes, some of which are killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import Grant, Proof, TagEntry
from tests.kit.another_process import another_process
from tests.kit.open_index import no_deadlines, open_index
from tests.kit.pulls import CARGO, IMAGE, pull_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COMMIT = """
    from proxy.oci.reference import Tag
    from proxy.ports.catalog import Batch, Grant, Proof, TagEntry
    from proxy.stores.sqlite import index as module
    module._COMMIT_WITHIN = 30.0
    index = await SqliteIndex.open(
        directory / "index.sqlite3", max_size=2**26, unused=1e9, on_error=say
    )
    say("ready")
    await heard()
    for number in range(int(arguments[1])):
        digest = Digest.of(b"%d" % number)
        name = "docker.io/library/" + arguments[0]
        await index.commit(
            Batch(
                tags=[(name, Tag(f"v{number}"), TagEntry(digest, 1000.0))],
                grants=[(name, digest, Grant(Proof.HEAD, "text/plain"))],
            )
        )
        say(number)
    say("done")
    await heard()
    await index.close()
"""


@pytest.fixture(autouse=True)
def unhurried() -> Iterator[None]:
    """A busy machine may take as long as it needs."""
    with no_deadlines():
        yield


async def test_kill_9_costs_nothing_that_a_commit_has_returned_for(data_dir: Path) -> None:
    errors: list[str] = []
    path = data_dir / "index.sqlite3"
    async with another_process(_COMMIT, data_dir, "killed", 1_000_000) as process:
        assert await process.line() == "ready"
        process.say()
        said = [int(await process.line()) for _ in range(300)]
        await process.kill()
    assert said == list(range(300))
    async with open_index(path, on_error=errors.append) as index:
        for number in said:
            found = await index.look_tag("docker.io/library/killed", Tag(f"v{number}"))
            assert found.tag == TagEntry(Digest.of(b"%d" % number), 1000.0)
            assert found.grant == Grant(Proof.HEAD, "text/plain")
        # Nothing that it held is held any more.
        await index.commit(pull_of(IMAGE))
        assert (await index.look_tag(CARGO, Tag("1.0"))).raw == IMAGE.raw
    assert errors == []


async def test_a_process_beside_the_one_that_is_killed_goes_on(data_dir: Path) -> None:
    errors: list[str] = []
    async with open_index(data_dir / "index.sqlite3", on_error=errors.append) as index:
        for turn in range(3):
            async with another_process(_COMMIT, data_dir, "killed", 1_000_000) as process:
                assert await process.line() == "ready"
                process.say()
                for number in range(20):
                    assert await process.line() == str(number)
                    await index.commit(pull_of(IMAGE, f"docker.io/{turn}/{number}"))
                await process.kill()
            for number in range(20):
                found = await index.look_tag(f"docker.io/{turn}/{number}", Tag("1.0"))
                assert found.raw == IMAGE.raw
    assert errors == []


async def test_processes_that_write_at_once_lose_nothing(data_dir: Path) -> None:
    """Both begin with a file that is not there."""
    errors: list[str] = []
    async with (
        another_process(_COMMIT, data_dir, "one", 200) as one,
        another_process(_COMMIT, data_dir, "other", 200) as other,
    ):
        for process in (one, other):
            assert await process.line() == "ready"
        for process in (one, other):
            process.say()
        for process in (one, other):
            assert [await process.line() for _ in range(200)] == [str(n) for n in range(200)]
            assert await process.line() == "done"
        async with open_index(data_dir / "index.sqlite3", on_error=errors.append) as index:
            for name in ("one", "other"):
                for number in range(200):
                    found = await index.look_tag(f"docker.io/library/{name}", Tag(f"v{number}"))
                    assert found.grant is not None
        for process in (one, other):
            process.say()
            assert await process.ended() == 0
    assert errors == []
