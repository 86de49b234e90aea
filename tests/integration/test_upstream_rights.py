"""Rules with `mode: upstream`: the registry itself says what a client's own login may pull."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.config import Settings
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.access import basic, bearer, htpasswd
from tests.kit.kept_connection import KeptConnection, get
from tests.kit.prepared_heads import watch
from tests.kit.proxy import Proxy, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.kit.proxy import Answer

PROXY: Final = ("robot", "rust")
ANN: Final = ("ann", "anchor")
BOB: Final = ("bob", "bollard")
IMAGE: Final = images.docker("of ann")
LAYER: Final = list(IMAGE.blobs.values())[-1]
USERS: Final = {PROXY: ("*",), ANN: ("ann/*",), BOB: ("bob/*",)}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """A registry with real rights: Ann and Bob have a repository each, and one is public."""
    async with ScriptedUpstream() as upstream:
        for name in ("ann/app", "bob/app", "library/cargo"):
            push(upstream, name, "1", IMAGE)
        upstream.require_users(USERS, public=("library/*",))
        yield upstream


def chosen(upstream: ScriptedUpstream, data: Path, **access: Any) -> Any:
    return settings(
        {
            "docker.io": {
                "url": upstream.url,
                "default": True,
                "credentials": {"username": PROXY[0], "password": PROXY[1]},
            }
        },
        data,
        access={"mode": "upstream", **access},
        negative_cache={"denied": "0s", "not_found": "0s"},
        tags={"ttl": "1h"},
    )


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    async with Proxy(chosen(upstream, data_dir)) as proxy:
        yield proxy


async def ask(proxy: Proxy, name: str, path: str = "manifests/1", **headers: str) -> Answer:
    return await proxy.get(f"/v2/{name}/{path}", Accept=MediaType.V2S2, **headers)


async def test_each_login_pulls_what_the_registry_lets_it_pull(proxy: Proxy) -> None:
    for login, own, other in ((ANN, "ann/app", "bob/app"), (BOB, "bob/app", "ann/app")):
        for header in (basic(*login), await bearer(proxy, *login)):
            assert (await ask(proxy, own, Authorization=header)).body == IMAGE.manifest
            layer = await ask(proxy, own, f"blobs/{Digest.of(LAYER)}", Authorization=header)
            assert layer.body == LAYER
            for path in ("manifests/1", f"blobs/{Digest.of(LAYER)}", "manifests/none"):
                answer = await ask(proxy, other, path, Authorization=header)
                assert (answer.status, answer.code) == (403, "DENIED")


async def test_nobody_pulls_what_is_public_and_nothing_else(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for header in ({}, {"Authorization": await bearer(proxy)}):
        assert (await ask(proxy, "library/cargo", **header)).status == 200
        assert (await ask(proxy, "ann/app", **header)).status == 401
        assert (await ask(proxy, "nobody/has-this", **header)).status == 401
    before = upstream.count("*", "/v2/library/*")
    for login in (ANN, BOB, ("nobody", "knows")):
        assert (await ask(proxy, "library/cargo", Authorization=basic(*login))).status == 200
    assert upstream.count("*", "/v2/library/*") == before, "one question for everybody"


def _sent(request: Any) -> str:
    return str(request.headers.get("Authorization", ""))


async def test_a_right_is_asked_for_once(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    header = basic(*ANN)
    await ask(proxy, "ann/app", Authorization=header)
    before = len(upstream.requests)
    for _ in range(3):
        assert (await ask(proxy, "ann/app", Authorization=header)).status == 200
    assert len(upstream.requests) == before
    assert {_sent(each) for each in upstream.requests} == {"", header, basic(*PROXY)}


@pytest.mark.parametrize(
    ("name", "login"), [("ann/app", ANN), ("library/cargo", ("carol", "unknown"))]
)
async def test_a_right_that_is_known_is_answered_as_fast_as_what_is_open(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str, login: tuple[str, str]
) -> None:
    """Without parsing: by a login that the registry has confirmed, or that nobody asks for."""
    prepared: list[bool] = []
    watch(monkeypatch, lambda _head, is_sent: prepared.append(is_sent))
    header = f"Authorization: {basic(*login)}"
    head = get(f"/v2/{name}/manifests/1", f"Accept: {MediaType.V2S2}", header)
    async with KeptConnection(proxy.address) as connection:
        for _ in range(4):
            assert (await connection.ask(head)).startswith(b"HTTP/1.1 200 ")
    assert prepared == [True, True]


async def test_a_login_that_was_confirmed_upstream_may_become_a_user_of_this_proxy(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    users = htpasswd(tmp_path / "htpasswd", {"ci": "s3cret"})
    rules = [{"match": "docker.io/library/*", "mode": "basic"}]
    access = {"htpasswd_file": users, "rules": rules}
    async with Proxy(chosen(upstream, data_dir, **access)) as proxy:
        for name, expected in (("ann/app", 200), ("library/cargo", 401)):
            assert (await ask(proxy, name, Authorization=basic(*ANN))).status == expected
        htpasswd(users, dict([ANN]))
        await proxy.services.access.look()
        for name, expected in (("ann/app", 401), ("library/cargo", 200)):
            assert (await ask(proxy, name, Authorization=basic(*ANN))).status == expected


async def test_a_derived_digest_needs_the_right_too_and_gets_it(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """No registry has it, so another question shows the right."""
    upstream.lists_tags = True
    made = await proxy.get(
        "/v2/ann/app/manifests/1", Accept=MediaType.OCI_MANIFEST, Authorization=basic(*ANN)
    )
    assert made.headers["Content-Type"] == MediaType.OCI_MANIFEST
    path = f"manifests/{made.digest}"
    await proxy.restart()
    assert (await ask(proxy, "ann/app", path, Authorization=basic(*ANN))).body == made.body
    assert (await ask(proxy, "ann/app", path, Authorization=basic(*BOB))).status == 403
    assert (await ask(proxy, "bob/app", path, Authorization=basic(*BOB))).status == 404


async def withdraw(upstream: ScriptedUpstream) -> None:
    upstream.require_users({PROXY: ("*",), ANN: ("own/*",)})


async def stop(upstream: ScriptedUpstream) -> None:
    await upstream.stop()


async def fail(upstream: ScriptedUpstream) -> None:
    await withdraw(upstream)
    upstream.fault("*", "/v2/*", Fault(status=503), times=100_000)


@pytest.mark.parametrize("by_token", [False, True], ids=["login", "token"])
@pytest.mark.parametrize(
    ("end", "expected"),
    [(withdraw, 403), (stop, 502), (fail, 502)],
    ids=["withdrawn", "the registry is down", "a client causes errors"],
)
async def test_a_right_ends_with_its_ttl(
    upstream: ScriptedUpstream,
    data_dir: Path,
    end: Callable[[ScriptedUpstream], Awaitable[None]],
    expected: int,
    *,
    by_token: bool,
) -> None:
    """Whatever happens to the registry meanwhile: no request that begins later is answered."""
    ttl = 1.0
    # A client that causes errors must not profit of `stale_if_error` either.
    access = {"ttl": f"{ttl}s", "stale_if_error": "1h" if end is fail else "0s"}
    async with Proxy(chosen(upstream, data_dir, **access)) as proxy:
        header = await bearer(proxy, *ANN) if by_token else basic(*ANN)
        answer = await ask(proxy, "ann/app", Authorization=header)
        granted = time.monotonic()
        assert answer.status == 200
        await end(upstream)
        statuses, number = [200], 0
        while statuses[-1] == 200:
            if end is fail:
                # As many as open the circuit, of repositories of its own.
                number += 1
                await ask(proxy, f"own/{number}", Authorization=header)
            began = time.monotonic()
            statuses.append((await ask(proxy, "ann/app", Authorization=header)).status)
            if statuses[-1] == 200:
                assert began < granted + ttl
        assert statuses[-1] == expected
        # And it does not come back.
        assert (await ask(proxy, "ann/app", Authorization=header)).status == expected
        if end is stop:
            await upstream.start()


@pytest.mark.parametrize("stale_if_error", ["0s", "1h"])
async def test_an_unreachable_registry_grants_nothing_new(
    upstream: ScriptedUpstream, data_dir: Path, stale_if_error: str
) -> None:
    access = {"ttl": "1ms", "stale_if_error": stale_if_error}
    async with Proxy(chosen(upstream, data_dir, **access)) as proxy:
        assert (await ask(proxy, "ann/app", Authorization=basic(*ANN))).status == 200
        await upstream.stop()
        kept = await ask(proxy, "ann/app", Authorization=basic(*ANN))
        assert kept.status == (502 if stale_if_error == "0s" else 200)
        new = await ask(proxy, "ann/app", Authorization=basic(*BOB))
        assert new.status == 502
        await upstream.start()


async def test_a_client_cannot_prolong_its_right_by_causing_errors(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """The circuit is open, and every answer an error; the registry can be reached all the same."""
    async with Proxy(chosen(upstream, data_dir, ttl="1ms", stale_if_error="1h")) as proxy:
        assert (await ask(proxy, "ann/app", Authorization=basic(*ANN))).status == 200
        upstream.require_users({PROXY: ("*",), ANN: ("own/*",)})
        upstream.fault("*", "/v2/*", Fault(status=503), times=40)
        for number in range(8):
            await ask(proxy, f"own/{number}", Authorization=basic(*ANN))
        answer = await ask(proxy, "ann/app", Authorization=basic(*ANN))
        assert answer.status == 502
        upstream.heal()
        assert (await ask(proxy, "ann/app", Authorization=basic(*ANN))).status == 403


async def test_a_login_is_checked_where_it_belongs(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    assert (await proxy.get("/token?service=x", Authorization=basic(*ANN))).status == 200
    wrong = await proxy.get("/token?service=x", Authorization=basic("ann", "wrong"))
    assert wrong.status == 401
    asked = upstream.count("GET", "/v2/")
    await proxy.get("/token?service=x", Authorization=basic("ann", "wrong"))
    assert upstream.count("GET", "/v2/") == asked, "a wrong login is not asked again at once"
    assert (await proxy.get("/v2/", Authorization=basic(*ANN))).status == 200


async def test_a_user_of_this_proxy_is_not_sent_upstream(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    users = htpasswd(tmp_path / "htpasswd", {"ann": "of the proxy"})
    async with Proxy(chosen(upstream, data_dir, htpasswd_file=users)) as proxy:
        header = basic("ann", "of the proxy")
        assert (await ask(proxy, "ann/app", Authorization=header)).status == 401
        assert (await ask(proxy, "library/cargo", Authorization=header)).status == 200
    assert header not in {_sent(each) for each in upstream.requests}


async def test_a_token_server_is_asked_with_the_clients_login(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """The registry has one account, which is ours and the client's."""
    upstream.require_users({})
    upstream._users.clear()
    upstream.require_token(*PROXY)
    async with Proxy(chosen(upstream, data_dir)) as proxy:
        assert (await ask(proxy, "ann/app", Authorization=basic(*PROXY))).status == 200
        assert (await ask(proxy, "ann/app", Authorization=basic(*ANN))).status == 403
        assert (await ask(proxy, "ann/app")).status == 401
        assert (await proxy.get("/token", Authorization=basic(*PROXY))).status == 200
        assert (await proxy.get("/token", Authorization=basic(*ANN))).status == 401


async def test_questions_about_logins_count_for_the_client_that_causes_them(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    limits = {"per_client": {"upstream_per_minute": 8}}
    settings_of = chosen(upstream, data_dir).model_dump()
    limited = Settings.model_validate({**settings_of, "limits": limits})
    async with Proxy(limited) as proxy:
        answers = [
            await ask(
                proxy, "ann/app", f"manifests/{number}", Authorization=basic("ann", f"{number}")
            )
            for number in range(20)
        ]
        assert {answer.status for answer in answers} == {403, 429}
        assert answers[-1].code == "TOOMANYREQUESTS"
        asked = len(upstream.requests)
        assert (await proxy.get("/token?service=x", Authorization=basic(*ANN))).status == 429
        assert len(upstream.requests) == asked
        assert asked <= 2 * 8


async def test_a_login_that_the_registry_has_confirmed_is_named(proxy: Proxy) -> None:
    await ask(proxy, "ann/app", Authorization=basic(*ANN))
    await ask(proxy, "ann/app", "manifests/2", Authorization=basic(*BOB))
    await ask(proxy, "library/cargo", Authorization=basic(*BOB))
    lines = await proxy.lines(3)
    assert [line["principal"] for line in lines] == [
        "upstream:docker.io#ann",
        "anonymous",
        "anonymous",
    ]
