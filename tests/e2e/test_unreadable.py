"""A proxy that may not read its own directories, as one that was root before."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools
from tests.e2e.closure import closure
from tests.kit import images
from tests.kit.accept_lines import EVERYTHING, NOTHING
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.redis import eventually
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

CARGO: Final = "/v2/cargo/docker"
# Root without these is a user like any other.
_CAPABILITIES: Final = "--bounding-set=-dac_override,-dac_read_search"


@contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o500])
@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "spool", "derived"])
def test_what_may_not_be_read_or_written_costs_nobody_an_image(
    tmp_path: Path, name: str, mode: int
) -> None:
    tools.require_root("setpriv")
    with Registry(tmp_path / "registry") as registry:
        registry.push("cargo/docker", "1", images.docker())
        proxy = Proxy(tmp_path / "proxy", upstream=registry.url)
        proxy.command[:0] = [str(tools.require("setpriv")), _CAPABILITIES]
        with proxy:
            legacy = ask(f"{proxy.url}{CARGO}/manifests/1", headers=NOTHING)
            assert legacy.status == 200
            answer = ask(f"{proxy.url}{CARGO}/manifests/1", headers=EVERYTHING)
            before = closure(f"{proxy.url}{CARGO}", answer)
            with _mode(proxy.data / name, mode):
                for _ in range(2):
                    answer = ask(f"{proxy.url}{CARGO}/manifests/1", headers=EVERYTHING)
                    assert answer.status == 200
                    assert closure(f"{proxy.url}{CARGO}", answer) == before
                again = ask(f"{proxy.url}{CARGO}/manifests/1", headers=NOTHING)
                assert (again.status, again.body) == (200, legacy.body)
                if name == "blobs" and mode == 0:
                    eventually(
                        lambda: "disk" in _warnings(proxy), f"nothing is said of {proxy.data}"
                    )
            assert closure(f"{proxy.url}{CARGO}", answer) == before
        assert "request.crashed" not in proxy.log()


def _warnings(proxy: Proxy) -> dict[str, str]:
    warnings: dict[str, str] = json.loads(ask(f"{proxy.admin_url}/readyz").body)["warnings"]
    return warnings
