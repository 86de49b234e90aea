"""The graph: what leads where, that nothing is lost on the way, and that nothing else happens."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.errors import ConversionRefused, ManifestInvalid
from proxy.oci import conversion
from proxy.oci.derivation import ConversionInputs
from proxy.oci.manifest import MANIFEST_LIMIT, Image, Index, Manifest, read_manifest
from proxy.oci.mediatype import DOCKER_TO_OCI, MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.images import DOCKER, OCI, Content
from tests.kit.manifest_kinds import KEY, KINDS, edited
from tests.unit.oci.damage import damaged, values
from tests.unit.oci.serving import INPUTS, convert, read, shelf
from tests.unit.oci.soundness import assert_sound

if TYPE_CHECKING:
    from proxy.oci.derivation import Derived

V2S1, SIGNED, V2S2, LIST, INDEX_OF_OCI = (
    MediaType.V2S1,
    MediaType.V2S1_SIGNED,
    MediaType.V2S2,
    MediaType.DOCKER_LIST,
    MediaType.OCI_INDEX,
)
OCI_IMAGE: Final = MediaType.OCI_MANIFEST


def converted(content: Content, target: MediaType) -> Derived:
    """`content` as `target`, sound; Refused if it cannot be."""
    source = read(content)
    path = conversion.path(source.media_type, target)
    assert path is not None
    derived = convert(source, path, shelf(content))
    assert_sound(source, derived, shelf(content))
    return derived


@pytest.mark.parametrize(
    ("source", "target", "steps"),
    [
        (V2S2, V2S1, [V2S1]),
        (V2S2, SIGNED, [V2S1, SIGNED]),
        (V2S2, OCI_IMAGE, [OCI_IMAGE]),
        (V2S2, V2S2, [V2S2]),
        (OCI_IMAGE, V2S2, [V2S2]),
        (OCI_IMAGE, SIGNED, [V2S2, V2S1, SIGNED]),
        (OCI_IMAGE, OCI_IMAGE, [OCI_IMAGE]),
        (V2S1, SIGNED, [SIGNED]),
        (INDEX_OF_OCI, LIST, [LIST]),
        (LIST, INDEX_OF_OCI, [INDEX_OF_OCI]),
        (LIST, LIST, [LIST]),
        (INDEX_OF_OCI, INDEX_OF_OCI, [INDEX_OF_OCI]),
        (INDEX_OF_OCI, V2S2, None),  # one platform is another decision
        (LIST, SIGNED, None),
        (V2S2, LIST, None),
        (SIGNED, V2S1, None),
        (SIGNED, SIGNED, None),
        ("application/vnd.example+json", V2S2, None),
        ("", V2S2, None),
    ],
)
def test_paths(source: str, target: MediaType, steps: list[MediaType] | None) -> None:
    """The fewest steps, each from where the one before it ended."""
    path = conversion.path(source, target)
    if steps is None:
        assert path is None
        return
    assert path is not None
    assert [edge.target for edge in path] == steps
    assert [edge.source for edge in path] == [source, *steps[:-1]]


def test_only_indexes_need_manifests() -> None:
    """The rest need a config, or nothing."""
    for edge in conversion.CONVERSIONS:
        assert edge.needs_manifests == edge.source.is_index == edge.target.is_index


@pytest.mark.parametrize("kind", ["v2s2", "oci", "mixed-config", "mixed-layers", "mixed-docker"])
def test_schema1_of_an_image(kind: str) -> None:
    """Signed over the payload that the digest is of; named as the client named it."""
    derived = converted(KINDS[kind], SIGNED).manifest
    document = json.loads(derived.raw)
    assert (document["name"], document["tag"]) == (INPUTS.name, INPUTS.tag)
    assert len(document["signatures"]) == 1
    assert derived.digest == converted(KINDS[kind], V2S1).manifest.digest
    assert derived == converted(KINDS[kind], SIGNED).manifest


def test_the_types_do_not_matter_to_schema1() -> None:
    """An image and its copy in the other family are one image to docker 1.9."""
    layers = images.two_layers("same")
    digests = {
        converted(images.image(form, layers), SIGNED).manifest.digest for form in (DOCKER, OCI)
    }
    assert len(digests) == 1


def test_signing_leaves_the_digest() -> None:
    """The same payload, and so the same content as far as anybody can tell."""
    signed = converted(KINDS["unsigned"], SIGNED).manifest
    assert signed.digest == read(KINDS["unsigned"]).digest
    assert signed.references == read(KINDS["unsigned"]).references


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2026-01-02T03:04:05.678901234Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        ("yesterday", "1970-01-01T00:00:00Z"),
        (5, "1970-01-01T00:00:00Z"),
    ],
)
def test_a_signature_is_as_old_as_the_image(created: object, expected: str) -> None:
    """No clock is in it: made again, it is the same."""
    newest = json.dumps({"created": created})
    payload = edited(KINDS["unsigned"], history=[{"v1Compatibility": newest}])
    signed = converted(payload, SIGNED).manifest
    again = KEY.sign(payload.manifest, time=expected)
    assert signed.raw == again


@pytest.mark.parametrize(
    ("members", "signed"),
    [
        (b'"history": {}', True),
        (b'"history": [5]', True),
        (b'"history": [{"v1Compatibility": "["}]', True),
        (b'"history": [{"v1Compatibility": "' + b"[" * 100_000 + b'"}]', True),
        (b'"signatures": null', False),
        (b'"Signatures": null', False),
        (b'"\\u0073ignature\\u0053": null', False),
        ('"\N{LATIN SMALL LETTER LONG S}ignatures": null'.encode(), False),
        (b'"\\u017fignatures": null', False),
        (b'"fsLayers": [{"blobSum": ""}]', False),
        (b'"name": "' + b"x" * (MANIFEST_LIMIT - 100) + b'"', False),
    ],
)
def test_odd_schema1(members: bytes, *, signed: bool) -> None:
    """Is signed as it is, unless that gives what is none, or too much."""
    body = b'{"schemaVersion": 1, ' + members + b"}"
    if signed:
        assert converted(Content(V2S1, body), SIGNED).manifest.digest == Digest.of(body)
    else:
        with pytest.raises(ConversionRefused):
            converted(Content(V2S1, body), SIGNED)


def test_nothing_is_signed_without_a_key() -> None:
    """There is nothing to sign it with."""
    (edge,) = conversion.path(V2S1, SIGNED) or ()
    with pytest.raises(ConversionRefused, match="no key"):
        edge.apply(read(KINDS["unsigned"]), {}, ConversionInputs())


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        ("zstd", V2S2, "cannot name"),
        ("zstd", SIGNED, "cannot name"),
        ("encrypted", V2S2, "cannot name"),
        ("foreign", SIGNED, "foreign layers"),
        ("foreign-oci", SIGNED, "foreign layers"),
        ("artifact", V2S2, "an artifact"),
        ("chart", SIGNED, "its config is of type"),
        ("signature", V2S2, "not an image layer"),
        ("attestation", SIGNED, "not an image layer"),
        ("empty-config", V2S2, "descriptors cannot be read"),
        ("elsewhere", LIST, "no image for any of linux/amd64, linux/arm64"),
        ("referrers", LIST, "no image for any of"),
        ("without-platform", LIST, "no image for any of"),
        (
            "list-of-schema1",
            INDEX_OF_OCI,
            "it is schema 1, which is converted only as an image of its own",
        ),
        ("list-of-zstd", LIST, "none of its images can be converted"),
    ],
)
def test_refusals(kind: str, target: MediaType, reason: str) -> None:
    """Each says why."""
    with pytest.raises(ConversionRefused, match=reason):
        converted(KINDS[kind], target)


def test_an_index_whose_descriptors_name_nothing() -> None:
    """Is passed on, and never converted."""
    broken = edited(images.oci_index(), manifests=[{"digest": ""}])
    with pytest.raises(ConversionRefused, match="descriptors cannot be read"):
        converted(broken, LIST)


def test_a_config_that_is_too_large_is_not_asked_for() -> None:
    """Its text would be in the manifest."""
    config = {"mediaType": DOCKER.config, "digest": Digest.of(b""), "size": MANIFEST_LIMIT + 1}
    with pytest.raises(ConversionRefused, match="its config is too large"):
        converted(edited(images.docker(), config=config), SIGNED)


def test_a_config_that_is_none() -> None:
    """Any blob may be called one."""
    source = images.docker()
    garbage = replace(source, blobs=dict.fromkeys(source.blobs, b"\x1f\x8b"))
    with pytest.raises(ConversionRefused, match="its config cannot be read"):
        converted(garbage, SIGNED)


# -- there and back -----------------------------------------------------------------------------


@st.composite
def an_image(draw: st.DrawFn) -> Content:
    """An image of either family, perhaps mixed, of layers that either can name."""
    types = st.sampled_from([name for pair in DOCKER_TO_OCI.items() for name in pair])
    sizes = st.integers(0, 2**63 - 1)
    digests = st.binary(max_size=2).map(Digest.of)
    form = draw(st.sampled_from([DOCKER, OCI]))
    layers = st.fixed_dictionaries(
        {"mediaType": types.filter(lambda name: "tar" in name), "digest": digests, "size": sizes},
        optional={"urls": st.lists(st.text(), max_size=2)},
    )
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": form.manifest,
        "config": {
            "mediaType": draw(st.sampled_from([DOCKER.config, OCI.config])),
            "digest": draw(digests),
            "size": draw(sizes),
        },
        "layers": draw(st.lists(layers, max_size=4)),
        "annotations": {"é": "<&>"},
    }
    return Content(form.manifest, json.dumps(document, indent=draw(st.integers(0, 3))).encode())


def whole(manifest: Manifest) -> list[tuple[str, int | None, tuple[str, ...]]]:
    """What an image consists of, without the types."""
    assert isinstance(manifest, Image)
    return [(part.digest, part.size, part.urls) for part in (manifest.config, *manifest.layers)]


@given(an_image())
def test_an_image_there_and_back(content: Content) -> None:
    """Config, layers, sizes and urls stay, and the second time it is the same bytes."""
    source = read(content)
    docker = converted(content, V2S2).manifest
    oci = converted(content, OCI_IMAGE).manifest
    assert whole(source) == whole(docker) == whole(oci)
    assert converted(Content(V2S2, docker.raw), OCI_IMAGE).manifest == oci
    assert converted(Content(OCI_IMAGE, oci.raw), V2S2).manifest == docker
    assert converted(Content(V2S2, docker.raw), V2S2).manifest == docker
    assert converted(Content(OCI_IMAGE, oci.raw), OCI_IMAGE).manifest == oci


@given(st.lists(an_image(), min_size=1, max_size=3))
def test_an_index_there_and_back(children: list[Content]) -> None:
    """Every platform has what it had."""
    names = ["amd64", "arm64", "arm64"]
    platforms = [{"os": "linux", "architecture": name} for name in names]
    index = edited(
        images.oci_index(),
        manifests=[
            {
                "mediaType": child.media_type,
                "digest": child.digest,
                "size": len(child.manifest),
                "platform": platform,
            }
            for child, platform in zip(children, platforms, strict=False)
        ],
    )
    source = replace(index, children=tuple(children))
    there = converted(source, LIST)
    made = tuple(Content(child.media_type, child.raw) for child, _ in there.children)
    back = converted(Content(LIST, there.manifest.raw, children=(*made, *children)), INDEX_OF_OCI)
    here = {child.digest: child for child, _ in (*there.children, *back.children)}
    here |= {child.digest: child for child in map(read, children)}

    was, through, now = (
        [(str(entry.platform), whole(here[entry.digest])) for entry in found.manifests]
        for found in (read(source), there.manifest, back.manifest)
        if isinstance(found, Index)
    )
    assert was == through == now


@pytest.mark.parametrize("target", MediaType)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_to_every_type(kind: str, target: MediaType) -> None:
    """Sound, and the same each time; or refused."""
    if conversion.path(read(KINDS[kind]).media_type, target) is None:
        return
    with contextlib.suppress(ConversionRefused):
        assert converted(KINDS[kind], target) == converted(KINDS[kind], target)


SHELF: Final = {
    digest: blob for content in KINDS.values() for digest, blob in shelf(content).items()
}
configs: Final = values.map(lambda value: json.dumps(value).encode()) | st.binary()


@given(raw=damaged(), config=st.none() | configs)
def test_a_conversion_is_sound_or_refused(raw: bytes, config: bytes | None) -> None:
    """Nothing else happens, whatever the manifest is, and whatever its config."""
    try:
        source = read_manifest(raw)
    except ManifestInvalid:
        assume(False)  # noqa: FBT003 -- as hypothesis has it
        return
    here = dict(SHELF)
    if isinstance(source, Image) and config is not None:
        here[source.config.digest] = config
    for target in MediaType:
        path = conversion.path(source.media_type, target)
        if path is not None:
            with contextlib.suppress(ConversionRefused):
                assert_sound(source, convert(source, path, here), here)


def test_what_is_mixed() -> None:
    """Images and lists; schema 1 and what cannot be read are not."""
    mixed = {kind for kind, content in KINDS.items() if conversion.is_mixed(read(content))}
    assert mixed == {
        *("mixed-config", "mixed-layers", "mixed-docker", "mixed-list", "mixed-zstd"),
        "list-of-zstd",
    }
