"""`inspect` and `explain` say what the listener then does, and change nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.errors import DigestInvalid, ManifestUnknown, NameInvalid, RequestInvalid, TagInvalid
from proxy.oci.clients import CLIENTS
from proxy.telemetry import metrics
from tests.kit.manifest_kinds import KINDS
from tests.kit.proxy import Proxy, push, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

NAME: Final = "library/ship"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_is_what_is_then_served(
    kind: str, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """For every client: before anything is stored, with the tag alone, and when all is there."""
    push(upstream, NAME, kind, KINDS[kind])
    async with Proxy(settings(upstream, data_dir, tags={"ttl": "1h"})) as proxy:
        before = await proxy.services.questions.explain(f"{NAME}:{kind}")
        assert (before["state"], before["representation"]) == ("not cached", None)
        await proxy.get(f"/v2/{NAME}/manifests/{kind}", Accept="*/*")
        assert before["calls"] == [f"GET of manifest {NAME} {kind}"]
        assert (upstream.count("HEAD"), upstream.count("GET", "*/manifests/*")) == (0, 1)
        for client in CLIENTS:
            await compare(proxy, upstream, kind, client)
            said = await compare(proxy, upstream, kind, client)
            assert said["calls"] == [], "all that this client needs is there now"
        inspected = await proxy.services.questions.inspect(f"{NAME}:{kind}")
        for client in CLIENTS:
            said = await proxy.services.questions.explain(f"{NAME}:{kind}", client=client)
            (row,) = [row for row in inspected["representations"] if client in row["serves"]]
            assert row["digest"] == said["representation"].get("digest")
            assert row["reason"] == said["representation"].get("message")
            assert row["exists"] is (row["digest"] is not None)


async def compare(
    proxy: Proxy, upstream: ScriptedUpstream, kind: str, client: str
) -> dict[str, Any]:
    """Ask what `client` would get, pull as it, and compare."""
    files, requests = kept(proxy), list(upstream.requests)
    said = await proxy.services.questions.explain(f"{NAME}:{kind}", client=client)
    assert (kept(proxy), list(upstream.requests)) == (files, requests), "nothing is changed"
    answer = await proxy.get(f"/v2/{NAME}/manifests/{kind}", Accept=CLIENTS[client])
    asked = len(upstream.requests) > len(requests)
    made = said["representation"]
    if made is None:
        assert said["calls"]
        assert asked, said
    elif "digest" in made:
        assert (answer.status, answer.digest) == (200, made["digest"])
        assert answer.headers["Content-Type"] == made["type"]
        assert answer.headers.get("Lighterage-Converted-From") == made["converted_from"]
        assert not asked
    else:
        assert (answer.code, answer.message) == (made["code"], made["message"])
        assert not asked
    return said


def kept(proxy: Proxy) -> set[Path]:
    """The files of derived manifests and of blobs."""
    data = proxy.settings.data
    return {path for name in ("derived", "blobs") for path in (data / name).rglob("*")}


async def test_the_state_of_a_tag_is_said(upstream: ScriptedUpstream, data_dir: Path) -> None:
    push(upstream, NAME, "1", KINDS["v2s2"])
    tags = {"ttl": "0s", "stale_while_revalidate": "0s"}
    async with Proxy(settings(upstream, data_dir, tags=tags)) as proxy:
        await proxy.get(f"/v2/{NAME}/manifests/1", Accept="*/*")
        said = await proxy.services.questions.explain(f"{NAME}:1")
        assert said["state"].startswith("stale, and served if the upstream does not answer in")
        assert said["calls"] == [f"HEAD of manifest {NAME} 1"]
        by_digest = await proxy.services.questions.explain(f"{NAME}@{KINDS['v2s2'].digest}")
        assert (by_digest["calls"], by_digest["state"]) == ([], "cached; a digest never changes")


async def test_questions_are_not_counted(upstream: ScriptedUpstream, data_dir: Path) -> None:
    push(upstream, NAME, "1", KINDS["oci"])
    counted = metrics.CONVERSIONS.labels("oci_manifest-v2s2")._value.get
    async with Proxy(settings(upstream, data_dir)) as proxy:
        await proxy.get(f"/v2/{NAME}/manifests/1", Accept="*/*")
        before = counted()
        said = await proxy.services.questions.explain(f"{NAME}:1", client="docker-1.13")
        assert said["representation"]["rule"] == "converted"
        assert counted() == before


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("UPPER:1", NameInvalid),
        ("<script>", NameInvalid),
        ("a:-", TagInvalid),
        ("a@sha256:1", DigestInvalid),
        ("", NameInvalid),
    ],
)
async def test_what_is_no_image_is_an_error(
    proxy: Proxy, image: str, error: type[Exception]
) -> None:
    for ask in (proxy.services.questions.explain, proxy.services.questions.inspect):
        with pytest.raises(error):
            await ask(image)


async def test_a_client_that_is_none_and_an_image_that_is_not_there(proxy: Proxy) -> None:
    with pytest.raises(RequestInvalid, match=r"known: docker-1\.9, "):
        await proxy.services.questions.explain("a:1", client="docker-7")
    with pytest.raises(ManifestUnknown, match="is not cached"):
        await proxy.services.questions.inspect("library/none:1")


async def test_many_odd_names_leave_nothing(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """Nothing is asked, and nothing of them is remembered."""
    upstream.requests.clear()
    for number in range(1000):
        said = await proxy.services.questions.explain(f"odd/name-{number}:{number}")
        assert said["state"] == "not cached"
        if number % 100 == 0:
            await asyncio.sleep(0)
    assert upstream.requests == []


async def test_the_rule_of_access_is_said(upstream: ScriptedUpstream, data_dir: Path) -> None:
    rules = [
        {"match": "docker.io/team/*", "mode": "basic", "users": ["ci"]},
        {"match": "docker.io/evil/*", "mode": "deny", "reason": "it was never scanned"},
        {"match": "docker.io/own/*", "mode": "upstream"},
    ]
    users = data_dir.with_name("users")
    users.write_text("ci:$2b$04$abcdefghijklmnopqrstuuZ9hITkhSjgdPh1azpD9e5XbVlHeIfui\n")
    access = {"rules": rules, "htpasswd_file": str(users), "allow_plain": True}
    async with Proxy(settings(upstream, data_dir, access=access)) as proxy:
        explain = proxy.services.questions.explain
        for image, user, mode, may_pull in (
            ("library/ship:1", None, "open", True),
            ("team/ship:1", None, "basic", False),
            ("team/ship:1", "ci", "basic", True),
            ("team/ship:1", "guest", "basic", False),
            ("evil/ship:1", "ci", "deny", False),
            ("own/ship:1", "ci", "upstream", None),
        ):
            said = (await explain(image, user=user))["access"]
            assert (said["mode"], said["may_pull"]) == (mode, may_pull), image
            if user is None:
                answer = await proxy.get(f"/v2/{image.replace(':', '/manifests/')}")
                assert (answer.status == 401) is not may_pull
        denied = await proxy.get("/v2/evil/ship/manifests/1")
        assert (await explain("evil/ship:1"))["access"]["reason"] in denied.message
