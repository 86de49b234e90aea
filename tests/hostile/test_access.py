"""Two users with a private repository each, which share layers: neither gets what is the other's.

The registry has real rights: a token server in front of docker-registry, or nginx with a file of
users for each repository. A third repository, which everybody may read, has a manifest that names
all that the private ones have. The proxy checks logins by its own file, or at the registry; it
sends blobs itself, or redirects clients to a bucket.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.hostile.two_users import (
    ANY,
    CLAIMS,
    CONTENT,
    LOGINS,
    NO_NAME,
    OPEN,
    PRIVATE,
    REQUESTERS,
    ROBOT,
    Ask,
    Scene,
    every,
    seen,
)
from tests.kit.access import basic, htpasswd
from tests.kit.basic_registry import BasicRegistry
from tests.kit.proxy import Proxy, settings
from tests.kit.registry import Registry
from tests.kit.s3_gateway import Gateway
from tests.kit.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

# Who checks the clients' logins, how the registry knows its users, and how blobs are sent.
WORLDS: Final = {
    "own users": ("basic", "tokens", "stream"),
    "the registry's tokens": ("upstream", "tokens", "stream"),
    "own users, registry by htpasswd": ("basic", "htpasswd", "stream"),
    "the registry's htpasswd": ("upstream", "htpasswd", "stream"),
    "own users, redirects": ("basic", "htpasswd", "redirect"),
    "the registry's tokens, redirects": ("upstream", "tokens", "redirect"),
}


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URLs of the same content behind both ways to know users."""
    directory = tmp_path_factory.mktemp("registry")
    with Registry(directory) as pushed:
        for name, repository in PRIVATE.items():
            pushed.push(repository, "1", CONTENT[name])
    _put(directory / "storage/docker/registry/v2", OPEN, CLAIMS)
    users = {ROBOT: ("*",), **{login: (f"{name}/*",) for name, login in LOGINS.items()}}
    prefixes = {ROBOT: ("",), **{login: (f"{name}/",) for name, login in LOGINS.items()}}
    with ExitStack() as stack:
        tokens = stack.enter_context(TokenServer(users, public=("open/*",)))
        by_tokens = stack.enter_context(Registry(directory, tokens=tokens))
        (directory / "behind").mkdir()
        (directory / "behind" / "storage").symlink_to(directory / "storage")
        behind = stack.enter_context(Registry(directory / "behind"))
        by_files = stack.enter_context(
            BasicRegistry(
                directory / "nginx", upstream=behind.url, users=prefixes, public=["open/"]
            )
        )
        yield {"tokens": by_tokens.url, "htpasswd": by_files.url}


def _put(root: Path, name: str, content: Content) -> None:
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


@pytest.fixture(params=list(WORLDS.values()), ids=list(WORLDS))
async def scene(
    request: pytest.FixtureRequest, registries: dict[str, str], data_dir: Path, tmp_path: Path
) -> AsyncIterator[Scene]:
    mode, kind, deliver = request.param
    upstreams: dict[str, Any] = {
        "docker.io": {
            "url": registries[kind],
            "default": True,
            "credentials": {"username": ROBOT[0], "password": ROBOT[1]},
        }
    }
    with ExitStack() as stack:
        gateway = None
        blobs: dict[str, Any] = {}
        if deliver == "redirect":
            gateway = stack.enter_context(Gateway(tmp_path / "gateway"))
            blobs = gateway.settings(deliver="redirect")
        chosen = settings(
            upstreams,
            data_dir,
            access=_access(mode, tmp_path),
            blobs=blobs,
            negative_cache={"not_found": "0s", "denied": "1h"},
            tags={"ttl": "1h"},
        )
        async with Proxy(chosen) as proxy:
            scene = Scene(proxy, gateway)
            await scene.open()
            yield scene


def _access(mode: str, directory: Path) -> dict[str, Any]:
    is_open = {"match": "docker.io/open/*", "mode": "open"}
    if mode == "upstream":
        return {"mode": "upstream", "rules": [is_open]}
    own = [{"match": f"docker.io/{name}/*", "mode": "basic", "users": [name]} for name in LOGINS]
    nobody = {"match": "docker.io/none/*", "mode": "basic", "users": ["carol"]}
    return {
        "mode": "basic",
        "htpasswd_file": htpasswd(directory / "htpasswd", dict(LOGINS.values())),
        "rules": [*own, is_open, nobody],
    }


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
        is_bucket = scene.proxy.settings.blobs.store == "s3"
        assert (scene.redirected > 0) is is_bucket


async def test_tags_and_lists_are_closed_too(scene: Scene) -> None:
    await scene.warm()
    for requester, (owner, repository) in product(REQUESTERS, PRIVATE.items()):
        for path in ("tags/list", f"referrers/{CONTENT[owner].digest}", "manifests/1"):
            answer = await scene.send(Ask(requester, repository, path, headers=ANY))
            if requester == owner:
                assert answer.status == 200, (path, answer)
            else:
                assert answer.status == (401 if requester == "nobody" else 403)
                twin = Ask(requester, NO_NAME, path, headers=ANY)
                asked = Ask(requester, repository, path)
                assert seen(answer, asked) == seen(await scene.send(twin), twin)


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
