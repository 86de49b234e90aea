"""Section 2: HEAD is refused where GET works, and answers that are not the registry's."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

from tests.integration.quirks.quirk import (
    NAME,
    Quirk,
    Wanted,
    World,
    blob,
    manifest,
    refused,
    schema1,
    served,
    stored,
)
from tests.kit import images
from tests.kit.scripted_upstream import Fault, redirect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from tests.kit.proxy import Answer

IMAGE: Final = images.docker("heads")
LARGEST: Final = max(IMAGE.blobs.values(), key=len)
LAYER: Final = images.noise("heads", 300_000)
ANOTHER: Final = "library/another"
PAGE: Final = b"<!doctype html><title>Please log in</title>" + b" " * 200
_FOREIGN: Final = {"Content-Type": "text/html", "Docker-Distribution-Api-Version": None}
STALE: Final = "stale"
# As the distribution of an answer over a connection is spelt, which no server of aiohttp does.
_LENGTHS: Final = "HTTP/1.1 200 OK\r\nContent-Length: {n}\r\nContent-Length: {n}\r\n\r\n"
_FULL_RANGE: Final = {"Content-Range": f"bytes 0-{len(LAYER) - 1}/{len(LAYER)}"}


def _image(world: World) -> None:
    world.push(IMAGE)


def _layer(world: World) -> None:
    world.upstream.add_blob(NAME, LAYER)


def _of_layer(fault: Fault, method: str = "GET") -> Quirk:
    """The layer is answered in this way, and is served all the same."""
    return Quirk(
        content=_layer,
        quirk=lambda world: world.fault(method, "*/blobs/*", fault),
        ask=blob(LAYER),
        wanted=served(LAYER),
    )


def _of_manifest(
    fault: Fault,
    method: str,
    *,
    wanted: Wanted | None = None,
    cached: Wanted | None = None,
    cached_old: Wanted | None = None,
) -> Quirk:
    """A tag is answered in this way, and `wanted` of a proxy that has nothing of it."""
    return Quirk(
        content=_image,
        quirk=lambda world: world.fault(method, "*/manifests/1", fault),
        ask=manifest(),
        wanted=wanted or stored(IMAGE),
        old=wanted or schema1(),
        cached=cached,
        cached_old=cached_old,
    )


def _blob_head(status: int) -> Quirk:
    """Nobody has the layer, or another repository of the same registry has pulled it."""

    def content(world: World) -> None:
        _layer(world)
        world.upstream.add_blob(ANOTHER, LAYER)

    async def quirk(world: World) -> None:
        world.fault("HEAD", "*/blobs/*", Fault(status=status))

    async def for_another_repository(world: World, _answer: Answer) -> None:
        answer = await world.proxy.get(blob(LAYER, ANOTHER))
        assert (answer.status, answer.body) == (200, LAYER)

    return Quirk(
        content=content,
        quirk=quirk,
        ask=blob(LAYER),
        wanted=served(LAYER),
        then=for_another_repository,
    )


def _ingress(fault: Fault) -> Quirk:
    """While the registry is redeployed: nothing new, and nothing old is lost."""
    return _of_manifest(
        fault,
        "*",
        wanted=refused(502, "UNAVAILABLE"),
        cached=stored(IMAGE, cache=STALE),
        cached_old=schema1(cache=STALE),
    )


async def _keep_deleted(_world: World, _stack: AsyncExitStack) -> Mapping[str, Any]:
    return {"tags": {"ttl": "0s", "revalidation_timeout": "30s", "keep_deleted": True}}


def _at_a_registry_of_its_own(world: World) -> None:
    world.elsewhere.add_blob(NAME, LAYER)
    world.elsewhere.require_token()
    world.fault("*", "*/blobs/*", redirect(world.elsewhere.url + blob(LAYER)))


def _token_server_redirects(world: World) -> None:
    world.upstream.require_token(realm=f"{world.upstream.url}/auth")
    world.fault("*", "/auth", redirect(f"/token?service=scripted&scope=repository:{NAME}:pull"))


async def _logs_in_by_a_page(world: World) -> None:
    """For whatever this repository is asked, with 200; another one has the layer."""
    world.upstream.add_blob(ANOTHER, LAYER)
    await world.proxy.get(blob(LAYER, ANOTHER))
    world.fault("*", f"/v2/{NAME}/blobs/*", Fault(status=200, body=PAGE, headers=_FOREIGN))


async def _grants_nothing(world: World, _answer: Answer) -> None:
    for _ in range(2):
        head = await world.proxy.head(blob(LAYER))
        assert head.headers.get("Content-Length") != str(len(PAGE))
        assert (await world.proxy.get(blob(LAYER))).status in {404, 502}


def _not_served(answer: Answer) -> None:
    assert answer.status in {404, 502}
    assert answer.code in {"BLOB_UNKNOWN", "UNAVAILABLE"}


async def _head_states_another_length(world: World) -> None:
    """The manifest, which a client has pulled before, states the right one."""
    world.fault("HEAD", "*/blobs/*", Fault(headers={"Content-Length": "7"}))
    await world.proxy.get(manifest(), Accept="*/*")


QUIRKS: Final = {
    **{f"blob-head-{status}": _blob_head(status) for status in (400, 401, 403, 405, 501)},
    **{
        f"manifest-head-{status}": _of_manifest(Fault(status=status), "HEAD")
        for status in (400, 403, 406, 415)
    },
    "blob-head-zero": _of_layer(Fault(headers={"Content-Length": "0"}), "HEAD"),
    "blob-head-wrong-length": Quirk(
        content=_image,
        quirk=_head_states_another_length,
        ask=blob(LARGEST),
        wanted=served(LARGEST),
    ),
    "ingress-text": _ingress(
        Fault(status=404, body=b"404 page not found\n", headers={"Content-Type": "text/plain"})
    ),
    "ingress-page": _ingress(Fault(status=404, body=PAGE, headers=_FOREIGN)),
    "tag-kept": Quirk(
        content=_image,
        quirk=lambda world: world.upstream.remove(NAME, "1"),
        ask=manifest(),
        settings=_keep_deleted,
        wanted=refused(404, "MANIFEST_UNKNOWN"),
        cached=stored(IMAGE, cache=STALE),
        cached_old=schema1(cache=STALE),
    ),
    "label-aws-chunked": _of_layer(Fault(headers={"Content-Encoding": "aws-chunked"})),
    "label-x-gzip": _of_layer(Fault(headers={"Content-Encoding": "x-gzip"})),
    "encoded-gzip": _of_layer(
        Fault(headers={"Content-Encoding": "gzip"}, body=gzip.compress(LAYER))
    ),
    "full-range": _of_layer(Fault(status=206, body=LAYER, headers=_FULL_RANGE)),
    "status-203": _of_layer(Fault(status=203, body=LAYER)),
    "length-twice": _of_layer(Fault(raw=_LENGTHS.format(n=len(LAYER)).encode() + LAYER)),
    "redirect-to-registry": Quirk(
        content=_layer,
        quirk=_at_a_registry_of_its_own,
        ask=blob(LAYER),
        wanted=served(LAYER),
    ),
    "token-redirect": Quirk(
        content=_layer, quirk=_token_server_redirects, ask=blob(LAYER), wanted=served(LAYER)
    ),
    "refused-on-purpose": Quirk(
        content=_layer,
        quirk=lambda world: world.fault(
            "*", "*/blobs/*", redirect("http://169.254.169.254/latest/meta-data")
        ),
        ask=blob(LAYER),
        wanted=refused(502, "UNAVAILABLE", "169.254.169.254", "nothing was sent"),
        cached=served(LAYER),
    ),
    "login-page": Quirk(
        content=lambda _world: None,
        quirk=_logs_in_by_a_page,
        ask=blob(LAYER),
        wanted=_not_served,
        then=_grants_nothing,
    ),
}
