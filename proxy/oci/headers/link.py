"""Pagination by the `Link` header (RFC 8288), of which only the query is used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Page tokens of some registries have thousands of characters; longer headers are ignored.
_MAX_LENGTH: Final = 16 * 1024
# The characters of a query (RFC 3986, 3.4); others are escaped, as clients do.
_QUERY: Final = "~!$&'()*+,;=:@/?%"
# All characters that `quote` may leave with these.
_IS_QUERY: Final = re.compile(r"[A-Za-z0-9_.~!$&'()*+,;=:@/?%-]+")
_ENDS: Final = {"<": ">", '"': '"'}


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
    """The query of the link to the next page, or None if there is no usable one.

    It has no `ns`: which upstream a client means is not for an upstream to say. Takes time in
    proportion to the header's length.
    """
    if link is None or len(link) > _MAX_LENGTH:
        return None
    for value in _split(link, ","):
        target, *parameters = _split(value, ";")
        if any(map(_is_next, parameters)):
            return _query(target)
    return None


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that are neither in `<>` nor in quotes."""
    start = 0
    end = ""
    for at, character in enumerate(text):
        if end:
            end = "" if character == end else end
        elif character in _ENDS:
            end = _ENDS[character]
        elif character == separator:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _is_next(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip().lower() == "rel" and "next" in value.strip(' \t"').lower().split()


def _query(target: str) -> str | None:
    """The query of a link's target. Quay once sent targets without `<>`."""
    query = target.strip(" \t<>").partition("#")[0].partition("?")[2]
    kept = [part for part in query.split("&") if unquote(part.partition("=")[0]) != "ns"]
    return quote("&".join(kept), safe=_QUERY, errors="surrogateescape") or None


def is_query(text: str) -> bool:
    """Whether `text` could be a `following`, and so be sent in a header and a request line."""
    return 0 < len(text) <= 3 * _MAX_LENGTH and _IS_QUERY.fullmatch(text) is not None


def canonical(query: str) -> str:
    """A query as `query_of` encodes it when a client sends it back."""
    return query_of(dict(parse_qsl(query)))


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
