"""The layout of the disk store below one directory.

blobs/<algorithm>/<first two hex>/<hex>      a complete and verified blob
stock                                        the number of bytes that the blobs take
kept/<hex>                                   an image whose blobs are not evicted
in-use.lock                                  every process that uses the directory shares its flock
damaged/<digest>                             a quarantined blob
spool/<upstream>/<digest>                    a blob being fetched there; the writer holds its flock
spool/<upstream>/<digest>.meta               the announcement: the blob's length in decimal
spool/lease-<hex>                            a lease on something other than a blob
spool/temp-<hex>                             a file that is renamed or linked when it is complete

A blob's file has two extended attributes: when it was verified, and which upstreams delivered it.
An upstream's name has no slash, so what one has sent is never continued with another's bytes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.oci.reference import Digest

TEMPORARY: Final = "temp-"
ANNOUNCEMENT: Final = ".meta"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below `root`."""

    root: Path

    @property
    def blobs(self) -> Path:
        """The directory of complete blobs."""
        return self.root / "blobs"

    @property
    def quota(self) -> Path:
        """The file with the number of bytes that the blobs take."""
        return self.root / "stock"

    @property
    def presence(self) -> Path:
        """The file on which every process that uses the directory holds a shared lock."""
        return self.root / "in-use.lock"

    @property
    def kept(self) -> Path:
        """The directory of the images whose blobs are not evicted."""
        return self.root / "kept"

    @property
    def quarantine(self) -> Path:
        """The directory of quarantined blobs, which do not match their digests."""
        return self.root / "damaged"

    @property
    def spools(self) -> Path:
        """The directory of incomplete files."""
        return self.root / "spool"

    def blob(self, digest: Digest) -> Path:
        """The complete blob's file."""
        return Path(self.blob_name(digest))

    def blob_name(self, digest: Digest) -> str:
        """The same as text: a `Path` costs more than the look-up of many blobs."""
        algorithm, _, name = digest.partition(":")
        return f"{self.root}/blobs/{algorithm}/{name[:2]}/{name}"

    def quarantine_file(self, digest: Digest) -> Path:
        """The file of a damaged blob in quarantine."""
        return self.quarantine / digest

    def spool(self, upstream: str, digest: Digest) -> Path:
        """The file that the blob is fetched into from that upstream."""
        return self.spools / upstream / digest

    def announcement(self, upstream: str, digest: Digest) -> Path:
        """The file with the expected length of the blob."""
        return self.spools / upstream / f"{digest}{ANNOUNCEMENT}"

    def temporary(self) -> Path:
        """A new name for a temporary file."""
        return self.spools / f"{TEMPORARY}{secrets.token_hex(12)}"
