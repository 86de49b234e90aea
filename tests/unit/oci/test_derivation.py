"""Records of derived manifests: enough to make the same again, whatever the settings are then."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConversionRefused, ManifestInvalid
from proxy.oci import conversion
from proxy.oci.derivation import CONVERTER, ConversionInputs, Origin, serialize
from proxy.oci.layer import LayerFacts
from proxy.oci.manifest import Index, Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest
from proxy.oci.schema1.libtrust import SigningKey
from tests.kit.manifest_kinds import KEY, KINDS
from tests.unit.oci.damage import values
from tests.unit.oci.serving import AMD64, ARM64, INPUTS, convert, expanded, read, shelf

SOURCE: Final = Digest("sha256:" + "ab" * 32)

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=9)
platforms = st.builds(Platform, words, words, st.just("") | words)
facts = st.builds(
    LayerFacts,
    digest=st.binary(max_size=2).map(Digest.of),
    size=st.integers(0),
    diff_id=st.binary(max_size=2).map(Digest.of),
    unpacked=st.integers(0),
    is_gzip=st.booleans(),
)
origins = st.builds(
    Origin,
    source=st.binary(max_size=2).map(Digest.of),
    target=st.sampled_from(MediaType),
    inputs=st.builds(
        ConversionInputs,
        name=st.text(),
        tag=st.text(),
        platforms=st.lists(platforms, max_size=3).map(tuple),
        max_children=st.integers(0),
        max_depth=st.integers(1, 16),
        absent=st.frozensets(st.binary(max_size=2).map(Digest.of), max_size=3),
        layers=st.lists(facts, max_size=3).map(tuple),
    ),
    converter=st.integers(1),
)


@given(origins)
def test_a_record_is_read_as_it_was_written(origin: Origin) -> None:
    """The record is byte-equal every time."""
    assert Origin.decode(origin.encode()) == origin
    assert Origin.decode(origin.encode()).encode() == origin.encode()


def test_a_record_says_all_that_went_in() -> None:
    """In this form, which later releases will have to read."""
    origin = Origin(source=SOURCE, target=MediaType.DOCKER_LIST, inputs=INPUTS)
    assert json.loads(origin.encode()) == {
        "source": SOURCE,
        "target": MediaType.DOCKER_LIST,
        "converter": CONVERTER,
        "name": "library/ship",
        "tag": "latest",
        "platforms": ["linux/amd64", "linux/arm64"],
        "max_children": 8,
        "max_depth": 3,
        "absent": [],
    }


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_any_other_record_is_invalid(record: bytes) -> None:
    """Nothing else happens."""
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        Origin.decode(record)


@pytest.mark.parametrize(
    "members",
    [
        {"source": "latest"},
        {"source": None},
        {"target": "text/plain"},
        {"target": 5},
        {"platforms": ["linux"]},
        {"platforms": [5]},
        {"platforms": None},
    ],
)
def test_a_record_of_another_release(members: dict[str, Any]) -> None:
    """Is a miss, not a crash."""
    origin = Origin(source=SOURCE, target=MediaType.DOCKER_LIST, inputs=INPUTS)
    record = json.loads(origin.encode())
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        Origin.decode(json.dumps(record | members).encode())
    # The first records had neither depth nor absent entries: nothing was followed or left out.
    for member in record.keys() - {"max_depth", "absent"}:
        left = {name: value for name, value in record.items() if name != member}
        with pytest.raises(ManifestInvalid, match="cannot be read"):
            Origin.decode(json.dumps(left).encode())


def test_a_record_that_is_nested_without_end() -> None:
    """Is no more than any other that cannot be read."""
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        Origin.decode(b"[" * 100_000)


@pytest.mark.parametrize("target", MediaType)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_is_made_again(kind: str, target: MediaType) -> None:
    """From the record alone, to the same digest: each manifest, and each child."""
    source, here = read(KINDS[kind]), shelf(KINDS[kind])
    path = conversion.path(source.media_type, target)
    if path is None:
        return
    with contextlib.suppress(ConversionRefused):
        made = convert(source, path, here)
        origin = Origin(source=source.digest, target=target, inputs=INPUTS)
        for manifest, record in ((made.manifest, origin), *made.children):
            assert _rebuilt(Origin.decode(record.encode()), here) == manifest.digest


def _rebuilt(origin: Origin, here: dict[Digest, bytes]) -> Digest:
    source: Manifest = read_manifest(here[origin.source], expected=origin.source)
    path = conversion.path(source.media_type, origin.target)
    assert path is not None
    for edge in path:
        inputs = ConversionInputs(
            name=origin.inputs.name,
            tag=origin.inputs.tag,
            platforms=origin.inputs.platforms,
            max_children=origin.inputs.max_children,
            max_depth=origin.inputs.max_depth,
            absent=origin.inputs.absent,
            key=SigningKey.generate(),  # another key signs otherwise, and the digest stays
        )
        if isinstance(source, Index):
            source = expanded(source, here, inputs.platforms, inputs.max_depth)
        content = {need.digest: here[need.digest] for need in edge.needs(source, inputs)}
        source = edge.apply(source, content, inputs).manifest
    return source.digest


def test_terms_tell_conversions_of_one_source_apart() -> None:
    """By what is in the result, and nothing else."""
    inputs = [
        INPUTS,
        ConversionInputs(
            name="library/ship", tag="newest", platforms=(AMD64, ARM64), max_children=8, max_depth=3
        ),
        ConversionInputs(
            name="ship", tag="latest", platforms=(AMD64, ARM64), max_children=8, max_depth=3
        ),
        ConversionInputs(
            name="library/ship", tag="latest", platforms=(AMD64,), max_children=8, max_depth=3
        ),
        ConversionInputs(
            name="library/ship", tag="latest", platforms=(ARM64, AMD64), max_children=8, max_depth=3
        ),
        ConversionInputs(
            name="library/ship", tag="latest", platforms=(AMD64, ARM64), max_children=9, max_depth=3
        ),
        replace(INPUTS, max_depth=4),
        replace(INPUTS, absent=frozenset({SOURCE})),
    ]
    distinct = {
        target: len({each.cache_key_for(target) for each in inputs}) for target in MediaType
    }
    assert distinct == {
        MediaType.V2S1: 3,
        MediaType.V2S1_SIGNED: 3,
        MediaType.V2S2: 1,
        MediaType.OCI_MANIFEST: 1,
        MediaType.DOCKER_LIST: 5,
        MediaType.OCI_INDEX: 5,
    }


def test_the_key_is_neither_compared_nor_shown() -> None:
    """It changes no digest, and is a secret."""
    assert ConversionInputs(key=KEY) == ConversionInputs()
    assert hash(ConversionInputs(key=KEY)) == hash(ConversionInputs())
    assert "key" not in repr(ConversionInputs(key=KEY)).lower()


def test_what_is_written_is_read() -> None:
    """Compact, and in ASCII."""
    manifest = serialize(
        {"schemaVersion": 2, "manifests": [], "annotations": {"é": "\ud800"}},
        MediaType.OCI_INDEX,
    )
    assert manifest.raw == (
        b'{"schemaVersion":2,"manifests":[],"annotations":{"\\u00e9":"\\ud800"}}'
    )
    assert manifest.digest == Digest.of(manifest.raw)


def test_what_cannot_be_written_is_refused() -> None:
    """Too large for any client, or too deep."""
    with pytest.raises(ConversionRefused, match="as oci_index the manifest is over 4194304 bytes"):
        serialize({"schemaVersion": 2, "manifests": [], "x": "y" * 2**22}, MediaType.OCI_INDEX)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ConversionRefused, match="nested too deeply"):
        serialize({"schemaVersion": 2, "manifests": [], "x": deep}, MediaType.OCI_INDEX)
