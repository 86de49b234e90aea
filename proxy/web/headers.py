"""The headers that responses have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from multidict import CIMultiDict

from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.telemetry.trace import Trace

# Without it, docker up to 1.9 assumes the v1 API.
API_VERSION: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
SERVER: Final = ("Server", "lighterage")
NO_SNIFF: Final = ("X-Content-Type-Options", "nosniff")
HIT: Final = "Lighterage; hit"


def content_headers(digest: Digest, media_type: str, ns: str | None) -> CIMultiDict[str]:
    """The headers of a response with content; `Content-Type` has no parameters."""
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


def cache_status(trace: Trace) -> str:
    """The `Cache-Status` header for a trace (RFC 9211)."""
    match trace.outcome:
        case Outcome.HIT:
            return HIT
        case Outcome.REVALIDATED:
            return "Lighterage; fwd=stale; detail=revalidated"
        case Outcome.STALE:
            return f'Lighterage; hit; detail="stale {trace.detail}"'
        case Outcome.MISS:
            stored = "; stored" if trace.stored else ""
            return f"Lighterage; fwd=miss{stored}{trace.parameter}"
        case Outcome.NONE:
            return "Lighterage; fwd=bypass"
        case _:
            assert_never(trace.outcome)
