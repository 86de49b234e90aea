"""Conditional requests; the entity tag is the digest in quotes (RFC 9110, 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def not_modified(if_none_match: Iterable[str], digest: str) -> bool:
    """Whether If-None-Match has `digest`. Clients send it quoted, weak and bare."""
    for line in if_none_match:
        for tag in line.split(","):
            if tag.strip().removeprefix("W/").strip('"') in {digest, "*"}:
                return True
    return False


def range_applies(if_range: str | None, digest: str) -> bool:
    """Whether Range applies: without If-Range, or with this blob's strong entity tag."""
    return if_range is None or if_range.strip().strip('"') == digest
