"""Pages of tags and referrers: what is one, and what is a failure."""

from __future__ import annotations

import json

import pytest

from proxy.errors import UpstreamInvalid
from proxy.oci.listing import check_referrers, check_tags, name_tags, referrers_tag
from proxy.oci.reference import Digest


@pytest.mark.parametrize(
    ("page", "tags"),
    [
        ({"name": "x", "tags": ["a", "b"]}, ["a", "b"]),
        ({"name": "x", "tags": []}, []),
        ({"tags": None}, []),
        ({"tags": ["a"], "errors": []}, ["a"]),
    ],
)
def test_a_page_of_tags_has_our_name(page: object, tags: list[str]) -> None:
    raw = json.dumps(page).encode()
    check_tags(raw)
    named = json.loads(name_tags(raw, "hub/x"))
    assert (named["name"], named["tags"]) == ("hub/x", tags)


def test_what_a_vendor_adds_to_a_page_of_tags_stays() -> None:
    page = {"child": ["a"], "manifest": {"sha256:1": {"tag": ["b"], "big": 2**70}}, "tags": ["b"]}
    named = json.loads(name_tags(json.dumps(page).encode(), "x"))
    assert named == page | {"name": "x"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"name": "x"}',
        b'{"tags": "a"}',
        b'{"tags": {}}',
        b'{"tags": ["a", 1]}',
        b'{"tags": ["a"], "errors": [{"code": "DENIED"}]}',
        b'{"errors": [{"code": "UNKNOWN"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_page_is_a_failure(raw: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        check_tags(raw)
    with pytest.raises(UpstreamInvalid):
        check_referrers(raw)


def test_the_tag_of_referrers_is_cut_as_the_spec_says() -> None:
    sha256, sha512 = Digest("sha256:" + "a" * 64), Digest("sha512:" + "b" * 128)
    assert referrers_tag(sha256) == "sha256-" + "a" * 64
    assert referrers_tag(sha512) == "sha512-" + "b" * 64
