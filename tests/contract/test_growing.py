"""What every BlobStorage shows other processes of a blob that is on its way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import UpstreamInvalid
from tests.kit.blob_stores import CONTENT, DIGEST, HALF, committed, keep, leave, stored, whole

if TYPE_CHECKING:
    from proxy.ports import BlobStorage


async def test_nobody_can_follow_before_the_length_is_known(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.append(b"x")
    assert await elsewhere.growing("docker.io", DIGEST) is None
    spool.close()


async def test_a_follower_sees_the_spool_grow_until_it_is_verified(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(len(CONTENT))
    growing = await elsewhere.growing("docker.io", DIGEST)
    assert growing is not None
    assert growing.total == len(CONTENT)
    assert await growing.size() == 0
    await spool.append(CONTENT[:HALF])
    assert await growing.size() == HALF
    assert await whole(growing, HALF) == CONTENT[:HALF]
    await spool.append(CONTENT[HALF:])
    assert not await growing.verified()
    (await committed(spool)).close()
    spool.close()
    assert await growing.verified()
    assert await growing.size() == growing.total
    assert await whole(growing, growing.total) == CONTENT
    growing.close()


async def test_a_spool_is_not_verified_by_a_blob_that_was_there_before(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    await keep(store, CONTENT)
    await leave(store, CONTENT[:HALF])
    growing = await elsewhere.growing("docker.io", DIGEST)
    assert growing is not None
    assert not await growing.verified()
    growing.close()


async def test_a_follower_stays_when_the_next_holder_goes_on(
    store: BlobStorage, elsewhere: BlobStorage
) -> None:
    await leave(store, CONTENT[:HALF])
    growing = await elsewhere.growing("docker.io", DIGEST)
    assert growing is not None
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(len(CONTENT))
    await spool.append(CONTENT[HALF:])
    (await committed(spool)).close()
    spool.close()
    assert await growing.verified()
    assert await whole(growing, growing.total) == CONTENT
    growing.close()


@pytest.mark.parametrize("end", ["commit", "discard", "restart", "expect"])
async def test_a_follower_of_wrong_bytes_is_never_told_that_they_are_right(
    store: BlobStorage, elsewhere: BlobStorage, end: str
) -> None:
    """It may have given most of them to a client, who must not get the right rest."""
    wrong = bytes(len(CONTENT) - 1)
    spool = await store.spool("docker.io", DIGEST)
    await spool.expect(len(wrong))
    await spool.append(wrong)
    growing = await elsewhere.growing("docker.io", DIGEST)
    assert growing is not None
    match end:
        case "commit":
            with pytest.raises(UpstreamInvalid):
                await spool.commit()
        case "discard":
            await spool.discard()
        case "restart":
            await spool.restart()
        case "expect":
            # The upstream named another length this time; the first was in somebody's answer.
            await spool.expect(len(CONTENT))
            await spool.restart()
    if end in {"restart", "expect"}:
        await spool.expect(len(CONTENT))
        await spool.append(CONTENT)
        (await committed(spool)).close()
    else:
        await keep(store, CONTENT)
    spool.close()
    with pytest.raises(UpstreamInvalid):
        await growing.size()
    with pytest.raises(UpstreamInvalid):
        await growing.verified()
    growing.close()
    assert await stored(elsewhere, DIGEST) == CONTENT
