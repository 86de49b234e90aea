"""`If-None-Match` and `If-Range`: clients quote entity tags in every way there is."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.oci.reference import Digest
from proxy.web.conditions import not_modified, range_applies

DIGEST: Final = Digest.of(b"content")
OTHER: Final = Digest.of(b"other content")


@pytest.mark.parametrize(
    "lines",
    [
        [f'"{DIGEST}"'],
        [f'W/"{DIGEST}"'],
        [DIGEST],
        [f"  {DIGEST} "],
        ["*"],
        [f'"{OTHER}", "{DIGEST}"'],
        [f'"{OTHER}"', f'"{DIGEST}"'],
        [f', ,"{DIGEST}"'],
    ],
)
def test_matching_tags(lines: list[str]) -> None:
    assert not_modified(lines, DIGEST)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ['""'],
        [f'"{OTHER}"'],
        [f'"{DIGEST}x"'],
        [f'"{DIGEST[:-1]}"'],
        [f'w/"{DIGEST}"'],
        ["sha256:*"],
        [f'"{DIGEST.upper()}"'],
    ],
)
def test_other_tags_do_not_match(lines: list[str]) -> None:
    assert not not_modified(lines, DIGEST)


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (None, True),
        (f'"{DIGEST}"', True),
        (DIGEST, True),
        (f'W/"{DIGEST}"', False),
        (f'"{OTHER}"', False),
        ("Wed, 21 Oct 2026 07:28:00 GMT", False),
        ("*", False),
        ("", False),
    ],
)
def test_a_range_applies_to_what_the_client_has_a_part_of(
    if_range: str | None, *, applies: bool
) -> None:
    assert range_applies(if_range, DIGEST) is applies
