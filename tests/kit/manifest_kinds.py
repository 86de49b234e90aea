"""Every kind of manifest that registries store, each with all that it names."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from proxy.oci.reference import Digest
from proxy.oci.schema1.build import from_image
from tests.kit import images, schema1
from tests.kit.images import DOCKER, OCI, Content

if TYPE_CHECKING:
    from collections.abc import Callable

Document = dict[str, Any]

KEY: Final = schema1.KEY
_V2S1: Final = "application/vnd.docker.distribution.manifest.v1+json"
_V2S1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_ATTESTATION: Final = {
    "platform": {"architecture": "unknown", "os": "unknown"},
    "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
}


def document(content: Content) -> Document:
    """The manifest, parsed; a copy to change."""
    parsed: Document = json.loads(content.manifest)
    return parsed


def edited(content: Content, **members: object) -> Content:
    """`content` with other top-level members."""
    return replace(content, manifest=json.dumps(document(content) | members).encode())


def with_layers(content: Content, media_type: str, **members: object) -> Content:
    """`content` with another media type, and other members, in each of its layers' descriptors."""
    layers = document(content)["layers"]
    return edited(content, layers=[layer | {"mediaType": media_type} | members for layer in layers])


def with_config(content: Content, media_type: str) -> Content:
    """`content` with another media type in its config's descriptor."""
    return edited(content, config=document(content)["config"] | {"mediaType": media_type})


def with_entries(content: Content, change: Callable[[Document], Document]) -> Content:
    """An index with each of its entries changed."""
    return edited(content, manifests=list(map(change, document(content)["manifests"])))


def unsigned() -> Content:
    """Schema 1 without signatures."""
    source = images.docker_with_empty_steps()
    parsed = document(source)
    layers = [layer["digest"] for layer in parsed["layers"]]
    payload = from_image(
        source.blobs[parsed["config"]["digest"]],
        [Digest(layer) for layer in layers],
        name="library/ship",
        tag="latest",
    ).raw
    return Content(_V2S1, payload, {layer: source.blobs[layer] for layer in layers})


def signed() -> Content:
    """Schema 1 as docker pushed it."""
    source = unsigned()
    body = KEY.sign(source.manifest, time="2016-01-02T03:04:05Z")
    return replace(source, media_type=_V2S1_SIGNED, manifest=body)


def mixed_list() -> Content:
    """A docker list of OCI images."""
    index = images.oci_index("mixed-list")
    return replace(edited(index, mediaType=DOCKER.index), media_type=DOCKER.index)


def docker_in_index() -> Content:
    """An OCI index of docker images, which the OCI allows."""
    index = images.docker_list("docker-in-index")
    return replace(edited(index, mediaType=OCI.index), media_type=OCI.index)


def artifact() -> Content:
    """A manifest with a type of artifact, as `oras push` makes it."""
    typed = edited(images.oci("artifact"), artifactType="application/vnd.example.sbom")
    return with_layers(typed, "text/spdx")


def chart() -> Content:
    """A helm chart, which has a config of its own."""
    config = "application/vnd.cncf.helm.config.v1+json"
    layer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    return with_layers(with_config(images.oci("chart"), config), layer)


def signature() -> Content:
    """A cosign signature: an image's config, and layers that are none."""
    return with_layers(images.oci("signature"), "application/vnd.dev.cosign.simplesigning.v1+json")


def attestation() -> Content:
    """A buildkit attestation: an image's config, and layers that are none."""
    return with_layers(images.oci("attestation"), "application/vnd.in-toto+json")


def attested() -> Content:
    """An OCI index that has an attestation beside each image, and before all."""
    index, extra = images.oci_index("attested"), attestation()
    descriptor = {
        "mediaType": extra.media_type,
        "digest": extra.digest,
        "size": len(extra.manifest),
        **_ATTESTATION,
    }
    entries = [x for image in document(index)["manifests"] for x in (descriptor, image)]
    return replace(edited(index, manifests=entries), children=(*index.children, extra))


def referrers() -> Content:
    """The index that the fallback tag of the referrers API names."""
    index = images.index(OCI, {"amd64": artifact()})
    return with_entries(
        index,
        lambda entry: {
            **{key: entry[key] for key in ("mediaType", "digest", "size")},
            "artifactType": "application/vnd.example.sbom",
        },
    )


def without_platform() -> Content:
    """An OCI index of a single image that says nothing of its platform."""
    index = images.index(OCI, {"amd64": images.oci("without-platform")})
    return with_entries(index, lambda entry: entry | {"platform": None})


def elsewhere() -> Content:
    """An OCI index of images for another system."""
    return with_entries(
        images.oci_index("elsewhere"),
        lambda entry: entry | {"platform": {"os": "windows", "architecture": "amd64"}},
    )


def nested() -> Content:
    """An OCI index of indexes."""
    inner = images.oci_index("nested")
    return replace(images.index(OCI, {"amd64": inner}), children=(inner,))


def list_of_schema1() -> Content:
    """A docker list as there were before v2s2 was everywhere; it says unsigned of signed images."""
    outer = images.index(DOCKER, {"amd64": signed()})
    named = {"mediaType": _V2S1, "digest": images.digest(unsigned().manifest)}
    return with_entries(outer, lambda entry: entry | named)


def list_of_zstd() -> Content:
    """A docker list of OCI images that docker's formats cannot name."""
    index = images.index(OCI, {"amd64": zstd("list-of-zstd")})
    return replace(edited(index, mediaType=DOCKER.index), media_type=DOCKER.index)


def zstd(seed: str = "zstd") -> Content:
    """An OCI image whose layers are zstd."""
    return with_layers(images.oci(seed), "application/vnd.oci.image.layer.v1.tar+zstd")


def foreign(form: images.Format) -> Content:
    """An image whose layers are to be had elsewhere, as Windows' are."""
    name = {
        DOCKER: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        OCI: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    }[form]
    image = images.image(form, images.two_layers("foreign"))
    return with_layers(image, name, urls=["https://example.com/layer"])


def unknown() -> Content:
    """A manifest of a type that was in a draft of the OCI, and is in none of our tables."""
    media_type = "application/vnd.oci.artifact.manifest.v1+json"
    blobs = document(images.oci("unknown"))["layers"]
    manifest = json.dumps({"mediaType": media_type, "blobs": blobs}).encode()
    return Content(media_type, manifest)


def empty_config() -> Content:
    """An artifact whose config names nothing, as early tools made it."""
    config = {"mediaType": "application/vnd.example.config", "digest": "", "size": 0}
    return edited(images.oci("empty-config"), config=config, layers=None)


KINDS: Final[dict[str, Content]] = {
    "signed": signed(),
    "unsigned": unsigned(),
    "quay": schema1.quay(schema1.two_layers("quay")),
    "damaged": schema1.quay([b"no archive"]),
    "v2s2": images.docker_with_empty_steps(),
    "list": images.docker_list(),
    "oci": images.oci(),
    "oci-undeclared": images.oci_undeclared(),
    "index": images.oci_index(),
    "index-undeclared": images.index(OCI, {"amd64": images.oci_undeclared()}, declared=False),
    "mixed-config": images.mixed(),
    "mixed-layers": with_layers(images.oci("mixed-layers"), DOCKER.layer),
    "mixed-docker": images.image(DOCKER, images.two_layers("mixed-docker"), config_type=OCI.config),
    "mixed-list": mixed_list(),
    "mixed-zstd": with_config(zstd("mixed-zstd"), DOCKER.config),
    "docker-in-index": docker_in_index(),
    "artifact": artifact(),
    "chart": chart(),
    "signature": signature(),
    "attestation": attestation(),
    "attested": attested(),
    "referrers": referrers(),
    "without-platform": without_platform(),
    "elsewhere": elsewhere(),
    "nested": nested(),
    "list-of-schema1": list_of_schema1(),
    "list-of-zstd": list_of_zstd(),
    "zstd": zstd(),
    "foreign": foreign(DOCKER),
    "foreign-oci": foreign(OCI),
    "encrypted": with_layers(
        images.oci("encrypted"), "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
    ),
    "unknown": unknown(),
    "empty-config": empty_config(),
}
