"""What the proxy made it keeps, makes again if it is lost, and hands out only if it was kept."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.catalog_files import (
    damage_content,
    damage_derived,
    derived_file,
    edit_origin,
    forget_content,
)
from tests.kit.proxy import Proxy, metric, settings
from tests.kit.scripted_upstream import Fault
from tests.tools import require_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
LEGACY: Final[tuple[str, ...]] = ()
DOCKER_1_13: Final = (MediaType.V2S2, MediaType.DOCKER_LIST)
CONVERSIONS: Final = [
    pytest.param("docker", LEGACY, id="schema 1"),
    pytest.param("oci", (MediaType.V2S2,), id="v2s2"),
    pytest.param("index", DOCKER_1_13, id="list"),
    pytest.param("index", LEGACY, id="schema 1 of an index"),
]


@pytest.mark.parametrize(("tag", "accept"), CONVERSIONS)
async def test_what_is_lost_is_made_again_from_what_was_recorded(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path, tag: str, accept: tuple[str, ...]
) -> None:
    made = await proxy.get(f"{CARGO}/{tag}", Accept=accept)
    await proxy.stop()
    damage_derived(data_dir, made.digest)
    upstream.requests.clear()
    await proxy.start()
    again = await proxy.get(f"{CARGO}/{made.digest}")
    assert (again.status, again.body, again.digest) == (200, made.body, made.digest)
    assert upstream.requests == []
    await proxy.restart()
    assert (await proxy.get(f"{CARGO}/{made.digest}")).body == made.body


async def test_schema_1_stays_signed_when_somebody_has_pushed_the_same_unsigned(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Both have one digest, and clients before docker 1.8 read only one of them."""
    made = await proxy.get(f"{CARGO}/docker")
    length = made.body.index(b',\n   "signatures"')
    payload = made.body[:length] + b"\n}"
    assert upstream.add_manifest("library/other", "1", payload, MediaType.V2S1) == made.digest
    upstream.fault("HEAD", "*/other/*", Fault(headers={"Docker-Content-Digest": None}))
    other = await proxy.get("/v2/library/other/manifests/1", Accept="*/*")
    assert (other.body, other.digest) == (payload, made.digest)
    proxy.services.registry.forget_mutable()
    again = await proxy.get(f"{CARGO}/docker")
    assert (again.body, again.headers["Content-Type"]) == (made.body, MediaType.V2S1_SIGNED)


async def test_what_it_was_made_from_is_fetched_again(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    made = await proxy.get(f"{CARGO}/docker")
    await proxy.stop()
    damage_derived(data_dir, made.digest)
    forget_content(data_dir, DOCKER.digest)
    upstream.remove("library/cargo", "docker")
    await proxy.start()
    again = await proxy.get(f"{CARGO}/{made.digest}")
    assert (again.status, again.body) == (200, made.body)

    await proxy.stop()
    damage_derived(data_dir, made.digest)
    forget_content(data_dir, DOCKER.digest)
    await upstream.stop()
    await proxy.start()
    gone = await proxy.get(f"{CARGO}/{made.digest}")
    assert (gone.status, gone.code) == (502, "UNAVAILABLE")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda origin: {**origin, "tag": "another"},
        lambda origin: {**origin, "target": MediaType.OCI_MANIFEST},
        lambda origin: {**origin, "source": images.oci().digest},
    ],
    ids=["tag", "target", "source"],
)
async def test_what_comes_out_differently_is_never_served_and_is_counted(
    proxy: Proxy,
    data_dir: Path,
    tamper: Callable[[dict[str, str]], dict[str, str]],
) -> None:
    made = await proxy.get(f"{CARGO}/docker")
    await proxy.get(f"{CARGO}/oci")
    await proxy.stop()
    damage_derived(data_dir, made.digest)
    edit_origin(data_dir, made.digest, tamper)
    await proxy.start()
    before = metric("rebuild_mismatches_total")
    for method in ("GET", "HEAD"):
        answer = await proxy.ask(method, f"{CARGO}/{made.digest}")
        assert answer.status == 404
        assert "Docker-Content-Digest" not in answer.headers
    assert metric("rebuild_mismatches_total") == before + 2
    assert len(await proxy.lines(2, "manifest.rebuilt_differently", digest=made.digest)) == 2
    # By tag it is made as ever.
    assert (await proxy.get(f"{CARGO}/docker")).body == made.body


@pytest.mark.parametrize("record", [b"", b"{}", b"\xff", b'{"format": 1}', b"[" * 10_000])
async def test_a_record_that_cannot_be_read_is_none(
    proxy: Proxy, data_dir: Path, record: bytes
) -> None:
    made = await proxy.get(f"{CARGO}/docker")
    await proxy.stop()
    forget_content(data_dir, made.digest)
    derived_file(data_dir, made.digest).write_bytes(record)
    await proxy.start()
    answer = await proxy.get(f"{CARGO}/{made.digest}")
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("garbage", [b"", b"\n", b"garbage", b"application/json\n{}"])
async def test_a_record_that_is_damaged_is_fetched_or_made_again(
    proxy: Proxy, data_dir: Path, garbage: bytes
) -> None:
    made = await proxy.get(f"{CARGO}/docker")
    await proxy.stop()
    damage_derived(data_dir, made.digest, garbage)
    damage_content(data_dir, DOCKER.digest, garbage)
    await proxy.start()
    assert (await proxy.get(f"{CARGO}/{made.digest}")).body == made.body
    assert (await proxy.get(f"{CARGO}/{DOCKER.digest}")).body == DOCKER.manifest


# What cannot be recorded is not handed out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, of which `fill` leaves nothing."""
    require_root("mounting a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "lighterage-test", disk],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


async def test_a_full_disk_hands_out_no_digest_of_our_own_and_passes_the_rest_through(
    upstream: ScriptedUpstream, small_disk: Path
) -> None:
    async with Proxy(settings(upstream, small_disk / "data")) as proxy:
        assert (await proxy.get(f"{CARGO}/list", Accept=DOCKER_1_13)).status == 200
        filler = _fill(small_disk)
        for _ in range(2):
            stored = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
            assert (stored.status, stored.body) == (200, DOCKER.manifest)
            for tag, accept in (("docker", LEGACY), ("index", DOCKER_1_13)):
                answer = await proxy.get(f"{CARGO}/{tag}", Accept=accept)
                assert (answer.status, answer.code) == (503, "UNAVAILABLE")
                assert "Docker-Content-Digest" not in answer.headers
        assert (await proxy.get(f"{CARGO}/list", Accept=DOCKER_1_13)).status == 200

        filler.unlink()
        made = await proxy.get(f"{CARGO}/docker")
        assert (made.status, made.headers["Content-Type"]) == (200, MediaType.V2S1_SIGNED)
        assert (await proxy.get(f"{CARGO}/{made.digest}")).body == made.body


async def test_a_disk_that_takes_nothing_serves_what_is_on_it_and_passes_the_rest_through(
    upstream: ScriptedUpstream, proxy: Proxy, data_dir: Path
) -> None:
    """Blobs begin in the spool, and derived manifests end in `derived`: now both are files."""
    kept = await proxy.get(f"{CARGO}/docker")
    digest, blob = next(iter(DOCKER.blobs.items()))
    await proxy.get(f"/v2/library/cargo/blobs/{digest}")
    (data_dir / "spool").rename(data_dir / "away")
    (data_dir / "spool").touch()
    (data_dir / "derived").rename(data_dir / "gone")
    (data_dir / "derived").touch()
    upstream.requests.clear()
    assert (await proxy.get(f"{CARGO}/docker")).body == kept.body
    assert (await proxy.get(f"{CARGO}/{kept.digest}")).body == kept.body
    assert (await proxy.get(f"/v2/library/cargo/blobs/{digest}")).body == blob
    assert upstream.requests == []
    stored = await proxy.get(f"{CARGO}/oci", Accept=MediaType.OCI_MANIFEST)
    assert (stored.status, stored.body) == (200, images.oci().manifest)
    answer = await proxy.get(f"{CARGO}/oci")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
