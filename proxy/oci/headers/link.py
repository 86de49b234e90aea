"""Listings in pages: the `Link` header (RFC 8288), of which only the query is ours to use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEXT: Final = re.compile(r'<([^<>\s]{1,2048})>\s*;[^,]*\brel\s*=\s*"?next"?', re.IGNORECASE)
_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]{1,1024}")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing as the upstream sent it.

    `following` is the query that leads to the next page. Where a hostile `Link` points to does not
    matter: it is only ever put behind the path of the listing that was asked for.
    """

    raw: bytes
    following: str | None = None
    filtered: bool = False


def following(link: str | None) -> str | None:
    """The query of the link to the next page, or None if there is none that can be used."""
    found = _NEXT.search(link or "")
    query = urlsplit(found[1]).query if found else ""
    return query if _QUERY.fullmatch(query) else None


def link_to(path: str, query: str, *, ns: str | None) -> str:
    """A `Link` to the next page below our own `path`, for the upstream that `ns` named."""
    suffix = "&" + urlencode({"ns": ns}) if ns is not None else ""
    return f'<{path}?{query}{suffix}>; rel="next"'


def still_asking(query: str | None, name: str, value: str) -> str | None:
    """The query that leads to the next page, with a parameter that the first one was asked with.

    A registry that takes no notice of it leaves it out of its links.
    """
    if query is None or any(key == name for key, _ in parse_qsl(query)):
        return query
    return f"{query}&{urlencode({name: value})}"


def query_of(parameters: Mapping[str, str]) -> str:
    """`parameters` in one spelling, for a request and for a key."""
    return urlencode(sorted(parameters.items()))
