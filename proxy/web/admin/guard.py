"""Who may use the admin listener: no page of another site; with a token, only its holders."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler, Middleware

_log = structlog.get_logger()

# Probes and scrapers need no token.
_WITHOUT_TOKEN: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="lighterage"'}
# Forms that are open at once.
_MAX_FIELDS: Final = 64


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """`hosts` are names of the listener besides `localhost` and addresses; see `guard`."""

    hosts: frozenset[str] = frozenset()
    token_file: Path | None = None


def guard(access: AdminAccess) -> Middleware:
    """A middleware that refuses requests from foreign pages, and those without the token.

    A page on the internet can have a browser send requests to addresses that only the browser
    reaches: under its own name, which it lets resolve to them, or as a form of another site.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_own_name(request.headers.get("Host", ""), access.hosts):
            return web.Response(status=403, text="this Host is not in admin.hosts\n")
        if _is_foreign(request):
            return web.Response(status=403, text="the request comes from another site's page\n")
        if access.token_file is not None and request.path not in _WITHOUT_TOKEN:
            expected = _read(access.token_file)
            if not expected or not _has_token(request, expected):
                return web.Response(status=401, headers=_CHALLENGE, text="the token is missing\n")
        return await handler(request)

    return check


class OneTimeFields:
    """The hidden field that shows that a form was ours; each is good for one post."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, None] = OrderedDict()

    def issue(self) -> str:
        """Return a new field's value; the oldest one that was not used expires."""
        value = secrets.token_urlsafe()
        self._issued[value] = None
        if len(self._issued) > _MAX_FIELDS:
            self._issued.popitem(last=False)
        return value

    def redeem(self, value: str) -> bool:
        """Whether the value was issued, and not used before."""
        if value not in self._issued:
            return False
        del self._issued[value]
        return True


def _is_own_name(host: str, names: frozenset[str]) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    if name == "localhost" or name in names or host.lower() in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return "@" not in host


def _is_foreign(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None:
        return origin.partition("://")[2].lower() != request.headers.get("Host", "").lower()
    # A browser that sends no Origin with a form may send this.
    site = request.headers.get("Sec-Fetch-Site", "none")
    return request.method not in {"GET", "HEAD"} and site not in {"none", "same-origin"}


def _has_token(request: web.Request, expected: bytes) -> bool:
    """Whether the token is there, as Bearer or as the password of Basic."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    sent = given.strip().encode(errors="surrogateescape")
    if scheme.lower() == "basic":
        try:
            sent = base64.b64decode(sent, validate=True).partition(b":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(sent, expected)


def _read(file: Path) -> bytes:
    """The token, read for each request: a changed file needs no restart. Empty if it cannot be."""
    try:
        return file.read_bytes().strip()
    except OSError as error:
        _log.error("admin_token.unreadable", file=str(file), error=error.strerror)
        return b""
