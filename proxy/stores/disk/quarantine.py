"""A blob's file that is not what its digest names: out of the way, and kept for a look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import structlog

from proxy.telemetry import metrics

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.open_file import OpenFile
    from proxy.stores.disk.quota import DiskQuota

_log = structlog.get_logger()


def quarantine_blob(
    layout: Layout,
    quota: DiskQuota,
    digest: Digest,
    file: OpenFile,
    *,
    found_by: Literal["read", "scrub"],
) -> bool:
    """Have the open file be no blob any more, unless another one has its place; whether it was.

    Blocks. OSError if it cannot be moved.
    """
    path, aside = layout.blob(digest), layout.damaged(digest)
    layout.damages.mkdir(exist_ok=True)
    moved = quota.take_away(path, lambda: path.rename(aside), still=lambda: file.is_at(path))
    if moved:
        metrics.DAMAGED.labels(found_by).inc()
        _log.error("blob.damaged", digest=digest, size=file.size, found_by=found_by)
    return moved
