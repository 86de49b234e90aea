"""In place of transfers: nothing is started, and what would be is said."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.errors import UpstreamUnavailable, WouldAsk
from proxy.manifests.dry_run import DryRunTransfers
from proxy.oci.reference import Digest, Repository
from proxy.upstream.dry_run import DryRunUpstream
from tests.kit.manifest_world import MonitoredMemoryUpstream

NAME: Final = "library/cargo"
DIGEST: Final = Digest.of(b"what the upstream has")


async def test_a_transfer_is_not_started() -> None:
    upstream = MonitoredMemoryUpstream()
    transfers = DryRunTransfers({"docker.io": DryRunUpstream(upstream)})
    repository = Repository("docker.io", NAME, "cargo")
    assert not transfers.is_running(repository, DIGEST)
    reader = transfers.join(repository, DIGEST)
    with pytest.raises(WouldAsk, match=f"^GET of blob {NAME} {DIGEST}$"):
        await reader.wait_until_sendable()
    assert not transfers.is_running(repository, DIGEST)
    upstream.trouble = UpstreamUnavailable("docker.io cannot be reached")
    with pytest.raises(UpstreamUnavailable):
        await reader.wait_until_sendable()
    reader.close()
    assert upstream.asked == []
