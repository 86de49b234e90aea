"""The limits in the settings, as those of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.blobs.limits import TransferLimits
from proxy.web.reading_rate import ReadingLimits
from proxy.web.server import ServerLimits

if TYPE_CHECKING:
    from proxy.config import BlobSettings, Limits

# A file's space on the disk is a multiple of this, in bytes.
_BLOCK: Final = 4096


def max_size_of(blobs: BlobSettings) -> int | None:
    """What the disk may hold, in bytes. A bucket is bounded by a lifecycle rule: None."""
    return blobs.max_size if blobs.store == "disk" else None


def server_limits_of(limits: Limits) -> ServerLimits:
    """What clients may take of one process."""
    return ServerLimits(
        connections=limits.connections,
        connections_per_client=limits.per_client.connections,
        reading=ReadingLimits(limits.send_timeout, limits.minimum_rate),
        trusted_proxies=limits.trusted_proxies,
    )


def transfer_limits_of(limits: Limits, largest: int | None) -> TransferLimits:
    """What transfers may take of one process; `largest` is in bytes, without a bound if None."""
    return TransferLimits(
        downloads=limits.downloads,
        spool=limits.spool,
        largest=None if largest is None else largest // _BLOCK * _BLOCK,
        passed_through=limits.passed_through,
    )
