"""`lighterage purge --content`: the bytes are gone, for every worker."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from proxy.oci.mediatype import MediaType
from tests.e2e.test_reports import run
from tests.kit import images
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.stores import Store

pytestmark = pytest.mark.e2e

SHIP = images.oci()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_content_is_removed(tmp_path: Path, workers: int, store: Store) -> None:
    with Registry(tmp_path / "registry") as registry:
        registry.push("harbour/ship", "1", SHIP)
        with Proxy(
            tmp_path / "proxy",
            upstream=registry.url,
            workers=workers,
            redis=store.redis,
            settings={"tags": {"ttl": "1h"}},
        ) as proxy:
            repository, admin = f"{proxy.url}/v2/harbour/ship", f"--admin={proxy.admin_url}"
            for accept in ([("Accept", MediaType.V2S2)], []):
                assert ask(f"{repository}/manifests/1", headers=accept).status == 200
            for digest in SHIP.blobs:
                assert ask(f"{repository}/blobs/{digest}").status == 200
            assert len(list((proxy.data / "derived").glob("sha256:*"))) == 2
            done = run("purge", "harbour/ship:1", "--content", admin, "--json")
            assert done.returncode == 0, done.stderr
            host = registry.url.removeprefix("http://")
            assert json.loads(done.stdout) == {
                "purged": f"{host}/harbour/ship",
                "reference": "1",
                "content": True,
            }
            for directory in ("blobs/*/*", "derived"):
                assert list(proxy.data.glob(f"{directory}/sha256:*")) == []
            assert list(proxy.data.glob("blobs/*/*/*")) == []
            absent = run("purge", "harbour/ship:1", "--content", admin)
            assert absent.returncode == 2
            registry.forget()
            asked: list[str] = []
            expected = sorted(f"/v2/harbour/ship/blobs/{each}" for each in SHIP.blobs)
            # The other worker reads within a second that its memory is out of date.
            deadline = time.monotonic() + 60
            while asked != expected and time.monotonic() < deadline:
                for digest in SHIP.blobs:
                    assert ask(f"{repository}/blobs/{digest}").status == 200
                asked = sorted(each.path for each in registry.requests() if each.method == "GET")
            assert asked == expected
