"""`/kept` of the admin listener: the images that are never evicted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import web

from proxy.errors import RegistryError, RequestInvalid
from proxy.oci.reference import Digest, Tag, parse_image
from proxy.web.admin.answers import as_json, read_object, refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from proxy.catalog.kept import KeptImages
    from proxy.oci.kept_image import KeptImage

_KEPT: Final = frozenset({"image", "manifests", "blobs"})
_FORGOTTEN: Final = frozenset({"image"})
# A process that does not serve opens them for each request.
OpensKept: TypeAlias = "Callable[[], AbstractAsyncContextManager[KeptImages]]"


def kept_routes(opened: OpensKept) -> list[web.RouteDef]:
    """GET lists them, POST keeps one, DELETE keeps it no longer."""

    async def list_images(_request: web.Request) -> web.Response:
        async with opened() as kept:
            images = [_describe(image) for image in await kept.images()]
            return as_json({"images": images, "limit": kept.limit})

    async def keep(body: dict[str, Any]) -> object:
        addressed, reference = _image(body)
        manifests, blobs = (_digests(body.get(key)) for key in ("manifests", "blobs"))
        async with opened() as kept:
            return _describe(await kept.keep(addressed, reference, manifests, blobs))

    async def forget(body: dict[str, Any]) -> object:
        addressed, reference = _image(body)
        async with opened() as kept:
            repository = await kept.forget(addressed, reference)
        return {"repository": str(repository), "reference": reference}

    return [
        web.get("/kept", list_images),
        web.post("/kept", lambda request: _answer(request, _KEPT, keep)),
        web.delete("/kept", lambda request: _answer(request, _FORGOTTEN, forget)),
    ]


async def _answer(
    request: web.Request,
    known: frozenset[str],
    work: Callable[[dict[str, Any]], Awaitable[object]],
) -> web.Response:
    try:
        body = await read_object(request)
        if unknown := body.keys() - known:
            raise RequestInvalid(
                f"there is no {min(unknown)[:80]!r} here; say {', '.join(sorted(known))}"
            )
        return as_json(await work(body))
    except RegistryError as error:
        return refuse(error)


def _image(body: dict[str, Any]) -> tuple[str, Digest | Tag]:
    text = body.get("image")
    if not isinstance(text, str):
        raise RequestInvalid("say which image: REPOSITORY[:TAG|@DIGEST]")
    addressed, reference = parse_image(text)
    return addressed, reference or Tag("latest")


def _digests(value: object) -> list[Digest]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RequestInvalid("manifests and blobs are lists of digests")
    return [Digest(each) for each in dict.fromkeys(value)]


def _describe(image: KeptImage) -> dict[str, Any]:
    described = asdict(image)
    counts = {key: len(described.pop(key)) for key in ("manifests", "blobs")}
    return described | counts
