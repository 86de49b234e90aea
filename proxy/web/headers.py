"""The headers that answers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from multidict import CIMultiDict

from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.telemetry.trace import Trace

# docker up to 1.9 takes a registry without it for one of the v1 API.
API_VERSION: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
SERVER: Final = ("Server", "lighterage")
NO_SNIFF: Final = ("X-Content-Type-Options", "nosniff")
HIT: Final = "Lighterage; hit"


def content_headers(digest: Digest, media_type: str, ns: str | None) -> CIMultiDict[str]:
    """For an answer with content: what it is, and what it is called. The type stays bare."""
    headers = CIMultiDict(
        [
            API_VERSION,
            NO_SNIFF,
            SERVER,
            ("Content-Type", media_type),
            ("Docker-Content-Digest", digest),
            ("ETag", f'"{digest}"'),
        ]
    )
    if ns is not None:
        # distribution spec, "Registry Proxying".
        headers["OCI-Namespace"] = ns
    return headers


def cache_status(happened: Trace) -> str:
    """RFC 9211: whether the cache had it, and why it asked the upstream if it did."""
    match happened.outcome:
        case Outcome.HIT:
            return HIT
        case Outcome.REVALIDATED:
            return "Lighterage; fwd=stale; detail=revalidated"
        case Outcome.STALE:
            return f'Lighterage; hit; detail="stale {happened.detail}"'
        case Outcome.MISS:
            stored = "; stored" if happened.stored else ""
            return f"Lighterage; fwd=miss{stored}{happened.parameter}"
        case Outcome.NONE:
            return "Lighterage; fwd=bypass"
        case _:
            assert_never(happened.outcome)
