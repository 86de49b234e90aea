"""Content in memory with its headers, from which every request for it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from proxy.web.conditions import not_modified
from proxy.web.headers import HIT
from proxy.web.prepared import PreparedResponse

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from proxy.blobs.recency import BlobUse
    from proxy.oci.reference import Digest
    from proxy.web.access_log import AccessLogLine

# The memory of one besides its body, in bytes.
ANSWER_COST: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedAnswer:
    """A manifest's or small blob's body and headers, apart from `Cache-Status`.

    `named` is the digest that was asked for, or that the tag named.
    """

    body: bytes
    digest: Digest
    named: Digest
    media_type: str
    rule: str
    headers: CIMultiDict[str]
    mixed: bool
    # Shared by all responses.
    use: BlobUse = field(compare=False)
    # The responses for a hit, to GET and to HEAD.
    whole: PreparedResponse
    head: PreparedResponse
    # The log members of a hit, see `AccessLogLine.repeated`.
    logged: dict[str, bytes] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls,
        body: bytes,
        headers: CIMultiDict[str],
        *,
        digest: Digest,
        media_type: str,
        use: BlobUse,
        named: Digest | None = None,
        rule: str = "",
        mixed: bool = False,
    ) -> Self:
        """Prepare the responses; `headers` include `Content-Length`."""
        ready = headers.copy()
        ready["Cache-Status"] = HIT
        return cls(
            body=body,
            digest=digest,
            named=named or digest,
            media_type=media_type,
            rule=rule,
            headers=headers,
            mixed=mixed,
            use=use,
            whole=PreparedResponse(ready, body),
            head=PreparedResponse(ready, b""),
        )


def respond_hit(
    request: web.BaseRequest, answer: PreparedAnswer, line: AccessLogLine
) -> web.StreamResponse:
    """Answer a hit by the prepared response, unless the request is conditional or unusual."""
    line.outcome, line.rule = "hit", answer.rule
    if "If-None-Match" in request.headers or not PreparedResponse.suits(request, answer.body):
        return respond(request, answer, HIT, line)
    line.media_type, line.mixed = answer.media_type, answer.mixed
    line.repeated = answer.logged
    if request.method == "HEAD":
        return answer.head
    line.sent = len(answer.body)
    return answer.whole


def respond(
    request: web.BaseRequest, answer: PreparedAnswer, status: str, line: AccessLogLine
) -> web.StreamResponse:
    """Build the response, or a 304; If-None-Match is compared with the negotiated manifest."""
    line.media_type, line.mixed = answer.media_type, answer.mixed
    headers = answer.headers.copy()
    headers["Cache-Status"] = status
    conditions = request.headers.getall("If-None-Match", ())
    if conditions and not_modified(conditions, answer.digest):
        del headers["Content-Length"]
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    line.sent = len(answer.body)
    return web.Response(body=answer.body, headers=headers)
