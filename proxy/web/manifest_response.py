"""Manifest responses, prepared once and sent any number of times."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from aiohttp import web

from proxy.blobs.recency import BlobUse
from proxy.web.conditions import not_modified
from proxy.web.headers import HIT, content_headers, make_private
from proxy.web.prepared import PreparedResponse

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from proxy.manifests.serve import Representation
    from proxy.oci.reference import Digest
    from proxy.web.access_log import AccessLogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedManifest:
    """A manifest's headers and body, apart from `Cache-Status`."""

    body: bytes
    digest: Digest
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
    def of(cls, found: Representation, ns: str | None, *, private: bool = False) -> Self:
        """Prepare the response for a representation; `ns` is echoed as `OCI-Namespace`.

        `private`: the repository is not open to everybody.
        """
        manifest = found.manifest
        headers = content_headers(manifest.digest, manifest.media_type, ns)
        headers["Content-Length"] = str(len(manifest.raw))
        headers["Vary"] = "Accept"
        if found.converted_from is not None:
            headers["Lighterage-Converted-From"] = found.converted_from
        if not found.lasting:
            # The next request may get something better.
            headers["Cache-Control"] = "no-store"
        if private:
            make_private(headers)
        ready = headers.copy()
        ready["Cache-Status"] = HIT
        return cls(
            body=manifest.raw,
            digest=manifest.digest,
            media_type=manifest.media_type,
            rule=found.rule,
            headers=headers,
            mixed=found.mixed,
            use=BlobUse.of(manifest),
            whole=PreparedResponse(ready, manifest.raw),
            head=PreparedResponse(ready, b""),
        )


def respond_hit(
    request: web.BaseRequest, answer: PreparedManifest, line: AccessLogLine
) -> web.StreamResponse:
    """Answer a hit by the prepared response, unless the request is conditional or unusual."""
    if "If-None-Match" in request.headers or not PreparedResponse.suits(request, answer.body):
        return respond(request, answer, HIT, line)
    line.media_type, line.mixed = answer.media_type, answer.mixed
    line.repeated = answer.logged
    if request.method == "HEAD":
        return answer.head
    line.sent = len(answer.body)
    return answer.whole


def respond(
    request: web.BaseRequest, answer: PreparedManifest, status: str, line: AccessLogLine
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
