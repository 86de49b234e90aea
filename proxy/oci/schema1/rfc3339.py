"""RFC 3339 times as Go's package time reads and prints them."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime
from typing import Final

# Go's zero time, printed for a missing one.
ZERO: Final = "0001-01-01T00:00:00Z"

# No comma, one-digit hour or offset of a day or more: only some releases of Go accept these.
_TIME: Final = re.compile(
    r"(?P<second>(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<zone>Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_NANOSECONDS: Final = 9
# Every month has as many days.
_SHORTEST: Final = "28"
# Error messages quote at most this many characters of the text.
_MAX_QUOTED: Final = 40


def normal(text: str) -> str:
    """Normalize a time as Go prints it (time.RFC3339Nano); ValueError if it is malformed."""
    parts = _parts(text)
    fraction = (parts["fraction"] or "")[:_NANOSECONDS].rstrip("0")
    zone = "Z" if parts["zone"] in {"+00:00", "-00:00"} else parts["zone"]
    return f"{parts['second']}{'.' if fraction else ''}{fraction}{zone}"


def in_utc(text: str) -> str:
    """Convert a time to UTC and whole seconds; ValueError outside of the years 1 to 9999."""
    parts = _parts(text)
    try:
        moment = datetime.fromisoformat(parts["second"] + parts["zone"]).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:_MAX_QUOTED]!r} is outside the calendar") from None
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _parts(text: str) -> re.Match[str]:
    parts = _TIME.fullmatch(text)
    if parts is None or (
        parts["day"] > _SHORTEST and int(parts["day"]) > _days_in(parts["year"], parts["month"])
    ):
        raise ValueError(f"{text[:_MAX_QUOTED]!r} is not an RFC 3339 time")
    return parts


def _days_in(year: str, month: str) -> int:
    # The calendar repeats every 400 years, and Python's has no year 0.
    return monthrange(2000 + int(year) % 400, int(month))[1]
