"""Pagination by the `Link` header (RFC 8288), of which only the query is used."""

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

    `following` is the query of the next page. A hostile `Link` cannot redirect us: its query is
    only appended to the path of the requested listing.
    """

    raw: bytes
    following: str | None = None
    filtered: bool = False


def following(link: str | None) -> str | None:
    """The query of the link to the next page, or None if there is no usable one."""
    found = _NEXT.search(link or "")
    query = urlsplit(found[1]).query if found else ""
    return query if _QUERY.fullmatch(query) else None


def link_to(path: str, query: str, *, ns: str | None) -> str:
    """A `Link` header to the next page below our own `path`; `ns` names the upstream."""
    suffix = "&" + urlencode({"ns": ns}) if ns is not None else ""
    return f'<{path}?{query}{suffix}>; rel="next"'


def keep_parameter(query: str | None, name: str, value: str) -> str | None:
    """Add a parameter of the first request to the query of the next page.

    A registry that ignores the parameter omits it from its links.
    """
    if query is None or any(key == name for key, _ in parse_qsl(query)):
        return query
    return f"{query}&{urlencode({name: value})}"


def query_of(parameters: Mapping[str, str]) -> str:
    """Encode `parameters` in a canonical order, for requests and cache keys."""
    return urlencode(sorted(parameters.items()))
