"""What the admin listener is sent and answers in JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from proxy.errors import RequestInvalid
from proxy.web.errors import body_of, status_of

if TYPE_CHECKING:
    from proxy.errors import RegistryError


def as_json(document: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """The document with its type."""
    body = json.dumps(document).encode()
    return web.Response(status=status, body=body, content_type="application/json")


def refuse(error: RegistryError) -> web.Response:
    """An error in the form of the registry's own."""
    return web.Response(
        status=status_of(error), body=body_of(error), content_type="application/json"
    )


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; RequestInvalid if there is none."""
    if request.content_type != "application/json":
        raise RequestInvalid("a body needs Content-Type: application/json")
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RequestInvalid("the body is no JSON object")
    return body
