"""A registry whose repositories have a quirk each, for real clients to pull from."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.images import DOCKER, OCI, Content
from tests.kit.manifest_kinds import document, edited
from tests.kit.proxy import push
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

SIGNATURE: Final = {
    "mediaType": OCI.manifest,
    "digest": images.digest(b"signature"),
    "size": 9,
    "artifactType": "application/vnd.example.signature",
}


@dataclass(frozen=True, slots=True)
class QuirkyRegistry:
    """The registry and the second one, to which a repository redirects."""

    upstream: ScriptedUpstream
    elsewhere: ScriptedUpstream

    def has(self, name: str, content: Content, label: str = "") -> None:
        """Serve an image as `name:1`, with another `Content-Type` if `label` says so."""
        push(self.upstream, name, "1", replace(content, media_type=label or content.media_type))

    def fault(self, method: str, path: str, fault: Fault) -> None:
        """Answer requests for `/v2/PATH` so."""
        self.upstream.fault(method, f"/v2/{path}", fault)


def _refuse_head(kind: str, status: int) -> Callable[[QuirkyRegistry, str], None]:
    def prepare(registry: QuirkyRegistry, name: str) -> None:
        registry.has(name, images.docker(name))
        registry.fault("HEAD", f"{name}/{kind}/*", Fault(status=status))

    return prepare


def _label(content: Content, label: str) -> Callable[[QuirkyRegistry, str], None]:
    return lambda registry, name: registry.has(name, content, label)


def _newest_cpu_first(registry: QuirkyRegistry, name: str) -> None:
    children = [images.docker(f"{name} {variant}") for variant in ("v3", "v2", "v1")]
    entries = [
        {"mediaType": child.media_type, "digest": child.digest, "size": len(child.manifest)}
        | {"platform": {"os": "linux", "architecture": "amd64"} | variant}
        for child, variant in zip(children, ({"variant": "v3"}, {"variant": "v2"}, {}), strict=True)
    ]
    members = {"schemaVersion": 2, "mediaType": OCI.index, "manifests": entries}
    registry.has(name, Content(OCI.index, json.dumps(members).encode(), children=tuple(children)))


def _no_history(registry: QuirkyRegistry, name: str) -> None:
    content = images.oci(name)
    described = document(content)["config"]
    config = json.loads(content.blobs[described["digest"]])
    del config["history"]
    raw = json.dumps(config).encode()
    named = described | {"digest": images.digest(raw), "size": len(raw)}
    blobs = {**content.blobs, named["digest"]: raw}
    registry.has(name, replace(edited(content, config=named), blobs=blobs))


def _blobs(fault: Fault) -> Callable[[QuirkyRegistry, str], None]:
    def prepare(registry: QuirkyRegistry, name: str) -> None:
        content = images.docker(name)
        registry.has(name, content)
        for digest, blob in content.blobs.items():
            registry.fault("GET", f"{name}/blobs/{digest}", replace(fault, body=blob))

    return prepare


def _redirect_to_a_registry(registry: QuirkyRegistry, name: str) -> None:
    content = images.docker(name)
    registry.has(name, content)
    for digest, blob in content.blobs.items():
        registry.elsewhere.add_blob(name, blob)
        path = f"/v2/{name}/blobs/{digest}"
        registry.fault("GET", f"{name}/blobs/{digest}", redirect(registry.elsewhere.url + path))


# Repositories from which every client can pull.
PULLED: Final[Mapping[str, Callable[[QuirkyRegistry, str], None]]] = {
    "cargo/manifest-head-400": _refuse_head("manifests", 400),
    "cargo/manifest-head-403": _refuse_head("manifests", 403),
    "cargo/manifest-head-406": _refuse_head("manifests", 406),
    "cargo/blob-head-405": _refuse_head("blobs", 405),
    "cargo/index-labelled-list": _label(images.oci_index("labelled"), DOCKER.index),
    "cargo/image-labelled-v2s2": _label(images.oci_undeclared("labelled"), DOCKER.manifest),
    "cargo/newest-cpu-first": _newest_cpu_first,
    "cargo/no-history": _no_history,
    "cargo/label-aws-chunked": _blobs(Fault(headers={"Content-Encoding": "aws-chunked"})),
    "cargo/status-203": _blobs(Fault(status=203)),
    "cargo/redirect-to-registry": _redirect_to_a_registry,
}


@asynccontextmanager
async def quirky_registry() -> AsyncIterator[QuirkyRegistry]:
    """One with all repositories of `PULLED`."""
    async with ScriptedUpstream() as upstream, ScriptedUpstream() as elsewhere:
        elsewhere.require_token()
        registry = QuirkyRegistry(upstream, elsewhere)
        for name, prepare in PULLED.items():
            prepare(registry, name)
        yield registry


def add_listings(registry: QuirkyRegistry) -> None:
    """Repositories whose lists of tags and of referrers have quirks."""
    tags = "cargo/pages/tags/list"
    token = "A" * 4000
    path = f"/v2/{tags}"
    following = f'{path}?n=2&last={token}; title="b, c"; rel=next'
    page = {"name": "cargo/pages", "tags": ["a", "b"]}
    registry.fault("GET", tags, _listing(page | {"tags": ["c"]}))
    registry.upstream.fault("GET", path, _listing(page, Link=following), times=1)
    refusal = {"errors": [{"code": "TOO_MANY_TAGS_REQUESTED", "message": "at most 100 tags"}]}
    registry.fault("GET", "cargo/large/tags/list", replace(_listing(refusal), status=400))
    for status in (404, 405, 406, 501):
        name = f"cargo/referrers-{status}"
        content = images.oci(name)
        registry.has(name, content)
        index = {"schemaVersion": 2, "mediaType": OCI.index, "manifests": [SIGNATURE]}
        tag = content.digest.replace(":", "-")
        registry.upstream.add_manifest(name, tag, json.dumps(index).encode(), MediaType.OCI_INDEX)
        registry.fault("GET", f"{name}/referrers/*", Fault(status=status))


def _listing(document: Mapping[str, object], **headers: str) -> Fault:
    return Fault(status=200, body=json.dumps(document).encode(), headers=headers)
