"""Digests, tags and names: the spec's grammars, and nothing that is not in them."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import DigestInvalid, NameInvalid, TagInvalid
from proxy.oci.reference import Digest, Repository, Tag, parse_name, parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_a_digest_has_an_algorithm_and_hex(text: str) -> None:
    """Of the two algorithms that the image spec registers, and that are to be had."""
    digest = Digest(text)
    assert f"{digest.algorithm}:{digest.hex}" == digest == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "sha256", "sha256:", SHA256[7:]),
        *(SHA256[:-1], SHA256 + "0", SHA256 + "\n", " " + SHA256, SHA256.upper()),
        *("sha256:" + "g" * 64, "sha256:" + "A" * 64, "sha256:" + "\u0661" * 64),
        *("SHA256:" + "0" * 64, "sha256+b64:" + "0" * 64, "sha256::" + "0" * 63),
        *("sha512:" + "0" * 64, "sha256:" + "0" * 128),
        *("md5:" + "0" * 32, "sha1:" + "0" * 40, "sha384:" + "0" * 96, "blake3:" + "0" * 64),
        *("sha256:../../etc/passwd", "sha256:" + "0" * 61 + "/.."),
    ],
)
def test_what_is_no_digest(text: str) -> None:
    """Letter case counts, too: another spelling would be another key for the same bytes."""
    with pytest.raises(DigestInvalid):
        Digest(text)


@given(content=st.binary(), other=st.binary())
def test_a_digest_matches_what_it_is_of(content: bytes, other: bytes) -> None:
    """And nothing else."""
    digest = Digest.of(content)
    assert digest == Digest("sha256:" + hashlib.sha256(content).hexdigest())
    assert digest.matches(content)
    assert digest.matches(other) == (content == other)


def test_a_digest_is_checked_by_its_own_algorithm() -> None:
    """At once, and piece by piece."""
    digest = Digest("sha512:" + hashlib.sha512(b"cargo").hexdigest())
    assert digest.matches(b"cargo")
    hasher = digest.hasher()
    hasher.update(b"car")
    hasher.update(b"go")
    assert hasher.hexdigest() == digest.hex


@pytest.mark.parametrize("text", ["latest", "1.0-rc_2", "_", "v" * 128, "UPPER", "0", "a..b", "a-"])
def test_tags(text: str) -> None:
    """What the spec's grammar allows."""
    assert Tag(text) == text == parse_reference(text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "-a", "v" * 129, "a/b", "a b", "a\n", "ä", "a%2fb", "a\0", "a+b", "@"]
)
def test_what_is_no_tag(text: str) -> None:
    """Neither a path nor a longer one."""
    with pytest.raises(TagInvalid):
        parse_reference(text)


def test_a_reference_with_a_colon_is_a_digest() -> None:
    """A bad one is no tag instead."""
    assert isinstance(parse_reference(SHA256), Digest)
    with pytest.raises(DigestInvalid):
        parse_reference("sha256:zz")


@pytest.mark.parametrize(
    "text",
    [
        *("alpine", "library/alpine", "a", "0", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b"),
        *("manifests/blobs", "quay.io/org/image", "a" * 255, "a/" * 127 + "a"),
    ],
)
def test_names(text: str) -> None:
    """What the spec's grammar allows, up to 255 characters."""
    assert parse_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "a/", "/a", "a//b", "..", "a/..", "../a", "a/./b", "A", "a/B", "a b", "a\n"),
        *("a.", ".a", "a..b", "a._b", "a___b", "-a", "a-", "_a", "a%2fb", "a\0b", "ä", "a:b"),
        *("a@b", "a" * 256, "a-" * 127 + "a-", "a" + "-" * 253),
    ],
)
def test_what_is_no_name(text: str) -> None:
    """No path trick, no other letter case, nothing longer."""
    with pytest.raises(NameInvalid):
        parse_name(text)


@given(text=st.text(max_size=300))
@pytest.mark.parametrize("parse", [parse_name, Tag, Digest, parse_reference])
def test_any_text_is_valid_or_invalid(parse: Callable[[str], str], text: str) -> None:
    """Nothing else happens."""
    with contextlib.suppress(DigestInvalid, NameInvalid, TagInvalid):
        assert parse(text) == text


@pytest.mark.parametrize("parse", [parse_name, Tag, Digest])
def test_an_error_quotes_little(parse: Callable[[str], str]) -> None:
    """Whatever a client sends."""
    with pytest.raises((DigestInvalid, NameInvalid, TagInvalid)) as caught:
        parse("\0" * 100_000)
    assert len(caught.value.message) < 1024


def test_a_repository_is_written_as_people_do() -> None:
    """By the upstream's name and the repository's there; how it was addressed does not count."""
    repository = Repository("docker.io", "library/alpine", "alpine")
    assert str(repository) == "docker.io/library/alpine"
