"""A shared cache whose values cannot be forged: each carries an HMAC with a key of the proxies.

The HMAC is over the format, the key and the value, so that no value can be moved to another key,
nor to another format. What it does not prevent is an old value that is put back under its own key.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ports import ManifestCache

_FORMAT: Final = b"lighterage:2:"
_ALGORITHM: Final = "sha256"
_LENGTH: Final = 32
# In bytes: as many as the digest has, so that guessing the key is no easier than the HMAC.
SHORTEST_KEY: Final = 32


class SealedCache:
    """`cache`, with the HMAC in front of each value. Fits ManifestCache.

    A value without the right one is a miss, and is counted by `on_error`.
    """

    def __init__(
        self, cache: ManifestCache, key: bytes, *, on_error: Callable[[str], None]
    ) -> None:
        """`key` is the same in all proxies that share the cache."""
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"a key for Redis has at least {SHORTEST_KEY} bytes")
        self._cache = cache
        self._key = key
        self._on_error = on_error

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value under `key`, if one of the proxies has written it there."""
        sealed = await self._cache.get(key, extend=extend)
        if sealed is None:
            return None
        value = sealed[_LENGTH:]
        if not hmac.compare_digest(sealed[:_LENGTH], self._seal(key, value)):
            self._on_error("verify")
            return None
        return value

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Store `value` with its HMAC."""
        await self._cache.put(key, self._seal(key, value) + value, life=life)

    async def delete(self, key: str) -> None:
        """Delete `key`."""
        await self._cache.delete(key)

    async def close(self) -> None:
        """Close the cache."""
        await self._cache.close()

    def _seal(self, key: str, value: bytes) -> bytes:
        name = key.encode()
        # With the length of the key no part of it can be read as a part of the value.
        message = b"%s%d:%s%s" % (_FORMAT, len(name), name, value)
        return hmac.digest(self._key, message, _ALGORITHM)
