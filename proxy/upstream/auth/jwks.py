"""The public keys of an issuer of service accounts: one bounded request."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.errors import StoreError
from proxy.upstream.transport import USER_AGENT

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

# Real key sets have a few KiB, and come at once.
_MAX_ANSWER: Final = 256 * 1024
_TIMEOUT: Final = 5.0


class JwksUrl:
    """A JWKS at a URL. It follows no redirect: the operator has named the place."""

    def __init__(
        self, url: str, *, tls: ssl.SSLContext | None, token_file: Path | None = None
    ) -> None:
        """`token_file` has our own token for it, as the Kubernetes API wants one."""
        self._url = url
        self._tls = tls
        self._token_file = token_file

    async def read(self) -> bytes:
        """Return the document; StoreError if there is none, OSError if our token is not there."""
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        try:
            async with (
                asyncio.timeout(_TIMEOUT),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.get(
                    self._url, headers=headers, ssl=self._tls or True, allow_redirects=False
                ) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise StoreError(f"the request for the keys was answered {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_ANSWER:
                        raise StoreError(f"the keys have more than {_MAX_ANSWER} bytes")
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise StoreError(f"the keys cannot be fetched: {type(error).__name__}") from None
