"""The audit log: a line for each request in a closed repository, and what happens without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Tag
from tests.kit import images
from tests.kit.access import basic, htpasswd
from tests.kit.proxy import Proxy, push, settings, until
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CI: Final = basic("ci", "s3cret")
MATE: Final = basic("mate", "capstan")
IMAGE: Final = images.docker("audited")
LAYER: Final = Digest.of(list(IMAGE.blobs.values())[-1])
RULE: Final = "docker.io/team/*"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for name in ("team/app", "library/app"):
            push(upstream, name, "1", IMAGE)
        yield upstream


def chosen(upstream: ScriptedUpstream, data: Path, tmp_path: Path, on_failure: str) -> Any:
    users = htpasswd(tmp_path / "htpasswd", {"ci": "s3cret", "mate": "capstan"})
    access = {
        "htpasswd_file": users,
        "rules": [{"match": RULE, "mode": "basic", "users": ["ci"]}],
        "audit": {"file": tmp_path / "audit.log", "on_failure": on_failure},
    }
    return settings(upstream, data, access=access, tags={"ttl": "1h"})


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]


@pytest.mark.parametrize("on_failure", ["warn", "refuse"])
async def test_every_request_in_a_closed_repository_has_a_line(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path, on_failure: str
) -> None:
    async with Proxy(chosen(upstream, data_dir, tmp_path, on_failure)) as proxy:
        manifest, layer = "/v2/team/app/manifests/1", f"/v2/team/app/blobs/{LAYER}"
        for header, path in ((CI, manifest), (CI, manifest), (CI, layer), (MATE, manifest)):
            await proxy.get(path, Accept=MediaType.V2S2, Authorization=header)
        refused = await proxy.get(manifest)
        await proxy.get("/v2/library/app/manifests/1", Accept=MediaType.V2S2)
        await proxy.services.purges.purge("team/app", Tag("1"))
        await until(lambda: len(lines(tmp_path)) >= 6)
    found = lines(tmp_path)
    assert [(each["event"], each.get("decision")) for each in found] == [
        ("access", "admitted"),
        ("access", "admitted"),
        ("access", "admitted"),
        ("access", "denied"),
        ("access", "unauthorized"),
        ("purge", None),
    ]
    assert {each["repository"] for each in found} == {"docker.io/team/app"}
    assert [each.get("principal") for each in found[:5]] == [
        *["basic:ci"] * 3,
        "basic:mate",
        "anonymous",
    ]
    assert [each["digest"] for each in found[:3]] == [IMAGE.digest, IMAGE.digest, LAYER]
    assert {each["rule"] for each in found[:5]} == {RULE}
    assert found[4]["id"] == refused.headers["X-Request-Id"]
    assert found[0]["client"] == "127.0.0.1"
    written = (tmp_path / "audit.log").read_text()
    assert "s3cret" not in written
    assert CI.removeprefix("Basic ") not in written


@pytest.mark.parametrize(("on_failure", "status"), [("warn", 200), ("refuse", 503)])
async def test_a_log_that_cannot_be_written(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path, on_failure: str, status: int
) -> None:
    async with Proxy(chosen(upstream, data_dir, tmp_path, on_failure)) as proxy:
        (tmp_path / "audit.log").unlink()
        (tmp_path / "audit.log").mkdir()
        for path in ("manifests/1", f"blobs/{LAYER}"):
            answer = await proxy.get(
                f"/v2/team/app/{path}", Accept=MediaType.V2S2, Authorization=CI
            )
            assert answer.status == status
        await until(lambda: "audit" in proxy.services.readiness.warnings)
        public = await proxy.get("/v2/library/app/manifests/1", Accept=MediaType.V2S2)
        assert public.status == 200
        (tmp_path / "audit.log").rmdir()
        again = await proxy.get("/v2/team/app/manifests/1", Authorization=CI)
        assert again.status == 200
        await until(lambda: "audit" not in proxy.services.readiness.warnings)


async def test_a_log_that_cannot_be_opened_is_refused_at_the_start(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "audit.log").mkdir()
    with pytest.raises(OSError, match=r"audit\.log"):
        async with Proxy(chosen(upstream, data_dir, tmp_path, "warn")):
            pass
