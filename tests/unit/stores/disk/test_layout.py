"""Where the files of the disk store are."""

from __future__ import annotations

from pathlib import Path

from proxy.oci.reference import Digest
from proxy.stores.disk.layout import Layout

LAYOUT = Layout(Path("/data"))
DIGEST = Digest("sha256:" + "0123456789abcdef" * 4)


def test_where_things_are() -> None:
    assert LAYOUT.blob(DIGEST) == Path(f"/data/blobs/sha256/01/{DIGEST.hex}")
    assert LAYOUT.spool("docker.io", DIGEST) == Path(f"/data/spool/docker.io/{DIGEST}")
    assert LAYOUT.announcement("docker.io", DIGEST) == Path(f"/data/spool/docker.io/{DIGEST}.meta")
