"""Images as real registries have them, and what each generation of client gets."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from proxy.oci.mediatype import OCI_CONFIG, MediaType
from tests.kit import images
from tests.kit.images import Content
from tests.kit.manifest_kinds import document, edited, with_config, with_layers

V2S1, SIGNED, V2S2, LIST, IMAGE, INDEX = MediaType

CLIENTS: Final[dict[str, tuple[str, ...]]] = {
    "modern": (V2S2, LIST, IMAGE, INDEX),
    "docker 1.13": (SIGNED, "application/json", V2S2, LIST),
    "v2s2 only": (V2S2,),
    "OCI only": (IMAGE, INDEX),
    "docker 1.8": (),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What an upstream has, and what each client gets: `stored`, a converted type, or `404`.

    `label` is the upstream's Content-Type; `stored_type` is what the proxy should call the bytes.
    """

    content: Content
    stored_type: str
    expected: dict[str, str]
    label: str = ""


def undeclared(content: Content) -> Content:
    members = document(content)
    members.pop("mediaType", None)
    return replace(content, manifest=json.dumps(members).encode())


def artifact_manifest(media_type: str, *, declared: bool = True) -> Content:
    blobs = document(images.oci("sbom"))["layers"]
    members = {"artifactType": "application/vnd.example.sbom", "blobs": blobs}
    declaration = {"mediaType": media_type} if declared else {}
    return Content(media_type, json.dumps(declaration | members).encode())


def index_of(*entries: tuple[Content, dict[str, str] | None]) -> Content:
    """An OCI index of images or indexes for these platforms."""
    manifests = [
        {
            "mediaType": child.media_type,
            "digest": child.digest,
            "size": len(child.manifest),
            **({"platform": platform} if platform else {}),
        }
        for child, platform in entries
    ]
    members = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return Content(
        INDEX, json.dumps(members).encode(), children=tuple(child for child, _ in entries)
    )


def platform_of(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _nested(levels: int) -> Content:
    """An index of images in so many levels of indexes, counted with the outermost."""
    index = images.oci_index("nested")
    for _ in range(levels - 1):
        index = index_of((index, None))
    return index


def _lost(content: Content, *children: Content) -> Content:
    """An index without some of its children."""
    lost = {child.digest for child in children}
    kept = tuple(child for child in content.children if child.digest not in lost)
    return replace(content, children=kept)


def _with_config(content: Content, **members: object) -> Content:
    """An image with other members in its config; None leaves one out."""
    described = document(content)["config"]
    config = json.loads(content.blobs[described["digest"]]) | members
    raw = json.dumps({key: value for key, value in config.items() if value is not None}).encode()
    named = described | {"digest": images.digest(raw), "size": len(raw)}
    return replace(edited(content, config=named), blobs={**content.blobs, named["digest"]: raw})


def with_member(name: str, value: bytes) -> Content:
    """An OCI image with one member more, spelt as it is given."""
    content = images.oci("odd-bytes")
    manifest = content.manifest.rstrip()[:-1] + b', "' + name.encode() + b'": ' + value + b"}"
    return replace(content, manifest=manifest)


_EVERYBODY_ELSE: Final = {"docker 1.13": "v2s2", "v2s2 only": "v2s2", "docker 1.8": "v2s1_signed"}
_OCI_IMAGE: Final = {"modern": "stored", "OCI only": "stored", **_EVERYBODY_ELSE}
_OCI_INDEX: Final = {**_OCI_IMAGE, "docker 1.13": "docker_list"}
_PASSED_ON: Final = {
    "modern": "stored",
    "OCI only": "stored",
    "docker 1.13": "404",
    "v2s2 only": "404",
}

_REFUSED_ENTRY: Final = with_layers(
    images.oci("refused"), "application/vnd.oci.image.layer.v1.tar+zstd"
)
VARIANTS: Final = {name: images.oci(name) for name in ("v1", "v2", "v3", "s390x", "arm64")}
_SPARSE: Final = index_of(
    (VARIANTS["v1"], platform_of("linux/amd64")), (VARIANTS["arm64"], platform_of("linux/arm64"))
)

ROWS: Final[dict[str, Row]] = {
    "index-labelled-list": Row(images.oci_index("12"), INDEX, _OCI_INDEX, label=LIST),
    "undeclared-index-labelled-list": Row(
        undeclared(images.oci_index("12")), INDEX, _OCI_INDEX, label=LIST
    ),
    "image-labelled-v2s2": Row(images.oci("13"), IMAGE, _OCI_IMAGE, label=V2S2),
    "undeclared-image-labelled-v2s2": Row(
        undeclared(images.oci("13")), IMAGE, _OCI_IMAGE, label=V2S2
    ),
    "v2s2-labelled-image": Row(
        images.docker("13"),
        V2S2,
        {
            "modern": "stored",
            "docker 1.13": "stored",
            "v2s2 only": "stored",
            "OCI only": "oci_manifest",
            "docker 1.8": "v2s1_signed",
        },
        label=IMAGE,
    ),
    "json-latin-1": Row(with_member("annotations", b'{"vendor": "J\xf6rg"}'), IMAGE, _PASSED_ON),
    "json-long-integer": Row(
        with_member("annotations", b'{"n": ' + b"7" * 5000 + b"}"), IMAGE, _PASSED_ON
    ),
    "json-key-twice": Row(with_member("mediaType", json.dumps(IMAGE).encode()), IMAGE, _OCI_IMAGE),
    "json-no-schema-version": Row(
        edited(images.oci("unversioned"), schemaVersion=None), IMAGE, _OCI_IMAGE
    ),
    "label-alone": Row(
        edited(undeclared(images.oci("unversioned")), schemaVersion=None), IMAGE, _OCI_IMAGE
    ),
    "index-of-indexes": Row(
        index_of(
            (images.oci_index("16"), platform_of("linux/amd64")),
            (images.oci_index("16 too"), platform_of("linux/arm64")),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "index-of-3-levels": Row(_nested(3), INDEX, _OCI_INDEX),
    "index-of-4-levels": Row(_nested(4), INDEX, {**_PASSED_ON, "docker 1.8": "404"}),
    "index-of-missing-index": Row(
        _lost(
            index_of((images.oci_index("16"), None), (images.oci_index("gone"), None)),
            images.oci_index("gone"),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "no-platform": Row(
        index_of((images.oci("17"), None)), INDEX, {**_OCI_INDEX, "docker 1.13": "v2s2"}
    ),
    "newest-cpu-first": Row(
        index_of(
            (VARIANTS["v3"], platform_of("linux/amd64/v3")),
            (VARIANTS["v2"], platform_of("linux/amd64/v2")),
            (VARIANTS["v1"], platform_of("linux/amd64")),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "bad-entry-first": Row(
        index_of(
            (_REFUSED_ENTRY, platform_of("linux/amd64")),
            (VARIANTS["v1"], platform_of("linux/amd64")),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "index-of-docker-image": Row(
        index_of((images.docker("19"), platform_of("linux/amd64"))),
        INDEX,
        {
            **_OCI_INDEX,
            "v2s2 only": "stored child",
        },
    ),
    "index-of-foreign-docker-image": Row(
        index_of((images.docker("19"), platform_of("linux/s390x"))),
        INDEX,
        {**_PASSED_ON, "docker 1.8": "404"},
    ),
    "no-history": Row(_with_config(images.oci("no history"), history=None), IMAGE, _OCI_IMAGE),
    "history-mismatch": Row(
        _with_config(images.oci("bad history"), history=[{"created_by": "one"}]),
        IMAGE,
        {**_OCI_IMAGE, "docker 1.8": "404"},
    ),
    "docker-with-oci-config": Row(
        with_config(images.docker("OCI config"), OCI_CONFIG),
        V2S2,
        {
            "modern": "stored",
            "docker 1.13": "v2s2",
            "v2s2 only": "v2s2",
            "OCI only": "oci_manifest",
            "docker 1.8": "v2s1_signed",
        },
    ),
    "created-empty": Row(
        _with_config(images.docker("22"), created=""),
        V2S2,
        {
            "modern": "stored",
            "docker 1.13": "stored",
            "v2s2 only": "stored",
            "OCI only": "oci_manifest",
            "docker 1.8": "404",
        },
    ),
    "sparse-index": Row(_lost(_SPARSE, VARIANTS["arm64"]), INDEX, _OCI_INDEX),
}
