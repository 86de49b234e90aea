"""A small blob is answered from memory once it was served, in the repositories that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.access import basic, htpasswd
from tests.kit.kept_connection import KeptConnection, get, lasting
from tests.kit.proxy import Proxy, metric, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

LARGEST: Final = 64 * 1024
CONTENT: Final = images.noise("small", LARGEST)
BLOB: Final = Digest.of(CONTENT)
PATH: Final = f"/v2/library/cargo/blobs/{BLOB}"


def file_of(data: Path, digest: Digest) -> Path:
    return data / "blobs/sha256" / digest.hex[:2] / digest.hex


async def test_it_is_read_once(proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path) -> None:
    upstream.add_blob("library/cargo", CONTENT)
    async with KeptConnection(proxy.address) as connection:
        assert b"fwd=miss" in await connection.ask(get(PATH))
        from_disk = await connection.ask(get(PATH))
        file_of(data_dir, BLOB).unlink()
        for _ in range(4):
            assert lasting(await connection.ask(get(PATH))) == lasting(from_disk)
            head = await connection.ask(get(PATH, method="HEAD"), head_only=True)
            assert lasting(head) == lasting(from_disk)[: -len(CONTENT)]
        not_modified = await connection.ask(get(PATH, f'If-None-Match: "{BLOB}"'))
        assert not_modified.startswith(b"HTTP/1.1 304 ")
    assert from_disk.endswith(CONTENT)
    assert b"Cache-Status: Lighterage; hit\r\n" in from_disk
    assert (upstream.count("GET"), upstream.count("HEAD")) == (1, 0)
    lines = await proxy.lines(11)
    for line in lines[2:]:
        assert (line["route"], line["cache"], line["reference"]) == ("blob", "hit", BLOB)
        assert line["upstream_calls"] == 0
    assert [line["bytes"] for line in lines[2:6]] == [LARGEST, 0, LARGEST, 0]


async def test_a_part_of_it_is_read_from_the_store(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.add_blob("library/cargo", CONTENT)
    for _ in range(3):
        await proxy.get(PATH)
        answer = await proxy.get(PATH, Range="bytes=10-19")
        assert (answer.status, answer.body) == (206, CONTENT[10:20])


async def test_a_larger_one_is_not_kept(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    larger = CONTENT + b"x"
    digest = Digest(upstream.add_blob("library/cargo", larger))
    path = f"/v2/library/cargo/blobs/{digest}"
    for _ in range(3):
        assert (await proxy.get(path)).body == larger
    file_of(data_dir, digest).unlink()
    assert (await proxy.get(path)).body == larger
    assert upstream.count("GET") == 2


async def test_it_is_asked_for_again_after_a_purge(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.add_blob("library/cargo", CONTENT)
    for _ in range(3):
        await proxy.get(PATH)
    file_of(data_dir, BLOB).unlink()
    await proxy.services.generation.advance()
    assert (await proxy.get(PATH)).body == CONTENT
    assert upstream.count("GET") == 2


async def test_another_repository_needs_its_own_grant(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.add_blob("library/cargo", CONTENT)
    async with KeptConnection(proxy.address) as connection:
        for _ in range(4):
            await connection.ask(get(PATH))
        for _ in range(3):
            answer = await connection.ask(get(PATH.replace("cargo", "other")))
            assert answer.startswith(b"HTTP/1.1 404 ")


async def test_one_that_is_damaged_on_the_disk_is_fetched_before_anything_is_sent(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Its length is right, so nothing else would notice before the next scrub."""
    upstream.add_blob("library/cargo", CONTENT)
    await proxy.get(PATH)
    file = file_of(data_dir, BLOB)
    file.write_bytes(CONTENT[:-1] + b"?")
    before = metric("blobs_damaged_total", found_by="read")
    for _ in range(2):
        answer = await proxy.get(PATH)
        assert (answer.status, answer.body) == (200, CONTENT)
    assert metric("blobs_damaged_total", found_by="read") == before + 1
    assert file.read_bytes() == CONTENT
    assert (await proxy.line("blob.unreadable"))["digest"] == BLOB


@pytest.mark.parametrize("login", [None, "wrong"])
async def test_it_is_for_nobody_else_in_a_closed_repository(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path, login: str | None
) -> None:
    upstream.add_blob("library/cargo", CONTENT)
    access = {
        "htpasswd_file": htpasswd(tmp_path / "htpasswd", {"ci": "s3cret"}),
        "rules": [{"match": "docker.io/library/cargo", "mode": "basic", "users": ["ci"]}],
    }
    other = () if login is None else (f"Authorization: {basic('ci', login)}",)
    async with (
        Proxy(settings(upstream, data_dir, access=access)) as proxy,
        KeptConnection(proxy.address) as connection,
    ):
        for _ in range(4):
            answer = await connection.ask(get(PATH, f"Authorization: {basic('ci', 's3cret')}"))
            assert answer.endswith(CONTENT)
            assert b"Cache-Control: private, max-age=31536000, immutable\r\n" in answer
            assert b"Vary: Authorization\r\n" in answer
            assert (await connection.ask(get(PATH, *other))).startswith(b"HTTP/1.1 401 ")


async def test_it_counts_as_used(
    proxy: Proxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add_blob("library/cargo", CONTENT)
    for _ in range(2):
        await proxy.get(PATH)
    used: list[Digest] = []

    async def touch(digests: tuple[Digest, ...]) -> None:
        used.extend(digests)

    monkeypatch.setattr(proxy.services.registry._usage._blobs, "touch", touch)
    for _ in range(3):
        await proxy.get(PATH)
    assert used == [BLOB]
