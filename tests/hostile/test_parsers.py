"""Parsers of what clients and registries send take time in proportion to its length."""

from __future__ import annotations

from contextlib import suppress
from time import process_time
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.routing import Routes
from proxy.errors import RegistryError
from proxy.oci.headers.accept import Accept
from proxy.oci.headers.link import LinkInvalid, following
from proxy.oci.headers.ratelimit import RateLimit
from proxy.web.conditions import not_modified, range_applies
from proxy.web.paths import parse_target
from proxy.web.ranges import parse_range

if TYPE_CHECKING:
    from collections.abc import Callable

KIB: Final = 1024
ROUTES: Final = Routes({"docker.io": "docker.io"}, "docker.io")
DIGEST: Final = "sha256:" + "ab" * 32
# What makes naive patterns backtrack, for each parser: a beginning, what is repeated, an end.
PARTS: Final = [
    *(("", " ", "x"), ("", "\t,", ""), ("", ",", ""), ("", ";", ""), ("", "=", ""), ("", '"', "")),
    *(("", "\\", ""), ("", "a/b;q=0.1,", ""), ("", "a", ""), ("", "/", ""), ("", "%", "")),
    *(("bytes=", " ", ""), ("bytes=", " ", "-"), ("bytes=1", " ", ""), ("bytes=", "1-2,", "")),
    *(("bytes", " ", "="), ("bytes=", "9", "-"), ('"', "a", ""), ("", "W/", ""), ("", '"a",', "")),
    *(("<", "a", ""), ("", "<", ""), ("", "<a>;", ""), ("", "</a?b>; title=x;", "rel=next")),
    *(("</a?b>; rel=", " ", "next"), ("", '<a>; x=",', ""), ("</a?", "ns=1&", ">; rel=next")),
    *(("1", " ", ";w=1"), ("1;", " ", "w"), ("/v2/", "a/", "manifests/1"), ("/v2/a/", "tags/", "")),
    *(("/v2/", "a.", "/manifests/1"), ("/v2/", "a-", "/manifests/1"), ("/v2/", "a_", "/blobs/1")),
    *(("/v2/a/manifests/1?", "ns=&", ""), ("/v2/a/tags/list?", "n=1&", ""), ("x://", "a.", "/")),
    *(("/v2/a/manifests/", "%61", ""), ("/v2/a/tags/list?ns=", "%3A", "")),
]


def _target(text: str) -> None:
    parse_target(text, "localhost", ROUTES)


def _host(text: str) -> None:
    parse_target("/v2/", text, ROUTES)


PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "Accept": lambda text: Accept.parse((text,)),
    "Range": parse_range,
    "If-Range": lambda text: range_applies(text, DIGEST),
    "If-None-Match": lambda text: not_modified((text,), DIGEST),
    "Link": lambda value: following([value]),
    "RateLimit": lambda text: RateLimit.parse(
        {"RateLimit-Limit": text, "RateLimit-Remaining": text}
    ),
    "Host": _host,
    "path": _target,
}


def _seconds(parse: Callable[[str], object], text: str) -> float:
    """The best of some runs: others use the machine, too."""
    best = float("inf")
    for _ in range(5):
        before = process_time()
        with suppress(RegistryError, LinkInvalid):
            parse(text)
        best = min(best, process_time() - before)
    return best


@pytest.mark.parametrize("name", PARSERS)
def test_a_header_sixteen_times_as_long_takes_no_longer_than_that(name: str) -> None:
    for start, repeated, end in PARTS:
        times = []
        for size in (4 * KIB, 16 * KIB, 64 * KIB):
            text = start + repeated * (size // len(repeated)) + end
            times.append(_seconds(PARSERS[name], text))
        # A quadratic one takes 256 times as long; below a millisecond the clock says nothing.
        assert times[2] <= max(40 * times[0], 40 * times[1] / 4, 0.01), (start, repeated, times)
        assert times[2] < 0.25, (start, repeated, times)
