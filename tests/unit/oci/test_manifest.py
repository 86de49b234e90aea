"""Reading manifests: what they name, that they are what their digest names, and nothing twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ManifestInvalid
from proxy.oci.manifest import (
    MANIFEST_LIMIT,
    MAX_DESCRIPTORS,
    Image,
    Index,
    Opaque,
    Schema1,
    read_manifest,
)
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit import manifest_kinds as kinds
from tests.kit.images import DOCKER, OCI, Content
from tests.kit.manifest_kinds import KINDS, document, edited
from tests.unit.oci.damage import damaged, values
from tests.unit.oci.serving import read

SOME: Final = "sha256:" + "ab" * 32
OTHER: Final = "sha512:" + "cd" * 64
NOT_NULL: Final[tuple[object, ...]] = ([], {}, "", 0, False, [{"digest": SOME}])


def body(**members: object) -> bytes:
    """An OCI manifest with these members beside or in place of the usual ones."""
    usual = {
        "schemaVersion": 2,
        "mediaType": OCI.manifest,
        "config": {"mediaType": OCI.config, "digest": SOME, "size": 7},
        "layers": [{"mediaType": OCI.layer, "digest": OTHER, "size": 8}],
    }
    return json.dumps(usual | members).encode()


def image(**members: object) -> Image:
    """The same, read."""
    manifest = read_manifest(body(**members))
    assert isinstance(manifest, Image)
    return manifest


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_stay_as_they_are(kind: str) -> None:
    """Under the digest that names them, and known again by their own type."""
    content = KINDS[kind]
    manifest = read(content)
    payload = kinds.unsigned().manifest if kind == "signed" else content.manifest
    assert manifest.raw == content.manifest
    assert manifest.media_type == content.media_type
    assert manifest.digest == Digest.of(payload)
    again = read_manifest(manifest.raw, manifest.media_type, expected=manifest.digest)
    assert again == manifest


@pytest.mark.parametrize(
    ("kind", "type_of"),
    [
        *((kind, Schema1) for kind in ("signed", "unsigned")),
        *((kind, Image) for kind in ("v2s2", "oci", "oci-undeclared", "mixed-config", "zstd")),
        *((kind, Image) for kind in ("artifact", "chart", "signature", "encrypted", "foreign")),
        *((kind, Index) for kind in ("list", "index", "index-undeclared", "nested", "attested")),
        *((kind, Opaque) for kind in ("unknown", "empty-config")),
    ],
)
def test_what_each_kind_is(kind: str, type_of: type) -> None:
    """An image, an index, schema 1, or what is only passed on."""
    assert type(read(KINDS[kind])) is type_of


def test_an_image() -> None:
    """Config and layers, with all that decisions depend on."""
    found = image(
        subject={"mediaType": OCI.manifest, "digest": SOME, "size": 1},
        layers=[
            {"mediaType": OCI.layer, "digest": OTHER, "size": 8, "urls": ["https://a/b"]},
            {"mediaType": OCI.layer, "digest": SOME, "size": 0, "annotations": {"a": "b"}},
        ],
    )
    assert (found.config.media_type, found.config.digest, found.config.size) == (
        *(OCI.config, SOME, 7),
    )
    assert [layer.digest for layer in found.layers] == [OTHER, SOME]
    assert [layer.size for layer in found.layers] == [8, 0]
    assert [layer.urls for layer in found.layers] == [("https://a/b",), ()]
    assert [layer.annotations for layer in found.layers] == [{}, {"a": "b"}]
    assert found.references == (SOME, OTHER, SOME)
    assert found.subject is not None
    assert found.subject.digest == SOME
    assert found.artifact_type is None
    assert image(layers=None).layers == ()


def test_an_index() -> None:
    """Entries in their order, with platforms and types of artifacts."""
    index = read_manifest(
        json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [
                    {
                        "mediaType": OCI.manifest,
                        "digest": SOME,
                        "size": 1,
                        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
                    },
                    {"mediaType": DOCKER.manifest, "digest": OTHER, "artifactType": "a/b"},
                ],
            }
        ).encode()
    )
    assert isinstance(index, Index)
    assert index.media_type == MediaType.OCI_INDEX
    assert index.references == (SOME, OTHER)
    assert [entry.platform for entry in index.manifests] == [Platform("linux", "arm", "v7"), None]
    assert [entry.artifact_type for entry in index.manifests] == [None, "a/b"]
    assert [entry.size for entry in index.manifests] == [1, None]


def test_schema1() -> None:
    """Its layers, newest first and repeated as they stand there, signed or not."""
    signed, unsigned = read(KINDS["signed"]), read(KINDS["unsigned"])
    layers = tuple(layer["blobSum"] for layer in document(KINDS["unsigned"])["fsLayers"])
    assert signed.references == unsigned.references == layers
    assert len(set(layers)) < len(layers)


def test_the_digest_of_signed_schema1_is_its_payloads() -> None:
    """What was signed is what the digest names; the signatures are nobody's business."""
    signed, unsigned = read(KINDS["signed"]), read(KINDS["unsigned"])
    assert signed.digest == unsigned.digest != Digest.of(signed.raw)
    with pytest.raises(ManifestInvalid, match="not those that"):
        read_manifest(signed.raw, expected=Digest.of(signed.raw))
    altered = signed.raw.replace(b'"tag": "latest"', b'"tag": "newest"')
    with pytest.raises(ManifestInvalid, match="not those that"):
        read_manifest(altered, expected=signed.digest)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_other_bytes_than_the_digest_names(kind: str) -> None:
    """Never read, not for a space too many, and by each algorithm."""
    content = KINDS[kind]
    payload = kinds.unsigned().manifest if kind == "signed" else content.manifest
    by_sha512 = Digest("sha512:" + hashlib.sha512(payload).hexdigest())
    assert read_manifest(content.manifest, expected=by_sha512).digest == by_sha512
    for expected in (by_sha512, Digest.of(payload)):
        with pytest.raises(ManifestInvalid):
            read_manifest(b" " + content.manifest, content.media_type, expected=expected)


@pytest.mark.parametrize(
    "spelling", [str, str.upper, str.title, str.swapcase, lambda name: name.replace("s", "\u017f")]
)
@pytest.mark.parametrize("kind", ["signed", "unsigned", "v2s2", "list", "oci", "index", "unknown"])
def test_members_of_another_format(kind: str, spelling: Any) -> None:
    """Refused in any letter case, for Go reads them all; null is as good as nothing."""
    content = KINDS[kind]
    own = document(content).keys()
    for name in {"config", "fsLayers", "history", "layers", "manifests"} - own:
        if kind == "unknown" and spelling(name) == name:
            continue  # an unknown type may be any one format
        for value in NOT_NULL:
            with pytest.raises(ManifestInvalid):
                read(_with(content, spelling(name), value))
        if kind != "signed":  # a member more is another document than the signed one
            assert read(_with(content, spelling(name), None)).references == read(content).references


def _with(content: Content, name: str, value: object) -> Content:
    """`content` with one member more, before all others; the rest of the bytes as they are."""
    member = f'{{"{name}":{json.dumps(value)},'
    return replace(content, manifest=member.encode() + content.manifest.lstrip()[1:])


@pytest.mark.parametrize("kind", ["unsigned", "v2s2", "list", "oci", "index"])
def test_members_that_are_there_twice(kind: str) -> None:
    """Refused unless both say the same: some readers take the first and some the last."""
    content = KINDS[kind]
    for name, value in document(content).items():
        for spelt in {name, name.upper(), name.lower()}:
            for other in (value, None):
                again = _with(content, spelt, other)
                same = (spelt, other) == (name, value)
                if same or name in {"name", "tag", "architecture"}:
                    assert read(again).references == read(content).references
                else:
                    with pytest.raises(ManifestInvalid, match="twice or misspelt"):
                        read(again)


@pytest.mark.parametrize(
    "members",
    [
        {"config": {"Digest": SOME, "digest": SOME}},
        {"config": {"DIGEST": SOME}},
        {"layers": [{"digest": SOME, "mediatype": DOCKER.layer}]},
        {"layers": [{"digest": SOME, "Size": 3}]},
        {"layers": [{"digest": SOME, "URLs": []}]},
        {"subject": {"digest": SOME, "Digest": SOME}},
        {"ArtifactType": "a/b"},
        {"artifactType": None, "artifacttype": "a/b"},
    ],
)
def test_descriptors_that_two_readers_read_differently(members: dict[str, object]) -> None:
    """What is converted would not be what others see."""
    with pytest.raises(ManifestInvalid, match="twice or misspelt"):
        read_manifest(body(**members))


@pytest.mark.parametrize(
    "member",
    [
        b'"annotations": {"by": "J\xf6rg"}',
        b'"annotations": {"n": ' + b"7" * 5000 + b"}",
        b'"x": ' + b"[" * 9000 + b"]" * 9000,
    ],
    ids=["Latin-1", "5000 digits", "9000 levels"],
)
@pytest.mark.parametrize("media_type", [OCI.manifest, "application/vnd.example+json"])
def test_what_only_go_reads_is_passed_on(member: bytes, media_type: str) -> None:
    """Registries take such manifests. Nothing is claimed or converted."""
    raw = body(mediaType=media_type).rstrip()[:-1] + b", " + member + b"}"
    manifest = read_manifest(raw)
    assert manifest.raw == raw
    assert manifest.media_type == media_type
    if b"[[" not in member:  # from 3.12 on, Python reads 9000 levels, too
        assert manifest == Opaque(media_type, Digest.of(raw), raw)


@pytest.mark.parametrize("other", [b'"manifests": []', b'"Layers": []', b'"mediaType": "a/b"'])
def test_what_only_go_reads_must_not_be_ambiguous(other: bytes) -> None:
    """A byte that is no UTF-8 does not hide a second reading (CVE-2021-41190)."""
    raw = body(mediaType=OCI.manifest).rstrip()[:-1]
    with pytest.raises(ManifestInvalid, match=r"must not have|twice or misspelt"):
        read_manifest(raw + b', "a": "\xff", ' + other + b"}")


def test_platforms_that_two_readers_read_differently() -> None:
    """Each would pick another image."""
    platform = {"os": "linux", "architecture": "arm64", "Architecture": "amd64"}
    index = kinds.with_entries(images.oci_index(), lambda entry: entry | {"platform": platform})
    with pytest.raises(ManifestInvalid, match="twice or misspelt"):
        read(index)
    with pytest.raises(ManifestInvalid, match="twice or misspelt"):
        read_manifest(b'{"schemaVersion": 1, "fsLayers": [{"BlobSum": "x"}], "history": []}')


@pytest.mark.parametrize(
    "members",
    [
        {"config": None},
        {"config": []},
        {"config": SOME},
        {"layers": {}},
        {"layers": "none"},
        {"layers": 0},
        {"layers": [None]},
        {"layers": [SOME]},
        {"layers": [[]]},
        {"subject": SOME},
    ],
)
def test_descriptors_that_are_none(members: dict[str, object]) -> None:
    """An image without them is no image."""
    with pytest.raises(ManifestInvalid):
        read_manifest(body(**members))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schemaVersion": 2, "manifests": {}}',
        b'{"schemaVersion": 2, "manifests": ["x"]}',
        b'{"schemaVersion": 1, "fsLayers": {}}',
        b'{"schemaVersion": 1, "fsLayers": ["x"]}',
        b'{"schemaVersion": 1, "fsLayers": [], "signatures": []}',
        b'{"schemaVersion": 1, "fsLayers": [], "signatures": 1}',
        b'{"schemaVersion": 1, "fsLayers": [], "signatures": [{}]}',
        b'{"schemaVersion": 1, "fsLayers": [], "signatures": [{"protected": "e30"}]}',
    ],
)
def test_indexes_and_schema1_that_are_none(raw: bytes) -> None:
    """Not what they would have to be."""
    with pytest.raises(ManifestInvalid):
        read_manifest(raw)


@pytest.mark.parametrize("digest", ["", None, 5, "latest", "sha256:zz", "sha384:" + "0" * 96, []])
def test_what_names_nothing_is_only_passed_on(digest: object) -> None:
    """As every registry does; nothing can be made of it."""
    for raw in (
        body(config={"digest": digest}),
        body(layers=[{"digest": digest}]),
        body(subject={"digest": digest}),
        json.dumps({"schemaVersion": 2, "manifests": [{"digest": digest}]}).encode(),
        json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": digest}]}).encode(),
        json.dumps({"mediaType": "a/b", "blobs": [{"digest": digest}]}).encode(),
    ):
        manifest = read_manifest(raw)
        assert isinstance(manifest, Opaque)
        assert manifest.references == ()
        assert manifest.raw == raw


def test_an_unknown_type_links_what_it_names() -> None:
    """Where known types keep their descriptors, and the OCI's draft of artifacts."""
    blobs = [{"digest": SOME}, {"digest": OTHER}]
    manifest = read_manifest(json.dumps({"mediaType": "a/b", "blobs": blobs}).encode())
    assert isinstance(manifest, Opaque)
    assert manifest.references == (SOME, OTHER)
    assert manifest.media_type == "a/b"


@pytest.mark.parametrize("size", [None, -1, 1.0, 1e3, True, "7", [], {}])
def test_a_size_that_is_none(size: object) -> None:
    """The manifest can be served; callers that need the size see None."""
    assert image(config={"digest": SOME, "size": size}).config.size is None


@pytest.mark.parametrize(
    ("members", "field", "expected"),
    [
        ({"mediaType": 5}, "media_type", ""),
        ({"mediaType": None}, "media_type", ""),
        ({"urls": "https://a/b"}, "urls", ()),
        ({"urls": ["https://a/b", 5, None]}, "urls", ("https://a/b",)),
        ({"annotations": ["x"]}, "annotations", {}),
        ({"annotations": None}, "annotations", {}),
        ({"platform": "linux/amd64"}, "platform", None),
        ({"artifactType": ""}, "artifact_type", None),
        ({"artifactType": {}}, "artifact_type", None),
    ],
)
def test_what_no_decision_depends_on(
    members: dict[str, object], field: str, expected: object
) -> None:
    """Is read leniently."""
    config = image(config={"digest": SOME, **members}).config
    assert getattr(config, field) == expected


def test_a_manifest_of_four_mebibytes() -> None:
    """Is the largest that anybody reads."""
    empty = body(annotations={"a": ""})
    room = MANIFEST_LIMIT - len(empty)
    assert len(image(annotations={"a": "x" * room}).raw) == MANIFEST_LIMIT
    with pytest.raises(ManifestInvalid, match="over 4194304 bytes"):
        read_manifest(body(annotations={"a": "x" * (room + 1)}))


def test_an_index_of_thousands_of_entries() -> None:
    """Is large, and read all the same; one of more is served as it is."""
    entry = {
        "mediaType": OCI.manifest,
        "digest": SOME,
        "size": 1234,
        "platform": {"architecture": "amd64", "os": "linux", "os.version": "10.0.17763.1"},
        "annotations": {"a": "b", "c": "d"},
    }
    index = edited(images.oci_index(), manifests=[entry] * MAX_DESCRIPTORS)
    assert len(read(index).references) == MAX_DESCRIPTORS
    larger = edited(images.oci_index(), manifests=[entry] * (MAX_DESCRIPTORS + 1))
    assert read(larger) == Opaque(
        MediaType(OCI.index), Digest(larger.digest), larger.manifest, references=()
    )


@given(damaged() | values.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_body_is_a_manifest_or_invalid(raw: bytes) -> None:
    """Nothing else happens, whatever it came as; and what is read once is read again alike."""
    for content_type in ("", OCI.manifest, kinds.KINDS["signed"].media_type):
        with contextlib.suppress(ManifestInvalid):
            manifest = read_manifest(raw, content_type)
            assert manifest.raw == raw
            again = read_manifest(raw, manifest.media_type, expected=manifest.digest)
            assert again == manifest
