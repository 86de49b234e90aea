"""The values of the shared cache: what was encoded is decoded, and everything else is None."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.catalog import shared_values as values
from proxy.oci.mediatype import MediaType, is_media_type
from proxy.oci.reference import Digest
from proxy.ports.catalog import MAX_CLOCK_SKEW, Grant, Listing, Proof, TagEntry

if TYPE_CHECKING:
    from collections.abc import Callable

NOW: Final = 1_700_000_000.0
DIGEST: Final = Digest.of(b"")
MOMENTS: Final = st.integers(1, int(NOW) * 1000).map(lambda milliseconds: milliseconds / 1000)
DEEP: Final = b"[" * 100_000
DECODERS: Final[tuple[Callable[[bytes], object], ...]] = (
    lambda value: values.decode_entry(value, NOW),
    lambda value: values.decode_listing(value, NOW),
    lambda value: values.decode_marks(value, NOW),
    values.decode_grant,
    values.decode_digest,
    values.decode_content,
)


@given(MOMENTS)
def test_an_entry_is_decoded_as_it_was(moment: float) -> None:
    entry = TagEntry(DIGEST, moment)
    assert values.decode_entry(values.encode_entry(entry), NOW) == entry


@given(st.sampled_from(Proof), st.sampled_from([None, *MediaType, "application/x.y+json"]))
def test_a_grant_is_decoded_as_it_was(proof: Proof, media_type: str | None) -> None:
    grant = Grant(proof, media_type)
    assert values.decode_grant(values.encode_grant(grant)) == grant


@given(MOMENTS, st.binary())
def test_a_listing_is_decoded_as_it_was(moment: float, page: bytes) -> None:
    listing = Listing(page, moment)
    assert values.decode_listing(values.encode_listing(listing), NOW) == listing


@given(MOMENTS, MOMENTS)
def test_marks_are_decoded_as_they_were(tags: float, listings: float) -> None:
    marks = values.PurgeMarks(tags, listings)
    assert values.decode_marks(values.encode_marks(marks), NOW) == marks


@pytest.mark.parametrize(
    "moment",
    [
        *("9" * 400, "1e999", "inf", "-inf", "nan", "-1.000", "1", "1.5", "1_0.000", " 1.000"),
        *("0.000", "", "\u0661.000", f"{NOW + MAX_CLOCK_SKEW + 1:.3f}"),
    ],
)
def test_a_moment_that_no_proxy_writes(moment: str) -> None:
    """One in the future would keep a tag fresh for as long as its writer likes."""
    assert values.decode_entry(f"{DIGEST} {moment}".encode(), NOW) is None
    assert values.decode_listing(f"{moment}\n{{}}".encode(), NOW) is None
    if moment != "0.000":
        assert values.decode_marks(f"{moment} 1.000".encode(), NOW) is None


@pytest.mark.parametrize(
    "media_type",
    [
        *("a/b\r\nSet-Cookie: x", "a/b\n", "text", "", "a/b; charset=utf-8", "a/\u00e9"),
        *("a/" + "b" * 200, 1, 1.5, [], {}, True),
    ],
)
def test_a_type_that_is_no_media_type(media_type: object) -> None:
    value = json.dumps([Proof.DELIVERED, media_type]).encode()
    assert values.decode_grant(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b"\xff",
            b"null",
            b"[]",
            b'["delivered"]',
            b'["delivered", null, 1]',
            b'["x", null]',
        ),
        *(b"[[], null]", b'{"a": 1, "b": 2}', b"[NaN, Infinity]", DEEP, b"[1e999, null]"),
    ],
)
def test_what_is_no_grant(value: bytes) -> None:
    assert values.decode_grant(value) is None


def test_what_is_too_large_is_not_parsed() -> None:
    for decode in DECODERS:
        assert decode(b"1.000\n" + bytes(values.LARGEST + 1)) is None


@given(st.binary(max_size=200))
@example(DEEP)
@example(f"{DIGEST} {'9' * 5000}".encode())
def test_no_value_raises(value: bytes) -> None:
    for decode in DECODERS:
        decode(value)


@given(st.text(max_size=20))
def test_a_media_type_fits_into_a_header(text: str) -> None:
    for candidate in (text, f"a/{text}"):
        if is_media_type(candidate):
            assert candidate.isascii()
            assert candidate.isprintable()
