"""Whether the registry has named a digest in a repository, which a mirror may then deliver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from proxy.oci.reference import Digest
from proxy.ports.catalog import Claim, Grant
from proxy.upstream.health.verified_mirror import NamedBlob

# Why a repository may have a digest, as far as the catalog knows: by its name at the registry.
Names: TypeAlias = Callable[[str, Digest], Awaitable[Grant | Claim | None]]


def named_type(access: Grant | Claim | None) -> str | None:
    """What the registry calls the manifest; None if it has named no manifest by this digest."""
    return None if access is None else access.media_type


def named_blob(digest: Digest, access: Grant | Claim | None) -> NamedBlob | None:
    """The blob; None if the registry has named no blob by this digest."""
    if access is None or access.media_type is not None:
        return None
    return NamedBlob(digest, access.size if isinstance(access, Claim) else None)
