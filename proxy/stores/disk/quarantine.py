"""Quarantine of blobs that do not match their digests, for later inspection."""

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
    """Move the open file from the blobs to quarantine; False if it has been replaced meanwhile.

    Blocks. OSError if it cannot be moved.
    """
    path, destination = layout.blob(digest), layout.quarantine_file(digest)
    layout.quarantine.mkdir(exist_ok=True)
    moved = quota.remove(
        path, lambda: path.rename(destination), is_current=lambda: file.is_at(path)
    )
    if moved:
        metrics.DAMAGED.labels(found_by).inc()
        _log.error("blob.damaged", digest=digest, size=file.size, found_by=found_by)
    return moved
