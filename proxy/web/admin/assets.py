"""The style, script and icon of the pages: files of this package."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from aiohttp import web

_FILES: Final = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def asset_routes() -> list[web.RouteDef]:
    """One route for each file."""
    return [web.get(f"/{name}", _Asset(name, kind).send) for name, kind in _FILES.items()]


class _Asset:
    def __init__(self, name: str, kind: str) -> None:
        self._body = files("proxy.web.admin").joinpath("assets", name).read_bytes()
        self._kind = kind

    async def send(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._body, content_type=self._kind, headers=_HEADERS)
