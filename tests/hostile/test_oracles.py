"""No answer tells what other repositories have: what is cached for them is as good as nothing.

The answers are compared whole: status, body and headers. Of the time that they take only what is
worth measuring is compared: the number of upstream requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile import bystander
from tests.kit import images
from tests.kit.proxy import Answer, Proxy, push, settings
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

OWNER: Final = "owner/secret"
SECRET: Final = images.docker("secret")
CACHED: Final = {
    "manifest": SECRET.digest,
    "config": next(iter(SECRET.blobs)),
    "layer": list(SECRET.blobs)[-1],
}
# Of the same upstream, of another one, and none that there is.
ASKERS: Final = (bystander.NAME, "other.example/thief/image", "library/unknown")
# Others in each answer.
_UNIQUE: Final = ("Date", "X-Request-ID")


@pytest.fixture
async def other() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as other:
        push(other, "thief/image", "1", bystander.IMAGE)
        yield other


@pytest.fixture
async def proxy(
    upstream: ScriptedUpstream, other: ScriptedUpstream, data_dir: Path
) -> AsyncIterator[Proxy]:
    """A proxy that has the secret, and refuses nothing because it was refused a moment ago."""
    push(upstream, OWNER, "1", SECRET)
    upstreams = {
        "docker.io": {"url": upstream.url, "default": True},
        "other.example": {"url": other.url},
    }
    chosen = settings(upstreams, data_dir, negative_cache={"not_found": "0s", "denied": "0s"})
    async with Proxy(chosen) as proxy:
        assert (await proxy.get(f"/v2/{OWNER}/manifests/1", Accept="*/*")).status == 200
        for digest in list(SECRET.blobs):
            assert (await proxy.get(f"/v2/{OWNER}/blobs/{digest}")).status == 200
        yield proxy


def comparable(answer: Answer, digest: str) -> tuple[object, ...]:
    """The answer without what it says of the digest that was asked for."""
    headers = {name: value for name, value in answer.headers.items() if name not in _UNIQUE}
    return answer.status, answer.body.replace(digest.encode(), b"DIGEST"), headers


def asked(upstreams: Sequence[ScriptedUpstream], digest: str) -> int:
    """How often the upstreams were asked about the digest: by HEAD, or by GET where we lack it."""
    return sum(upstream.count(path=f"*{digest}*") for upstream in upstreams)


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("route", ["manifests", "blobs", "referrers"])
@pytest.mark.parametrize("kind", CACHED)
async def test_what_another_repository_has_and_what_does_not_exist_are_answered_alike(
    proxy: Proxy,
    upstream: ScriptedUpstream,
    other: ScriptedUpstream,
    *,
    asker: str,
    method: str,
    route: str,
    kind: str,
) -> None:
    cached, absent = str(CACHED[kind]), str(images.digest(b"absent"))
    upstream.requests.clear()
    other.requests.clear()
    answers = [
        comparable(await proxy.ask(method, f"/v2/{asker}/{route}/{digest}"), digest)
        for digest in (cached, absent)
    ]
    assert answers[0] == answers[1]
    if route != "referrers":
        assert answers[0][0] == 404
    assert asked((upstream, other), cached) == asked((upstream, other), absent)
    await bystander.pull(proxy)


@pytest.mark.parametrize("byte_range", ["bytes=0-0", "bytes=-1", "bytes=99999999-"])
async def test_ranges_are_answered_alike(proxy: Proxy, byte_range: str) -> None:
    """A range that does not fit would tell the length."""
    cached, absent = str(CACHED["layer"]), str(images.digest(b"absent"))
    for asker in ASKERS:
        one, two = [
            comparable(await proxy.get(f"/v2/{asker}/blobs/{digest}", Range=byte_range), digest)
            for digest in (cached, absent)
        ]
        assert one == two
        assert one[0] == 404
