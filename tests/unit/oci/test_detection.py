"""Which kind a manifest is, of all that it may call itself, come as and look like."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest

from proxy.errors import ManifestInvalid
from proxy.oci.detection import kind
from proxy.oci.mediatype import (
    ARTIFACT_MANIFESTS,
    DOCKER_CONFIG,
    OCI_CONFIG,
    MediaType,
    manifest_type,
)

V2S1, SIGNED, V2S2, LIST, OCI, INDEX = MediaType

# Bodies that say nothing of their type, and what they are taken for if nobody else says it.
SHAPES: Final[dict[str, tuple[dict[str, Any], MediaType]]] = {
    "unsigned": ({"schemaVersion": 1, "fsLayers": [], "history": []}, V2S1),
    "signatures are null": ({"schemaVersion": 1, "fsLayers": [], "signatures": None}, V2S1),
    "signed": ({"schemaVersion": 1, "fsLayers": [], "signatures": [{}]}, SIGNED),
    "signed by nobody": ({"schemaVersion": 1, "signatures": []}, SIGNED),
    "bad signatures": ({"schemaVersion": 1, "signatures": 1}, SIGNED),
    "image": ({"schemaVersion": 2, "config": {"mediaType": OCI_CONFIG}, "layers": []}, OCI),
    "docker image": ({"schemaVersion": 2, "config": {"mediaType": DOCKER_CONFIG}}, V2S2),
    "artifact": ({"schemaVersion": 2, "config": {"mediaType": "a/b"}, "layers": None}, OCI),
    "old docker image": ({"schemaVersion": 2, "config": {"mediaType": "text/html"}}, OCI),
    "docker plugin": (
        {"schemaVersion": 2, "config": {"mediaType": "application/vnd.docker.plugin.v1+json"}},
        OCI,
    ),
    "index of images": ({"schemaVersion": 2, "manifests": [{}, {"mediaType": OCI}]}, INDEX),
    "index of indexes": ({"schemaVersion": 2, "manifests": [{"mediaType": INDEX}]}, INDEX),
    "index of docker images": ({"schemaVersion": 2, "manifests": [{"mediaType": V2S2}]}, INDEX),
    "config is none": ({"schemaVersion": 2, "config": 5, "layers": []}, OCI),
    "nothing": ({"schemaVersion": 2}, OCI),
    "index": ({"schemaVersion": 2, "manifests": [{}]}, INDEX),
    "empty index": ({"schemaVersion": 2, "manifests": []}, INDEX),
    "manifests are null": ({"schemaVersion": 2, "manifests": None, "layers": []}, OCI),
}
GENERIC: Final = (
    *("", "application/json", "text/plain; charset=utf-8", "application/octet-stream", "garbage"),
    "application/vnd.oci.artifact.manifest.v1+json",
)


@pytest.mark.parametrize("content_type", GENERIC)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_undeclared_body_is_what_it_looks_like(shape: str, content_type: str) -> None:
    """Where it came as nothing in particular."""
    document, expected = SHAPES[shape]
    assert kind(document, content_type) is expected


@pytest.mark.parametrize(
    ("shape", "possible"),
    [
        # Either name of schema 1 is sent with either form: the body knows which it is.
        ("unsigned", {V2S1: V2S1, SIGNED: V2S1}),
        ("signed", {V2S1: SIGNED, SIGNED: SIGNED}),
        # Docker's manifests always say their type, so the config settles it.
        ("image", {OCI: OCI, V2S2: OCI}),
        ("artifact", {OCI: OCI, V2S2: OCI}),
        ("old docker image", {OCI: OCI, V2S2: V2S2}),
        ("docker plugin", {OCI: OCI, V2S2: V2S2}),
        ("index of images", {INDEX: INDEX, LIST: INDEX}),
        ("index of indexes", {INDEX: INDEX, LIST: INDEX}),
        ("index of docker images", {INDEX: INDEX, LIST: LIST}),
        ("docker image", {OCI: OCI, V2S2: V2S2}),
        ("nothing", {OCI: OCI, V2S2: V2S2}),
        ("index", {INDEX: INDEX, LIST: LIST}),
        ("empty index", {INDEX: INDEX, LIST: LIST}),
    ],
)
@pytest.mark.parametrize("content_type", MediaType)
def test_an_undeclared_body_may_be_what_it_came_as(
    shape: str, possible: dict[MediaType, MediaType], content_type: MediaType
) -> None:
    """If it can be that."""
    document, _ = SHAPES[shape]
    for spelling in (content_type, content_type.upper(), f"{content_type}; charset=utf-8"):
        if content_type in possible:
            assert kind(document, spelling) is possible[content_type]
        else:
            with pytest.raises(ManifestInvalid):
                kind(document, spelling)


def _declared(media_type: MediaType) -> dict[str, Any]:
    if media_type.is_schema1:
        signatures: object = [{}] if media_type == SIGNED else None
        return {"schemaVersion": 1, "mediaType": media_type, "signatures": signatures}
    member = "manifests" if media_type.is_index else "layers"
    return {"schemaVersion": 2, "mediaType": media_type, member: []}


@pytest.mark.parametrize("content_type", [*MediaType, *GENERIC])
@pytest.mark.parametrize("media_type", MediaType)
def test_a_declared_body_is_what_it_calls_itself(media_type: MediaType, content_type: str) -> None:
    """If it came as something of the same shape or as nothing in particular; else one of them lies.

    Harbor's proxy cache calls OCI indexes docker's lists.
    """
    document = _declared(media_type)
    related = next(
        pair for pair in ({V2S1, SIGNED}, {V2S2, OCI}, {LIST, INDEX}) if media_type in pair
    )
    if content_type in related or content_type in GENERIC:
        assert kind(document, content_type) is media_type
    else:
        with pytest.raises(ManifestInvalid, match="came as"):
            kind(document, content_type)


@pytest.mark.parametrize("content_type", ARTIFACT_MANIFESTS)
def test_an_artifact_manifest(content_type: str) -> None:
    """Has a `mediaType` or not, and neither a version nor the members of images."""
    assert kind({"mediaType": content_type, "blobs": []}, content_type) == content_type
    assert kind({"mediaType": content_type, "blobs": []}, "") == content_type
    assert kind({"blobs": []}, f"{content_type}; charset=utf-8") == content_type
    for member, value in (("manifests", []), ("layers", []), ("schemaVersion", 3)):
        with pytest.raises(ManifestInvalid):
            kind({"blobs": [], member: value}, content_type)


@pytest.mark.parametrize("media_type", MediaType)
@pytest.mark.parametrize("version", [None, 0, 1, 2, 3, "1", "2", True, 1.0, 2.0, [], 99999])
def test_the_schema_version(media_type: MediaType, version: object) -> None:
    """Must be the one of the type, or missing: neither true nor 2.0 is a number of one."""
    document = _declared(media_type) | {"schemaVersion": version}
    right = 1 if media_type.is_schema1 else 2
    missing = version is None and not media_type.is_schema1
    if missing or repr(version) == repr(right):
        assert kind(document, "") is media_type
    else:
        with pytest.raises(ManifestInvalid, match=f"must have schemaVersion {right}"):
            kind(document, "")


@pytest.mark.parametrize("version", [None, 0, 3, "2", True, 2.0, []])
def test_a_body_without_type_and_version_is_nothing(version: object) -> None:
    """Nobody could say what it is, unless the registry says it and no version contradicts."""
    document = {"schemaVersion": version, "config": {}, "layers": []}
    for content_type in ("", OCI) if version is not None else ("",):
        with pytest.raises(ManifestInvalid, match="no known schemaVersion"):
            kind(document, content_type)
    if version is None:
        assert kind(document, OCI) is OCI
        with pytest.raises(ManifestInvalid, match="content is not that of"):
            kind(document, INDEX)


@pytest.mark.parametrize(
    "media_type",
    [
        *("", "image", "/", "a/", "/b", "a/b/c", "a b/c", "a/b;c=d", "a/b\n", "*/*", "ä/b"),
        *(f"{V2S2}; charset=utf-8", f" {V2S2}", "x/" + "y" * 128, 5, True, [], {}, [V2S2]),
    ],
)
def test_a_media_type_must_be_one(media_type: object) -> None:
    """It becomes a header: parameters, spaces and line ends have no place in it."""
    with pytest.raises(ManifestInvalid, match="is not a media type"):
        kind({"schemaVersion": 2, "mediaType": media_type, "layers": []}, "")


@pytest.mark.parametrize(
    "document",
    [
        {"blobs": []},
        {"schemaVersion": 2, "config": {}, "layers": []},
        {"schemaVersion": 3, "manifests": []},
        {"schemaVersion": 1, "fsLayers": [], "history": []},
    ],
)
def test_an_unknown_type_stays_what_it_calls_itself(document: dict[str, Any]) -> None:
    """In its own spelling, unless it came as something else."""
    declared = "application/vnd.Example+json"
    document["mediaType"] = declared
    for content_type in (*GENERIC, declared):
        assert kind(document, content_type) == declared
    for known in MediaType:
        with pytest.raises(ManifestInvalid, match="came as"):
            kind(document, known)


@pytest.mark.parametrize("value", [[], {}, "", 0, False, [{}]], ids=repr)
@pytest.mark.parametrize("media_type", [*MediaType, "application/vnd.example+json"])
def test_no_two_formats_in_one_body(media_type: str, value: object) -> None:
    """Whatever it calls itself: somebody would take it for the other (CVE-2021-41190)."""
    formats = [{"fsLayers", "history"}, {"config", "layers"}, {"manifests"}]
    document: dict[str, Any] = {"mediaType": media_type}
    if known := manifest_type(media_type):
        document = _declared(known)
        formats = [formats[0 if known.is_schema1 else 1 if known.is_image else 2]]
    members = ("fsLayers", "history", "config", "layers", "manifests")
    for first, second in itertools.combinations_with_replacement(members, 2):
        both = document | {first: value, second: value}
        if any({first, second} <= allowed for allowed in formats):
            assert kind(both, "") == media_type
        else:
            with pytest.raises(ManifestInvalid, match="must not have"):
                kind(both, "")
        assert kind(document | {first: None, second: None}, "") == media_type
