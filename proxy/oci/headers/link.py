"""Pagination by the `Link` header (RFC 8288), of which only the query is used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A page token of 16 KiB, its escapes, and other links beside it.
_MAX_LENGTH: Final = 64 * 1024
# The query must fit into the request line of the client that follows our link.
_MAX_QUERY: Final = 30 * 1024
# The characters of a query (RFC 3986, 3.4); others are escaped, as clients do.
_QUERY: Final = "~!$&'()*+,;=:@/?%"
# All characters that `quote` may leave with these.
_IS_QUERY: Final = re.compile(r"[A-Za-z0-9_.~!$&'()*+,;=:@/?%-]+")

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_SEPARATORS: Final = re.compile(r"[ \t\r\n,]*")
# Quay once sent targets without `<>`. Such a target ends where a parameter or a link begins.
_BARE: Final = re.compile(
    r"(?:[^;,]|;(?![ \t]*(?:rel|rev|title|type|media|anchor|hreflang)\*?[ \t]*=)"
    r"|,(?![ \t]*<))*",
    re.IGNORECASE,
)
_NAME: Final = re.compile(r'[^ \t\r\n=;,"<>]*')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_UNQUOTED: Final = re.compile(r"[^;,]*")


class LinkInvalid(Exception):  # noqa: N818 -- as the domain's errors
    """A header announces a next page that cannot be requested; the message is half a sentence."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing as the upstream sent it.

    `following` is the query of the next page. A hostile `Link` cannot redirect us: its query is
    only appended to the path of the requested listing. `age`: for so many seconds nobody has asked
    the upstream.
    """

    raw: bytes
    following: str | None = None
    filtered: bool = False
    age: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class _Link:
    """One link: its target, and the relations that it has; None if it has no `rel` at all."""

    target: str
    relations: Sequence[str] | None


def following(lines: Sequence[str]) -> str | None:
    """The query of the next page that the `Link` header `lines` name; None if they name none.

    LinkInvalid if there is a next page that cannot be requested: a list that is cut looks like a
    whole one. The query has no `ns`: which upstream a client means is not for an upstream to say.
    Takes time in proportion to the header's length.
    """
    text = ", ".join(lines)
    if len(text) > _MAX_LENGTH:
        raise LinkInvalid(f"has more than {_MAX_LENGTH} characters")
    try:
        links = list(_links(text))
    except LinkInvalid:
        if "next" not in text.lower():
            return None
        raise
    for link in links:
        if link.relations is not None and "next" in link.relations:
            return _query(link.target)
    # RFC 8288 wants a relation. On a page of a listing, a lone link can only mean the next page.
    if len(links) == 1 and links[0].relations is None and "?" in links[0].target:
        return _query(links[0].target)
    return None


def _links(text: str) -> Iterator[_Link]:
    at = _end(_SEPARATORS, text, 0)
    while at < len(text):
        target, at = _target(text, at)
        relations: Sequence[str] | None = None
        at = _end(_SPACE, text, at)
        while text.startswith(";", at):
            name, value, at = _parameter(text, at + 1)
            # Only the first one counts (RFC 8288, 3.3).
            if name == "rel" and relations is None:
                relations = value.lower().split()
            at = _end(_SPACE, text, at)
        if at < len(text) and text[at] != ",":
            raise LinkInvalid("is not in the form of RFC 8288")
        yield _Link(target, relations)
        at = _end(_SEPARATORS, text, at)


def _target(text: str, at: int) -> tuple[str, int]:
    """The target that begins at `at`, and where it ends."""
    if text[at] != "<":
        end = _end(_BARE, text, at)
        return text[at:end], end
    end = text.find(">", at)
    if end < 0:
        raise LinkInvalid("has a target without an end")
    return text[at + 1 : end], end + 1


def _parameter(text: str, at: int) -> tuple[str, str, int]:
    """Name in lower case, value, and end of the parameter that begins at `at`."""
    start = _end(_SPACE, text, at)
    end = _end(_NAME, text, start)
    name = text[start:end].lower()
    at = _end(_SPACE, text, end)
    if not text.startswith("=", at):
        return name, "", at
    at = _end(_SPACE, text, at + 1)
    if text.startswith('"', at):
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            raise LinkInvalid("has a quoted parameter without an end")
        return name, re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    end = _end(_UNQUOTED, text, at)
    return name, text[at:end].strip(" \t'"), end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _query(target: str) -> str:
    """The query of a link's target; LinkInvalid if it has none, or one that is too long."""
    query = target.strip().partition("#")[0].partition("?")[2]
    kept = without_ns(query)
    if not kept:
        raise LinkInvalid("names a next page without a query")
    if len(kept) > _MAX_QUERY:
        raise LinkInvalid(f"names a next page by more than {_MAX_QUERY} characters")
    return kept


def without_ns(query: str) -> str:
    """The query as it came, but without `ns`, and with escapes for what no query may contain."""
    kept = [part for part in query.split("&") if part and not is_parameter(part, "ns")]
    return quote("&".join(kept), safe=_QUERY, errors="surrogateescape")


def is_parameter(part: str, name: str) -> bool:
    """Whether `part` of a query is the parameter `name`, however that is escaped."""
    return unquote(part.partition("=")[0]) == name


def is_query(text: str) -> bool:
    """Whether `text` could be a `following`, and so be sent in a header and a request line."""
    return 0 < len(text) <= _MAX_QUERY and _IS_QUERY.fullmatch(text) is not None


def canonical(query: str) -> str:
    """The query of a page as it is sent, without `ns`.

    Page tokens are opaque, so nothing is decoded. Only the order of `n` and `last` is ours: it
    makes one question of two spellings.
    """
    kept = without_ns(query)
    parts = kept.split("&")
    if all(is_parameter(part, "n") or is_parameter(part, "last") for part in parts):
        return "&".join(sorted(parts))
    return kept


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
    return f"{query}&{urlencode({name: value}, errors='surrogateescape')}"
