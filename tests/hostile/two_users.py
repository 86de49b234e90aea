"""Two users with a private repository each, which share layers, and an open one that names all.

What each may have, and what every answer is that is not for them.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from proxy.oci.mediatype import MediaType
from tests.kit import images, raw_http
from tests.kit.access import bearer
from tests.kit.proxy import until
from tests.kit.s3_gateway import objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.kit.proxy import Answer, Proxy
    from tests.kit.s3_gateway import Gateway

ROBOT: Final = ("robot", "rust")
LOGINS: Final = {"ann": ("ann", "anchor"), "bob": ("bob", "bollard")}
REQUESTERS: Final = ("nobody", *LOGINS)
PRIVATE: Final = {"ann": "ann/app", "bob": "bob/app"}
OPEN: Final = "open/claims"
# What is not there, in every repository that somebody may read.
NOT_THERE: Final = "sha256:" + "0" * 64
NO_NAME: Final = "none/app"
_SHARED: Final = images.docker("shared by both")
IMAGES: Final = {name: images.docker(f"of {name} alone") for name in LOGINS}


def _with_shared_layers(own: images.Content) -> images.Content:
    """The image with the layers of another one below its own."""
    manifest, shared = json.loads(own.manifest), json.loads(_SHARED.manifest)
    manifest["layers"] = shared["layers"] + manifest["layers"]
    blobs = {**{each["digest"]: _SHARED.blobs[each["digest"]] for each in shared["layers"]}}
    return images.Content(own.media_type, json.dumps(manifest).encode(), {**blobs, **own.blobs})


CONTENT: Final = {name: _with_shared_layers(image) for name, image in IMAGES.items()}


def _claims() -> images.Content:
    """A manifest that names everything of both."""
    everything = [
        {"mediaType": images.OCI.layer, "digest": digest, "size": len(blob)}
        for content in CONTENT.values()
        for digest, blob in {**content.blobs, content.digest: content.manifest}.items()
    ]
    config = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": images.OCI.manifest,
        "config": {
            "mediaType": images.OCI.config,
            "digest": images.digest(config),
            "size": len(config),
        },
        "layers": everything,
    }
    return images.Content(images.OCI.manifest, json.dumps(manifest).encode())


CLAIMS: Final = _claims()


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: by whom, in which repository, for what."""

    requester: str
    repository: str
    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict, hash=False)


class Scene:
    """The proxy, and what each repository has."""

    def __init__(self, proxy: Proxy, gateway: Gateway | None = None) -> None:
        """With a `gateway` blobs are in its bucket, and clients are redirected there."""
        self.proxy = proxy
        self.redirected = 0
        self._gateway = gateway
        self._headers: dict[str, str] = {}
        self.derived: dict[str, tuple[str, bytes]] = {}

    async def open(self) -> None:
        """Get a token for each user."""
        for name, login in LOGINS.items():
            self._headers[name] = await bearer(self.proxy, *login)

    async def warm(self) -> None:
        """Have the owners pull and convert what is theirs."""
        for name, repository in PRIVATE.items():
            content = CONTENT[name]
            for digest, blob in content.blobs.items():
                answer = await self.send(Ask(name, repository, f"blobs/{digest}"))
                assert (await self._follow(answer)).body == blob
            answer = await self.send(Ask(name, repository, "manifests/1", headers=_OCI))
            assert answer.headers["Content-Type"] == images.OCI.manifest
            self.derived[repository] = answer.digest, answer.body
        assert (await self.send(Ask("nobody", OPEN, "manifests/1", headers=ANY))).status == 200
        if self._gateway is not None:
            wanted = {digest for content in CONTENT.values() for digest in content.blobs}
            bucket = self._gateway.bucket()
            await until(lambda: wanted <= {name.rpartition("/")[2] for name in objects(bucket)})

    async def _follow(
        self, answer: Answer, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Answer | raw_http.Answer:
        """The answer, or that of the bucket to which the client is redirected."""
        if answer.status != 307:
            return answer
        assert self._gateway is not None
        self.redirected += 1
        url = answer.headers["Location"]
        assert url.startswith(f"{self._gateway.endpoint}/")
        assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["60"]
        lines = list((headers or {}).items())
        return await asyncio.to_thread(raw_http.ask, url, method=method, headers=lines)

    async def send(self, ask: Ask) -> Answer:
        """Ask the proxy, with the requester's token."""
        headers = dict(ask.headers)
        if ask.requester in self._headers:
            headers["Authorization"] = self._headers[ask.requester]
        return await self.proxy.ask(ask.method, f"/v2/{ask.repository}/{ask.path}", **headers)

    def has(self, repository: str, path: str) -> bytes | None:
        """The bytes that the repository has at the path."""
        kind, _, digest = path.partition("/")
        if repository == OPEN:
            return CLAIMS.manifest if digest in {"1", CLAIMS.digest} else None
        name = next((name for name, each in PRIVATE.items() if each == repository), None)
        if name is None:
            return None
        if kind == "blobs":
            return CONTENT[name].blobs.get(digest)
        if digest in {"1", CONTENT[name].digest}:
            return CONTENT[name].manifest
        made, body = self.derived.get(repository, ("", b""))
        return body if digest == made else None

    async def check(self, ask: Ask) -> None:
        """The requester gets what is there and is theirs; of all else not even that it exists."""
        answer = await self.send(ask)
        may = ask.repository == OPEN or PRIVATE.get(ask.requester) == ask.repository
        body = self.has(ask.repository, ask.path) if may else None
        if body is not None:
            got = await self._follow(answer, ask.method, ask.headers)
            assert got.status in {200, 206}, (ask, answer)
            if ask.method == "GET" and not ask.headers.get("Range"):
                assert got.body == body, ask
            return
        assert answer.status != 307, ask
        kind = ask.path.partition("/")[0]
        twin = Ask(ask.requester, ask.repository, f"{kind}/{NOT_THERE}", ask.method, ask.headers)
        assert seen(answer, ask) == seen(await self.send(twin), twin), ask
        if not may:
            assert answer.status == (401 if ask.requester == "nobody" else 403), (ask, answer)
            nowhere = Ask(ask.requester, NO_NAME, ask.path, ask.method, ask.headers)
            assert seen(answer, ask) == seen(await self.send(nowhere), nowhere), ask


def seen(answer: Answer, ask: Ask) -> tuple[object, ...]:
    """All that an answer tells, but for what the client has said itself."""
    headers = {
        name: value.replace(ask.repository, "NAME")
        for name, value in answer.headers.items()
        if name not in {"Date", "X-Request-ID", "Content-Length"}
    }
    body = answer.body
    for said in (ask.repository, ask.path.partition("/")[2]):
        body = body.replace(said.encode(), b"SAID")
    return answer.status, body, tuple(sorted(headers.items()))


_OCI: Final = {"Accept": images.OCI.manifest}
ANY: Final = {"Accept": "*/*"}
_ACCEPTS: Final[tuple[dict[str, str], ...]] = (ANY, {"Accept": MediaType.V2S2}, {})
_RANGES: Final[tuple[dict[str, str], ...]] = (
    {},
    {"Range": "bytes=0-3"},
    {"Range": "bytes=-4"},
    {"Range": "bytes=4-"},
)


def every(scene: Scene) -> Iterator[Ask]:
    """Every requester, repository, thing, method and range."""
    digests = [content.digest for content in CONTENT.values()]
    digests += [made for made, _ in scene.derived.values()]
    blobs = [digest for content in CONTENT.values() for digest in content.blobs]
    for requester, repository in product(REQUESTERS, (*PRIVATE.values(), OPEN)):
        for method in ("GET", "HEAD"):
            for digest, headers in product(digests, _ACCEPTS):
                yield Ask(requester, repository, f"manifests/{digest}", method, headers)
            for digest, headers in product(dict.fromkeys([*blobs, *digests]), _RANGES):
                yield Ask(requester, repository, f"blobs/{digest}", method, headers)
