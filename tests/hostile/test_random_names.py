"""A name that a client makes up costs the upstream hardly more than the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile import bystander
from tests.kit import images
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

COUNT: Final = 50
VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}


@pytest.fixture
def upstream(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """A registry whose answers say that they are one's, as all well-known ones do."""
    upstream.headers.update(VERSION)
    return upstream


@pytest.mark.parametrize(("method", "most"), [("GET", 1), ("HEAD", 2)])
async def test_random_repositories(
    proxy: Proxy, upstream: ScriptedUpstream, method: str, most: int
) -> None:
    for number in range(COUNT):
        answer = await proxy.ask(method, f"/v2/team/random{number}/manifests/1")
        assert answer.status == 404
    assert len(upstream.requests) == most * COUNT
    await bystander.pull(proxy)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", [bystander.NAME, "team/random"])
async def test_random_tags_of_one_repository(
    proxy: Proxy, upstream: ScriptedUpstream, name: str, method: str
) -> None:
    """Where a repository is known and where it is not: one GET confirms what HEAD says."""
    await bystander.pull(proxy)
    upstream.requests.clear()
    for number in range(COUNT):
        answer = await proxy.ask(method, f"/v2/{name}/manifests/random-{number}")
        assert answer.status == 404
    # Every few seconds there is one more.
    assert len(upstream.requests) < 1.2 * COUNT
    await bystander.pull(proxy)


async def test_referrers_of_random_digests_where_there_is_no_such_api(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await bystander.pull(proxy)
    upstream.requests.clear()
    for number in range(COUNT):
        path = f"/v2/{bystander.NAME}/referrers/{images.digest(b'%d' % number)}"
        assert (await proxy.get(path)).status == 200
    # The API, and the tag in place of it.
    assert len(upstream.requests) < 2.2 * COUNT
    await bystander.pull(proxy)


async def test_a_registry_that_answers_no_head_loses_no_image(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """HEAD of a tag that exists is answered 404, while somebody asks for tags that do not."""
    await bystander.pull(proxy)
    upstream.fault("HEAD", "*", Fault(status=404))
    await proxy.get(f"/v2/{bystander.NAME}/manifests/random")
    await proxy.get("/v2/team/random/manifests/1")
    new = images.oci("new")
    tag = upstream.add_manifest("team/new", "1", new.manifest, new.media_type)
    answer = await proxy.get("/v2/team/new/manifests/1", Accept="*/*")
    assert (answer.status, answer.digest) == (200, tag)
    await bystander.pull(proxy)
