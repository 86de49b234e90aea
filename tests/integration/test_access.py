"""Who may pull what: rules, logins, tokens, and answers that say nothing of what is not yours."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Repository
from tests.kit import images
from tests.kit.access import basic, bearer, htpasswd
from tests.kit.proxy import Proxy, push, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.proxy import Answer

CI: Final = basic("ci", "s3cret")
MATE: Final = basic("mate", "capstan")
IMAGE: Final = images.docker("closed")
LAYER: Final = list(IMAGE.blobs.values())[-1]
SECRET: Final = "team/app"
EVIL: Final = "evil/app"
PUBLIC: Final = "library/cargo"
NOT_THERE: Final = Digest.of(b"nobody has this")
# Every way to ask a repository for something, by what it asks for.
PATHS: Final = {
    "tag": "manifests/1",
    "no tag": "manifests/none",
    "manifest": f"manifests/{IMAGE.digest}",
    "no manifest": f"manifests/{NOT_THERE}",
    "layer": f"blobs/{Digest.of(LAYER)}",
    "no blob": f"blobs/{NOT_THERE}",
    "tags": "tags/list",
    "referrers": f"referrers/{IMAGE.digest}",
}


def access(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """`team/*` is for `ci`, `evil/*` for nobody, the rest for everybody."""
    users = htpasswd(tmp_path / "htpasswd", {"ci": "s3cret", "mate": "capstan"})
    rules = [
        {"match": "docker.io/team/*", "mode": "basic", "users": ["ci"]},
        {"match": "docker.io/evil/*", "mode": "deny", "reason": "see the approved images"},
        {"match": "docker.io/library/*:old-*", "mode": "deny", "reason": "no longer supported"},
    ]
    return {"rules": rules, "htpasswd_file": users, **more}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for name in (SECRET, EVIL, PUBLIC):
            push(upstream, name, "1", IMAGE)
        push(upstream, PUBLIC, "old-1", IMAGE)
        yield upstream


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path) -> AsyncIterator[Proxy]:
    async with Proxy(settings(upstream, data_dir, access=access(tmp_path))) as proxy:
        yield proxy


async def ask(proxy: Proxy, name: str, path: str, **headers: str) -> Answer:
    return await proxy.get(f"/v2/{name}/{path}", Accept=MediaType.V2S2, **headers)


# Rules


async def test_an_open_repository_is_for_everybody(proxy: Proxy) -> None:
    answer = await ask(proxy, PUBLIC, "manifests/1")
    assert answer.body == IMAGE.manifest
    assert "Cache-Control" not in answer.headers
    wrong = await ask(proxy, PUBLIC, "manifests/1", Authorization=basic("ci", "wrong"))
    assert wrong.status == 200, "what it does not need it does not look at"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_nobody_gets_the_same_401_for_everything_in_a_closed_one(
    proxy: Proxy, path: str
) -> None:
    await ask(proxy, SECRET, "manifests/1", Authorization=CI)
    answer = await ask(proxy, SECRET, path)
    expected = await ask(proxy, SECRET, "manifests/none")
    assert (answer.status, answer.body) == (401, expected.body)
    host = f"127.0.0.1:{proxy.address[1]}"
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="http://{host}/token",service="{host}",scope="repository:{SECRET}:pull"'
    )
    assert answer.code == "UNAUTHORIZED"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_another_user_gets_the_same_403_for_everything(proxy: Proxy, path: str) -> None:
    await ask(proxy, SECRET, "manifests/1", Authorization=CI)
    answer = await ask(proxy, SECRET, path, Authorization=MATE)
    expected = await ask(proxy, SECRET, "manifests/none", Authorization=MATE)
    assert (answer.status, answer.code, answer.body) == (403, "DENIED", expected.body)


async def test_a_refused_client_causes_no_request_upstream(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    for headers in ({}, {"Authorization": MATE}):
        for path in PATHS.values():
            await ask(proxy, SECRET, path, **headers)
    assert upstream.requests == []


async def test_the_user_of_a_rule_pulls_by_token_and_by_basic(proxy: Proxy) -> None:
    for header in (CI, await bearer(proxy, "ci", "s3cret")):
        manifest = await ask(proxy, SECRET, "manifests/1", Authorization=header)
        assert manifest.body == IMAGE.manifest
        layer = await ask(proxy, SECRET, f"blobs/{Digest.of(LAYER)}", Authorization=header)
        assert layer.body == LAYER
        for answer in (manifest, layer):
            assert answer.headers["Cache-Control"].startswith("private")
            assert "Authorization" in answer.headers["Vary"]


async def test_a_header_of_our_own_does_not_disturb_another_login(proxy: Proxy) -> None:
    answer = await proxy.get(
        f"/v2/{SECRET}/manifests/1",
        Accept=MediaType.V2S2,
        Authorization=basic("somebody", "else"),
        Lighterage_Authorization=CI,
    )
    assert answer.body == IMAGE.manifest


async def test_every_name_of_a_repository_has_the_same_rule(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    upstreams = {
        "docker.io": {
            "url": upstream.url,
            "default": True,
            "aliases": ["index.docker.io", "hub.example"],
        }
    }
    rules = access(tmp_path)
    rules["rules"].append({"match": "docker.io/library/*", "mode": "deny", "reason": "none here"})
    async with Proxy(settings(upstreams, data_dir, access=rules)) as proxy:
        for name in ("team/app", "docker.io/team/app", "index.docker.io/team/app"):
            assert (await ask(proxy, name, "manifests/1")).status == 401
        assert (await proxy.get("/v2/team/app/manifests/1?ns=index.docker.io")).status == 401
        assert (await proxy.get("/v2/team/app/manifests/1", Host="hub.example")).status == 401
        for name in ("library/cargo", "cargo", "docker.io/cargo", "hub.example/library/cargo"):
            assert (await ask(proxy, name, "manifests/1")).status == 403


async def test_a_denied_repository_says_why(proxy: Proxy) -> None:
    for headers in ({}, {"Authorization": CI}):
        answer = await ask(proxy, EVIL, "manifests/1", **headers)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert answer.message == "see the approved images"


async def test_a_rule_for_tags_is_about_these_tags_and_not_about_digests(proxy: Proxy) -> None:
    assert (await ask(proxy, PUBLIC, "manifests/old-1")).message == "no longer supported"
    assert (await ask(proxy, PUBLIC, "manifests/1")).status == 200
    assert (await ask(proxy, PUBLIC, f"manifests/{IMAGE.digest}")).status == 200


# Logins


async def test_the_version_check_tells_where_tokens_are(proxy: Proxy) -> None:
    answer = await proxy.get("/v2/")
    assert answer.status == 401
    assert re.fullmatch(
        r'Bearer realm="http://[^"]+/token",service="[^"]+"', answer.headers["WWW-Authenticate"]
    )
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    for header in (CI, await bearer(proxy), await bearer(proxy, "ci", "s3cret")):
        assert (await proxy.get("/v2/", Authorization=header)).status == 200
    for header in (basic("ci", "wrong"), basic("", ""), "Bearer x", "Basic x", "Digest x", "x"):
        assert (await proxy.get("/v2/", Authorization=header)).status == 401


async def test_a_login_is_right_or_wrong(proxy: Proxy) -> None:
    assert (await proxy.get("/token?service=x&account=ci", Authorization=CI)).status == 200
    for header in (basic("ci", "wrong"), basic("nobody", "s3cret")):
        answer = await proxy.get("/token?service=x&account=ci", Authorization=header)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("login", [("ci", "wrong"), ("nobody", "x"), ("", "")])
async def test_a_pull_with_a_wrong_login_gets_an_anonymous_token(
    proxy: Proxy, login: tuple[str, str]
) -> None:
    header = await bearer(proxy, *login)
    assert (await ask(proxy, SECRET, "manifests/1", Authorization=header)).status == 401
    assert (await ask(proxy, PUBLIC, "manifests/1", Authorization=header)).status == 200


async def test_a_form_is_a_login_too(proxy: Proxy) -> None:
    async def post(
        body: bytes, kind: str = "application/x-www-form-urlencoded"
    ) -> tuple[int, bytes]:
        head = (
            f"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        lines, _, content = (await proxy.raw(head.encode() + body)).partition(b"\r\n\r\n")
        return int(lines.split()[1]), content

    form = b"grant_type=password&username=ci&password=s3cret&service=x&client_id=y"
    status, content = await post(form)
    assert status == 200
    token = json.loads(content)["access_token"]
    answer = await ask(proxy, SECRET, "manifests/1", Authorization=f"Bearer {token}")
    assert answer.status == 200
    wrong = form.replace(b"s3cret", b"wrong")
    for body, expected in (
        (wrong, 401),
        (wrong + b"&scope=repository:a:pull", 200),
        (b"grant_type=refresh_token&refresh_token=x", 401),
        (b"x" * 100_000, 400),
        (b"&".join([b"a=b"] * 1000), 400),
    ):
        assert (await post(body))[0] == expected, body
    assert (await post(form, "application/json"))[0] == 400


async def test_docker_1_8_finds_the_version_check(proxy: Proxy) -> None:
    answer = await proxy.get("////v2/")
    assert (answer.status, answer.headers["Location"]) == (301, "/v2/")


async def test_a_changed_password_ends_tokens_and_logins(proxy: Proxy, tmp_path: Path) -> None:
    token = await bearer(proxy, "ci", "s3cret")
    assert (await ask(proxy, SECRET, "manifests/1", Authorization=CI)).status == 200
    assert (await ask(proxy, SECRET, "manifests/1", Authorization=token)).status == 200
    htpasswd(tmp_path / "htpasswd", {"ci": "another one", "mate": "capstan"})
    await proxy.services.access.look()
    for header in (CI, token):
        answer = await ask(proxy, SECRET, "manifests/1", Authorization=header)
        assert answer.status == 401
    new = await bearer(proxy, "ci", "another one")
    assert (await ask(proxy, SECRET, "manifests/1", Authorization=new)).status == 200


async def test_a_malformed_file_changes_nothing_and_is_a_warning(
    proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "htpasswd").write_text("ci:plaintext\n")
    await proxy.services.access.look()
    assert "line 1" in proxy.services.readiness.warnings["htpasswd"]
    assert "plaintext" not in proxy.services.readiness.warnings["htpasswd"]
    assert (await ask(proxy, SECRET, "manifests/1", Authorization=CI)).status == 200
    htpasswd(tmp_path / "htpasswd", {"ci": "s3cret"})
    await proxy.services.access.look()
    assert "htpasswd" not in proxy.services.readiness.warnings


async def test_a_key_that_is_taken_away_ends_its_tokens_at_once(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    """Also those that were used before: who has the key can make others."""
    old, new = "o" * 32, "n" * 32
    file = tmp_path / "token-key"
    file.write_text(f"{old}\n")
    chosen = settings(upstream, data_dir, access=access(tmp_path, token_key_file=file))
    async with Proxy(chosen) as proxy:
        token = await bearer(proxy, "ci", "s3cret")
        for lines, expected in (([old], 200), ([new, old], 200), ([new], 401)):
            file.write_text("".join(f"{line}\n" for line in lines))
            await proxy.services.access.look()
            answer = await ask(proxy, SECRET, "manifests/1", Authorization=token)
            assert answer.status == expected


async def test_a_token_of_another_installation_is_no_token(
    proxy: Proxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    other = settings(upstream, tmp_path / "other", access=access(tmp_path))
    async with Proxy(other) as stranger:
        token = await bearer(stranger, "ci", "s3cret")
    answer = await ask(proxy, SECRET, "manifests/1", Authorization=token)
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer a.b.c",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJiYXNpYzpjaSJ9.",
        "Bearer " + "A" * 30_000,
        "Basic",
        "Basic ====",
        "Basic " + "/////w==",
        "Basic Y2k=",
        "Basic " + "QUFB" * 8_000,
        "Negotiate abc",
        "\xff\xfe",
    ],
)
async def test_a_bad_credential_is_a_clear_401(proxy: Proxy, header: str) -> None:
    answer = await ask(proxy, SECRET, "manifests/1", Authorization=header)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert "Traceback" not in json.dumps(proxy.log())


# The log


async def test_the_log_has_the_user_and_no_secret(proxy: Proxy) -> None:
    token = await bearer(proxy, "ci", "s3cret")
    await ask(proxy, SECRET, "manifests/1", Authorization=token)
    await ask(proxy, SECRET, "manifests/1", Authorization=basic("ci", "wr0ng"))
    line = (await proxy.lines(1, repository=f"docker.io/{SECRET}", status=200))[0]
    assert line["principal"] == "basic:ci"
    written = json.dumps(proxy.log())
    for secret in ("s3cret", "wr0ng", token.removeprefix("Bearer "), CI.removeprefix("Basic ")):
        assert secret not in written


# Shared bytes


async def test_a_claim_of_a_closed_repositorys_content_opens_nothing(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    """An open repository names the closed one's layer; only what is open elsewhere is shared."""
    secret = images.docker("secret of the team")
    layer = list(secret.blobs.values())[-1]
    push(upstream, SECRET, "secret", secret)
    upstream.add_manifest("thief/app", "1", secret.manifest, secret.media_type)
    async with Proxy(settings(upstream, data_dir, access=access(tmp_path))) as proxy:
        digest = Digest.of(layer)
        assert (await ask(proxy, SECRET, "manifests/secret", Authorization=CI)).status == 200
        assert (await ask(proxy, SECRET, f"blobs/{digest}", Authorization=CI)).status == 200
        assert (await ask(proxy, "thief/app", "manifests/1")).status == 200
        assert (await ask(proxy, "thief/app", f"blobs/{digest}")).status == 404
        await until(lambda: upstream.count("HEAD", f"/v2/thief/app/blobs/{digest}") > 0)


# Plain HTTP


async def test_logins_in_the_clear_are_neither_asked_for_nor_taken(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    """Behind a proxy that does not say that its client came by TLS."""
    limits = {"trusted_proxies": ["127.0.0.1"]}
    chosen = settings(upstream, data_dir, access=access(tmp_path), limits=limits)
    async with Proxy(chosen) as proxy:
        assert (await proxy.get("/v2/")).status == 200
        assert (await ask(proxy, PUBLIC, "manifests/1")).status == 200
        for headers in ({}, {"Authorization": CI}):
            answer = await ask(proxy, SECRET, "manifests/1", **headers)
            assert (answer.status, answer.code) == (403, "DENIED")
            assert "TLS" in answer.message
            assert "WWW-Authenticate" not in answer.headers
        assert (await proxy.get("/token", Authorization=CI)).status == 403
        safe = await proxy.get("/v2/", X_Forwarded_Proto="https", Host="proxy.example")
        assert safe.status == 401
        assert 'realm="https://proxy.example/token"' in safe.headers["WWW-Authenticate"]
        served = await ask(
            proxy, SECRET, "manifests/1", X_Forwarded_Proto="https", Authorization=CI
        )
        assert served.status == 200


async def test_plain_http_can_be_allowed(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    limits = {"trusted_proxies": ["127.0.0.1"]}
    rules = access(tmp_path, allow_plain=True, realm="https://proxy.example/token")
    async with Proxy(settings(upstream, data_dir, access=rules, limits=limits)) as proxy:
        answer = await ask(proxy, SECRET, "manifests/1")
        assert 'realm="https://proxy.example/token"' in answer.headers["WWW-Authenticate"]
        assert (await ask(proxy, SECRET, "manifests/1", Authorization=CI)).status == 200


# Outages


async def test_a_closed_image_survives_an_outage_whole(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    """Its blobs are stored, because another repository has them; only its manifest was pulled."""
    chosen = settings(upstream, data_dir, access=access(tmp_path), tags={"ttl": "1h"})
    async with Proxy(chosen) as proxy:
        for digest in IMAGE.blobs:
            assert (await ask(proxy, PUBLIC, f"blobs/{digest}")).status == 200
        assert (await ask(proxy, SECRET, "manifests/1", Authorization=CI)).status == 200
        knows = proxy.services.purges._catalog.remembers_access
        repository = Repository("docker.io", SECRET, SECRET)
        await until(lambda: all(knows(repository, Digest(digest)) for digest in IMAGE.blobs))
        await upstream.stop()
        for digest, blob in IMAGE.blobs.items():
            answer = await ask(proxy, SECRET, f"blobs/{digest}", Authorization=CI)
            assert answer.body == blob
        await upstream.start()


# Old clients


async def test_docker_1_9_logs_in_at_a_mirror(proxy: Proxy) -> None:
    """It asks `////v2/`, follows the redirect, and takes a token for `push,pull`."""
    found = await proxy.get("////v2/")
    challenge = (await proxy.get(found.headers["Location"])).headers["WWW-Authenticate"]
    assert "realm=" in challenge
    header = await bearer(proxy, "ci", "s3cret", scope=f"repository:{SECRET}:push,pull")
    answer = await proxy.get(f"/v2/{SECRET}/manifests/1", Authorization=header)
    assert (answer.status, answer.headers["Content-Type"]) == (200, MediaType.V2S1_SIGNED)
    layer = f"/v2/{SECRET}/blobs/{Digest.of(LAYER)}"
    assert (await proxy.head(layer, Authorization=header)).status == 200
    assert (await proxy.get(layer, Authorization=header)).body == LAYER


# Service accounts


async def test_a_rule_names_the_namespace_of_a_service_account(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Its token is the password, whatever the user name; it is never sent upstream."""
    key = ECKey.generate_key("P-256", {"kid": "one"})
    keys = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
    issuer = {
        "issuer": "https://cluster.example",
        "audience": "lighterage",
        "jwks_url": upstream.serve("/openid/v1/jwks", keys),
        "groups": {"namespace": "kubernetes.io/namespace"},
    }

    def token(namespace: str, audience: str = "lighterage") -> str:
        claims = {
            "iss": issuer["issuer"],
            "aud": [audience],
            "sub": f"system:serviceaccount:{namespace}:default",
            "exp": int(time.time()) + 600,
            "kubernetes.io": {"namespace": namespace},
        }
        return jwt.encode({"alg": "ES256", "kid": "one"}, claims, key, algorithms=["ES256"])

    rules = [
        {"match": "docker.io/team/*", "mode": "basic", "groups": ["namespace:team"]},
        {"match": "docker.io/*", "mode": "upstream"},
    ]
    chosen = settings(upstream, data_dir, access={"issuers": [issuer], "rules": rules})
    async with Proxy(chosen) as proxy:
        team, other, stale = token("team"), token("other"), token("team", "somebody else")
        for header in (basic("any", team), await bearer(proxy, "any", team)):
            assert (await ask(proxy, SECRET, "manifests/1", Authorization=header)).status == 200
        denied = await ask(proxy, SECRET, "manifests/1", Authorization=basic("any", other))
        assert denied.status == 403
        refused = await ask(proxy, SECRET, "manifests/1", Authorization=basic("any", stale))
        assert refused.status == 401
        for login in (team, stale):
            answer = await ask(proxy, EVIL, "manifests/1", Authorization=basic("any", login))
            assert answer.status == 200, "everybody may read it there"
        assert (await proxy.get("/token", Authorization=basic("any", team))).status == 200
        assert (await proxy.get("/token", Authorization=basic("any", stale))).status == 401
        line = (await proxy.lines(1, status=200, repository=f"docker.io/{SECRET}"))[0]
        assert line["principal"] == (
            "jwt:https://cluster.example#system:serviceaccount:team:default"
        )
    assert all("Authorization" not in request.headers for request in upstream.requests)


@pytest.mark.parametrize("trouble", ["slow", "huge", "another's"])
async def test_an_issuer_in_trouble_concerns_its_own_tokens_only(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path, trouble: str
) -> None:
    """Its keys come too late, are too many bytes, or are not those that it signs with."""
    key, other = (ECKey.generate_key("P-256", {"kid": "one"}) for _ in range(2))
    keys = json.dumps({"keys": [other.as_dict(private=False)]}).encode()
    content = keys + b" " * 2**20 if trouble == "huge" else keys
    issuer = {
        "issuer": "https://cluster.example",
        "audience": "lighterage",
        "jwks_url": upstream.serve("/jwks", content),
    }
    if trouble == "slow":
        upstream.fault("GET", "/jwks", Fault(delay=60))
    claims = {"iss": issuer["issuer"], "aud": "lighterage", "sub": "a", "exp": time.time() + 600}
    token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, key, algorithms=["ES256"])
    chosen = settings(upstream, data_dir, access=access(tmp_path, issuers=[issuer]))
    async with Proxy(chosen) as proxy:
        theirs = asyncio.create_task(
            ask(proxy, SECRET, "manifests/1", Authorization=basic("any", token))
        )
        await until(lambda: upstream.count("GET", "/jwks") == 1)
        assert (await ask(proxy, SECRET, "manifests/1", Authorization=CI)).status == 200
        assert (await ask(proxy, PUBLIC, "manifests/1")).status == 200
        if trouble == "slow":
            assert not theirs.done()
        assert (await theirs).status == 401
        for number in range(5):
            wrong = f"{token[:-4]}{number:04}"
            answer = await ask(proxy, SECRET, "manifests/1", Authorization=basic("any", wrong))
            assert answer.status == 401
        assert upstream.count("GET", "/jwks") == 1, "not asked by each login"
