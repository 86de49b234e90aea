"""In place of an upstream: it says what would be asked, and nobody is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import UpstreamUnavailable, WouldAsk
from proxy.oci.reference import Digest, Tag
from proxy.upstream.dry_run import DryRunUpstream
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
        await QUESTIONS[sentence](DryRunUpstream(real))
    assert str(would.value) == sentence
    assert (real.asked, real.streaming) == ([], 0)


async def test_how_the_upstream_does_is_what_it_says_itself_at_that_moment() -> None:
    real = MonitoredMemoryUpstream()
    nobody = DryRunUpstream(real)
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
    await DryRunUpstream(real).close()
    assert not real.closed


async def test_where_no_request_would_be_sent_the_reason_is_said() -> None:
    real = MonitoredMemoryUpstream()
    real.trouble = UpstreamUnavailable("docker.io cannot be reached")
    for question in QUESTIONS.values():
        with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
            await question(DryRunUpstream(real))
        # The reason may be another one for each operation, or none.
        with pytest.raises(WouldAsk, match=r" at the mirror$"):
            await question(
                DryRunUpstream(real, check=lambda _: None, where=lambda: " at the mirror")
            )
