"""What the service needs from outside, as Protocols; `stores` and `upstream` fit them.

Each port has one contract suite in `tests/contract`, which every implementation runs.
"""

from __future__ import annotations

from proxy.ports.blobs import (
    Blob,
    BlobIngest,
    BlobStorage,
    BlobStore,
    FileBacked,
    Growing,
    Readable,
    Spool,
)
from proxy.ports.cache import ManifestCache
from proxy.ports.leases import Lease, Leases
from proxy.ports.upstream import BlobStream, Fetched, Head, Late, MonitoredUpstream, Upstream

__all__ = [
    "Blob",
    "BlobIngest",
    "BlobStorage",
    "BlobStore",
    "BlobStream",
    "Fetched",
    "FileBacked",
    "Growing",
    "Head",
    "Late",
    "Lease",
    "Leases",
    "ManifestCache",
    "MonitoredUpstream",
    "Readable",
    "Spool",
    "Upstream",
]
