"""Pages of tags and referrers: the upstream's, with links to us, and kept while it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.proxy import Proxy, impatient_settings, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.kit.proxy import Answer

NAME: Final = "library/cargo"
TAGS: Final = f"/v2/{NAME}/tags/list"
IMAGE: Final = images.oci()
REFERRERS: Final = f"/v2/{NAME}/referrers/{IMAGE.digest}"
FALLBACK: Final = IMAGE.digest.replace(":", "-")
SIGNATURES: Final = [
    {"mediaType": MediaType.OCI_MANIFEST, "digest": images.digest(b"%d" % number), "size": 1}
    | {"artifactType": kind}
    for number, kind in enumerate(["sig", "sbom", "sig"])
]


def lists(upstream: ScriptedUpstream, path: str, body: object, **headers: str) -> None:
    """Have it answer so."""
    content = json.dumps(body).encode()
    upstream.fault("GET", path, Fault(status=200, body=content, headers=headers))


def refer(upstream: ScriptedUpstream, descriptors: Sequence[object], **headers: str) -> None:
    """Have it list these; `headers` with an underscore for the dash."""
    index = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": descriptors}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lists(upstream, REFERRERS, index, **named)


def kinds(answer: Answer) -> list[str]:
    assert answer.headers["Content-Type"] == MediaType.OCI_INDEX
    manifests: list[Mapping[str, Any]] = json.loads(answer.body)["manifests"]
    return [descriptor["artifactType"] for descriptor in manifests]


@pytest.mark.parametrize(
    ("asked", "name", "link"),
    [
        (f"{TAGS}?n=1", NAME, f"{TAGS}?last=a&n=1"),
        ("/v2/cargo/tags/list?n=1", "cargo", "/v2/cargo/tags/list?last=a&n=1"),
        ("/v2/hub/cargo/tags/list?n=1", "hub/cargo", "/v2/hub/cargo/tags/list?last=a&n=1"),
        (f"{TAGS}?n=1&ns=docker.io", NAME, f"{TAGS}?last=a&n=1&ns=docker.io"),
    ],
    ids=["as-it-is", "docker-hub", "path", "ns"],
)
async def test_a_page_of_tags_links_to_the_next_one_here(
    upstream: ScriptedUpstream, data_dir: Path, asked: str, name: str, link: str
) -> None:
    """Under the name that the client used, which is not always the upstream's."""
    hub = {"docker.io": {"url": upstream.url, "default": True, "aliases": ["hub"]}}
    lists(upstream, TAGS, {"name": "other", "tags": ["a"]}, Link=f'<{TAGS}?last=a&n=1>; rel="next"')
    async with Proxy(settings(hub, data_dir)) as proxy:
        answer = await proxy.get(asked)
        assert json.loads(answer.body) == {"name": name, "tags": ["a"]}
        assert answer.headers["Link"] == f'<{link}>; rel="next"'
        assert answer.headers.get("OCI-Namespace") == ("docker.io" if "ns=" in asked else None)
        assert upstream.requests[-1].query == "n=1"
        await proxy.get(link)
        assert (upstream.requests[-1].path, upstream.requests[-1].query) == (TAGS, "last=a&n=1")


async def test_a_listing_is_kept_while_the_upstream_fails(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    lists(upstream, TAGS, {"name": NAME, "tags": ["a"]}, Link=f'<{TAGS}?last=a>; rel="next"')
    refer(upstream, SIGNATURES)
    async with Proxy(impatient_settings(upstream, data_dir)) as proxy:
        before = [await proxy.get(path) for path in (TAGS, REFERRERS)]
        await upstream.stop()
        await proxy.restart()
        for path, had in zip((TAGS, REFERRERS), before, strict=True):
            answer = await proxy.get(path)
            assert (answer.status, answer.body) == (200, had.body)
            assert answer.headers.get("Link") == had.headers.get("Link")
            assert answer.cache == 'Lighterage; hit; detail="stale unavailable"'
        assert (await proxy.get(f"{TAGS}?n=5")).code == "UNAVAILABLE"
        await upstream.start()


async def test_a_listing_of_an_upstream_that_is_offline_says_so(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    lists(upstream, TAGS, {"name": NAME, "tags": ["a"]})
    chosen = impatient_settings(upstream, data_dir)
    async with Proxy(chosen) as proxy:
        await proxy.get(TAGS)
    registry = chosen.upstreams["docker.io"].model_copy(update={"offline": True})
    async with Proxy(chosen.model_copy(update={"upstreams": {"docker.io": registry}})) as proxy:
        assert (await proxy.get(TAGS)).cache == 'Lighterage; hit; detail="stale offline"'
    assert upstream.count() == 1


async def test_referrers_are_filtered_here_if_the_upstream_does_not(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    """On every page: a registry that ignores the filter leaves it out of the link, too."""
    refer(upstream, SIGNATURES, Link=f'<{REFERRERS}?page=2>; rel="next"')
    answer = await impatient.get(f"{REFERRERS}?artifactType=sig")
    assert kinds(answer) == ["sig", "sig"]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert answer.headers["Link"] == f'<{REFERRERS}?page=2&artifactType=sig>; rel="next"'
    refer(upstream, SIGNATURES[:2])
    assert kinds(await impatient.get(f"{REFERRERS}?page=2&artifactType=sig")) == ["sig"]
    assert kinds(await impatient.get(REFERRERS)) == ["sig", "sbom"]


async def test_referrers_that_the_upstream_has_filtered_are_passed_on(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    link = f"{REFERRERS}?artifactType=application%2Fsig&page=2"
    filtered = {"OCI_Filters_Applied": "artifactType", "Link": f'<{link}>; rel="next"'}
    refer(upstream, SIGNATURES[:1], **filtered)
    answer = await impatient.get(f"{REFERRERS}?artifactType=application%2Fsig")
    assert kinds(answer) == ["sig"]
    assert upstream.requests[-1].query == "artifactType=application%2Fsig"
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert answer.headers["Link"] == f'<{link}>; rel="next"'


async def test_referrers_come_from_the_tag_where_there_is_no_api(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    """The upstream answers 404: then they are in an index under a tag, or there are none."""
    assert kinds(await impatient.get(REFERRERS)) == []
    index = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": SIGNATURES}
    upstream.add_manifest(NAME, FALLBACK, json.dumps(index).encode(), MediaType.OCI_INDEX)
    assert kinds(await impatient.get(REFERRERS)) == ["sig", "sbom", "sig"]
    answer = await impatient.get(f"{REFERRERS}?artifactType=sbom")
    assert kinds(answer) == ["sbom"]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


async def test_nothing_refers_to_what_was_made_here(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    """And no upstream is asked about it."""
    push(upstream, NAME, "1", IMAGE)
    made = await impatient.get(f"/v2/{NAME}/manifests/1", Accept=MediaType.V2S2)
    assert made.headers["Lighterage-Converted-From"] == IMAGE.digest
    answer = await impatient.get(f"/v2/{NAME}/referrers/{made.digest}")
    assert (answer.status, kinds(answer)) == (200, [])
    assert upstream.count("*", "*/referrers/*") == 0
