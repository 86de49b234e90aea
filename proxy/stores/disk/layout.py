"""The layout of the disk store below one directory.

blobs/<algorithm>/<first two hex>/<hex>      a complete and verified blob
stock                                        the number of bytes that the blobs take
in-use.lock                                  every process that uses the directory shares its flock
damaged/<digest>                             a quarantined blob
spool/<digest>                               a blob being fetched; the writer holds its flock
spool/<digest>.meta                          the announcement: the blob's length in decimal
spool/lease-<hex>                            a lease on something other than a blob
spool/temp-<hex>                             a file that is renamed or linked when it is complete
records/<kind>/+<first two hex>/<digest>     the record of a digest
records/<kind>/<repository>/<last part>      the record of something in a repository
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.oci.reference import Digest

TEMPORARY: Final = "temp-"
ANNOUNCEMENT: Final = ".meta"

# The characters of names, tags, digests and ports; no leading dot and no separator.
_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_KEY: Final = re.compile(
    rf"(?P<kind>[a-z]+):(?P<folders>(?:{_PART}(?::[0-9]+)?/)*)(?P<leaf>{_PART}:{_PART})"
)
_DIGEST: Final = re.compile(r"[a-z0-9]+:(?P<fan>[0-9a-f]{2})[0-9a-f]+")
# Linux's limit for one component of a path, in bytes.
_MAX_COMPONENT: Final = 255


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
    def quarantine(self) -> Path:
        """The directory of quarantined blobs, which do not match their digests."""
        return self.root / "damaged"

    @property
    def spools(self) -> Path:
        """The directory of incomplete files."""
        return self.root / "spool"

    def blob(self, digest: Digest) -> Path:
        """The complete blob's file."""
        return self.blobs / digest.algorithm / digest.hex[:2] / digest.hex

    def quarantine_file(self, digest: Digest) -> Path:
        """The file of a damaged blob in quarantine."""
        return self.quarantine / digest

    def spool(self, digest: Digest) -> Path:
        """The file that the blob is fetched into."""
        return self.spools / digest

    def announcement(self, digest: Digest) -> Path:
        """The file with the expected length of the blob."""
        return self.spools / f"{digest}{ANNOUNCEMENT}"

    def temporary(self) -> Path:
        """A new name for a temporary file."""
        return self.spools / f"{TEMPORARY}{secrets.token_hex(12)}"

    def manifests(self) -> Iterator[Path]:
        """The record of every manifest; the file's name is its digest."""
        return (self.root / "records/manifest").glob("*/*")

    def record(self, key: str) -> Path:
        """The file of the record under `key`, such as `tag:docker.io/library/alpine:3.20`.

        ValueError for a key that does not consist of names, tags and digests. Different keys have
        different files. No file has the path of another key's directory, because only the last
        part of a path has a colon.
        """
        found = _KEY.fullmatch(key)
        if found is None:
            raise ValueError(f"{key[:_MAX_COMPONENT]!r} is no key of a record")
        kind, folders, leaf = found["kind"], found["folders"].split("/")[:-1], found["leaf"]
        # A repository's links lie together, so that those of a manifest cost one fsync.
        if not folders and (digest := _DIGEST.fullmatch(leaf)):
            folders = [f":{digest['fan']}"]
        parts = (*(folder.replace(":", "+") for folder in folders), leaf)
        return self.root.joinpath("records", kind, *map(_short, parts))


def _short(name: str) -> str:
    if len(name) <= _MAX_COMPONENT:
        return name
    return "~" + hashlib.sha256(name.encode()).hexdigest()
