"""One quirk: what a registry does, what a client asks then, and what it wants to get.

Each is tried by two generations of clients, by a proxy that has nothing yet, and by one that has
pulled the same before the quirk began.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit.proxy import Answer, Proxy, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.kit.costs import Costs
    from tests.kit.images import Content

NAME: Final = "library/cargo"
REPOSITORY: Final = f"/v2/{NAME}"
MODERN: Final = "modern"
DOCKER_1_8: Final = "docker 1.8"
# What each names in `Accept`. docker 1.8 has no such header, and asks for a blob's length first.
CLIENTS: Final[dict[str, tuple[str, ...]]] = {
    MODERN: (
        MediaType.V2S2,
        MediaType.DOCKER_LIST,
        MediaType.OCI_MANIFEST,
        MediaType.OCI_INDEX,
    ),
    DOCKER_1_8: (),
}
# The registry is asked every time, and nothing of an answer is in the way of the next one.
_SETTINGS: Final[dict[str, Mapping[str, Any]]] = {
    "tags": {"ttl": "0s", "revalidation_timeout": "30s"},
    "negative_cache": {"not_found": "0s", "denied": "0s"},
}

# A client that asks again and again ends the test, in seconds.
_LONGEST: Final = 60.0

Wanted: TypeAlias = "Callable[[Answer], None]"


@dataclass(slots=True)
class World:
    """A registry, another server that it may point to, and a proxy in front of it."""

    upstream: ScriptedUpstream
    elsewhere: ScriptedUpstream
    data: Path
    proxy: Proxy = field(init=False)
    # What the settings of some quirks bring with them.
    bucket: Path = field(init=False)
    costs: Costs = field(init=False)

    def push(self, content: Content, tag: str = "1", name: str = NAME) -> None:
        """Have the registry serve it."""
        push(self.upstream, name, tag, content)

    def fault(self, method: str, path: str, fault: Fault, *, times: int | None = None) -> None:
        """Have the registry answer in another way."""
        self.upstream.fault(method, path, fault, times=times)


def nothing(_world: World) -> None:
    """The content is the quirk."""


async def nothing_else(_world: World, _answer: Answer) -> None:
    """The answer says it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """A row of the table.

    `content` is there from the beginning, and `quirk` begins after something may have been cached.
    `ask` is the path that a client requests. `wanted` checks what it gets; `old` what docker 1.8
    gets if that is something else, and the two `cached` ones what is served from the cache. `then`
    looks at what else has happened. `settings` are sections of the proxy's, which may need the
    world. With `retries`, a client asks again for as long as the answer is 502.
    """

    ask: str
    wanted: Wanted
    content: Callable[[World], None] = nothing
    quirk: Callable[[World], Awaitable[None] | None] = nothing
    old: Wanted | None = None
    cached: Wanted | None = None
    cached_old: Wanted | None = None
    then: Callable[[World, Answer], Awaitable[None]] = nothing_else
    settings: Callable[[World, AsyncExitStack], Awaitable[Mapping[str, Any]]] | None = None
    upstream: Mapping[str, Any] = field(default_factory=dict)
    retries: bool = False

    def wants(self, client: str, *, cached: bool) -> Wanted:
        """The check of what `client` gets."""
        old = client == DOCKER_1_8
        cold = (self.old if old else None) or self.wanted
        if not cached:
            return cold
        return (self.cached_old if old else None) or self.cached or cold


async def attempt(quirk: Quirk, client: str, data: Path, *, cached: bool) -> None:
    """Have `client` meet the quirk, and check what it gets."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream())
        elsewhere = await stack.enter_async_context(ScriptedUpstream())
        world = World(upstream, elsewhere, data)
        quirk.content(world)
        place = {"url": upstream.url, "default": True, "idle_timeout": 2.0, **quirk.upstream}
        more = {} if quirk.settings is None else await quirk.settings(world, stack)
        chosen = settings({"docker.io": place}, data, **{**_SETTINGS, **more})
        world.proxy = await stack.enter_async_context(Proxy(chosen))
        if cached:
            await request(world.proxy, client, quirk.ask)
        if (begun := quirk.quirk(world)) is not None:
            await begun
        answer = await request(world.proxy, client, quirk.ask)
        async with asyncio.timeout(_LONGEST):
            while quirk.retries and answer.status == HTTPStatus.BAD_GATEWAY:
                answer = await request(world.proxy, client, quirk.ask)
        quirk.wants(client, cached=cached)(answer)
        await quirk.then(world, answer)


async def request(proxy: Proxy, client: str, path: str) -> Answer:
    """GET as `client` does; docker 1.8 needs the length of a blob before."""
    accept = CLIENTS[client] if "/manifests/" in path else ()
    head = None
    if client == DOCKER_1_8 and "/blobs/" in path:
        head = await proxy.head(path)
    answer = await (proxy.get(path, Accept=accept) if accept else proxy.get(path))
    if head is not None and answer.status == 200:
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(answer.body)))
    return answer


# What may be wanted


def served(body: bytes | None = None, media_type: str | None = None, *, cache: str = "") -> Wanted:
    """A good answer, whole: these bytes, of this type, and with this in `Cache-Status`."""

    def check(answer: Answer) -> None:
        assert answer.status == 200, answer.body[:500]
        assert answer.whole
        if body is not None:
            assert answer.body == body
        if media_type is not None:
            assert answer.headers["Content-Type"] == media_type
        assert cache in answer.cache

    return check


def stored(content: Content, *, cache: str = "") -> Wanted:
    """The manifest as the registry has it."""
    return served(content.manifest, content.media_type, cache=cache)


def schema1(*, cache: str = "") -> Wanted:
    """A signed schema 1 manifest, which is what docker 1.8 reads."""

    def check(answer: Answer) -> None:
        served(media_type=MediaType.V2S1_SIGNED, cache=cache)(answer)
        members = json.loads(answer.body)
        assert members["signatures"]
        assert len(members["fsLayers"]) == len(members["history"])

    return check


def refused(status: int, code: str, *words: str) -> Wanted:
    """An error in the distribution spec's form, with these words in its message."""

    def check(answer: Answer) -> None:
        assert (answer.status, answer.code) == (status, code)
        for word in words:
            assert word in answer.message

    return check


def blob(content: bytes, name: str = NAME) -> str:
    """The path of a blob."""
    return f"/v2/{name}/blobs/{Digest.of(content)}"


def manifest(reference: str = "1", name: str = NAME) -> str:
    """The path of a manifest."""
    return f"/v2/{name}/manifests/{reference}"
