"""Manifest responses, prepared once and sent any number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.blobs.recency import BlobUse
from proxy.web.headers import content_headers, make_private
from proxy.web.prepared_answer import PreparedAnswer

if TYPE_CHECKING:
    from proxy.manifests.serve import Representation


def prepare_manifest(
    found: Representation, ns: str | None, *, private: bool = False
) -> PreparedAnswer:
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
    return PreparedAnswer.of(
        manifest.raw,
        headers,
        digest=manifest.digest,
        media_type=manifest.media_type,
        use=BlobUse.of(manifest),
        named=found.named,
        rule=found.rule,
        mixed=found.mixed,
    )
