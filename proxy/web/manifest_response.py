"""A manifest's answer, prepared once and sent any number of times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from proxy.blobs.recency import BlobUse
from proxy.web.headers import HIT, content_headers
from proxy.web.prepared import PreparedResponse

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from proxy.manifests.serve import Representation
    from proxy.oci.reference import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Headers and body as they are, but for `Cache-Status`."""

    body: bytes
    digest: Digest
    media_type: str
    rule: str
    headers: CIMultiDict[str]
    mixed: bool
    # Shared by all whom it is sent to.
    use: BlobUse = field(compare=False)
    # What a hit is answered with, to GET and to HEAD.
    whole: PreparedResponse
    head: PreparedResponse
    # What the log says of a hit: see `Line.repeated`.
    logged: dict[str, bytes] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, found: Representation, ns: str | None) -> Self:
        """For a representation that was found; `ns` is told back to who asked with it."""
        manifest = found.manifest
        headers = content_headers(manifest.digest, manifest.media_type, ns)
        headers["Content-Length"] = str(len(manifest.raw))
        headers["Vary"] = "Accept"
        if found.converted_from is not None:
            headers["Lighterage-Converted-From"] = found.converted_from
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
