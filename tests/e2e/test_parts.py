"""The real parts by themselves, so that a failing part is told from a failing proxy."""

from __future__ import annotations

import gzip
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.kit import images
from tests.kit.clients import ClientError, Containerd, Docker, Podman, skopeo_copy
from tests.kit.processes import Program, ProgramError, Proxy, free_port
from tests.kit.raw_http import ask
from tests.kit.registry import PASSWORD, USERNAME, Registry, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

KINDS = (
    images.docker,
    images.docker_with_empty_steps,
    images.oci,
    images.oci_undeclared,
    images.mixed,
    images.docker_list,
    images.oci_index,
)
INDEXES = (images.docker_list, images.oci_index)


def digests(content: images.Content) -> set[str]:
    """Of the manifest and all that it names."""
    return {content.digest, *content.blobs}.union(*map(digests, content.children))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that has one image of each kind, tagged 1."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.mark.parametrize("kind", KINDS)
def test_a_registry_gives_back_the_bytes_that_were_pushed(
    registry: Registry, kind: Callable[[], images.Content]
) -> None:
    content = kind()
    accept = [("Accept", content.media_type)]
    answer = ask(f"{registry.url}/v2/cargo/{kind.__name__}/manifests/1", headers=accept)
    assert (answer.status, answer.body) == (200, content.manifest)
    assert answer.headers["Content-Type"] == content.media_type


def test_the_same_call_makes_the_same_image_and_another_seed_shares_no_layer() -> None:
    assert images.docker("ours") == images.docker("ours")
    assert not images.docker("ours").blobs.keys() & images.docker("theirs").blobs.keys()


def test_the_diff_id_is_that_of_the_unpacked_layer() -> None:
    layer = images.layer({"srv/cargo": b"salt"})
    assert layer.diff_id == images.digest(gzip.decompress(layer.blob))


def test_requests_are_counted_from_when_they_were_last_forgotten(registry: Registry) -> None:
    registry.forget()
    ask(f"{registry.url}/v2/cargo/docker/tags/list", method="HEAD")
    ask(f"{registry.url}/v2/cargo/missing/manifests/1?ns=docker.io")
    assert registry.requests() == [
        Request("HEAD", "/v2/cargo/docker/tags/list", 405),
        Request("GET", "/v2/cargo/missing/manifests/1?ns=docker.io", 404),
    ]
    registry.forget()
    assert registry.requests() == []


def test_a_registry_keeps_its_port_and_content_when_it_restarts(tmp_path: Path) -> None:
    content = images.docker()
    with Registry(tmp_path) as registry:
        registry.push("cargo/kept", "1", content)
        registry.restart()
        digest = f"{registry.url}/v2/cargo/kept/manifests/{content.digest}"
        answer = ask(digest, headers=[("Accept", content.media_type)])
    assert answer.body == content.manifest


@pytest.mark.parametrize(("schema1", "status"), [(True, 201), (False, 500)])
def test_a_registry_always_converts_to_schema_1_and_stores_it_only_if_it_may(
    tmp_path: Path, *, schema1: bool, status: int
) -> None:
    with Registry(tmp_path, schema1=schema1) as registry:
        registry.push("cargo/old", "1", images.docker())
        converted = ask(f"{registry.url}/v2/cargo/old/manifests/1")
        content_type = converted.headers["Content-Type"]
        assert content_type.endswith(".v1+prettyjws")
        stored = ask(
            f"{registry.url}/v2/cargo/old/manifests/2",
            method="PUT",
            headers=[("Content-Type", content_type)],
            body=converted.body,
        )
        assert stored.status == status


def test_a_registry_with_an_account_wants_it(tmp_path: Path) -> None:
    with Registry(tmp_path, account=True) as registry:
        registry.push("cargo/private", "1", images.docker())
        assert ask(f"{registry.url}/v2/").status == 401
        reference = f"{registry.host}/cargo/private:1"
        files = skopeo_copy(reference, tmp_path / "copy", credentials=f"{USERNAME}:{PASSWORD}")
    assert images.docker().digest in files.values()


def test_a_registry_can_stand_in_front_of_another(registry: Registry, tmp_path: Path) -> None:
    content = images.oci()
    with Registry(tmp_path, remote=registry.url) as mirror:
        tag = f"{mirror.url}/v2/cargo/oci/manifests/1"
        answer = ask(tag, headers=[("Accept", content.media_type)])
    assert answer.body == content.manifest


def test_a_program_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo no berth is free >&2; exit 3"]
    with pytest.raises(ProgramError, match=r"status 3\n.*no berth is free"):
        Program(command, directory=tmp_path, listens=[free_port()]).start()


def test_a_program_that_does_not_stop_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"trap '' TERM; exec >{pipe}; sleep 30; echo survived"
    program = Program(["/bin/sh", "-c", script], directory=tmp_path).start()
    with pipe.open("rb") as written:  # ends when the last writer does
        started = time.monotonic()
        with pytest.raises(ProgramError, match=r"did not stop within 0.2 s"):
            program.stop(within=0.2)
        assert written.read() == b""
    assert time.monotonic() - started < 10
    assert not program.running


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_copies_every_byte(
    registry: Registry, tmp_path: Path, kind: Callable[[], images.Content]
) -> None:
    reference = f"{registry.host}/cargo/{kind.__name__}:1"
    files = skopeo_copy(reference, tmp_path / "copy", everything=kind in INDEXES)
    assert digests(kind()) <= set(files.values())


def test_skopeo_copies_oci_content_to_a_layout_as_it_is(registry: Registry, tmp_path: Path) -> None:
    files = skopeo_copy(f"{registry.host}/cargo/oci:1", tmp_path / "copy", form="oci")
    assert digests(images.oci()) <= set(files.values())


def test_skopeo_says_what_is_wrong(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="manifest unknown"):
        skopeo_copy(f"{registry.host}/cargo/docker:missing", tmp_path / "copy")


def test_every_client_unpacks_the_same_files(registry: Registry, short_path: Path) -> None:
    podman = Podman(short_path / "p")
    with Containerd(short_path / "c") as containerd, Docker(short_path / "d") as docker:
        for kind in set(KINDS) - {images.mixed}:  # podman refuses mixed images
            reference = f"{registry.host}/cargo/{kind.__name__}:1"
            seen = [client.pull(reference) for client in (podman, containerd, docker)]
            assert seen[0] == seen[1] == seen[2]
            assert seen[0].digest == kind().digest
            assert {"srv/cargo", "usr/bin/greet"} <= seen[0].files.keys()
            assert "srv/removed" not in seen[0].files


def test_a_client_pulls_twice_and_asks_twice(registry: Registry, short_path: Path) -> None:
    podman = Podman(short_path / "p")
    with Containerd(short_path / "c") as containerd, Docker(short_path / "d") as docker:
        for client in (podman, containerd, docker):
            for _ in range(2):
                registry.forget()
                client.pull(f"{registry.host}/cargo/docker:1")
                assert len([r for r in registry.requests() if "/blobs/" in r.path]) == 3


def test_podman_refuses_a_mixed_image(registry: Registry, short_path: Path) -> None:
    with pytest.raises(ClientError, match="unsupported image-specific operation"):
        Podman(short_path).pull(f"{registry.host}/cargo/mixed:1")


def test_containerd_names_the_registry_that_it_wants_to_a_mirror(
    registry: Registry, short_path: Path
) -> None:
    registry.forget()
    with Containerd(short_path) as containerd:
        containerd.mirror("docker.io", registry.url)
        pulled = containerd.pull("docker.io/cargo/docker:1")
    assert pulled.digest == images.docker().digest
    assert {r.path.partition("?")[2] for r in registry.requests()} == {"ns=docker.io"}


def test_containerd_asks_nobody_but_the_mirror(registry: Registry, short_path: Path) -> None:
    with Containerd(short_path) as containerd:
        containerd.mirror("docker.io", registry.url)
        with pytest.raises(ClientError, match="not found") as refused:
            containerd.pull("docker.io/cargo/missing:1")
    assert "registry-1" not in str(refused.value)


def test_a_proxy_keeps_its_ports_and_data_when_it_restarts(tmp_path: Path) -> None:
    content = images.oci()
    accept = [("Accept", content.media_type)]
    with Registry(tmp_path / "registry") as registry:
        registry.push("cargo/kept", "1", content)
        with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
            tag = f"{proxy.url}/v2/cargo/kept/manifests/1"
            first = ask(tag, headers=accept)
            registry.stop()
            proxy.restart()
            again = ask(tag, headers=accept)
            assert first.body == again.body == content.manifest
            assert ask(f"{proxy.admin_url}/healthz").status == 200
            assert proxy.stop() == 0
            assert "proxy.stopped" in proxy.log()
