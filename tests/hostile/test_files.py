"""Another user of the machine reads nothing of what the proxy stores."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.hostile import bystander
from tests.kit import load, processes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

V2S1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.mark.parametrize("workers", [1, 2])
async def test_files_are_for_the_proxys_user_only(
    upstream: ScriptedUpstream, tmp_path: Path, workers: int
) -> None:
    data = tmp_path / "data"
    # As an earlier release, or an operator, left them.
    for existing in (data, data / "blobs", data / "spool"):
        existing.mkdir(mode=0o755)
    with processes.Proxy(tmp_path, upstream=upstream.url, workers=workers, data=data) as proxy:
        await bystander.pull_from(proxy.port)
        converted = await load.get(proxy.port, bystander.MANIFEST, V2S1)
        assert converted.status == 200
        found = [data, *data.rglob("*")]
        assert sum(path.is_file() for path in found) > 5
        for path in found:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode & 0o077 == 0, (path, oct(mode))
