"""Images as real registries have them: what every generation of client gets, cold and cached."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import ARTIFACT_MANIFESTS, OCI_CONFIG, MediaType
from tests.kit import images
from tests.kit.images import Content
from tests.kit.manifest_kinds import document, edited, with_config, with_layers
from tests.kit.proxy import Answer, Proxy, push

if TYPE_CHECKING:
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"
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


def _undeclared(content: Content) -> Content:
    members = document(content)
    members.pop("mediaType", None)
    return replace(content, manifest=json.dumps(members).encode())


def _artifact_manifest(media_type: str, *, declared: bool = True) -> Content:
    blobs = document(images.oci("sbom"))["layers"]
    members = {"artifactType": "application/vnd.example.sbom", "blobs": blobs}
    declaration = {"mediaType": media_type} if declared else {}
    return Content(media_type, json.dumps(declaration | members).encode())


def _index(*entries: tuple[Content, dict[str, str] | None]) -> Content:
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


def _platform(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _nested(levels: int) -> Content:
    """An index of images in so many levels of indexes, counted with the outermost."""
    index = images.oci_index("nested")
    for _ in range(levels - 1):
        index = _index((index, None))
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


def _with_member(name: str, value: bytes) -> Content:
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
_VARIANTS: Final = {name: images.oci(name) for name in ("v1", "v2", "v3", "s390x", "arm64")}
_SPARSE: Final = _index(
    (_VARIANTS["v1"], _platform("linux/amd64")), (_VARIANTS["arm64"], _platform("linux/arm64"))
)

ROWS: Final[dict[str, Row]] = {
    "an OCI index that is labelled as a docker list": Row(
        images.oci_index("12"), INDEX, _OCI_INDEX, label=LIST
    ),
    "an undeclared OCI index that is labelled as a docker list": Row(
        _undeclared(images.oci_index("12")), INDEX, _OCI_INDEX, label=LIST
    ),
    "an OCI image that is labelled as v2s2": Row(images.oci("13"), IMAGE, _OCI_IMAGE, label=V2S2),
    "an undeclared OCI image that is labelled as v2s2": Row(
        _undeclared(images.oci("13")), IMAGE, _OCI_IMAGE, label=V2S2
    ),
    "v2s2 that is labelled as an OCI image": Row(
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
    "a byte of Latin-1 in an annotation": Row(
        _with_member("annotations", b'{"vendor": "J\xf6rg"}'), IMAGE, _PASSED_ON
    ),
    "an integer of 5000 digits": Row(
        _with_member("annotations", b'{"n": ' + b"7" * 5000 + b"}"), IMAGE, _PASSED_ON
    ),
    "a mediaType that stands there twice": Row(
        _with_member("mediaType", json.dumps(IMAGE).encode()), IMAGE, _OCI_IMAGE
    ),
    "an image without schemaVersion": Row(
        edited(images.oci("unversioned"), schemaVersion=None), IMAGE, _OCI_IMAGE
    ),
    "an image that only its label names": Row(
        edited(_undeclared(images.oci("unversioned")), schemaVersion=None), IMAGE, _OCI_IMAGE
    ),
    "an index of two indexes": Row(
        _index(
            (images.oci_index("16"), _platform("linux/amd64")),
            (images.oci_index("16 too"), _platform("linux/arm64")),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "an index of three levels": Row(_nested(3), INDEX, _OCI_INDEX),
    "an index of four levels": Row(_nested(4), INDEX, {**_PASSED_ON, "docker 1.8": "404"}),
    "an index of an index that the upstream does not have": Row(
        _lost(
            _index((images.oci_index("16"), None), (images.oci_index("gone"), None)),
            images.oci_index("gone"),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "an index of one image without a platform": Row(
        _index((images.oci("17"), None)), INDEX, {**_OCI_INDEX, "docker 1.13": "v2s2"}
    ),
    "amd64 as v3, v2 and without a variant": Row(
        _index(
            (_VARIANTS["v3"], _platform("linux/amd64/v3")),
            (_VARIANTS["v2"], _platform("linux/amd64/v2")),
            (_VARIANTS["v1"], _platform("linux/amd64")),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "an entry that cannot be converted before one that can": Row(
        _index(
            (_REFUSED_ENTRY, _platform("linux/amd64")),
            (_VARIANTS["v1"], _platform("linux/amd64")),
        ),
        INDEX,
        _OCI_INDEX,
    ),
    "an OCI index of a docker image": Row(
        _index((images.docker("19"), _platform("linux/amd64"))),
        INDEX,
        {
            **_OCI_INDEX,
            "v2s2 only": "stored child",
        },
    ),
    "an OCI index of a docker image for another machine": Row(
        _index((images.docker("19"), _platform("linux/s390x"))),
        INDEX,
        {**_PASSED_ON, "docker 1.8": "404"},
    ),
    "an OCI image without history": Row(
        _with_config(images.oci("no history"), history=None), IMAGE, _OCI_IMAGE
    ),
    "an OCI image whose history does not match": Row(
        _with_config(images.oci("bad history"), history=[{"created_by": "one"}]),
        IMAGE,
        {**_OCI_IMAGE, "docker 1.8": "404"},
    ),
    "a docker image with an OCI config": Row(
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
    "a docker image that was created at no time": Row(
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
    "a sparse OCI index": Row(_lost(_SPARSE, _VARIANTS["arm64"]), INDEX, _OCI_INDEX),
}


def _cells() -> list[tuple[str, str]]:
    return [(name, client) for name, row in ROWS.items() for client in row.expected]


async def _ask(proxy: Proxy, reference: str, client: str) -> Answer:
    accept = CLIENTS[client]
    path = f"{CARGO}/{reference}"
    return await (proxy.get(path, Accept=accept) if accept else proxy.get(path))


@pytest.mark.parametrize(("name", "client"), _cells())
async def test_what_a_client_gets(
    proxy: Proxy, upstream: ScriptedUpstream, name: str, client: str
) -> None:
    row = ROWS[name]
    content = replace(row.content, media_type=row.label or row.content.media_type)
    push(upstream, "library/cargo", "odd", content)
    cold = await _ask(proxy, "odd", client)
    asked = len(upstream.requests)
    cached = await _ask(proxy, "odd", client)
    assert (cached.status, cached.body) == (cold.status, cold.body)
    expected = row.expected[client]
    if expected == "404":
        assert (cold.status, cold.code) == (404, "MANIFEST_UNKNOWN")
        return
    assert cold.status == 200, cold.body
    assert len(upstream.requests) == asked
    if expected == "stored":
        assert cold.body == row.content.manifest
        assert cold.headers["Content-Type"] == row.stored_type
    elif expected == "stored child":
        assert cold.body == row.content.children[0].manifest
    else:
        assert cold.headers["Content-Type"] == MediaType[expected.upper()]
        if expected != "v2s1_signed":
            assert json.loads(cold.body)["mediaType"] == MediaType[expected.upper()]
    by_digest = await _ask(proxy, cold.digest, client)
    assert (by_digest.status, by_digest.body) == (200, cold.body)


@pytest.mark.parametrize("name", ROWS)
async def test_a_digest_names_bytes(proxy: Proxy, upstream: ScriptedUpstream, name: str) -> None:
    row = ROWS[name]
    content = replace(row.content, media_type=row.label or row.content.media_type)
    push(upstream, "library/cargo", "odd", content)
    for _ in range(2):
        for client in CLIENTS:
            answer = await _ask(proxy, row.content.digest, client)
            assert (answer.status, answer.body) == (200, row.content.manifest)
            assert answer.headers["Content-Type"] == row.stored_type
        await proxy.restart()


async def test_nine_thousand_levels(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    deep = _with_member("x", b"[" * 9000 + b"]" * 9000)
    push(upstream, "library/cargo", "odd", deep)
    for reference in (deep.digest, "odd", deep.digest, "odd"):
        answer = await _ask(proxy, reference, "modern")
        assert (answer.status, answer.body) == (200, deep.manifest)
        assert answer.headers["Content-Type"] == IMAGE


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("media_type", ARTIFACT_MANIFESTS)
async def test_an_artifact_manifest_is_for_who_names_it(
    proxy: Proxy, upstream: ScriptedUpstream, media_type: str, *, declared: bool
) -> None:
    artifact = _artifact_manifest(media_type, declared=declared)
    push(upstream, "library/cargo", "sbom", artifact)
    for reference in ("sbom", artifact.digest, "sbom", artifact.digest):
        answer = await proxy.get(f"{CARGO}/{reference}", Accept=(IMAGE, media_type))
        assert (answer.status, answer.body) == (200, artifact.manifest)
        assert answer.headers["Content-Type"] == media_type
    for request in upstream.requests:
        assert media_type in request.headers["Accept"].split(", ")
    refused = await _ask(proxy, "sbom", "modern")
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")
    assert media_type in refused.message


@pytest.mark.parametrize(
    ("content", "label", "reason"),
    [
        (images.oci_index("two readings"), IMAGE, "came as"),
        (images.oci_index("two readings"), V2S2, "came as"),
        (images.oci("two readings"), INDEX, "came as"),
        (_undeclared(images.oci("two readings")), LIST, "content is not that of"),
        (_undeclared(images.oci_index("two readings")), V2S2, "content is not that of"),
        (edited(images.oci("two readings"), manifests=[]), IMAGE, "must not have"),
        (_with_member("mediaType", b'"' + V2S2.encode() + b'"'), IMAGE, "twice"),
        (_with_member("Layers", b"[]"), IMAGE, "misspelt"),
        (_with_member("manifests", b'["\xf6"]'), IMAGE, "must not have"),
    ],
)
async def test_what_has_two_readings_is_refused(
    proxy: Proxy, upstream: ScriptedUpstream, content: Content, label: str, reason: str
) -> None:
    """By tag and by digest (CVE-2021-41190)."""
    push(upstream, "library/cargo", "odd", replace(content, media_type=label))
    for reference in ("odd", content.digest):
        for client in CLIENTS:
            answer = await _ask(proxy, reference, client)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert reason in answer.message


@pytest.mark.parametrize("client", ["v2s2 only", "docker 1.8", "docker 1.13"])
async def test_the_oldest_cpu_gets_an_image_that_it_can_run(
    proxy: Proxy, upstream: ScriptedUpstream, client: str
) -> None:
    index = ROWS["amd64 as v3, v2 and without a variant"].content
    push(upstream, "library/cargo", "odd", index)
    config = document(_VARIANTS["v1"])["config"]["digest"]
    answer = await _ask(proxy, "odd", client)
    members = json.loads(answer.body)
    if client == "docker 1.13":
        assert [x["platform"].get("variant") for x in members["manifests"]] == [None, "v2", "v3"]
        members = json.loads((await _ask(proxy, members["manifests"][0]["digest"], client)).body)
    if client == "docker 1.8":
        newest = json.loads(_VARIANTS["v1"].manifest)["layers"][-1]["digest"]
        assert newest in [layer["blobSum"] for layer in members["fsLayers"]]
    else:
        assert members["config"]["digest"] == config


async def test_a_raspberry_pi_with_docker_18(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """v7 if there is one, and else the best that it runs."""
    pi = {name: images.oci(name) for name in ("v5", "v6", "v7")}
    for tag, names, best in (("all", ("v5", "v7", "v6"), "v7"), ("old", ("v5", "v6"), "v6")):
        arm = [(pi[name], _platform(f"linux/arm/{name}")) for name in names]
        index = _index((_VARIANTS["v1"], _platform("linux/amd64")), *arm)
        push(upstream, "library/cargo", tag, index)
        members = json.loads((await _ask(proxy, tag, "docker 1.13")).body)
        assert [x["platform"] for x in members["manifests"]] == [
            _platform("linux/amd64"),
            _platform(f"linux/arm/{best}"),
        ]


async def test_an_index_of_many_indexes_costs_its_own_client_only_so_much(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    many = [images.oci_index(f"many {n}") for n in range(65)]
    push(upstream, "library/cargo", "many", _index(*((index, None) for index in many)))
    before = upstream.count("GET")
    refused = await _ask(proxy, "many", "docker 1.13")
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")
    assert "65 indexes in it, more than the limit of 64" in refused.message
    assert upstream.count("GET") <= before + 2
    assert (await _ask(proxy, "many", "modern")).status == 200
