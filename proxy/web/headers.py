"""The headers that responses have in common."""

from __future__ import annotations

import re
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
# In subtypes of `application/`: xhtml+xml, rss+xml, javascript, pdf, x-shockwave-flash. Plain
# `script` is also in `vnd.oci.descriptor.v1+json`.
_RUNS: Final = re.compile("html|xml|xsl|(java|ecma|live|vb|j)script|pdf|flash|^hta$")


def content_headers(digest: Digest, media_type: str, ns: str | None) -> CIMultiDict[str]:
    """The headers of a response with content; `Content-Type` has no parameters.

    A registry chooses the type, and a browser would run some in the name of our host.
    """
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
    if runs_in_browser(media_type):
        headers["Content-Type"] = "application/octet-stream"
        headers["Content-Security-Policy"] = "sandbox"
    if ns is not None:
        # distribution spec, "Registry Proxying".
        headers["OCI-Namespace"] = ns
    return headers


def make_private(headers: CIMultiDict[str]) -> None:
    """Keep caches between us and the client from giving the response to another client."""
    control, vary = headers.get("Cache-Control"), headers.get("Vary")
    if control != "no-store":
        headers["Cache-Control"] = f"private, {control}" if control else "private"
    headers["Vary"] = f"{vary}, Authorization" if vary else "Authorization"


def runs_in_browser(media_type: str) -> bool:
    """Whether a browser shows or runs content of this type; manifests are all `application/`."""
    kind, _, subtype = media_type.lower().partition("/")
    return kind != "application" or _RUNS.search(subtype) is not None


def cache_status(trace: Trace) -> str:
    """The `Cache-Status` header for a trace (RFC 9211)."""
    match trace.outcome:
        case Outcome.HIT:
            return HIT + trace.source
        case Outcome.REVALIDATED:
            return "Lighterage; fwd=stale; detail=revalidated"
        case Outcome.STALE:
            via = f" {trace.via}" if trace.via else ""
            return f'Lighterage; hit; detail="stale {trace.detail}{via}"'
        case Outcome.MISS:
            stored = "; stored" if trace.stored else ""
            return f"Lighterage; fwd=miss{stored}{trace.parameter}"
        case Outcome.NONE:
            return "Lighterage; fwd=bypass"
        case _:
            assert_never(trace.outcome)
