"""The registry's HTTP server: what is no HTTP gets an answer in the registry's form, too."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from proxy.web.registry import Registry

# A cloud registry's login can be longer than aiohttp's 8 KiB; it is ignored here, and refusing it
# for its length would be odd.
_LONGEST_FIELD: Final = 32 * 1024


class RegistryServer(web.Server):
    """Speaks HTTP for a `Registry`, which writes the log and the error bodies."""

    def __init__(self, registry: Registry) -> None:
        """Needs a running loop."""
        super().__init__(registry)
        self._registry = registry

    def __call__(self) -> web.RequestHandler:
        """For one connection."""
        return _Connection(self, self._registry)


class _Connection(web.RequestHandler):
    __slots__ = ("_registry",)

    def __init__(self, server: RegistryServer, registry: Registry) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's code knows None, its type does not
            max_field_size=_LONGEST_FIELD,
        )
        self._registry = registry

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- it quotes the request, credentials included
    ) -> web.StreamResponse:
        """The answer to a request that cannot be parsed, or that the registry failed to answer."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: there can be no other one")
        return self._registry.rejected(request, status, exc)
