"""Images that a registry has only as schema 1, pulled by clients that no longer read it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from proxy.oci.manifest import Schema1, read_manifest
from proxy.oci.schema1.to_image import layers_to_measure, to_image
from tests.e2e.every_client import ggcr
from tests.kit import images, schema1
from tests.kit.accept_lines import CONTAINERD, CRANE, DOCKER_28, KANIKO, NOTHING, Lines, accept
from tests.kit.catalog_files import damage_derived, remove_blob
from tests.kit.clients import ClientError, Containerd, Docker, Podman, skopeo_convert, skopeo_copy
from tests.kit.images import DOCKER, OCI
from tests.kit.processes import Program, Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.e2e.stores import Store
    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

Client: TypeAlias = Containerd | Docker | Podman

ONLY_OCI: Final = accept(f"{OCI.manifest}, {OCI.index}")
EXACT: Final[Mapping[str, tuple[Lines, str]]] = {
    "docker 28": (DOCKER_28, DOCKER.manifest),
    "containerd 2, docker 29": (CONTAINERD, DOCKER.manifest),
    "crane": (CRANE, DOCKER.manifest),
    "kaniko": (KANIKO, DOCKER.manifest),
    "only the OCI's": (ONLY_OCI, OCI.manifest),
}


def rich() -> Content:
    """Links, modes, a file that is removed, and a directory that is emptied."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, mode, link in (
            ("srv", tarfile.DIRTYPE, 0o755, ""),
            ("srv/setuid", tarfile.REGTYPE, 0o4755, ""),
            ("srv/hard", tarfile.LNKTYPE, 0o4755, "srv/setuid"),
            ("srv/soft", tarfile.SYMTYPE, 0o777, "../srv/setuid"),
            ("srv/sticky", tarfile.DIRTYPE, 0o1777, ""),
            ("srv/" + "long" * 40, tarfile.REGTYPE, 0o600, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, mode, link
            tar.addfile(entry)
    content = archive.getvalue()
    layer = images.Layer(gzip.compress(content, mtime=0), images.digest(content))
    return images.image(DOCKER, [*images.two_layers("rich"), layer], empty_steps=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream: an image as `cargo/new:1`, and what skopeo pushed of it as `cargo/old:1`."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        registry.push("cargo/new", "1", rich())
        source, target = (f"docker://{registry.host}/cargo/{name}:1" for name in ("new", "old"))
        skopeo_convert(source, target, form="v2s1")
        stored = ask(f"{registry.url}/v2/cargo/old/manifests/1", headers=CRANE)
        assert stored.headers["Content-Type"] == schema1.SIGNED
        yield registry


@pytest.fixture(scope="module", params=[Podman, Containerd, Docker], ids=lambda kind: kind.__name__)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A running client with a store of its own, in a path that is short enough for it."""
    with tempfile.TemporaryDirectory(prefix="lighterage-") as directory:
        client: Client = request.param(Path(directory) / "c")
        with client if isinstance(client, Program) else nullcontext():
            yield client


def test_clients_unpack_what_the_original_has(
    registry: Registry, client: Client, tmp_path: Path
) -> None:
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        converted = client.pull(f"{proxy.host}/cargo/old:1")
        again = client.pull(f"{proxy.host}/cargo/old:1")
        named = ask(f"{proxy.url}/v2/cargo/old/manifests/1", headers=CONTAINERD)
    original = client.pull(f"{registry.host}/cargo/new:1")
    assert converted.files == again.files == original.files
    assert converted.digest == again.digest == named.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("form", ["dir", "oci"])
def test_skopeo_copies_an_image_that_it_reads(
    registry: Registry, tmp_path: Path, form: str
) -> None:
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
        copied = skopeo_copy(f"{proxy.host}/cargo/old:1", tmp_path / "copy", form=form)
    layers = json.loads(rich().manifest)["layers"]
    assert {layer["digest"] for layer in layers} <= set(copied.values())


def test_the_library_of_crane_reads_the_image_that_it_rejects_from_the_registry(
    registry: Registry, tmp_path: Path
) -> None:
    """It compares every layer with its digest, and with its diff id in the config."""
    with pytest.raises(ClientError, match="unsupported MediaType"):
        ggcr("image", f"{registry.host}/cargo/old:1")
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        found = ggcr("image", f"{proxy.host}/cargo/old:1")
        answer = ask(f"{proxy.url}/v2/cargo/old/manifests/1", headers=CRANE)
    converted = answer.headers["Docker-Content-Digest"]
    assert found["digest"] == converted


@pytest.mark.parametrize("name", EXACT)
def test_each_accept_header_gets_an_image_that_can_be_pulled(
    registry: Registry, tmp_path: Path, name: str
) -> None:
    """HEAD by tag, GET by its digest, then the config and each layer; as containerd does it."""
    lines, kind = EXACT[name]
    original = json.loads(rich().manifest)
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        base = f"{proxy.url}/v2/cargo/old"
        head = ask(f"{base}/manifests/1", method="HEAD", headers=lines)
        digest = head.headers["Docker-Content-Digest"]
        named = accept(f"{head.headers['Content-Type']}, */*")
        answer = ask(f"{base}/manifests/{digest}", headers=named)
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        manifest = json.loads(answer.body)
        parts = [ask(f"{base}/blobs/{part['digest']}") for part in _parts(manifest)]
    assert images.digest(answer.body) == digest
    assert [images.digest(part.body) for part in parts] == [x["digest"] for x in _parts(manifest)]
    assert [x["digest"] for x in manifest["layers"]] == [x["digest"] for x in original["layers"]]
    config = json.loads(parts[0].body)
    source = json.loads(rich().blobs[original["config"]["digest"]])
    assert config["rootfs"] == source["rootfs"]
    assert config["history"][:-1] == source["history"][:-1]


def _parts(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [manifest["config"], *manifest["layers"]]


@pytest.mark.parametrize("lines", [CONTAINERD, ONLY_OCI], ids=["v2s2", "oci"])
def test_the_digest_stays_whatever_is_lost(
    registry: Registry, store: Store, tmp_path: Path, lines: Lines
) -> None:
    """After a restart, a flush, the loss of all bytes, and on a proxy with a disk of its own."""
    path = "/v2/cargo/old/manifests"
    proxy = Proxy(tmp_path / "one", upstream=registry.url, redis=store.redis)
    with proxy:
        first = ask(f"{proxy.url}{path}/1", headers=lines)
    digest = first.headers["Docker-Content-Digest"]
    config = json.loads(first.body)["config"]["digest"]
    with proxy:
        assert ask(f"{proxy.url}{path}/1", headers=lines).body == first.body
        blob = ask(f"{proxy.url}/v2/cargo/old/blobs/{config}").body
    store.lose_everything(proxy.data)
    with proxy:
        assert ask(f"{proxy.url}{path}/{digest}").body == first.body
        assert ask(f"{proxy.url}/v2/cargo/old/blobs/{config}").body == blob
    for layer in rich().blobs:
        if list(proxy.data.glob(f"blobs/**/{layer.partition(':')[2]}")):
            remove_blob(proxy.data, layer)
    damage_derived(proxy.data, digest)
    damage_derived(proxy.data, config)
    store.lose_everything(proxy.data)
    registry.forget()
    with proxy:
        assert ask(f"{proxy.url}{path}/{digest}").body == first.body
        assert ask(f"{proxy.url}/v2/cargo/old/blobs/{config}").body == blob
    assert not [asked for asked in registry.requests() if "/blobs/" in asked.path]
    with Proxy(tmp_path / "two", upstream=registry.url) as other:
        assert ask(f"{other.url}{path}/1", headers=lines).body == first.body


def test_old_clients_still_get_what_is_stored(registry: Registry, tmp_path: Path) -> None:
    """The registry signs it again each time; the digest is that of the signed payload."""
    stored = ask(f"{registry.url}/v2/cargo/old/manifests/1", headers=CRANE)
    digest = stored.headers["Docker-Content-Digest"]
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        for lines in (NOTHING, accept("*/*"), accept(schema1.SIGNED)):
            answer = ask(f"{proxy.url}/v2/cargo/old/manifests/1", headers=lines)
            assert answer.headers["Content-Type"] == schema1.SIGNED
            assert read_manifest(answer.body, schema1.SIGNED).digest == digest


LAYERS: Final = schema1.two_layers()
ODD: Final = {
    "docker 1.6.2": schema1.old_docker(LAYERS, version="1.6.2"),
    "docker 1.8.2": schema1.old_docker(LAYERS, version="1.8.2"),
    "docker 1.8.3": schema1.old_docker(LAYERS, version="1.8.3"),
    "docker 1.9.1": schema1.old_docker(LAYERS, version="1.9.1"),
    "Quay": schema1.quay(LAYERS),
    "the same layer twice": schema1.old_docker([LAYERS[0], LAYERS[1], LAYERS[0]], version="1.9.1"),
    "plain tar": schema1.old_docker([schema1.plain(LAYERS[0])], version="1.9.1"),
    "numbers and escapes": schema1.old_docker(
        LAYERS,
        version="1.9.1",
        config={"Labels": {"<&>\u2028": "\U0001f6a2"}},
        Unknown={"n": 1e5, "big": 12345678901234567890},
    ),
    "two members": schema1.old_docker([LAYERS[0] + schema1.gzipped(b"")], version="1.9.1"),
    "a neighbour with the same id": schema1.with_repeated_step(LAYERS),
}


@pytest.mark.parametrize("kind", ODD)
def test_the_structure_is_that_of_skopeo(tmp_path: Path, kind: str) -> None:
    """Of the same files. docs/representations.md lists what differs on purpose."""
    content = ODD[kind]
    manifest, config = _made_here(content)
    theirs, their_config = _made_by_skopeo(content, tmp_path)
    for layer in manifest["layers"]:
        # skopeo says gzip of plain tar, too.
        layer["mediaType"] = DOCKER.layer
    assert manifest["layers"] == theirs["layers"]
    assert config["rootfs"] == their_config["rootfs"]
    assert config["history"] == their_config["history"]
    if "os" not in their_config:
        assert config.pop("os") == "linux"
    assert _without_empty(config) == _without_empty(their_config)


def _made_here(content: Content) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest = read_manifest(content.manifest, content.media_type)
    assert isinstance(manifest, Schema1)
    here = {images.digest(blob): blob for blob in schema1.blobs_of(content)}
    facts = [schema1.facts_of(here[layer]) for layer in layers_to_measure(manifest, ())]
    made = to_image(manifest, facts)
    return json.loads(made.manifest.raw), json.loads(made.blobs[0].raw)


def _made_by_skopeo(content: Content, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    source, target = directory / "source", directory / "target"
    source.mkdir()
    (source / "version").write_text("Directory Transport Version: 1.1\n")
    (source / "manifest.json").write_bytes(content.manifest)
    for blob in schema1.blobs_of(content):
        (source / images.digest(blob).partition(":")[2]).write_bytes(blob)
    skopeo_convert(f"dir:{source}", f"dir:{target}", form="v2s2")
    manifest = json.loads((target / "manifest.json").read_bytes())
    config = target / manifest["config"]["digest"].partition(":")[2]
    return manifest, json.loads(config.read_bytes())


def _without_empty(value: object) -> object:
    """Without the members that say nothing, which Go's structs write all the same."""
    if isinstance(value, dict):
        kept = {key: _without_empty(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each}
    return list(map(_without_empty, value)) if isinstance(value, list) else value
