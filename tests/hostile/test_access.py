"""Two users with a private repository each, which share layers: neither gets what is the other's.

The registry has real rights: a token server in front of docker-registry. A third repository, which
everybody may read, has a manifest that names all that the private ones have. The proxy checks
logins by its own file, or at the registry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.access import basic, bearer, htpasswd
from tests.kit.proxy import Proxy, settings
from tests.kit.registry import Registry
from tests.kit.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.kit.proxy import Answer

pytestmark = pytest.mark.e2e

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

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._headers: dict[str, str] = {}
        self.derived: dict[str, tuple[str, bytes]] = {}

    async def open(self) -> None:
        """Get a token for each user, and have the owners pull and convert what is theirs."""
        for name, login in LOGINS.items():
            self._headers[name] = await bearer(self.proxy, *login)

    async def warm(self) -> None:
        for name, repository in PRIVATE.items():
            content = CONTENT[name]
            for digest, blob in content.blobs.items():
                answer = await self.send(Ask(name, repository, f"blobs/{digest}"))
                assert answer.body == blob
            answer = await self.send(Ask(name, repository, "manifests/1", headers=_OCI))
            assert answer.headers["Content-Type"] == images.OCI.manifest
            self.derived[repository] = answer.digest, answer.body
        assert (await self.send(Ask("nobody", OPEN, "manifests/1", headers=_ANY))).status == 200

    async def send(self, ask: Ask) -> Answer:
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
            assert answer.status in {200, 206}, (ask, answer)
            if ask.method == "GET" and not ask.headers.get("Range"):
                assert answer.body == body, ask
            return
        kind = ask.path.partition("/")[0]
        twin = Ask(ask.requester, ask.repository, f"{kind}/{NOT_THERE}", ask.method, ask.headers)
        assert _seen(answer, ask) == _seen(await self.send(twin), twin), ask
        if not may:
            assert answer.status == (401 if ask.requester == "nobody" else 403), (ask, answer)
            nowhere = Ask(ask.requester, NO_NAME, ask.path, ask.method, ask.headers)
            assert _seen(answer, ask) == _seen(await self.send(nowhere), nowhere), ask


def _seen(answer: Answer, ask: Ask) -> tuple[object, ...]:
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
_ANY: Final = {"Accept": "*/*"}
_ACCEPTS: Final[tuple[dict[str, str], ...]] = (_ANY, {"Accept": MediaType.V2S2}, {})
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


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("registry")
    with Registry(directory) as pushed:
        for name, repository in PRIVATE.items():
            pushed.push(repository, "1", CONTENT[name])
    _put(directory / "storage/docker/registry/v2", OPEN, CLAIMS)
    users = {ROBOT: ("*",), **{login: (f"{name}/*",) for name, login in LOGINS.items()}}
    with (
        TokenServer(users, public=("open/*",)) as tokens,
        Registry(directory, tokens=tokens) as registry,
    ):
        yield registry


def _put(root: Path, name: str, content: images.Content) -> None:
    """Put a manifest into a registry's storage: it takes none that names what is not there."""
    hexadecimal = content.digest.partition(":")[2]
    link = content.digest.encode()
    files = {
        f"blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data": content.manifest,
        f"repositories/{name}/_manifests/revisions/sha256/{hexadecimal}/link": link,
        f"repositories/{name}/_manifests/tags/1/current/link": link,
        f"repositories/{name}/_manifests/tags/1/index/sha256/{hexadecimal}/link": link,
    }
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)


@pytest.fixture(params=["basic", "upstream"])
async def scene(
    request: pytest.FixtureRequest, registry: Registry, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Scene]:
    upstreams: dict[str, Any] = {
        "docker.io": {
            "url": registry.url,
            "default": True,
            "credentials": {"username": ROBOT[0], "password": ROBOT[1]},
        }
    }
    access: dict[str, Any] = {"mode": "upstream"}
    if request.param == "basic":
        users = htpasswd(tmp_path / "htpasswd", dict(LOGINS.values()))
        access = {
            "htpasswd_file": users,
            "rules": [
                {"match": f"docker.io/{name}/*", "mode": "basic", "users": [name]}
                for name in LOGINS
            ],
            "mode": "basic",
        }
        access["rules"] += [
            {"match": "docker.io/open/*", "mode": "open"},
            {"match": "docker.io/none/*", "mode": "basic", "users": ["carol"]},
        ]
    else:
        access["rules"] = [{"match": "docker.io/open/*", "mode": "open"}]
    chosen = settings(
        upstreams,
        data_dir,
        access=access,
        negative_cache={"not_found": "0s", "denied": "1h"},
        tags={"ttl": "1h"},
    )
    async with Proxy(chosen) as proxy:
        scene = Scene(proxy)
        await scene.open()
        yield scene


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_nobody_gets_what_is_not_theirs(scene: Scene, *, warm: bool) -> None:
    if warm:
        await scene.warm()
    for ask in every(scene):
        await scene.check(ask)
    if warm:
        await scene.proxy.restart()
        await scene.open()
        for ask in [*every(scene)][::7]:
            await scene.check(ask)


async def test_tags_and_lists_are_closed_too(scene: Scene) -> None:
    await scene.warm()
    for requester, (owner, repository) in product(REQUESTERS, PRIVATE.items()):
        for path in ("tags/list", f"referrers/{CONTENT[owner].digest}", "manifests/1"):
            answer = await scene.send(Ask(requester, repository, path, headers=_ANY))
            if requester == owner:
                assert answer.status == 200, (path, answer)
            else:
                assert answer.status == (401 if requester == "nobody" else 403)
                twin = Ask(requester, NO_NAME, path, headers=_ANY)
                asked = Ask(requester, repository, path)
                assert _seen(answer, asked) == _seen(await scene.send(twin), twin)


@examples(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), max_size=8))
async def test_in_any_order(scene: Scene, steps: list[tuple[bool, int]]) -> None:
    """Requests while owners pull, in any order."""
    for warm, number in steps:
        if warm and number % 4 == 0:
            await scene.warm()
        asks = [*every(scene)]
        await scene.check(asks[number % len(asks)])


async def test_a_wrong_login_is_nobody(scene: Scene) -> None:
    await scene.warm()
    for name, login in LOGINS.items():
        for header in (basic(login[0], "wrong"), basic("", login[1]), basic("carol", login[1])):
            answer = await scene.proxy.get(
                f"/v2/{PRIVATE[name]}/manifests/1", Accept="*/*", Authorization=header
            )
            assert answer.status in {401, 403}
            assert answer.body.find(CONTENT[name].digest.encode()) < 0
