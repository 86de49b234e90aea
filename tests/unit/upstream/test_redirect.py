"""Where a redirect leads, to the letter."""

from __future__ import annotations

from typing import Final

import pytest
from yarl import URL

from proxy.errors import UpstreamInvalid
from proxy.upstream.redirect import follow, origin

HERE: Final = URL("https://registry.example/v2/x/blobs/sha256:00", encoded=True)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/a?sig=a%2Fb%2Bc%3D&x=%41+b", None),
        ("http://[2001:db8::1]:81/a", None),
        ("/storage/a?x=1", "https://registry.example/storage/a?x=1"),
        ("other", "https://registry.example/v2/x/blobs/other"),
        ("?x=1", f"{HERE}?x=1"),
        ("//cdn.example/a", "https://cdn.example/a"),
        ("https://cdn.example/a#part", "https://cdn.example/a"),
    ],
)
def test_a_location_is_followed_to_the_letter(location: str, target: str | None) -> None:
    current = URL(str(HERE).replace("https", location.partition(":")[0], 1), encoded=True)
    found = follow("docker.io", HERE if target else current, location)
    assert str(found) == (target or location)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (None, "no URL"),
        ("", "no URL"),
        ("https://cdn.example/a b", "no URL"),
        ("https://cdn.example/a\r\nX: y", "no URL"),
        ("https://cdn.example/é", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://cdn.example:99999/", "no URL"),
        ("https://cdn.example\\@evil.example/", "no URL"),
        ("ftp://cdn.example/", "not HTTP"),
        ("file:///etc/passwd", "not HTTP"),
        ("javascript:alert(1)", "not HTTP"),
        ("unix:/run/docker.sock", "not HTTP"),
        ("http:/cdn.example", "not HTTP|plain http"),
        ("https://user:secret@cdn.example/", "user information"),
        ("https://:secret@cdn.example/", "user information"),
        ("http://cdn.example/", "plain http"),
    ],
)
def test_a_location_that_is_not_followed(location: str | None, reason: str) -> None:
    with pytest.raises(UpstreamInvalid, match=reason) as caught:
        follow("docker.io", HERE, location)
    assert caught.value.message.startswith("docker.io redirects ")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example:443/y?z", True),
        ("https://a.example/", "https://a.example./", True),
        ("http://a.example:80/", "http://a.example/", True),
        ("https://a.example/", "http://a.example/", False),
        ("https://a.example/", "https://a.example:444/", False),
        ("https://a.example/", "https://b.a.example/", False),
    ],
)
def test_what_one_origin_is(one: str, other: str, *, same: bool) -> None:
    assert (origin(URL(one, encoded=True)) == origin(URL(other, encoded=True))) is same
