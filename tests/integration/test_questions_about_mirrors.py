"""`explain` names the mirror that a pull would ask, and when; the pull then asks it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.cli import questions
from proxy.oci.clients import CLIENTS
from proxy.web.admin.pages.questions import inspect_page
from tests.kit.manifest_kinds import KINDS
from tests.kit.proxy import Proxy, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME: Final = "library/ship"
# Until an open circuit holds, in seconds.
SOON: Final = 60.0


class World:
    """A registry, its mirror, and the proxy before both."""

    def __init__(self, proxy: Proxy, registry: ScriptedUpstream, mirror: ScriptedUpstream) -> None:
        self.proxy, self.registry, self.mirror = proxy, registry, mirror
        self.at = f" at docker.io mirror 127.0.0.1:{mirror.port}"

    def requests(self) -> tuple[list[str], list[str]]:
        """What each place was asked, as questions are said."""
        return _sentences(self.registry), [f"{each}{self.at}" for each in _sentences(self.mirror)]

    async def explain(self, tag: str, client: str | None = None) -> dict[str, Any]:
        """What would be, which asks nobody."""
        before = self.requests()
        said = await self.proxy.services.questions.explain(f"{NAME}:{tag}", client=client)
        assert self.requests() == before
        return said

    async def compare(self, kind: str, client: str) -> dict[str, Any]:
        """Ask what `client` would get, pull as it, and compare."""
        registry, mirror = map(len, self.requests())
        said = await self.explain(kind, client)
        answer = await self.proxy.get(f"/v2/{NAME}/manifests/{kind}", Accept=CLIENTS[client])
        asked = [*self.requests()[0][registry:], *self.requests()[1][mirror:]]
        made = said["representation"]
        if made is None:
            assert said["calls"][0] in asked
        else:
            assert (said["calls"], asked) == ([], [])
            if "digest" in made:
                assert (answer.status, answer.digest) == (200, made["digest"])
            else:
                assert (answer.code, answer.message) == (made["code"], made["message"])
        return said


def _sentences(place: ScriptedUpstream) -> list[str]:
    found = []
    for request in place.requests:
        name, kind, reference = request.path.removeprefix("/v2/").rsplit("/", 2)
        found.append(f"{request.method} of {kind.removesuffix('s')} {name} {reference}")
    return found


@pytest.fixture(params=["never", "when_down"])
async def world(data_dir: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(ScriptedUpstream())
        mirror = await stack.enter_async_context(ScriptedUpstream())
        mirrors = [{"url": mirror.url, "tags": request.param}]
        upstream = {"url": registry.url, "default": True, "mirrors": mirrors}
        chosen = settings({"docker.io": upstream}, data_dir, tags={"ttl": "1h"})
        proxy = await stack.enter_async_context(Proxy(chosen))
        yield World(proxy, registry, mirror)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_is_what_is_then_asked(world: World, kind: str) -> None:
    """HEAD of the registry, and what that names at the mirror; then every client, twice."""
    digest = push(world.registry, NAME, kind, KINDS[kind])
    push(world.mirror, NAME, None, KINDS[kind])
    said = await world.explain(kind)
    head, then = said["calls"]
    assert head == f"HEAD of manifest {NAME} {kind}"
    assert then.startswith(f"GET of manifest {NAME}, by the digest that HEAD names")
    assert then.endswith(f"{world.at}, else the registry")
    await world.proxy.get(f"/v2/{NAME}/manifests/{kind}", Accept="*/*")
    got = f"GET of manifest {NAME} {digest}{world.at}"
    assert world.requests() == ([head], [got])
    for client in CLIENTS:
        await world.compare(kind, client)
        assert (await world.compare(kind, client))["calls"] == []


async def test_the_registry_s_word_is_refused_where_the_mirror_has_failed(world: World) -> None:
    """A mirror that did not have a manifest a moment ago is not asked again: nor is it named."""
    kind = next(name for name in KINDS if "list" in name)
    push(world.registry, NAME, kind, KINDS[kind])
    world.mirror.fault("*", "*", Fault(status=404))
    await world.proxy.get(f"/v2/{NAME}/manifests/{kind}", Accept="*/*")
    for client in CLIENTS:
        await world.compare(kind, client)


async def test_while_the_registry_is_down_it_depends_on_the_setting(
    world: World, request: pytest.FixtureRequest
) -> None:
    """Its mirror stands in with `tags: when_down`, and is asked for no tag with `never`."""
    kind = "oci"
    push(world.registry, NAME, kind, KINDS[kind])
    push(world.mirror, NAME, kind, KINDS[kind])
    await world.registry.stop()
    stands_in = "when_down" in request.node.name
    said = await said_while_held(world, "none")
    if stands_in:
        assert said["calls"] == [f"GET of manifest {NAME} none{world.at}"]
    else:
        refused = await world.proxy.get(f"/v2/{NAME}/manifests/none", Accept="*/*")
        assert said["calls"] == []
        assert said["representation"]["code"] == refused.code == "UNAVAILABLE"
    answer = await world.proxy.get(f"/v2/{NAME}/manifests/{kind}", Accept="*/*")
    assert (answer.status == 200) is stands_in
    if stands_in:
        said = await said_while_held(world, kind)
        assert said["state"].startswith("not cached, but what a mirror of docker.io had")
        assert said["representation"]["digest"] == answer.digest == KINDS[kind].digest
        inspected = await world.proxy.services.questions.inspect(f"{NAME}:{kind}")
        assert (inspected["upstream"], inspected["from_mirrors"]) == ("docker.io", True)
        assert inspected["stored"]["digest"] == answer.digest
        assert "from a mirror, while the registry was down" in next(
            questions._inspection(inspected)
        )
        assert "a mirror, while the registry was down" in inspect_page("x", inspected, "")


async def said_while_held(world: World, tag: str) -> dict[str, Any]:
    """What is said while the registry's circuit is open, and not about to be tried again."""
    async with asyncio.timeout(SOON):
        while True:
            said = await world.explain(tag)
            if not any(call.startswith("HEAD") for call in said["calls"]):
                return said
            await world.proxy.get(f"/v2/{NAME}/manifests/other", Accept="*/*")
