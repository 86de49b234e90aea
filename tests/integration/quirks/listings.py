"""Section 3: lists of tags and of referrers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from proxy.oci.mediatype import MediaType
from tests.integration.quirks.quirk import NAME, REPOSITORY, Quirk, Wanted, World, refused
from tests.kit import images
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from tests.kit.images import Content
    from tests.kit.proxy import Answer

TAGS: Final = f"{REPOSITORY}/tags/list"
SUBJECT: Final = images.oci("subject")
SUBJECT_INDEX: Final = images.oci_index("subject")
SIGNATURE: Final = {
    "mediaType": MediaType.OCI_MANIFEST,
    "digest": images.digest(b"signature"),
    "size": 9,
    "artifactType": "application/vnd.example.signature",
}
INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": [SIGNATURE]}
).encode()
MANY: Final = [f"v{number:05}-{'a' * 48}" for number in range(75_000)]
VENDOR: Final[dict[str, Any]] = {
    "child": ["sub"],
    "manifest": {SUBJECT.digest: {"tag": ["a"], "timeUploadedMs": "1"}},
}
STALE: Final = "stale"
TOKEN: Final = "A" * 16 * 1024


def _list(world: World, tags: list[str], link: str = "", **more: object) -> None:
    body = json.dumps({"name": NAME, "tags": tags, **more}).encode()
    headers = {"Link": link} if link else {}
    world.fault("GET", TAGS, Fault(status=200, body=body, headers=headers))


def _error(status: int, code: str, message: str) -> Fault:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Fault(status=status, body=body)


def _tags(tags: list[str], *, cache: str = "", **more: object) -> Wanted:
    def check(answer: Answer) -> None:
        assert answer.status == 200, answer.body[:500]
        assert json.loads(answer.body) == {"name": NAME, "tags": tags, **more}
        assert cache in answer.cache

    return check


def _page(link: str, query: str) -> Quirk:
    """The next page is found and asked for, however the registry names it."""

    async def ask_for_the_next_page(world: World, answer: Answer) -> None:
        assert answer.headers["Link"] == f'<{TAGS}?{query}>; rel="next"'
        _list(world, ["c"])
        following = await world.proxy.get(f"{TAGS}?{query}")
        _tags(["c"])(following)
        assert "Link" not in following.headers
        assert sorted(world.upstream.requests[-1].query.split("&")) == sorted(query.split("&"))

    return Quirk(
        quirk=lambda world: _list(world, ["a", "b"], link.format(path=TAGS)),
        ask=TAGS,
        wanted=_tags(["a", "b"]),
        then=ask_for_the_next_page,
    )


def _too_many(status: int, code: str) -> Quirk:
    return Quirk(
        content=lambda world: _list(world, ["a"]),
        quirk=lambda world: world.fault("GET", TAGS, _error(status, code, "at most 100 tags")),
        ask=f"{TAGS}?n=10000",
        wanted=refused(status, code, "at most 100 tags"),
    )


# Referrers


def _push_fallback(world: World) -> None:
    world.push(SUBJECT)
    tag = SUBJECT.digest.replace(":", "-")
    world.upstream.add_manifest(NAME, tag, INDEX, MediaType.OCI_INDEX)


def _referrers(*digests: object) -> Wanted:
    def check(answer: Answer) -> None:
        assert answer.status == 200, answer.body
        assert answer.headers["Content-Type"] == MediaType.OCI_INDEX
        assert [each["digest"] for each in json.loads(answer.body)["manifests"]] == [*digests]

    return check


def _no_api(fault: Fault) -> Quirk:
    return Quirk(
        content=_push_fallback,
        quirk=lambda world: world.fault("GET", "*/referrers/*", fault),
        ask=f"{REPOSITORY}/referrers/{SUBJECT.digest}",
        wanted=_referrers(SIGNATURE["digest"]),
    )


def _tag_is_the_subject(subject: Content) -> Quirk:
    return Quirk(
        content=lambda world: world.push(subject, subject.digest.replace(":", "-")),
        ask=f"{REPOSITORY}/referrers/{subject.digest}",
        wanted=_referrers(),
    )


QUIRKS: Final = {
    "long-token": _page(f"<{{path}}?n=2&last={TOKEN}>; rel=next", f"n=2&last={TOKEN}"),
    "link-bare": _page('{path}?n=2&last=b; rel="next"', "n=2&last=b"),
    "link-title": _page('<{path}?n=2&last=b>; title="b, c"; rel="next"', "n=2&last=b"),
    "link-unescaped": _page("<{path}?n=2&last={{b|c d}}>; rel=next", "n=2&last=%7Bb%7Cc%20d%7D"),
    "link-unusable": Quirk(
        quirk=lambda world: _list(world, ["a"], "<page/2>; rel=next"),
        ask=TAGS,
        wanted=refused(502, "UNAVAILABLE", "further pages"),
    ),
    "page-too-large-400": _too_many(400, "TOO_MANY_TAGS_REQUESTED"),
    "page-too-large-405": _too_many(405, "UNSUPPORTED"),
    "many-tags": Quirk(quirk=lambda world: _list(world, MANY), ask=TAGS, wanted=_tags(MANY)),
    "errors-with-200": Quirk(
        content=lambda world: _list(world, ["a"]),
        quirk=lambda world: world.fault("GET", TAGS, _error(200, "UNAUTHORIZED", "log in")),
        ask=TAGS,
        wanted=refused(502, "UNAVAILABLE"),
        cached=_tags(["a"], cache=STALE),
    ),
    "gcr-members": Quirk(
        quirk=lambda world: _list(world, ["a"], **VENDOR), ask=TAGS, wanted=_tags(["a"], **VENDOR)
    ),
    **{
        f"no-referrers-{status}": _no_api(_error(status, "UNSUPPORTED", "no such API"))
        for status in (400, 404, 405, 406, 501)
    },
    "fallback-is-image": _tag_is_the_subject(SUBJECT),
    "fallback-is-index": _tag_is_the_subject(SUBJECT_INDEX),
}
