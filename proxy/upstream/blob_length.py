"""The length of a blob: by HEAD, or by the head of a GET if HEAD does not state it.

Stores that sign their URLs for GET refuse HEAD, some gateways do not support it, and others answer
it with a wrong length. Only a 404, or no answer at all, would be the same for GET.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import BlobUnknown, FailedAt, Phase, UpstreamFailure, UpstreamInvalid
from proxy.upstream.blob import CONTENT, parse_answer
from proxy.upstream.refusal import require_registry

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.upstream.observation import Tally
    from proxy.upstream.requests import AuthorizedRequests

# These are about the moment or the load, whatever is asked.
_PASSING: Final = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class BlobLengths:
    """Asks one registry for the lengths of its blobs."""

    def __init__(self, requests: AuthorizedRequests, *, name: str, prefix: str) -> None:
        """`name` is what people call the registry, `prefix` goes before each repository."""
        self._requests = requests
        self._name = name
        self._prefix = prefix

    async def read(
        self, tally: Tally, name: str, digest: Digest, *, expected: int | None, may_get: bool
    ) -> int | None:
        """The length in bytes, or None if no answer states it; raises as `RegistryClient` does."""
        try:
            length = await self._ask(tally, "HEAD", name, digest, expected)
        except UpstreamFailure as failure:
            if not may_get or not may_get_differ(failure):
                raise
        else:
            if not may_get or is_plausible(length, digest, expected):
                return length
        length = await self._ask(tally, "GET", name, digest, expected)
        return length if is_plausible(length, digest, None) else None

    async def _ask(
        self, tally: Tally, method: str, name: str, digest: Digest, expected: int | None
    ) -> int | None:
        """What the head of the answer states. After GET the connection is closed.

        None if the answer may be encoded, so that the length need not be the content's.
        """
        answer = await self._requests.send(
            tally, method, self._prefix + name, f"blobs/{digest}", {}
        )
        async with answer.response as response:
            if response.status == HTTPStatus.NOT_FOUND:
                if method == "GET":
                    await require_registry(answer)
                raise BlobUnknown(f"{self._name} has no blob {name} {digest}")
            self._requests.check(answer, *CONTENT)
            blob = parse_answer(answer, start=0, end=None)
            if method == "GET":
                response.close()
            return blob.total if blob.coding is None or blob.total == expected else None


def may_get_differ(failure: UpstreamFailure) -> bool:
    """Whether GET may succeed where HEAD has failed so. PURE."""
    context = failure.context
    if context.at is FailedAt.TOKEN_SERVER or failure.retry_after is not None:
        return False
    if context.status is not None:
        return context.status not in _PASSING
    # A server that hangs up, or that answers something that is not HTTP, may not know HEAD.
    unusable = isinstance(failure, UpstreamInvalid) and context.phase not in {
        Phase.PREPARE,
        Phase.CONNECT,
    }
    return context.broke_off or unusable


def is_plausible(length: int | None, digest: Digest, expected: int | None) -> bool:
    """Whether the blob may have this length; `expected` is the length stated elsewhere. PURE."""
    if length is None or (expected is not None and length != expected):
        return False
    return length > 0 or digest.matches(b"")
