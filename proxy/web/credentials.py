"""The credentials of a request, and whether they were sent in the clear."""

from __future__ import annotations

import re
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Final

from multidict import istr

from proxy.access.identities import Presented
from proxy.web.client_address import ClientAddresses
from proxy.web.request import connection_of

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.web.connection import Connection

# A header with the same content as `Authorization`, for what already uses that one.
_OWN_HEADER: Final = istr("Lighterage-Authorization")
_AUTHORIZATION: Final = istr("Authorization")
_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,300}")
TOKEN_PATH: Final = "/token"  # noqa: S105 -- a path


class CredentialReader:
    """Reads credentials from requests."""

    def __init__(
        self, *, allow_plain: bool, realm: str | None, trusted_proxies: tuple[str, ...] = ()
    ) -> None:
        """`realm` is the token endpoint's URL, if clients reach it by another one than here.

        `allow_plain`: take credentials over plain HTTP also from other machines.
        """
        self._allow_plain = allow_plain
        self._realm = realm
        self._trusted = ClientAddresses(trusted_proxies)
        self._has_proxies = bool(trusted_proxies)
        self._secret = token_bytes(32)

    def read(self, request: web.BaseRequest) -> Presented:
        """Whatever the request presents."""
        connection = connection_of(request)
        headers = request.headers
        value = headers.get(_OWN_HEADER) or headers.get(_AUTHORIZATION)
        if connection is None:
            return Presented(value)
        secure = self._is_secure(request, connection)
        return Presented(value, connection.certificate, connection.client, secure)

    def key(self, request: web.BaseRequest) -> bytes:
        """A hash of all that `read` depends on, but for the address.

        Clients send the same header again and again, so each connection has the last one's key.
        """
        headers = request.headers
        value = headers.get(_OWN_HEADER) or headers.get(_AUTHORIZATION) or ""
        connection = connection_of(request)
        if connection is None:
            return self._hash(value)
        sent = value, self._is_secure(request, connection)
        if connection.sent != sent:
            connection.sent = sent
            connection.credential = self._hash(f"{sent[1]}:{connection.certificate}\n{value}")
        return connection.credential

    def _hash(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogateescape"), key=self._secret).digest()

    def token_url(self, request: web.BaseRequest) -> str:
        """The token endpoint, as the client reaches it."""
        if self._realm is not None:
            return self._realm
        forwarded = request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
        connection = connection_of(request)
        behind = connection is not None and self._trusted.trusts(connection.peer)
        scheme = "https" if _is_tls(request) or (behind and forwarded) else "http"
        return f"{scheme}://{host_of(request)}{TOKEN_PATH}"

    def _is_secure(self, request: web.BaseRequest, connection: Connection) -> bool:
        """Whether nobody between the client and us could read its credentials."""
        if self._allow_plain:
            return True
        if self._has_proxies and not _is_tls(request) and self._trusted.trusts(connection.peer):
            return request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
        return connection.is_private


def host_of(request: web.BaseRequest) -> str:
    """The Host, as a part of a quoted string."""
    host = request.headers.get("Host", "")
    return host if _HOST.fullmatch(host) else "lighterage"


def _is_tls(request: web.BaseRequest) -> bool:
    transport = request.transport
    return transport is not None and transport.get_extra_info("sslcontext") is not None
