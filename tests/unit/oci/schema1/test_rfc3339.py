"""Times, as Go reads and prints them."""

from __future__ import annotations

import pytest

from proxy.oci.schema1 import rfc3339


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05.120Z", "2020-01-02T03:04:05.12Z"),
        ("2020-01-02T03:04:05.000Z", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05.1234567899Z", "2020-01-02T03:04:05.123456789Z"),
        ("2020-01-02T03:04:05.0000000009Z", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05+02:00", "2020-01-02T03:04:05+02:00"),
        ("2020-01-02T03:04:05.50-23:59", "2020-01-02T03:04:05.5-23:59"),
        ("2020-01-02T03:04:05+00:00", "2020-01-02T03:04:05Z"),
        ("2020-01-02T03:04:05-00:00", "2020-01-02T03:04:05Z"),
        ("0000-02-29T00:00:00Z", "0000-02-29T00:00:00Z"),
        (rfc3339.ZERO, rfc3339.ZERO),
    ],
)
def test_go_prints_a_time_again(text: str, printed: str) -> None:
    """No trailing zeros, nine digits at most, and the offset as it was."""
    assert rfc3339.normal(text) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020-01-02",
        "2020-01-02T03:04:05",
        "2020-01-02 03:04:05Z",
        "2020-01-02t03:04:05z",
        " 2020-01-02T03:04:05Z",
        "2020-01-02T03:04:05Z\n",
        "2020-1-02T03:04:05Z",
        "2020-01-02T3:04:05Z",
        "2020-01-02T03:04:05.Z",
        "2020-01-02T03:04:05,5Z",
        "2020-01-02T03:04:05+0200",
        "2020-01-02T03:04:05+24:00",
        "2020-01-02T03:04:05+02:60",
        "2020-00-02T03:04:05Z",
        "2020-13-02T03:04:05Z",
        "2020-01-00T03:04:05Z",
        "2020-01-32T03:04:05Z",
        "2020-04-31T03:04:05Z",
        "2021-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2020-01-02T24:00:00Z",
        "2020-01-02T03:60:00Z",
        "2020-01-02T03:04:60Z",
        "\N{ARABIC-INDIC DIGIT TWO}020-01-02T03:04:05Z",
    ],
)
def test_what_is_no_time_is_an_error(text: str) -> None:
    """The calendar counts, and so does every digit."""
    with pytest.raises(ValueError, match=r"is not an RFC 3339 time"):
        rfc3339.normal(text)
    with pytest.raises(ValueError, match=r"is not an RFC 3339 time"):
        rfc3339.in_utc(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2020-01-02T03:04:05.999999999Z", "2020-01-02T03:04:05Z"),
        ("2020-01-01T01:00:00+02:00", "2019-12-31T23:00:00Z"),
        ("2020-12-31T23:30:00-00:30", "2021-01-01T00:00:00Z"),
        (rfc3339.ZERO, "0001-01-01T00:00:00Z"),
    ],
)
def test_in_utc_and_whole_seconds(text: str, utc: str) -> None:
    """Cut, not rounded; four digits for every year."""
    assert rfc3339.in_utc(text) == utc


@pytest.mark.parametrize(
    "text",
    ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"],
)
def test_a_time_outside_the_calendar_has_no_utc(text: str) -> None:
    """Not an OverflowError, whichever way it is outside."""
    rfc3339.normal(text)
    with pytest.raises(ValueError, match=r"is outside the calendar"):
        rfc3339.in_utc(text)
