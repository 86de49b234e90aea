"""How long a blob will be, also where the answer with its bytes does not say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import RegistryError

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream, Upstream


async def expected_length(
    stream: BlobStream, upstream: Upstream, name: str, digest: Digest
) -> int | None:
    """Return the length in bytes; None if neither the GET nor a HEAD states it.

    Without it no answer can begin before the last byte has arrived, and a body that ends early
    looks like one that is complete.
    """
    if stream.total is not None:
        return stream.total
    try:
        # Some registries state 0 for a length that they do not know.
        return await upstream.blob_size(name, digest, may_get=False) or None
    except RegistryError:
        return None
