"""The values of the shared cache, encoded and decoded. PURE.

Other software can write to the cache, too. So every decoder checks the type, the length and the
range of what it reads, and returns None for any value that no proxy of this format has written.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from proxy.errors import DigestInvalid
from proxy.oci.mediatype import is_media_type
from proxy.oci.reference import Digest
from proxy.ports.catalog import MAX_CLOCK_SKEW, Grant, Listing, Proof, TagEntry

# In bytes. A larger value would push hundreds of others out of a small Redis.
LARGEST: Final = 256 * 1024
# A digest, a moment or a grant: longer ones are not parsed.
_LARGEST_FACT: Final = 1024
_MOMENT: Final = re.compile(r"[0-9]{1,12}\.[0-9]{3}")


@dataclass(frozen=True, slots=True)
class PurgeMarks:
    """What a purge leaves: tags and listings from before (seconds since 1970) are void."""

    tags: float = 0.0
    listings: float = 0.0


def encode_entry(entry: TagEntry) -> bytes:
    """A tag's entry: the digest and the moment."""
    return f"{entry.digest} {entry.validated_at:.3f}".encode()


def decode_entry(value: bytes, now: float) -> TagEntry | None:
    """The entry; `now` bounds its moment."""
    digest, _, moment = _text(value).partition(" ")
    validated_at = _moment(moment, now)
    try:
        return TagEntry(Digest(digest), validated_at) if validated_at else None
    except DigestInvalid:
        return None


def encode_grant(grant: Grant) -> bytes:
    """A grant: JSON of its proof and type."""
    return json.dumps([grant.proof, grant.media_type], separators=(",", ":")).encode()


def decode_grant(value: bytes) -> Grant | None:
    """The grant. Its type becomes a header of ours, so it must be a media type."""
    try:
        match json.loads(_text(value)):
            case [str(proof), None]:
                return Grant(Proof(proof))
            case [str(proof), str(media_type)] if is_media_type(media_type):
                return Grant(Proof(proof), media_type)
    except (ValueError, RecursionError):
        pass
    return None


def decode_digest(value: bytes) -> Digest | None:
    """The digest of a representation."""
    try:
        return Digest(_text(value))
    except DigestInvalid:
        return None


def encode_listing(listing: Listing) -> bytes:
    """A page: a line with the moment, and the page as it is."""
    return f"{listing.fetched_at:.3f}\n".encode() + listing.value


def decode_listing(value: bytes, now: float) -> Listing | None:
    """The page, which is not parsed here."""
    moment, separator, page = value.partition(b"\n")
    fetched_at = _moment(_text(moment), now) if separator else None
    return Listing(page, fetched_at) if fetched_at and len(value) <= LARGEST else None


def encode_marks(marks: PurgeMarks) -> bytes:
    """Two moments."""
    return f"{marks.tags:.3f} {marks.listings:.3f}".encode()


def decode_marks(value: bytes, now: float) -> PurgeMarks | None:
    """The marks."""
    first, _, second = _text(value).partition(" ")
    tags, listings = _moment(first, now), _moment(second, now)
    return None if tags is None or listings is None else PurgeMarks(tags, listings)


def decode_content(value: bytes) -> bytes | None:
    """A manifest or an origin, which its reader verifies."""
    return value if len(value) <= LARGEST else None


def _text(value: bytes) -> str:
    """A short value; empty if it is none."""
    return value.decode("ascii", "replace") if len(value) <= _LARGEST_FACT else ""


def _moment(text: str, now: float) -> float | None:
    """Seconds since 1970."""
    moment = float(text) if _MOMENT.fullmatch(text) else None
    # One in the future would keep an entry fresh, or void, for as long as its writer likes.
    return moment if moment is not None and moment <= now + MAX_CLOCK_SKEW else None
