"""Where the disk store keeps what, below one directory.

blobs/<algorithm>/<first two hex>/<hex>      complete and verified
stock                                        how much they take together
in-use.lock                                  whoever uses the directory shares a flock on it
damaged/<digest>                             what was among them and should not have been
spool/<digest>                               on its way in; its holder's flock is on it
spool/<digest>.meta                          the whole length of that, in decimal
spool/lease-<hex>                            a lease on something that is no blob
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

# Nothing but what names, tags, digests and ports are made of: no dot in front, no separator.
_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_KEY: Final = re.compile(
    rf"(?P<kind>[a-z]+):(?P<folders>(?:{_PART}(?::[0-9]+)?/)*)(?P<leaf>{_PART}:{_PART})"
)
_DIGEST: Final = re.compile(r"[a-z0-9]+:(?P<fan>[0-9a-f]{2})[0-9a-f]+")
# What Linux allows for one component, in bytes.
_LONGEST: Final = 255


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
        """The file that says how much the blobs take."""
        return self.root / "stock"

    @property
    def presence(self) -> Path:
        """The file that whoever uses the directory has a shared lock on."""
        return self.root / "in-use.lock"

    @property
    def damages(self) -> Path:
        """The directory of files that were blobs and are not what their digests name."""
        return self.root / "damaged"

    @property
    def spools(self) -> Path:
        """The directory of everything that is not complete yet."""
        return self.root / "spool"

    def blob(self, digest: Digest) -> Path:
        """The complete blob's file."""
        return self.blobs / digest.algorithm / digest.hex[:2] / digest.hex

    def damaged(self, digest: Digest) -> Path:
        """Where the blob's file is put if it is damaged."""
        return self.damages / digest

    def spool(self, digest: Digest) -> Path:
        """The file that the blob arrives in."""
        return self.spools / digest

    def announcement(self, digest: Digest) -> Path:
        """The file that says how long the blob will be."""
        return self.spools / f"{digest}{ANNOUNCEMENT}"

    def temporary(self) -> Path:
        """A new name for a file that will get another one."""
        return self.spools / f"{TEMPORARY}{secrets.token_hex(12)}"

    def manifests(self) -> Iterator[Path]:
        """The record of every manifest: its digest is the file's name."""
        return (self.root / "records/manifest").glob("*/*")

    def record(self, key: str) -> Path:
        """The file of the record under `key`, such as `tag:docker.io/library/alpine:3.20`.

        ValueError for a key that is not made of names, tags and digests. Different keys have
        different files, and no file stands where another key needs a directory: only the last
        part of a path has a colon.
        """
        found = _KEY.fullmatch(key)
        if found is None:
            raise ValueError(f"{key[:_LONGEST]!r} is no key of a record")
        kind, folders, leaf = found["kind"], found["folders"].split("/")[:-1], found["leaf"]
        # A repository's links lie together, so that those of a manifest cost one fsync.
        if not folders and (digest := _DIGEST.fullmatch(leaf)):
            folders = [f":{digest['fan']}"]
        parts = (*(folder.replace(":", "+") for folder in folders), leaf)
        return self.root.joinpath("records", kind, *map(_short, parts))


def _short(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return "~" + hashlib.sha256(name.encode()).hexdigest()
