"""A page of a listing as the catalog stores it, and the slot that it is stored in. PURE.

A client can think of any number of different pages: `last` may be anything. So a repository has a
fixed number of slots. Two pages of one slot replace each other; the stored query tells which of
them it is.
"""

from __future__ import annotations

import json
from typing import Final
from zlib import crc32

from proxy.errors import UpstreamInvalid
from proxy.oci.headers.link import Page, is_query
from proxy.oci.listing import read_document

# Pages of a repository's tags besides the first one, and of all referrers in it.
_TAG_SLOTS: Final = 64
_REFERRER_SLOTS: Final = 1024
_SEPARATORS: Final = (",", ":")


def tags_slot(query: str) -> str:
    """The slot of a page of tags; the first page has one of its own."""
    return (
        f"tags:{crc32(query.encode('utf-8', 'surrogateescape')) % _TAG_SLOTS}"
        if query
        else "tags:first"
    )


def referrers_slot(question: str) -> str:
    """The slot of a page of referrers, by digest and query."""
    return f"referrers:{crc32(question.encode('utf-8', 'surrogateescape')) % _REFERRER_SLOTS}"


def encode(page: Page, query: str) -> bytes:
    """The page that answers `query`: a line of JSON, and the upstream's bytes."""
    head = {"query": query, "next": page.following, "filtered": page.filtered}
    return json.dumps(head, separators=_SEPARATORS).encode() + b"\n" + page.raw


def decode(value: bytes, query: str) -> Page | None:
    """The page, or None if it answers another query. UpstreamInvalid for what is no page."""
    head, _, raw = value.partition(b"\n")
    match read_document(head):
        case {"query": str(stored), "next": following, "filtered": bool(filtered)}:
            if following is not None and not (isinstance(following, str) and is_query(following)):
                raise UpstreamInvalid("the stored page does not say which is next")
            if stored != query:
                return None
            read_document(raw)
            return Page(raw, following, filtered)
    raise UpstreamInvalid("the stored page has no head")
