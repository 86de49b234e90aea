"""Where a redirect leads, and whether it is followed."""

from __future__ import annotations

import re
from typing import Final

from yarl import URL

from proxy.errors import UpstreamInvalid

STATUSES: Final = frozenset({301, 302, 303, 307, 308})
# RFC 9110, 15.4: after these a POST stays one, with its body.
SAME_METHOD: Final = frozenset({307, 308})
# A registry that sends us to its storage needs one, behind a load balancer two.
MAX_REDIRECTS: Final = 5

_PRINTABLE: Final = re.compile(r"[!-~]+")


def origin(url: URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: what credentials belong to (RFC 6454)."""
    return url.scheme, (url.raw_host or "").lower().rstrip("."), url.port


def follow(endpoint: str, current: URL, location: str | None) -> URL:
    """The URL that `location` names, seen from `current`, to the letter: its query may be signed.

    UpstreamInvalid, in a sentence about `endpoint`, if it is none, gives up TLS or carries user
    information, which would become an `Authorization` header of its own.
    """
    if location is None or not _PRINTABLE.fullmatch(location):
        raise UpstreamInvalid(f"{endpoint} redirects to no URL")
    try:
        target = current.join(URL(location, encoded=True)).with_fragment(None)
        host, user, port = target.raw_host, target.raw_user, target.port
    except ValueError:
        raise UpstreamInvalid(f"{endpoint} redirects to no URL") from None
    if target.scheme not in {"http", "https"} or not host or port is None:
        raise UpstreamInvalid(f"{endpoint} redirects to something that is not HTTP")
    if user is not None or target.raw_password is not None:
        raise UpstreamInvalid(f"{endpoint} redirects to a URL with user information in it")
    if current.scheme == "https" and target.scheme == "http":
        raise UpstreamInvalid(
            f"{endpoint} redirects from https to plain http: nothing was sent there, "
            "and no setting allows it"
        )
    return target
