"""How long a blob will be, also where the answer with its bytes does not say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import RegistryError

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream, Upstream


async def announced_size(
    stream: BlobStream, upstream: Upstream, name: str, digest: Digest
) -> int | None:
    """In bytes; None if the upstream does not say it to HEAD either.

    Without it nobody's answer could begin before the last byte is here, and one that breaks off
    could not be told from one that is complete.
    """
    if stream.total is not None:
        return stream.total
    try:
        # Some say 0 of what they do not know.
        return await upstream.blob_size(name, digest) or None
    except RegistryError:
        return None
