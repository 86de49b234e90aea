"""What registries really answer about tags and referrers; a row for each quirk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.proxy import Proxy, impatient_settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.proxy import Answer

NAME: Final = "library/cargo"
TAGS: Final = f"/v2/{NAME}/tags/list"
IMAGE: Final = images.oci()
REFERRERS: Final = f"/v2/{NAME}/referrers/{IMAGE.digest}"
FALLBACK: Final = IMAGE.digest.replace(":", "-")
SIGNATURE: Final = {
    "mediaType": MediaType.OCI_MANIFEST,
    "digest": images.digest(b"signature"),
    "size": 1,
    "artifactType": "sig",
}
INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": [SIGNATURE]}
).encode()
HTML: Final = b"<!doctype html><title>Harbour</title>"
A_PAGE: Final = {"Content-Type": "text/html", "Docker-Distribution-Api-Version": None}
STALE: Final = 'Lighterage; hit; detail="stale '


def page(upstream: ScriptedUpstream, tags: list[str], **headers: str) -> None:
    body = json.dumps({"name": NAME, "tags": tags}).encode()
    upstream.fault("GET", TAGS, Fault(status=200, body=body, headers=headers))


def refused(status: int, code: str, message: str = "scripted") -> Fault:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Fault(status=status, body=body)


def referrers(answer: Answer) -> list[str]:
    assert (answer.status, answer.headers["Content-Type"]) == (200, MediaType.OCI_INDEX)
    manifests: list[dict[str, Any]] = json.loads(answer.body)["manifests"]
    return [str(each["digest"]) for each in manifests]


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ("<{path}?n=2&last={token}>; rel=next", "n=2&last={token}"),
        ('{path}?n=2&last=b; rel="next"', "n=2&last=b"),
        ('<{path}?n=2&last=b>; title="b, c"; rel="next"', "n=2&last=b"),
        ("<{path}?n=2&last={{b|c d}}>; rel=next", "n=2&last=%7Bb%7Cc%20d%7D"),
        ("<{path}?next_page=%ff+a==&x>; rel=next", "next_page=%ff+a==&x"),
        ("<{path}?last=a>; rel=prev, <{path}?last=b>; rel=next", "last=b"),
    ],
    ids=["16-KiB-token", "old-quay", "comma-in-title", "unescaped", "opaque", "second"],
)
async def test_a_next_page_is_found_however_it_is_written(
    upstream: ScriptedUpstream, impatient: Proxy, link: str, query: str
) -> None:
    """And requested by the query that the upstream wrote."""
    token = "A" * 16 * 1024
    page(upstream, ["a"], Link=link.format(path=TAGS, token=token))
    first = await impatient.get(f"{TAGS}?n=2")
    assert json.loads(first.body)["tags"] == ["a"]
    wanted = query.format(token=token)
    assert first.headers["Link"] == f'<{TAGS}?{wanted}>; rel="next"'
    page(upstream, ["b"])
    second = await impatient.get(f"{TAGS}?{wanted}")
    assert (json.loads(second.body)["tags"], "Link" in second.headers) == (["b"], False)
    assert sorted(upstream.requests[-1].query.split("&")) == sorted(wanted.split("&"))


async def test_several_lines_of_links_are_one_list(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n"
        b"Link: <?last=0>; rel=prev\r\nLink: <?last=a>; rel=next\r\n\r\n"
        b'{"tags":["a"]}'
    )
    upstream.fault("GET", TAGS, Fault(raw=raw))
    assert (await impatient.get(TAGS)).headers["Link"] == f'<{TAGS}?last=a>; rel="next"'


@pytest.mark.parametrize("link", ["<page/2>; rel=next", '<?last=a; rel="next"'])
async def test_a_next_page_that_cannot_be_requested_is_no_end_of_the_list(
    upstream: ScriptedUpstream, impatient: Proxy, link: str
) -> None:
    page(upstream, ["a"], Link=link)
    answer = await impatient.get(TAGS)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert "further pages" in answer.message


async def test_a_list_may_be_much_larger_than_a_manifest(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    tags = [f"v{number:05}-{'a' * 48}" for number in range(75_000)]
    page(upstream, tags)
    answer = await impatient.get(TAGS)
    assert answer.status == 200
    assert json.loads(answer.body)["tags"] == tags


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "TOO_MANY_TAGS_REQUESTED"),
        (400, "PAGINATION_NUMBER_INVALID"),
        (405, "UNSUPPORTED"),
        (406, "UNSUPPORTED"),
        (416, "UNKNOWN"),
        (422, "VALIDATION_ERROR"),
    ],
)
async def test_a_page_that_the_upstream_refuses_has_the_upstream_s_reason(
    upstream: ScriptedUpstream, impatient: Proxy, status: int, code: str
) -> None:
    upstream.fault("GET", TAGS, refused(status, code, "at most\n100 tags"))
    answer = await impatient.get(f"{TAGS}?n=10000")
    assert (answer.status, answer.code) == (status, code)
    assert "at most 100 tags" in answer.message
    assert upstream.count("GET", TAGS) == 1


@pytest.mark.parametrize(
    "fault",
    [
        refused(200, "UNAUTHORIZED"),
        Fault(status=200, body=HTML, headers=A_PAGE),
        Fault(status=200, body=b"{}"),
        Fault(status=200, body=b'{"tags": ["a", null]}'),
        Fault(status=400, body=HTML, headers=A_PAGE),
        Fault(status=404, body=HTML, headers=A_PAGE),
        Fault(status=404, body=b"404 page not found"),
        Fault(status=404, body=b"{}"),
        Fault(status=404, body=b'{"errors": []}'),
        Fault(status=403, body=HTML, headers=A_PAGE),
    ],
    ids=[
        *("200-errors", "200-page", "200-nothing", "200-null-in-it", "400-page"),
        *("404-page", "404-text", "404-nothing", "404-no-errors", "403-page"),
    ],
)
async def test_what_is_no_list_does_not_replace_one(
    upstream: ScriptedUpstream, impatient: Proxy, fault: Fault
) -> None:
    upstream.fault("GET", TAGS, fault)
    assert (await impatient.get(TAGS)).status == (404 if fault.status == 403 else 502)
    page(upstream, ["a"])
    assert json.loads((await impatient.get(TAGS)).body)["tags"] == ["a"]
    upstream.fault("GET", TAGS, fault)
    answer = await impatient.get(TAGS)
    assert (answer.status, json.loads(answer.body)["tags"]) == (200, ["a"])
    assert answer.cache.startswith(STALE)


@pytest.mark.parametrize(
    "fault",
    [
        refused(404, "NAME_UNKNOWN"),
        Fault(status=404, body=b"", headers={"Docker-Distribution-Api-Version": "registry/2.0"}),
    ],
    ids=["errors", "header"],
)
async def test_the_registry_s_own_404_of_a_list_is_passed_on(
    upstream: ScriptedUpstream, impatient: Proxy, fault: Fault
) -> None:
    page(upstream, ["a"])
    await impatient.get(TAGS)
    upstream.fault("GET", TAGS, fault)
    answer = await impatient.get(TAGS)
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


async def test_what_a_vendor_adds_to_a_list_is_passed_on(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    vendor = {"child": ["sub"], "manifest": {IMAGE.digest: {"tag": ["a"], "timeUploadedMs": "1"}}}
    body = json.dumps(vendor | {"name": "other", "tags": ["a"]}).encode()
    upstream.fault("GET", TAGS, Fault(status=200, body=body))
    answer = await impatient.get(TAGS)
    assert json.loads(answer.body) == vendor | {"name": NAME, "tags": ["a"]}


NO_API: Final = {
    **{f"{status}": refused(status, "UNSUPPORTED") for status in (400, 404, 405, 406, 410, 415)},
    "422": refused(422, "VALIDATION_ERROR"),
    "501": Fault(status=501, body=b""),
    "404-page": Fault(status=404, body=HTML, headers=A_PAGE),
    "200-page": Fault(status=200, body=HTML, headers=A_PAGE),
    "200-empty": Fault(status=200, body=b""),
}


@pytest.mark.parametrize("fault", NO_API.values(), ids=NO_API)
async def test_without_a_referrers_api_there_is_the_tag(
    upstream: ScriptedUpstream, impatient: Proxy, fault: Fault
) -> None:
    upstream.fault("GET", "*/referrers/*", fault)
    assert referrers(await impatient.get(REFERRERS)) == []
    upstream.add_manifest(NAME, FALLBACK, INDEX, MediaType.OCI_INDEX)
    assert referrers(await impatient.get(REFERRERS)) == [SIGNATURE["digest"]]
    filtered = await impatient.get(f"{REFERRERS}?artifactType=sbom")
    assert (referrers(filtered), filtered.headers["OCI-Filters-Applied"]) == ([], "artifactType")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body=HTML),
        Fault(status=503),
        refused(200, "UNKNOWN"),
        Fault(status=200, body=b"{}"),
    ],
    ids=["500", "503", "200-errors", "200-nothing"],
)
async def test_a_failure_is_no_sign_of_a_missing_api(
    upstream: ScriptedUpstream, impatient: Proxy, fault: Fault
) -> None:
    """Nobody learns otherwise that signatures could not be looked up."""
    upstream.fault("GET", "*/referrers/*", fault)
    assert (await impatient.get(REFERRERS)).status == 502
    assert upstream.count("*", "*/manifests/*") == 0


async def test_the_tag_is_right_for_sha512(upstream: ScriptedUpstream, impatient: Proxy) -> None:
    """A tag has at most 128 characters, so the spec cuts it."""
    digest = Digest("sha512:" + "0123456789abcdef" * 8)
    upstream.add_manifest(NAME, f"sha512-{digest.hex[:64]}", INDEX, MediaType.OCI_INDEX)
    answer = await impatient.get(f"/v2/{NAME}/referrers/{digest}")
    assert referrers(answer) == [SIGNATURE["digest"]]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", ["index", "image"])
async def test_a_subject_under_its_own_tag_is_not_its_referrer(
    upstream: ScriptedUpstream, impatient: Proxy, algorithm: str, kind: str
) -> None:
    """GitLab reads the tag as the digest that it looks like."""
    subject = images.oci_index() if kind == "index" else IMAGE
    hasher = Digest(f"{algorithm}:" + "0" * (64 if algorithm == "sha256" else 128)).hasher()
    hasher.update(subject.manifest)
    digest = f"{algorithm}:{hasher.hexdigest()}"
    tag = f"{algorithm}-{hasher.hexdigest()[:64]}"
    upstream.add_manifest(NAME, tag, subject.manifest, subject.media_type)
    assert referrers(await impatient.get(f"/v2/{NAME}/referrers/{digest}")) == []


# Manifests


HEADS: Final = [400, 401, 403, 404, 405, 406, 415, 500, 501, 503]


@pytest.mark.parametrize("status", HEADS)
async def test_a_head_that_is_refused_is_settled_by_one_get(
    upstream: ScriptedUpstream, impatient: Proxy, status: int
) -> None:
    upstream.add_manifest(NAME, "1", IMAGE.manifest, IMAGE.media_type)
    upstream.fault("HEAD", "*/manifests/*", Fault(status=status))
    path = f"/v2/{NAME}/manifests/1"
    for _ in range(2):
        answer = await impatient.get(path, Accept=IMAGE.media_type)
        assert (answer.status, answer.body) == (200, IMAGE.manifest)
        assert "stale" not in answer.cache
    assert upstream.count("GET", "*/manifests/*") == 2


async def test_a_head_that_is_throttled_is_not_followed_by_a_get(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    upstream.add_manifest(NAME, "1", IMAGE.manifest, IMAGE.media_type)
    upstream.fault("HEAD", "*/manifests/*", Fault(status=429))
    assert (await impatient.head(f"/v2/{NAME}/manifests/1")).status == 429
    assert upstream.count("GET", "*/manifests/*") == 0


FOREIGN_404: Final = {
    "text": Fault(status=404, body=b"404 page not found\n", headers={"Content-Type": "text/plain"}),
    "page": Fault(status=404, body=HTML, headers=A_PAGE),
    "empty": Fault(status=404, body=b""),
    "other-json": Fault(status=404, body=b'{"message": "no Route matched"}'),
    "errors-of-no-form": Fault(status=404, body=b'{"errors": "none"}'),
}


@pytest.mark.parametrize("fault", FOREIGN_404.values(), ids=FOREIGN_404)
async def test_a_404_that_is_not_the_registry_s_costs_no_tag(
    upstream: ScriptedUpstream, impatient: Proxy, fault: Fault
) -> None:
    """An ingress answers so during a redeploy."""
    path = f"/v2/{NAME}/manifests/1"
    upstream.fault("*", "*/manifests/*", fault)
    assert (await impatient.get(path)).status == 502
    upstream.heal()
    upstream.add_manifest(NAME, "1", IMAGE.manifest, IMAGE.media_type)
    assert (await impatient.get(path, Accept=IMAGE.media_type)).status == 200
    upstream.fault("*", "*/manifests/*", fault)
    for _ in range(2):
        answer = await impatient.get(path, Accept=IMAGE.media_type)
        assert (answer.status, answer.body) == (200, IMAGE.manifest)
        assert answer.cache.startswith(STALE)


async def test_a_blob_s_404_that_is_not_the_registry_s_is_a_failure(
    upstream: ScriptedUpstream, impatient: Proxy
) -> None:
    blob = upstream.add_blob(NAME, b"layer")
    upstream.fault("GET", "*/blobs/*", FOREIGN_404["page"])
    assert (await impatient.get(f"/v2/{NAME}/blobs/{blob}")).status == 502
    upstream.heal()
    assert (await impatient.get(f"/v2/{NAME}/blobs/{blob}")).body == b"layer"


@pytest.mark.parametrize("keep", [False, True])
async def test_a_tag_that_was_deleted_is_kept_if_the_settings_say_so(
    upstream: ScriptedUpstream, data_dir: Path, *, keep: bool
) -> None:
    upstream.add_manifest(NAME, "1", IMAGE.manifest, IMAGE.media_type)
    chosen = impatient_settings(upstream, data_dir)
    tags = chosen.tags.model_copy(update={"keep_deleted": keep})
    async with Proxy(chosen.model_copy(update={"tags": tags})) as proxy:
        path = f"/v2/{NAME}/manifests/1"
        assert (await proxy.get(path, Accept=IMAGE.media_type)).status == 200
        upstream.remove(NAME, "1")
        for _ in range(2):
            answer = await proxy.get(path, Accept=IMAGE.media_type)
            if keep:
                assert (answer.status, answer.body) == (200, IMAGE.manifest)
                assert answer.cache == 'Lighterage; hit; detail="stale deleted"'
            else:
                assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert (await proxy.get(f"/v2/{NAME}/manifests/2")).code == "MANIFEST_UNKNOWN"
