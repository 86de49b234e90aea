"""A header as long as an upstream can send it costs time in proportion to its length."""

from __future__ import annotations

from contextlib import suppress
from time import process_time
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import UpstreamInvalid
from proxy.oci.headers import link
from proxy.oci.headers.ratelimit import RateLimit
from proxy.upstream.auth import challenge

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES: Final = (4 * 1024, 16 * 1024, 64 * 1024)
# Sixteen times as much may take this many times as long; in a quadratic parser it is 256 times.
RATIO: Final = 64.0
ROUNDS: Final = 5
# Below this a measurement is noise, in seconds.
FLOOR: Final = 0.0005
PARTS: Final = (
    *("a", "<", ">", '"', ",", ";", " ", "<a>;", "rel=", '\\"', "%6es&", "=,", "a=b,", "\t"),
)


def parse_challenge(text: str) -> None:
    challenge.parse_challenges([text])


def parse_rate_limit(text: str) -> None:
    RateLimit.parse({"RateLimit-Limit": "1" + text, "RateLimit-Remaining": text})


def seconds(parse: Callable[[str], object], text: str) -> float:
    """The best of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        began = process_time()
        with suppress(UpstreamInvalid):
            parse(text)
        taken.append(process_time() - began)
    return max(min(taken), FLOOR)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "parse", [link.following, parse_challenge, parse_rate_limit], ids=["Link", "challenge", "rate"]
)
def test_time_grows_with_the_length(
    parse: Callable[[str], object], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limits are lifted: the parsers are to be linear also without them.
    monkeypatch.setattr(link, "_MAX_LENGTH", 2**20)
    monkeypatch.setattr(challenge, "MAX_HEADER_LENGTH", 2**20)
    monkeypatch.setattr(challenge, "MAX_PARAMETERS", 2**20)
    for before in ("", "Bearer a=", "<"):
        times = [seconds(parse, before + part * (size // len(part))) for size in SIZES]
        assert times[-1] / times[0] < RATIO, (before, times)
