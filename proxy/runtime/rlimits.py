"""File descriptors: as many as the system lets us have, and whether they suffice."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.web.server import MAX_OVER_LIMIT

if TYPE_CHECKING:
    from proxy.config import Limits

# A client's connection, and the blob that it is sent.
_CONNECTION: Final = 2
# The upstream's connection, the lease, the spool and its reader, the announced length.
_DOWNLOAD: Final = 5
# The upstream's connection, and what had been kept of the blob.
_PASSED_THROUGH: Final = 2
# Listeners, the cache, idle connections to upstreams, records, the log.
_ALL_ELSE: Final = 256


def raise_limit() -> int:
    """Allow this process and its children what the hard limit does; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems have an infinite hard limit, and do not grant it.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def needed(limits: Limits) -> int:
    """How many one process needs when every limit is reached."""
    return (
        limits.connections * _CONNECTION
        + MAX_OVER_LIMIT
        + limits.downloads * _DOWNLOAD
        + limits.passed_through * _PASSED_THROUGH
        + _ALL_ELSE
    )


def shortage(limits: Limits, available: int) -> str | None:
    """What to tell the operator where `available` do not suffice; None where they do."""
    if available == resource.RLIM_INFINITY or available >= needed(limits):
        return None
    return (
        f"the limits need {needed(limits)} file descriptors in a process, and the system allows "
        f"{available}: raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=) or lower "
        "limits.connections"
    )
