"""Images as real registries have them: what every generation of client gets, cold and cached."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import ARTIFACT_MANIFESTS, MediaType
from tests.kit import images
from tests.kit.images import Content
from tests.kit.manifest_kinds import document, edited
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
