"""In place of transfers: nothing is started, and what would be is said."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.errors import WouldAsk
from proxy.manifests.nobody import NobodyTransfers
from proxy.oci.reference import Digest, Repository

NAME: Final = "library/cargo"
DIGEST: Final = Digest.of(b"what the upstream has")


def test_a_transfer_is_not_started() -> None:
    transfers = NobodyTransfers()
    repository = Repository("docker.io", NAME, "cargo")
    assert not transfers.is_running(repository, DIGEST)
    with pytest.raises(WouldAsk, match=f"^GET of blob {NAME} {DIGEST}$"):
        transfers.join(repository, DIGEST)
    assert not transfers.is_running(repository, DIGEST)
