"""The limit of open file descriptors: raise it, and compare it with the settings' limits."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.web.server import MAX_OVER_LIMIT

if TYPE_CHECKING:
    from proxy.config import Limits

# File descriptors for a client: its connection, and the blob that is sent.
_CONNECTION: Final = 2
# For a transfer: the upstream's connection, the lease, the spool and its reader, the length's file.
_DOWNLOAD: Final = 5
# For a blob that is passed through: the upstream's connection, and an interrupted spool.
_PASSED_THROUGH: Final = 2
# For listeners, the cache, idle connections to upstreams, records and the log.
_ALL_ELSE: Final = 256


def raise_limit() -> int:
    """Raise the soft limit to the hard limit, for this process and its children; the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems report an infinite hard limit, and refuse to set it.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptors_for(limits: Limits) -> int:
    """The number of descriptors that one process needs when every limit is reached."""
    return (
        limits.connections * _CONNECTION
        + MAX_OVER_LIMIT
        + limits.downloads * _DOWNLOAD
        + limits.passed_through * _PASSED_THROUGH
        + _ALL_ELSE
    )


def shortage(limits: Limits, available: int) -> str | None:
    """A warning for the operator if `available` descriptors are too few, or None."""
    if available == resource.RLIM_INFINITY or available >= descriptors_for(limits):
        return None
    return (
        f"the limits need {descriptors_for(limits)} file descriptors in a process, and the system "
        f"allows {available}: raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=) or "
        "lower limits.connections"
    )
