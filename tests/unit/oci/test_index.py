"""Indexes: which entry is for whom, and lists in which everything is of one family."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import pytest

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci import index
from proxy.oci.derivation import ConversionInputs, Derived
from proxy.oci.manifest import MANIFEST_LIMIT, Index
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from tests.kit import images
from tests.kit.images import DOCKER, OCI, Content
from tests.kit.manifest_kinds import (
    KINDS,
    Document,
    artifact,
    document,
    edited,
    with_entries,
    with_layers,
    zstd,
)
from tests.unit.oci.serving import AMD64, ARM64, INPUTS, read, shelf
from tests.unit.oci.soundness import assert_sound

ARM_V6: Final = Platform("linux", "arm", "v6")
ARM_V7: Final = Platform("linux", "arm", "v7")
PLATFORM: Final = {"os": "linux", "architecture": "amd64"}


def an_index(content: Content) -> Index:
    """`content`, read."""
    manifest = read(content)
    assert isinstance(manifest, Index)
    return manifest


def entry(number: int, media_type: str = OCI.manifest, **members: object) -> Document:
    """A descriptor of nothing that exists, for linux/amd64 unless `members` say otherwise."""
    digest = f"sha256:{number:064}"
    usual = {"mediaType": media_type, "digest": digest, "size": 1, "platform": PLATFORM}
    return usual | members


def index_of(*entries: Document) -> Index:
    """An OCI index of `entries`."""
    return an_index(edited(images.oci_index(), manifests=list(entries)))


def chosen(found: Index, wanted: Platform = AMD64) -> int:
    """The number of the entry for `wanted`."""
    return int(index.for_platform(found, wanted)[0].digest.hex)


def to_docker_list(content: Content, inputs: ConversionInputs = INPUTS) -> Derived:
    """`content` as a list, sound."""
    derived = index.to_docker_list(an_index(content), shelf(content), inputs)
    assert_sound(an_index(content), derived, shelf(content))
    return derived


def platforms(derived: Derived) -> list[str]:
    """For what the entries of a derived index are."""
    assert isinstance(derived.manifest, Index)
    return [str(entry.platform) for entry in derived.manifest.manifests]


@pytest.mark.parametrize(
    ("descriptor", "is_image"),
    [
        (entry(1), True),
        (entry(1, DOCKER.manifest), True),
        (entry(1, MediaType.V2S1), True),
        (entry(1, OCI.manifest.upper()), True),
        (entry(1, platform=None), True),
        (entry(1, artifactType=OCI.config), True),
        (entry(1, artifactType=None), True),
        (entry(1, annotations={"a": "b"}), True),
        (entry(1, OCI.index), False),
        (entry(1, DOCKER.index), False),
        (entry(1, "application/vnd.example+json"), False),
        (entry(1, ""), False),
        (entry(1, artifactType="application/vnd.example.sbom"), False),
        (entry(1, platform={"os": "unknown", "architecture": "unknown"}), False),
        (entry(1, annotations={"vnd.docker.reference.type": "attestation-manifest"}), False),
    ],
)
def test_which_entries_are_images(descriptor: Document, *, is_image: bool) -> None:
    """Neither attestations nor artifacts nor further indexes."""
    (found,) = index_of(descriptor).manifests
    assert found.is_image is is_image


@pytest.mark.parametrize(
    ("kind", "is_mixed"),
    [("list", False), ("index", False), ("mixed-list", True), ("docker-in-index", False)],
)
def test_which_lists_are_mixed(kind: str, *, is_mixed: bool) -> None:
    """An OCI index may have docker's images by right."""
    assert index.has_mixed_types(an_index(KINDS[kind])) is is_mixed


def test_the_best_image_for_a_platform() -> None:
    """For the oldest CPU, as containerd has it, whatever comes first."""
    found = index_of(
        entry(1, platform={"os": "unknown", "architecture": "unknown"}),
        entry(2, OCI.index),
        entry(3, platform={"os": "linux", "architecture": "arm", "variant": "v6"}),
        entry(4, platform={"os": "linux", "architecture": "arm", "variant": "v7"}),
        entry(5, artifactType="a/b"),
        entry(6, platform=PLATFORM | {"variant": "v3"}),
        entry(7),
        entry(8, platform=None),
    )
    assert chosen(found) == 7
    assert chosen(found, Platform("linux", "arm")) == 4
    assert chosen(found, ARM_V7) == 4
    assert chosen(found, ARM_V6) == 3
    assert chosen(found, Platform("linux", "amd64", "v3")) == 6
    with pytest.raises(
        ConversionRefused, match=r"no image for linux/arm64 .it has linux/amd64, linux/amd64/"
    ):
        chosen(found, ARM64)


def test_all_images_for_a_platform() -> None:
    """The best first; one that cannot be converted does not hide the next."""
    variants = ("v3", "v2", "", "v4", "strange", "")
    found = index_of(
        *(entry(n, platform=PLATFORM | {"variant": v}) for n, v in enumerate(variants))
    )

    def order(wanted: Platform) -> list[int]:
        return [int(item.digest.hex) for item in index.for_platform(found, wanted)]

    assert order(AMD64) == [2, 5, 1, 0, 3, 4]
    assert order(Platform("linux", "amd64", "v2")) == [1, 2, 5]


def test_a_list_has_the_oldest_cpu_first_and_the_best_of_a_variant() -> None:
    """The first is what docker 1.13 takes. Where v7 is missing, there is v6."""
    inputs = ConversionInputs(platforms=(AMD64, ARM64, ARM_V7))
    children = {name: images.oci(name) for name in ("v3", "arm64", "v6", "v7", "plain")}
    source = images.index(OCI, children)
    stated = {
        "v3": PLATFORM | {"variant": "v3"},
        "arm64": PLATFORM | {"architecture": "arm64"},
        "v6": {"os": "linux", "architecture": "arm", "variant": "v6"},
        "v7": {"os": "linux", "architecture": "arm", "variant": "v7"},
        "plain": PLATFORM,
    }
    named = zip(stated.values(), document(source)["manifests"], strict=True)
    source = edited(source, manifests=[item | {"platform": x} for x, item in named])
    listed = platforms(to_docker_list(source, inputs))
    assert listed == ["linux/amd64", "linux/amd64/v3", "linux/arm64", "linux/arm/v7"]
    without = {k: v for k, v in shelf(source).items() if k != children["v7"].digest}
    derived = index.to_docker_list(an_index(source), without, inputs)
    assert platforms(derived)[-1] == "linux/arm/v6"
    assert derived.absent == {children["v7"].digest}
    again = index.to_docker_list(
        an_index(source), shelf(source), replace(inputs, absent=derived.absent)
    )
    assert again.manifest == derived.manifest
    with pytest.raises(ConversionRefused, match="the upstream has no sha256") as caught:
        index.to_docker_list(an_index(source), {}, inputs)
    assert caught.value.reason is RefusalReason.ABSENT


def test_a_single_image_without_platform_is_for_every_one() -> None:
    """But not one of several, and nothing else that is single."""
    assert chosen(index_of(entry(1, platform=None)), ARM64) == 1
    attested = entry(2, platform={"os": "unknown", "architecture": "unknown"})
    assert chosen(index_of(attested, entry(1, platform=None)), ARM64) == 1
    for entries in (
        (entry(1, platform=None), entry(2, platform=None)),
        (entry(1, platform=None), entry(2)),
        (entry(1, OCI.index, platform=None),),
        (entry(1),),
        (attested,),
        (),
    ):
        with pytest.raises(ConversionRefused, match="no image for linux/arm64"):
            chosen(index_of(*entries), ARM64)


def test_a_refusal_does_not_list_a_thousand_platforms() -> None:
    """It is for a person to read."""
    many = [entry(n, platform={"os": "o", "architecture": str(n)}) for n in range(1000)]
    with pytest.raises(ConversionRefused) as caught:
        index.for_platform(index_of(*many), AMD64)
    assert len(str(caught.value)) < 200


def test_children_are_those_of_the_platforms() -> None:
    """In the index's order, all variants of them, the oldest CPU's first."""
    found = index_of(
        entry(1, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        entry(2, platform={"os": "windows", "architecture": "amd64"}),
        entry(3),
        entry(4, platform=PLATFORM | {"variant": "v2"}),
        entry(5, platform=None),
    )
    assert [int(child.digest.hex) for child in index.children(found, INPUTS)] == [1, 3, 4]
    arm = ConversionInputs(platforms=(ARM_V6, Platform("windows", "amd64")))
    assert [int(child.digest.hex) for child in index.children(found, arm)] == [2]
    with pytest.raises(ConversionRefused, match="no image for any of linux/arm/v6"):
        index.children(found, ConversionInputs(platforms=(ARM_V6,)))


def test_an_index_of_a_thousand_children() -> None:
    """Is refused before anything is fetched; attestations are not counted."""
    images_and_more = [entry(n) for n in range(8)] + [
        entry(n, platform={"os": "unknown", "architecture": "unknown"}) for n in range(1000)
    ]
    assert len(index.children(index_of(*images_and_more), INPUTS)) == 8
    with pytest.raises(ConversionRefused, match="it has 9 images, more than the limit of 8"):
        index.children(index_of(*images_and_more, entry(9)), INPUTS)
    with pytest.raises(ConversionRefused, match="it has 1000 images, more than the limit of 8"):
        index.children(index_of(*map(entry, range(1000))), INPUTS)


def test_a_list_of_an_oci_index() -> None:
    """In one fixed form; its children were made before it, each with a record of its own."""
    derived = to_docker_list(images.oci_index())
    (amd64, from_amd64), (arm64, from_arm64) = derived.children
    assert (
        derived.manifest.raw
        == json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER.index,
                "manifests": [
                    {
                        "mediaType": DOCKER.manifest,
                        "size": len(child.raw),
                        "digest": child.digest,
                        "platform": {"architecture": architecture, "os": "linux"},
                    }
                    for child, architecture in ((amd64, "amd64"), (arm64, "arm64"))
                ],
            },
            separators=(",", ":"),
        ).encode()
    )
    assert (from_amd64.source, from_arm64.source) == an_index(images.oci_index()).references
    assert from_amd64.target == from_arm64.target == MediaType.V2S2


def test_children_that_are_right_already_stay_as_they_are() -> None:
    """They have no record, because they are the upstream's own."""
    derived = to_docker_list(KINDS["docker-in-index"])
    assert derived.children == ()
    assert isinstance(derived.manifest, Index)
    assert derived.manifest.references == an_index(KINDS["docker-in-index"]).references


def test_mixed_children_do_not_stay_as_they_are() -> None:
    """Each is made consistent."""
    mixed = images.index(DOCKER, {"amd64": KINDS["mixed-docker"], "arm64": images.docker()})
    derived = to_docker_list(mixed)
    assert len(derived.children) == 1
    assert platforms(derived) == ["linux/amd64", "linux/arm64"]


def test_attestations_are_left_out() -> None:
    """A list for clients that know nothing of them."""
    assert platforms(to_docker_list(KINDS["attested"])) == ["linux/amd64", "linux/arm64"]


def test_a_platform_is_kept_whole() -> None:
    """Also what is never looked at here."""
    platform = PLATFORM | {"os.version": "10.0", "os.features": ["win32k"], "x": {"é": 1.5}}
    source = with_entries(images.oci_index(), lambda item: item | {"platform": platform})
    derived = to_docker_list(source)
    assert [x["platform"] for x in json.loads(derived.manifest.raw)["manifests"]] == [platform] * 2


@pytest.mark.parametrize(
    "bad",
    [
        zstd(),
        artifact(),
        with_layers(images.oci(), OCI.layer + "+encrypted"),
        replace(images.docker_list(), media_type=OCI.manifest),
        replace(zstd(), media_type=DOCKER.manifest),
        KINDS["empty-config"],
        Content(OCI.manifest, b'{"schemaVersion": 2'),
    ],
)
def test_a_child_that_cannot_be_converted_is_left_out(bad: Content) -> None:
    """If there is another one."""
    derived = to_docker_list(images.index(OCI, {"amd64": bad, "arm64": images.oci()}))
    assert platforms(derived) == ["linux/arm64"]
    with pytest.raises(
        ConversionRefused, match=r"none of its images can be converted .linux/amd64: "
    ):
        to_docker_list(images.index(OCI, {"amd64": bad}))


def test_another_child_than_the_index_names() -> None:
    """It is not put into a list."""
    source = images.oci_index()
    content = dict.fromkeys(an_index(source).references, images.oci("other").manifest)
    with pytest.raises(ConversionRefused, match="not those that sha256"):
        index.to_docker_list(an_index(source), content, INPUTS)


def test_a_list_that_becomes_too_large() -> None:
    """With its text escaped, six characters may stand for one of two bytes."""
    platform = PLATFORM | {"os.version": "é" * (MANIFEST_LIMIT // 4)}
    source = images.index(OCI, {"amd64": images.oci()})
    source = with_entries(source, lambda item: item | {"platform": platform})
    raw = json.dumps(document(source), ensure_ascii=False).encode()
    with pytest.raises(ConversionRefused, match="as docker_list the manifest is over"):
        to_docker_list(replace(source, manifest=raw))


def test_a_platform_that_cannot_be_written() -> None:
    """Python reads a number that it writes as no number."""
    source = images.index(OCI, {"amd64": images.oci()})
    raw = source.manifest.replace(b'"os": "linux"', b'"os": "linux", "x": 1e999')
    with pytest.raises(ConversionRefused, match="as docker_list the manifest is not JSON"):
        to_docker_list(replace(source, manifest=raw))
