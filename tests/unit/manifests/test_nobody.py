"""In place of an upstream and of transfers: each says what would be asked, and nobody is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import UpstreamUnavailable, WouldAsk
from proxy.manifests.nobody import NobodyTransfers, NobodyUpstream
from proxy.oci.reference import Digest, Repository, Tag
from tests.kit.manifest_world import MonitoredMemoryUpstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.ports import MonitoredUpstream

NAME: Final = "library/cargo"
CONTENT: Final = b"what the upstream has"
DIGEST: Final = Digest.of(CONTENT)
ONE: Final = Tag("1")


async def read(upstream: MonitoredUpstream) -> None:
    async with upstream.blob(NAME, DIGEST, start=3, validator='"x"', is_retry=True):
        raise AssertionError("there is no answer to read")


QUESTIONS: Final[dict[str, Callable[[MonitoredUpstream], Awaitable[object]]]] = {
    f"HEAD of manifest {NAME} 1": lambda upstream: upstream.head_manifest(NAME, ONE),
    f"HEAD of manifest {NAME} {DIGEST}": lambda upstream: upstream.head_manifest(NAME, DIGEST),
    f"GET of manifest {NAME} 1": lambda upstream: upstream.manifest(NAME, ONE),
    f"HEAD of blob {NAME} {DIGEST}": lambda upstream: upstream.blob_size(NAME, DIGEST, expected=21),
    f"GET of blob {NAME} {DIGEST}": read,
    f"list of tags of {NAME}": lambda upstream: upstream.tags(NAME, "n=1"),
    f"referrers of {NAME} {DIGEST}": lambda upstream: upstream.referrers(NAME, DIGEST, ""),
}


@pytest.mark.parametrize("sentence", QUESTIONS)
async def test_what_would_be_asked_is_said_and_not_asked(sentence: str) -> None:
    real = MonitoredMemoryUpstream()
    real.add(CONTENT)
    with pytest.raises(WouldAsk) as would:
        await QUESTIONS[sentence](NobodyUpstream(real))
    assert str(would.value) == sentence
    assert (real.asked, real.streaming) == ([], 0)


async def test_how_the_upstream_does_is_what_it_says_itself_at_that_moment() -> None:
    real = MonitoredMemoryUpstream()
    nobody = NobodyUpstream(real)
    assert (nobody.trouble, nobody.offline, await nobody.is_at_its_reserve()) == (
        None,
        False,
        False,
    )
    real.trouble = failure = UpstreamUnavailable("docker.io cannot be reached")
    real.offline = real.at_reserve = True
    assert (nobody.trouble, nobody.offline, await nobody.is_at_its_reserve()) == (
        failure,
        True,
        True,
    )


async def test_the_upstream_stays_open_for_requests() -> None:
    real = MonitoredMemoryUpstream()
    await NobodyUpstream(real).close()
    assert not real.closed


def test_a_transfer_is_not_started() -> None:
    transfers = NobodyTransfers()
    repository = Repository("docker.io", NAME, "cargo")
    assert not transfers.is_running(repository, DIGEST)
    with pytest.raises(WouldAsk, match=f"^GET of blob {NAME} {DIGEST}$"):
        transfers.join(repository, DIGEST)
    assert not transfers.is_running(repository, DIGEST)
