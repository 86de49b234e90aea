"""Section 6: slow, damaged and vanished storage of our own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.catalog.write_behind import WriteBehind
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.stores.bucket.bucket import Bucket
from tests.integration.quirks.quirk import (
    NAME,
    Quirk,
    World,
    blob,
    manifest,
    schema1,
    served,
    stored,
)
from tests.kit import images
from tests.kit.costs import Costs
from tests.kit.proxy import until
from tests.kit.redis import RedisServer
from tests.kit.s3_gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack
    from pathlib import Path

    from tests.kit.proxy import Answer

IMAGE: Final = images.docker("storage")
WARMING: Final = images.docker("warming")
LAYER: Final = images.noise("storage", 300_000)
WRONG: Final = bytes(len(LAYER))


def _patch(stack: AsyncExitStack) -> Costs:
    return Costs(stack.enter_context(pytest.MonkeyPatch.context()))


async def _bucket(world: World, stack: AsyncExitStack) -> Mapping[str, Any]:
    """A bucket, and what is asked of it."""
    gateway = stack.enter_context(Gateway(world.data.parent / "gateway"))
    world.bucket = gateway.bucket()
    world.costs = _patch(stack)
    for name in ("get", "size", "describe", "put", "create", "delete"):
        world.costs.watch(Bucket, name, lambda key, *_, name=name: f"{name} {key}")
    return {"blobs": gateway.settings()}


async def _redis(world: World, stack: AsyncExitStack) -> Mapping[str, Any]:
    """A Redis, and how often the proxy waits for it."""
    server = stack.enter_context(RedisServer(world.data.parent / "redis"))
    world.costs = _patch(stack)
    for name in ("get", "put", "delete"):
        world.costs.watch(WriteBehind, name, lambda key, *_, name=name: f"{name} {key}")
    return {"manifests": {"store": "redis", "redis": {"url": server.url}}}


async def _begin_to_count(world: World) -> None:
    """After another image, for which both kinds of clients have learnt what the store can do."""
    world.push(WARMING, "1", "library/warming")
    for accept in ({}, {"Accept": MediaType.V2S2}):
        await world.proxy.get(manifest(name="library/warming"), **accept)
    world.costs.reset()


async def _few_requests(world: World, answer: Answer) -> None:
    most = 6 if answer.headers["Content-Type"] == MediaType.V2S2 else 12
    assert len(world.costs.calls) <= most, world.costs.calls


async def _few_round_trips(world: World, _answer: Answer) -> None:
    assert world.costs.round_trips <= 4, world.costs.calls


def _layer(world: World) -> None:
    world.upstream.add_blob(NAME, LAYER)


def _object(world: World) -> Path:
    digest = Digest.of(LAYER)
    return world.bucket / f"blobs/sha256/{digest.hex[:2]}/{digest.hex}"


async def _something_else_is_in_the_bucket(world: World) -> None:
    path = _object(world)
    await until(lambda: not len(world.proxy.services.transfers))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WRONG)


async def _is_replaced(world: World, answer: Answer) -> None:
    assert "stored" not in answer.cache, "it is not uploaded yet"
    await until(lambda: _object(world).exists() and _object(world).read_bytes() == LAYER)


def _remove_spool(world: World) -> None:
    shutil.rmtree(world.data / "spool")


async def _spool_is_there(world: World, _answer: Answer) -> None:
    layer = await world.proxy.get(blob(LAYER))
    assert (layer.body, layer.cache) == (LAYER, "Lighterage; fwd=miss; stored")
    assert "hit" in (await world.proxy.get(blob(LAYER))).cache


def _make_blobs_unreadable(world: World) -> None:
    shutil.rmtree(world.data / "blobs")
    (world.data / "blobs").write_bytes(b"")


async def _is_said(world: World, answer: Answer) -> None:
    assert "stored" not in answer.cache.replace("not-stored", "")
    assert (await world.proxy.line("disk.failed"))["level"] == "warning"
    assert await world.proxy.services.dependencies["disk"].warning()


def _image_and_layer(world: World) -> None:
    world.push(IMAGE)
    _layer(world)


def _cheap(
    settings: Callable[[World, AsyncExitStack], Any], then: Callable[[World, Answer], Any]
) -> Quirk:
    return Quirk(
        content=lambda world: world.push(IMAGE),
        settings=settings,
        quirk=_begin_to_count,
        ask=manifest(),
        wanted=stored(IMAGE),
        old=schema1(),
        then=then,
    )


QUIRKS: Final = {
    "slow-bucket": _cheap(_bucket, _few_requests),
    "slow-redis": _cheap(_redis, _few_round_trips),
    "wrong-object": Quirk(
        content=_layer,
        settings=_bucket,
        quirk=_something_else_is_in_the_bucket,
        ask=blob(LAYER),
        wanted=served(LAYER),
        then=_is_replaced,
    ),
    "spool-removed": Quirk(
        content=_image_and_layer,
        quirk=_remove_spool,
        ask=manifest(),
        wanted=stored(IMAGE),
        old=schema1(),
        then=_spool_is_there,
    ),
    "blobs-unreadable": Quirk(
        content=_layer,
        quirk=_make_blobs_unreadable,
        ask=blob(LAYER),
        wanted=served(LAYER),
        then=_is_said,
    ),
}
